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

"""The comparison in low texture: what counts as such, what is trained, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from test.training import runs
from test.training.recipes.batches import plane_batch
from test.training.recipes.test_features import NETWORK, Slopes, stored
from typing import Any

from benchmarks.ablation import CONFIG, SCORES_FILE
from benchmarks.low_texture import (
    EVEN_WEIGHT,
    EVERYWHERE,
    LOW,
    LOW_GRADIENT,
    main,
    regions,
    table,
    TABLE_COLUMNS,
    texture,
    TEXTURED,
    variants_of,
)
from benchmarks.low_texture_pictures import change, kept_in_low_gradient
from benchmarks.low_texture_pictures import main as draw
import cv2
import numpy as np
import pytest
import torch
from training.settings import read_yaml
from training.train_config import config_from


def test_texture_is_the_largest_step_within_the_window() -> None:
    image = torch.zeros(1, 3, 7, 9)
    # A step of the mean over the colours, between columns 3 and 4.
    image[:, 0, :, 4:] = 0.3
    wanted = torch.zeros(7, 9)
    wanted[:, 2:6] = 0.1
    torch.testing.assert_close(texture(image)[0, 0], wanted)
    torch.testing.assert_close(texture(image.transpose(2, 3))[0, 0], wanted.T)
    assert texture(torch.full((2, 3, 4, 4), 0.7)).abs().max() == 0


def test_regions_share_the_hits_out() -> None:
    batch = plane_batch(2)
    batch.image_B3HW[0] = 0.5
    parts = regions(batch)
    assert list(parts) == [EVERYWHERE, LOW, TEXTURED]
    assert torch.equal(parts[EVERYWHERE].valid_B1HW, batch.valid_B1HW)
    low, textured = (parts[name].valid_B1HW for name in (LOW, TEXTURED))
    assert torch.equal(low[0], batch.valid_B1HW[0])
    assert not (low & textured).any()
    assert torch.equal(low | textured, batch.valid_B1HW)
    assert torch.equal(low[1], batch.valid_B1HW[1] & (texture(batch.image_B3HW) < LOW_GRADIENT)[1])


def test_variants_are_valid_beside_the_config_of_the_ablation(tmp_path: Path) -> None:
    base = read_yaml(CONFIG)
    base['recipe'] = {'name': 'self_supervised', 'pose': 'odometry', 'travel_weight': 0.0}
    weights = {}
    for name, variant in variants_of(tmp_path / 'last.ckpt').items():
        recipe = {**base['recipe'], **variant.changes}
        options = config_from({**base, 'recipe': recipe}).recipe.options
        weights[name] = (options.photometric_weight, options.feature_weight)
        assert options.smoothness_order == (1 if name == 'first_order' else 2)
    assert weights == {
        'photometric': (1, 0),
        'feature_metric': (0, 1),
        'both': (1, 1e-3),
        'both_strong': (1, 0.1),
        'finest_alone': (0, EVEN_WEIGHT),
        'finest_both': (1, EVEN_WEIGHT),
        'first_order': (1, 0),
    }


def test_table_has_a_row_for_each_variant_that_ran() -> None:
    kinds = {kind for kind, _, _ in TABLE_COLUMNS.values()}

    def run(variant: str, seed: int, value: float) -> dict[str, Any]:
        row = {'abs_rel': value, 'rmse': 10 * value, 'a1': None}
        scores = {'depth': dict.fromkeys(kinds, row)}
        return {'variant': variant, 'seed': seed, 'steps': 7, 'scores': scores}

    text = table([run('both', 0, 0.2), run('both', 1, 0.4), run('photometric', 0, 0.3)])
    rows = [line.strip('| ').split(' | ') for line in text.splitlines()[2:]]
    assert [row[:4] for row in rows] == [
        ['photometric', '1', '7', '0.300'],
        ['both', '2', '7', '0.300 ± 0.141'],
    ]
    assert rows[1][8] == '-'


def test_change_is_the_larger_step_of_both_directions() -> None:
    maps = torch.zeros(1, 2, 3, 4)
    maps[:, :, :, 2:] = 1.0
    maps[:, 0, 2] += 4.0
    wanted = torch.tensor([[0.0, 1, 0, 0], [2, 2, 2, 2], [0, 1, 0, 0]])
    assert torch.equal(change(maps)[0, 0], wanted)


def test_what_is_left_in_low_gradient_is_a_share_of_the_change_in_texture() -> None:
    batch = plane_batch(1)
    # Steps of 0.5 along x on the left, of 0.01 on the right, whose window ends before.
    columns = torch.arange(batch.image_B3HW.shape[3])
    left = 0.25 + 0.5 * (columns % 2)
    picture = torch.where(columns < 40, left, 0.5 + 0.01 * (columns % 2)).double()
    batch.image_B3HW[:] = picture
    batch.valid_B1HW[:] = False
    batch.valid_B1HW[..., 4:20] = batch.valid_B1HW[..., 60:80] = True
    kept = kept_in_low_gradient(Slopes(), [batch])
    assert kept['picture'] == pytest.approx(0.01 / 0.5)
    # Means over two columns are all alike: there is no change to have a share of.
    assert list(kept) == ['picture', *(f'features at 1/{stride}' for stride in (2, 4, 8))]
    batch.valid_B1HW[..., 60:80] = False
    assert np.isnan(kept_in_low_gradient(Slopes(), [batch])['picture'])


def test_run_and_picture_of_one_variant(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {**NETWORK, 'widths': [4, 4, 4, 4, 4]}
    features = stored(
        tmp_path / 'features.ckpt', network=network, recipe={'name': 'feature_network'}
    )
    base = runs.config_file(tmp_path, recipe=read_yaml(CONFIG)['recipe'])
    out = tmp_path / 'runs'
    named = ['--config', base, '--data', tiny_data, '--out', out, '--features', features]
    more = ['--variants', 'feature_metric', '--seeds', '1', '--steps', '1', '--threads', '1']
    assert main([str(word) for word in (*named, *more)]) == 0
    assert '| feature-metric | 1 |' in capsys.readouterr().out
    folder = out / 'feature_metric' / 'seed_0'
    scores = json.loads((folder / SCORES_FILE).read_text())['scores']['depth']
    shares = [scores[f'none, {name}']['share_of_hits'] for name in (EVERYWHERE, LOW, TEXTURED)]
    assert shares[0] == 1
    assert sum(shares[1:]) == pytest.approx(1)
    picture = tmp_path / 'picture.png'
    words = ['--data', tiny_data, '--features', features, '--out', picture, '--frames', '1']
    last = f'depth={folder / "run" / "last.ckpt"}'
    assert draw([str(word) for word in (*words, last)]) == 0
    # Image, four maps of change, one depth.
    assert cv2.imread(str(picture)).shape[0] % 6 == 0
    assert 'trained: picture' in capsys.readouterr().out


def test_missing_features_are_named(
    tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ['--data', tiny_data, '--out', tmp_path, '--features', tmp_path / 'none.ckpt']
    assert main([str(word) for word in named]) == 1
    assert "none.ckpt': no such checkpoint" in capsys.readouterr().err


@pytest.fixture(scope='module')
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_dataset(tmp_path_factory.mktemp('low_texture'))
