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

"""Frames with LiDAR come with the depth that the folder or the bag states."""

from __future__ import annotations

from pathlib import Path
from test.bags.mini_bags import (
    cloud,
    full_bag,
    IMAGE,
    image,
    INFO,
    info,
    LIDAR,
    MAKE,
    stamp,
    STATIC,
    static_edges,
    write,
)
from test.training.conftest import FRAMES, picture

import cv2
from depth_ros.errors import BagError, FrameError
import numpy as np
import pytest
from training.frames import bag_frames, object_frames, projected_frames, read_depth_png

CALIBRATION = 'calib_cam_to_cam.txt'


def test_object_frame_has_its_image_camera_and_depth(object_folder: Path) -> None:
    pairs = list(object_frames(object_folder))
    assert len(pairs) == FRAMES
    frame, truth = pairs[1]
    np.testing.assert_array_equal(frame.image_HW3, picture(1))
    assert frame.camera.intrinsics.fx == 50.0
    # No memory may take one picture for the past of another.
    assert pairs[1][0].stamp_ns - pairs[0][0].stamp_ns == 3600 * 10**9
    columns = np.arange(4, 60)
    depth_HW = truth.image_HW()
    np.testing.assert_allclose(depth_HW[20, columns], 9.0 + 0.1 * columns, rtol=1e-5)
    assert np.isnan(depth_HW[5]).all()


def test_object_image_without_cloud_is_named(object_folder: Path) -> None:
    (object_folder / 'velodyne' / '000001.bin').unlink()
    with pytest.raises(BagError, match=r'000001\.png.*has no point cloud'):
        list(object_frames(object_folder))


def test_object_calibration_without_a_key_is_named(object_folder: Path) -> None:
    path = object_folder / 'calib' / '000000.txt'
    path.write_text(path.read_text(encoding='utf-8').replace('P2', 'P9'), encoding='utf-8')
    with pytest.raises(BagError, match=r"000000\.txt': key 'P2'"):
        next(object_frames(object_folder))


def test_damaged_image_is_named(object_folder: Path) -> None:
    (object_folder / 'image_2' / '000000.png').write_bytes(b'no picture')
    with pytest.raises(FrameError, match=r'000000\.png.*cannot be read'):
        next(object_frames(object_folder))


def test_projected_frame_has_its_depth_in_metres(projected_drive: Path) -> None:
    pairs = list(projected_frames(projected_drive, projected_drive.parent / CALIBRATION))
    assert len(pairs) == FRAMES
    frame, truth = pairs[2]
    np.testing.assert_array_equal(frame.image_HW3, picture(2))
    assert (truth.rows_N.tolist(), truth.cols_N.tolist()) == ([20], [32])
    assert truth.depth_N.tolist() == [12.5]
    assert [frame.stamp_ns for frame, _ in pairs] == [i * 10**8 for i in range(FRAMES)]


def test_projected_depth_without_image_is_named(projected_drive: Path) -> None:
    (projected_drive / 'image_02' / 'data' / '0000000000.png').unlink()
    with pytest.raises(BagError, match='has no image'):
        list(projected_frames(projected_drive, projected_drive.parent / CALIBRATION))


def test_projected_depth_of_another_size_is_refused(projected_drive: Path) -> None:
    small = np.full((8, 8, 3), 9, np.uint8)
    cv2.imwrite(str(projected_drive / 'image_02' / 'data' / '0000000000.png'), small)
    with pytest.raises(BagError, match='is 64x32, its image is not'):
        next(projected_frames(projected_drive, projected_drive.parent / CALIBRATION))


def test_missing_drive_is_named(tmp_path: Path, projected_drive: Path) -> None:
    with pytest.raises(BagError, match='nothing'):
        list(projected_frames(tmp_path / 'nothing', tmp_path / CALIBRATION))


def test_depth_picture_of_8_bits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'depth.png'
    cv2.imwrite(str(path), np.zeros((4, 4), np.uint8))
    with pytest.raises(BagError, match='no 16-bit grey picture'):
        read_depth_png(path)


def test_bag_gives_every_image_with_its_sweep(tmp_path: Path) -> None:
    pairs = list(bag_frames(full_bag(tmp_path / 'bag')))
    assert [frame.stamp_ns for frame, _ in pairs] == [stamp(0), stamp(1), stamp(2)]
    assert all((truth.width, truth.height) == (8, 6) for _, truth in pairs)
    assert all(truth.points == 3 for _, truth in pairs)


def test_bag_image_without_sweep_is_left_out(tmp_path: Path) -> None:
    messages = [(STATIC, 0, MAKE.transforms(stamp(0), static_edges()))]
    for index in range(3):
        messages += [(INFO, index, info(index)), (IMAGE, index, image(index))]
    bag = write(tmp_path / 'bag', [*messages, (LIDAR, 2, cloud(2))])
    assert [frame.stamp_ns for frame, _ in bag_frames(bag)] == [stamp(2)]


def test_bag_whose_images_go_back_in_time_is_refused(tmp_path: Path) -> None:
    messages = [(STATIC, 0, MAKE.transforms(stamp(0), static_edges()))]
    for moment, index in enumerate((1, 0)):
        messages += [
            (INFO, moment, info(0)),
            (IMAGE, moment, image(index)),
            (LIDAR, moment, cloud(moment)),
        ]
    with pytest.raises(BagError, match='is not after the one before it'):
        list(bag_frames(write(tmp_path / 'bag', messages)))


def test_bag_with_an_unusable_image_is_refused(tmp_path: Path) -> None:
    bad = image(1)
    bad.encoding = 'unheard_of'
    messages = [
        (STATIC, 0, MAKE.transforms(stamp(0), static_edges())),
        (INFO, 0, info(0)),
        (IMAGE, 0, image(0)),
        (LIDAR, 0, cloud(0)),
        (IMAGE, 1, bad),
    ]
    with pytest.raises(BagError, match=r"'/camera/image'.*unheard_of"):
        list(bag_frames(write(tmp_path / 'bag', messages)))
