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

"""From dataset folder to batch: values, masks, neighbours, and every damaged folder."""

from __future__ import annotations

import json
import math
from pathlib import Path
import shutil
from test.training import drives
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from training.augment import Geometry
from training.dataset import Batch, check_split, collate, DepthDataset, Sample
from training.dataset_format import DatasetError


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return drives.with_and_without_lidar(tmp_path_factory.mktemp('dataset'))


@pytest.fixture
def copy(dataset: Path, tmp_path: Path) -> Path:
    """Return a dataset that a test may damage."""
    return Path(shutil.copytree(dataset, tmp_path / 'copy'))


def test_sample_holds_what_the_bag_held(dataset: Path) -> None:
    sample = DepthDataset(dataset, 'train')[1]
    rgb = sample.image_3HW.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(rgb, drives.pixels(1)[:, :, ::-1])
    rows, cols = (index.numpy() for index in torch.nonzero(sample.valid_1HW[0], as_tuple=True))
    assert {*zip(cols.tolist(), rows.tolist(), strict=True)} == {
        (round(u), round(v)) for u, v, _ in drives.WALL
    }
    assert (sample.depth_1HW[sample.valid_1HW] == 10.0).all()
    np.testing.assert_array_equal(sample.K_33, drives.intrinsics().K_33)
    assert (sample.sequence, sample.stamp_ns) == ('labelled', drives.stamp(1))
    assert (sample.is_labelled, sample.speed_mps) == (True, 10.0)
    assert sample.seen_1HW.all()


def test_neighbours_come_with_gap_and_pose(dataset: Path) -> None:
    data = DepthDataset(dataset, 'train')
    previous, following = data[1].neighbours
    assert previous is not None
    assert following is not None
    assert (previous.gap_s, following.gap_s) == (-0.1, 0.1)
    torch.testing.assert_close(following.image_3HW, data[2].image_3HW)
    assert following.neighbour_T_this_44 is not None
    expected = torch.eye(4, dtype=torch.float64)
    # The vehicle drives 1 m towards what it sees.
    expected[2, 3] = -1.0
    torch.testing.assert_close(following.neighbour_T_this_44, expected)
    assert data[0].neighbours[0] is None


def test_point_of_this_frame_projects_into_the_neighbour_by_its_pose(tmp_path: Path) -> None:
    # The same point of the world is measured in both frames while the vehicle turns.
    twist = (6.0, 0.0, 0.0, 0.0, 0.0, 0.9)
    world = drives.world_T_base(0, twist) @ drives.BASE_T_CAMERA @ [1.0, 0.5, 9.0, 1.0]
    messages = [drives.static(), *(drives.odometry(i, twist) for i in range(-1, 3))]
    for index in (0, 1):
        pose = drives.world_T_base(index, twist) @ drives.BASE_T_LIDAR
        point = (np.linalg.inv(pose) @ world)[None, :3].astype(np.float32)
        messages += [drives.info(index), drives.image(index), drives.cloud(index, point)]
    bag = drives.write(tmp_path / 'bag', messages)
    data = DepthDataset(drives.made(tmp_path / 'out', bag), 'train')
    first, second = data[0], data[1]
    row, col = torch.nonzero(first.valid_1HW[0])[0].tolist()
    depth = float(first.depth_1HW[0, row, col])
    ray = torch.linalg.inv(first.K_33) @ torch.tensor([col, row, 1.0], dtype=torch.float64)
    neighbour = first.neighbours[1]
    assert neighbour is not None
    assert neighbour.neighbour_T_this_44 is not None
    there = neighbour.neighbour_T_this_44 @ torch.cat([ray * depth, torch.ones(1)])
    seen_row, seen_col = torch.nonzero(second.valid_1HW[0])[0].tolist()
    seen = second.K_33 @ (there[:3] / there[2])
    # Pixels are whole numbers: half of one on either side.
    assert abs(float(seen[0]) - seen_col) <= 1.0
    assert abs(float(seen[1]) - seen_row) <= 1.0
    assert abs(float(there[2]) - float(second.depth_1HW[0, seen_row, seen_col])) < 0.05


def test_split_holds_only_its_drives(dataset: Path) -> None:
    names = {s.sequence for s in (DepthDataset(dataset, 'val')[i] for i in range(2))}
    assert names == {'held_out'}
    assert len(DepthDataset(dataset, 'train')) == 7


@pytest.mark.parametrize(
    ('wish', 'count'),
    [
        ({'labelled': True}, 4),
        ({'labelled': False}, 3),
        ({'neighbours': True}, 2),
        ({'labelled': False, 'neighbours': False}, 3),
    ],
)
def test_frames_are_chosen_by_label_and_neighbours(
    dataset: Path, wish: dict[str, Any], count: int
) -> None:
    data = DepthDataset(dataset, 'train', **wish)
    assert len(data) == count
    for index in range(count):
        sample = data[index]
        assert sample.is_labelled == wish.get('labelled', sample.is_labelled)
        found = [neighbour is not None for neighbour in sample.neighbours]
        assert found == ([wish['neighbours']] * 2 if 'neighbours' in wish else found)


def test_unlabelled_frame_has_no_valid_depth(dataset: Path) -> None:
    sample = DepthDataset(dataset, 'train', labelled=False)[0]
    assert (sample.is_labelled, bool(sample.valid_1HW.any())) == (False, False)
    assert math.isnan(sample.speed_mps)


def test_dataset_from_before_there_were_masks_has_no_objects(copy: Path) -> None:
    path = copy / 'manifest.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.pop('objects', None)
    path.write_text(''.join(f'{json.dumps(line)}\n' for line in lines))
    batch = collate([DepthDataset(copy, 'train')[0]])
    assert (batch.has_objects_B.tolist(), bool(batch.objects_B1HW.any())) == ([False], False)


def test_crop_without_a_measurement_stays_labelled_without_valid_depth(dataset: Path) -> None:
    # The upper part of the image: all points lie below the horizon.
    sky = Geometry(x=0, y=0, width=64, height=20, out_width=32, out_height=10)
    data = DepthDataset(dataset, 'train', labelled=True, augment=lambda s, _: sky.apply(s))
    batch = collate([data[0], data[1]])
    assert batch.is_labelled_B.tolist() == [True, True]
    assert not batch.valid_B1HW.any()
    # Nobody may trip over what must not be read.
    assert torch.isfinite(batch.depth_B1HW).all()


def test_frames_that_no_point_falls_into_are_left_out_of_the_labelled_ones(
    tmp_path: Path,
) -> None:
    behind = np.array([[-10.0, 0.0, 0.0]], np.float32)
    messages = [drives.static()]
    for index in range(3):
        cloud = drives.cloud(index) if index == 1 else drives.cloud(index, behind)
        messages += [drives.info(index), drives.image(index), cloud]
    out = drives.made(tmp_path / 'out', drives.write(tmp_path / 'bag', messages))
    assert [s.stamp_ns for s in _all(DepthDataset(out, 'train', labelled=True))] == [
        drives.stamp(1)
    ]
    assert len(DepthDataset(out, 'train')) == 3
    blind = drives.write(tmp_path / 'blind', [m for m in messages if m[1] != drives.stamp(1)])
    out = drives.made(tmp_path / 'none', blind)
    with pytest.raises(DatasetError, match=r'2 x none of the 1 points falls into the image'):
        DepthDataset(out, 'train', labelled=True)


def _all(data: DepthDataset) -> list[Sample]:
    return [data[index] for index in range(len(data))]


def test_batch_stacks_and_marks_what_is_missing(dataset: Path) -> None:
    data = DepthDataset(dataset, 'train')
    batch = collate([data[0], data[1], data[4]])
    assert (len(batch), batch.sequences) == (3, ('labelled', 'labelled', 'blind'))
    torch.testing.assert_close(batch.image_B3HW[1], data[1].image_3HW / 255.0)
    assert batch.is_labelled_B.tolist() == [True, True, False]
    assert batch.has_neighbour_BN.tolist() == [[False, True], [True, True], [False, True]]
    assert batch.has_pose_BN.tolist() == [[False, True], [True, True], [False, False]]
    assert batch.neighbour_T_this_BN44[1, 1, 2, 3] == -1.0
    assert torch.equal(batch.neighbour_T_this_BN44[2, 1], torch.eye(4))
    assert not batch.neighbour_BN3HW[0, 0].any()
    assert batch.gap_s_BN[1].tolist() == pytest.approx([-0.1, 0.1])
    assert batch.K_B33.dtype == batch.image_B3HW.dtype == torch.float32
    moved = batch.to('cpu')
    assert moved.stamps_ns == batch.stamps_ns
    assert torch.equal(moved.depth_B1HW, batch.depth_B1HW)


def test_workers_read_the_same_as_one_process(dataset: Path) -> None:
    data = DepthDataset(dataset, 'val')
    loader = DataLoader(data, batch_size=2, num_workers=1, collate_fn=collate)
    (batch,) = list(loader)
    assert isinstance(batch, Batch)
    assert torch.equal(batch.image_B3HW, collate([data[0], data[1]]).image_B3HW)


def test_augmentation_draws_from_the_seed_of_the_item(dataset: Path) -> None:
    def shift(sample: Sample, generator: torch.Generator) -> Sample:
        x = int(torch.randint(30, (1,), generator=generator))
        return Geometry(x=x, y=0, width=32, height=48, out_width=32, out_height=48).apply(sample)

    data = DepthDataset(dataset, 'train', augment=shift)
    starts = [float(data[0, seed].K_33[0, 2]) for seed in (5, 5, 6)]
    assert starts[0] == starts[1] != starts[2]


def test_batch_carries_the_seeds_of_its_items(dataset: Path) -> None:
    data = DepthDataset(dataset, 'train')
    assert collate([data[0, 5], data[1, 2**40], data[2]]).seeds == (5, 2**40, 0)


def test_images_of_different_sizes_are_not_stacked(dataset: Path) -> None:
    sample = DepthDataset(dataset, 'train')[0]
    half = Geometry(x=0, y=0, width=64, height=48, out_width=32, out_height=24).apply(sample)
    with pytest.raises(DatasetError, match=r'sizes \[\(24, 32\), \(48, 64\)\] in one batch'):
        collate([sample, half])


# --- Damaged folders -------------------------------------------------------------------------


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def test_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'is no dataset: it has no dataset\.json'):
        DepthDataset(tmp_path, 'train')


def test_half_written_dataset_is_refused(copy: Path) -> None:
    edit(copy / 'dataset.json', complete=False)
    with pytest.raises(DatasetError, match=r'half written: run the same training\.prepare'):
        DepthDataset(copy, 'train')


def test_dataset_of_another_schema_is_refused(copy: Path) -> None:
    edit(copy / 'dataset.json', schema_version=2)
    with pytest.raises(DatasetError, match='schema_version 2: this program reads 1'):
        DepthDataset(copy, 'train')


def test_dataset_json_that_is_cut_off_is_refused(copy: Path) -> None:
    path = copy / 'dataset.json'
    path.write_text(path.read_text()[:100])
    with pytest.raises(DatasetError, match=r"dataset\.json' is no JSON"):
        DepthDataset(copy, 'train')


@pytest.mark.parametrize(
    ('keep', 'message'),
    [
        (lambda text: ''.join(text.splitlines(keepends=True)[:-1]), 'has 8 frames, .* says 9'),
        (lambda text: text[:-30], r'line 9 is cut off'),
        (lambda text: text.replace('{', '<', 1), r'line 1 is no JSON'),
        (lambda text: '[1]\n' + text, r'line 1 holds a list'),
    ],
)
def test_manifest_that_is_cut_or_broken_is_refused(copy: Path, keep: Any, message: str) -> None:
    path = copy / 'manifest.jsonl'
    path.write_text(keep(path.read_text()))
    with pytest.raises(DatasetError, match=message):
        DepthDataset(copy, 'train')


def test_missing_manifest_is_named(copy: Path) -> None:
    (copy / 'manifest.jsonl').unlink()
    with pytest.raises(DatasetError, match=r"manifest\.jsonl' cannot be read: No such file"):
        DepthDataset(copy, 'train')


@pytest.mark.parametrize('damage', [None, b'', b'\x89PNG nonsense', 'half'])
@pytest.mark.parametrize('key', ['image', 'depth'])
def test_damaged_file_is_named(copy: Path, key: str, damage: Any) -> None:
    data = DepthDataset(copy, 'train')
    path = copy / data.line(2)[key]
    content = path.read_bytes()
    path.unlink()
    if damage is not None:
        path.write_bytes(content[:-30] if damage == 'half' else damage)
    with pytest.raises(DatasetError, match=path.name.replace('.', r'\.')):
        data[2]


@pytest.mark.parametrize('key', ['image', 'depth'])
def test_file_of_another_size_is_named(copy: Path, key: str) -> None:
    data = DepthDataset(copy, 'train')
    line = data.line(0)
    other = {'image': drives.pixels(0)[:24], 'depth': np.ones((24, 64), np.uint16)}[key]
    cv2.imwrite(str(copy / line[key]), other)
    with pytest.raises(DatasetError, match=r"' is 64x24: the manifest says 64x48"):
        data[0]


def test_split_without_a_drive_names_those_there_are(dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"no sequence in split 'test' \(labelled \(train\)"):
        DepthDataset(dataset, 'test')
    with pytest.raises(DatasetError, match=r"split 'valid': must be one of train, val, test"):
        DepthDataset(dataset, 'valid')
    assert check_split('val') == 'val'


def test_supervised_training_on_bags_without_lidar_is_refused_by_name(tmp_path: Path) -> None:
    bag = drives.write(tmp_path / 'night', [drives.info(0), drives.image(0)])
    out = drives.made(tmp_path / 'out', bag)
    assert len(DepthDataset(out, 'train')) == 1
    told = r'\(night\) has no LiDAR depth \(1 x the bag has no LiDAR\): supervised training needs'
    with pytest.raises(DatasetError, match=told):
        DepthDataset(out, 'train', labelled=True)
    with pytest.raises(DatasetError, match=r'\(night\) has no frame with both neighbours'):
        DepthDataset(out, 'train', neighbours=True)
