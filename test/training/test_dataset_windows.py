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

"""Windows of the dataset: which frames, at which poses, with which depth."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from test.training import drives

import pytest
import torch
from training.augment import Geometry
from training.dataset import collate, DepthDataset
from training.dataset_format import DatasetError


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drives.with_and_without_lidar(tmp_path_factory.mktemp('dataset'))


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """Return a dataset that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / 'copy'))


@pytest.fixture(scope='module')
def turning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of a drive that turns, with a hole after its fourth frame."""
    root = tmp_path_factory.mktemp('turning')
    twist = (6.0, 0.5, 0.0, 0.0, 0.0, 0.9)
    messages = [drives.static(), *(drives.odometry(i, twist) for i in range(-1, 9))]
    for index in (0, 1, 2, 3, 6, 7):
        messages += [drives.info(index), drives.image(index), drives.cloud(index)]
    return drives.made(root / 'out', drives.write(root / 'bag', messages))


def test_window_chains_frames_and_poses(turning: Path) -> None:
    data = DepthDataset(turning, 'train', offsets=(-1, -2, 1))
    previous, before, following = data[2].neighbours
    assert previous is not None
    assert before is not None
    assert following is not None
    assert (previous.gap_s, before.gap_s, following.gap_s) == (-0.1, -0.2, 0.1)
    torch.testing.assert_close(before.image_3HW, data[0].image_3HW)
    poses = [torch.tensor(data.line(i)['world_T_camera'], dtype=torch.float64) for i in (0, 2)]
    first, third = (torch.cat((p, torch.tensor([[0.0, 0.0, 0.0, 1.0]]).double())) for p in poses)
    assert before.neighbour_T_this_44 is not None
    torch.testing.assert_close(before.neighbour_T_this_44, torch.linalg.inv(first) @ third)
    assert before.depth_1HW is None


def test_window_ends_at_the_ends_of_the_clip_and_at_holes(turning: Path) -> None:
    data = DepthDataset(turning, 'train', offsets=(-1, -2))
    batch = collate([data[i] for i in range(len(data))])
    has = batch.has_neighbour_BN.tolist()
    whole = [True, True]
    assert has == [[False, False], [True, False], whole, whole, [False, False], [True, False]]
    assert torch.equal(batch.has_pose_BN, batch.has_neighbour_BN)
    assert batch.gap_s_BN[2].tolist() == pytest.approx([-0.1, -0.2])
    assert batch.neighbour_depth_BN1HW is None
    chosen = DepthDataset(turning, 'train', offsets=(-1, -2), neighbours=True)
    assert [s.stamp_ns for s in map(chosen.__getitem__, range(len(chosen)))] == [
        drives.stamp(2),
        drives.stamp(3),
    ]


def test_window_across_an_unknown_pose_has_no_pose(copy: Path) -> None:
    path = copy / 'manifest.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[1]['neighbours']['previous']['neighbour_T_this'] = None
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    batch = collate([DepthDataset(copy, 'train', offsets=(-1, -2))[2]])
    assert batch.has_neighbour_BN.tolist() == [[True, True]]
    assert batch.has_pose_BN.tolist() == [[True, False]]


def test_window_longer_than_every_clip_is_refused(turning: Path) -> None:
    offsets = (-1, -2, -3, -4)
    told = r'has no frame with all of the neighbours -1, -2, -3, -4: its clips are shorter, or'
    for wish in ({'window': True}, {'neighbours': True}):
        with pytest.raises(DatasetError, match=told):
            DepthDataset(turning, 'train', offsets=offsets, **wish)
    assert len(DepthDataset(turning, 'train', offsets=offsets)) == 6
    assert len(DepthDataset(turning, 'train', offsets=(-1, -2, -3), window=True)) == 6


@pytest.mark.parametrize('offsets', [(), (0, 1), (-1, -1)])
def test_offsets_that_name_no_or_the_same_frame_are_refused(
    turning: Path, offsets: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match='must be some, without 0, each once'):
        DepthDataset(turning, 'train', offsets=offsets)


def test_window_into_a_manifest_without_that_line_is_refused(copy: Path) -> None:
    path = copy / 'manifest.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[2]['neighbours']['previous']['stamp_ns'] += 1
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    with pytest.raises(DatasetError, match="of 'labelled' beside the one that names it"):
        DepthDataset(copy, 'train', offsets=(-2,))[2]


def test_depth_of_neighbours_is_that_of_their_own_frames(dataset: Path) -> None:
    half = Geometry(x=8, y=0, width=48, height=48, out_width=24, out_height=24, flip=True)
    data = DepthDataset(
        dataset,
        'train',
        offsets=(-1, 1),
        neighbour_depths=True,
        augment=lambda sample, _: half.apply(sample),
    )
    alone, between, blind = data[0], data[1], data[4]
    batch = collate([alone, between, blind])
    assert batch.neighbour_depth_BN1HW is not None
    assert batch.neighbour_valid_BN1HW is not None
    torch.testing.assert_close(batch.neighbour_depth_BN1HW[1, 0], alone.depth_1HW)
    assert torch.equal(batch.neighbour_valid_BN1HW[1, 1], data[2].valid_1HW)
    assert alone.valid_1HW.any()
    has_hits = batch.neighbour_valid_BN1HW.flatten(2).any(2).tolist()
    assert has_hits == [[False, True], [True, True], [False, False]]
    assert batch.to('cpu').neighbour_valid_BN1HW is not None
