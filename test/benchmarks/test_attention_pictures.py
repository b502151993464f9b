# Copyright 2026 depth_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""The pictures show the weights that the network has, of the frames that they name."""

from __future__ import annotations

import math
from pathlib import Path
from test.training import runs

from benchmarks import attention_pictures as pictures
from benchmarks.ablation_pictures import PANEL_WIDTH_PX, TITLE_PX
import cv2
import numpy as np
import pytest
import torch
from training.models.attention_stack import StackOptions
from training.models.tc_depth import TcDepthConfig, TcDepthNet

GRID = (4, 8)
ROWS = 7
CAMERA = torch.tensor([[37.0, 37.0, 31.5, 15.5]])
RECIPE = {'name': 'tc_depth', 'pose': 'odometry', 'travel_weight': 0.0}


@pytest.fixture(scope='module')
def network() -> TcDepthNet:
    torch.manual_seed(0)
    options = {k: v for k, v in runs.REMEMBERING.items() if k not in ('kind', 'attention')}
    attention = StackOptions(**runs.REMEMBERING['attention'])
    return TcDepthNet(TcDepthConfig(**options, attention=attention)).eval()


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_dataset(tmp_path_factory.mktemp('pictures'))


def checkpoint(folder: Path, dataset: Path, **changes: object) -> Path:
    config = runs.config_file(folder, epochs=1, **changes)
    assert runs.train(config, dataset, folder / 'run', '--no-validation') == 0
    return folder / 'run' / 'last.ckpt'


def seen(network: TcDepthNet, images: torch.Tensor, cell: tuple[int, int]) -> pictures.Seen:
    with torch.no_grad(), pictures.listening(network) as taken:
        network.sequence_views(images[None], CAMERA)
        return pictures.look(network, taken, cell)


def test_weights_are_those_of_the_formulas(network: TcDepthNet) -> None:
    taken = pictures.Taken()
    taken.grid = (1, 3)
    taken.points_TN3 = torch.tensor([[[0.0, 0.0, 5.0], [0.5, 0.0, 5.0], [0.5, 1.0, 5.0]]] * 3)
    taken.keys_TNk = torch.zeros(3, 3, 4)
    taken.keys_TNk[-1, 1, 0] = 2.0
    taken.keys_TNk[1, 2, 0] = math.log(3.0)
    found = pictures.look(network, taken, (0, 1))
    raw = np.exp(-np.array([0.5, 0.0, 1.0]) / (2 * 0.25))
    np.testing.assert_allclose(found.spatial_hw[0], raw / raw.sum(), rtol=1e-5)
    before, earlier = found.temporal
    np.testing.assert_allclose(before[0], (0.2, 0.2, 0.6), rtol=1e-5)
    np.testing.assert_allclose(earlier[0], (1 / 3,) * 3, rtol=1e-5)


def test_weights_are_of_the_frames_in_their_order(network: TcDepthNet) -> None:
    torch.manual_seed(1)
    now, before = torch.rand(2, 3, 32, 64)
    again, same = seen(network, torch.stack([now, before, now]), (2, 3)).temporal
    still, _ = seen(network, torch.stack([before, now, now]), (2, 3)).temporal
    torch.testing.assert_close(same, still)
    assert not torch.allclose(same, again, rtol=1e-3)
    assert same.shape == GRID
    assert float(same.sum()) == pytest.approx(1.0, rel=1e-5)


def test_nothing_listens_afterwards(network: TcDepthNet) -> None:
    images = torch.rand(3, 3, 32, 64)
    with torch.no_grad():
        with pictures.listening(network) as taken:
            network.sequence_views(images[None], CAMERA)
        points = taken.points_TN3
        network.sequence_views(images.flip(0)[None], CAMERA)
    assert taken.points_TN3 is points
    assert points.shape == (3, GRID[0] * GRID[1], 3)


def test_edge_is_on_the_near_side_and_not_far_away() -> None:
    depth = torch.full((3, 6), 20.0)
    depth[1, 2:4] = 8.0
    depth[2] = 40.0
    depth[2, 4] = 200.0
    assert pictures.edge_of(depth) == (1, 2)
    assert pictures.edge_of(torch.tensor([[20.0, 19.0, 9.0]])) == (0, 2)
    assert pictures.edge_of(torch.tensor([[20.0, 19.0, 90.0]])) == (0, 1)


def test_share_of_its_object_is_weight_and_cells_at_its_depth() -> None:
    depth = torch.tensor([[10.0, 11.0, 12.0, 30.0]])
    weights = torch.tensor([[0.5, 0.25, 0.125, 0.125]])
    found = pictures.Seen(depth_hw=depth, cell=(0, 0), spatial_hw=weights, temporal=())
    assert found.share_of_its_object() == (0.75, 0.5)


def test_colours_tell_nearer_from_farther() -> None:
    alone = np.full((1, 3), 10.0, np.float32)
    depth = alone * np.exp(np.array([[-1.0, 0.0, 0.05]], np.float32))
    nearer, same, farther = pictures.changed(depth, alone)[0].tolist()
    assert (nearer, same) == ([0, 0, 255], [255, 255, 255])
    assert farther == pytest.approx([255, 128, 128], abs=1)


@pytest.mark.slow
def test_picture_has_a_column_for_each_frame(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, dataset, recipe=RECIPE, network=runs.REMEMBERING)
    out = tmp_path / 'picture.jpg'
    options = ['--data', str(dataset), '--out', str(out), '--frames', '1']
    assert pictures.main(['--checkpoint', str(path), *options]) == 0
    height = ROWS * (TITLE_PX + round(PANEL_WIDTH_PX * runs.HEIGHT / runs.WIDTH))
    assert cv2.imread(str(out)).shape == (height, PANEL_WIDTH_PX, 3)
    assert 'frame 1: ' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({}, 'must be of recipe tc_depth with views: causal'),
        (
            {
                'recipe': RECIPE,
                'network': {**runs.REMEMBERING, 'attention': {'spatial': False}},
            },
            'its network must be of kind tc_depth, with attention in space and in time',
        ),
    ],
)
def test_checkpoint_without_such_attention_is_refused(
    changes: dict[str, object],
    message: str,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = checkpoint(tmp_path, dataset, **changes)
    options = ['--data', str(dataset), '--out', str(tmp_path / 'x.jpg')]
    assert pictures.main(['--checkpoint', str(path), *options]) == 1
    assert message in capsys.readouterr().err
