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

"""Every source gives its frames with the depth that it states, and says what that depth is."""

from __future__ import annotations

import argparse
from pathlib import Path
from test.training import drives

from depth_ros.errors import BagError, ConfigError
import numpy as np
import pytest
from training.truth_sources import add_source_options, Drive, drives_of

pytest.importorskip('torch', reason='torch is only installed for training')

WALL = {(int(v), int(u)) for u, v, _ in drives.WALL}


def found(*options: object) -> list[Drive]:
    parser = argparse.ArgumentParser()
    add_source_options(parser)
    return drives_of(parser.parse_args([str(option) for option in options]))


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('sources')
    bags = [drives.drive(folder / name, 3) for name in ('one', 'two', 'three')]
    return drives.made(folder / 'dataset', *bags, val=['two', 'three'])


def test_dataset_gives_the_drives_of_its_split_with_their_depth(dataset: Path) -> None:
    two, three = found('--data', dataset)
    assert (two.name, three.name) == ('two', 'three')
    pairs = list(three.pairs())
    assert [frame.stamp_ns for frame, _ in pairs] == [drives.stamp(i) for i in range(3)]
    for frame, truth in pairs:
        assert frame.camera.intrinsics == drives.intrinsics()
        assert frame.frame_id == drives.CAMERA
        hits = zip(truth.rows_N.tolist(), truth.cols_N.tolist(), strict=True)
        assert set(hits) == WALL
        np.testing.assert_allclose(truth.depth_N, 10.0, atol=1 / 256)


def test_dataset_image_has_the_channels_of_the_camera(dataset: Path) -> None:
    (frame, _), *_ = found('--data', dataset)[0].pairs()
    # Blue at the left, as drives.pixels draws it; JPEG is lossy.
    np.testing.assert_allclose(frame.image_HW3[20, 2], (200, 120, 40), atol=6)
    assert frame.image_HW3.flags.c_contiguous


def test_dataset_says_what_was_done_to_its_depth(dataset: Path) -> None:
    truth = found('--data', dataset, '--split', 'train')[0].truth
    assert truth.startswith('prepared LiDAR')
    assert 'occluded points removed' in truth


def test_drive_can_be_passed_twice(dataset: Path) -> None:
    drive = found('--data', dataset)[0]
    assert len(list(drive.pairs())) == len(list(drive.pairs())) == 3


def test_folders_and_bags_have_raw_depth(
    tmp_path: Path, object_folder: Path, projected_drive: Path
) -> None:
    bag = drives.drive(tmp_path / 'bag', 2)
    calibration = tmp_path / 'calib_cam_to_cam.txt'
    result = found(
        '--bag', bag, '--kitti-object', object_folder,
        '--kitti-depth', projected_drive, '--kitti-calibration', calibration,
    )  # fmt: skip
    names = [drive.name for drive in result]
    assert names == ['bag', f'{tmp_path.name}/object', 'drive']
    assert {drive.truth for drive in result} == {'raw LiDAR, single sweep'}
    assert [len(list(drive.pairs())) for drive in result] == [2, 3, 3]


def test_nothing_to_read_says_what_to_give() -> None:
    with pytest.raises(ConfigError, match='no frame with LiDAR: give --bag, --data'):
        found()


def test_two_drives_of_one_name_are_refused(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 1)
    with pytest.raises(ConfigError, match="two drives are named 'bag'"):
        found('--bag', bag, bag)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('--kitti-depth', 'drive'), 'needs --kitti-calibration'),
        (('--kitti-calibration', 'file', '--bag', 'b'), 'needs --kitti-calibration.* reverse'),
        (('--split', 'train', '--bag', 'b'), '--split train has no effect without --data'),
    ],
)
def test_option_without_its_partner_is_refused(options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(*options)


def test_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    from training.dataset_format import DatasetError

    with pytest.raises(DatasetError, match=f"'{tmp_path}' is no dataset"):
        found('--data', tmp_path)


def test_dataset_without_lidar_in_the_split_is_refused(tmp_path: Path) -> None:
    from training.dataset_format import DatasetError

    bag = drives.write(
        tmp_path / 'bag', [m for i in range(2) for m in (drives.info(i), drives.image(i))]
    )
    dataset = drives.made(tmp_path / 'dataset', bag, val=['bag'], use_lidar=False)
    with pytest.raises(DatasetError, match='has no LiDAR depth'):
        found('--data', dataset)


def test_missing_bag_is_named(tmp_path: Path) -> None:
    (drive,) = found('--bag', tmp_path / 'nothing')
    with pytest.raises(BagError, match='nothing'):
        list(drive.pairs())
