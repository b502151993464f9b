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

"""A KITTI folder with known geometry becomes a bag with the same geometry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
from test.bags import kitti_folders as kitti
from typing import Any

import cv2
from depth_ros.bags.kitti import (
    ConversionOptions,
    ConversionSummary,
    IMAGE_TOPICS,
    KittiConverter,
    LIDAR_TOPIC,
    ODOMETRY_TOPIC,
)
from depth_ros.bags.kitti_drive import (
    KittiDrive,
    ODOMETRY_EPOCH_NS,
    open_odometry_sequence,
    open_raw_drive,
)
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import LidarSweep, OdometrySample
from depth_ros.bags.streams import frames, odometry, static_transforms, sweeps
from depth_ros.bags.writer import BagWriter
from depth_ros.core.datatypes import Frame
from depth_ros.core.geometry import transform_points
from depth_ros.core.message_fields import read_field
from depth_ros.errors import BagError, ConfigError
import numpy as np
import pytest


def convert(drive: KittiDrive, bag: Path, **options: Any) -> ConversionSummary:
    converter = KittiConverter(drive, ConversionOptions(**options), MessageFactory())
    with BagWriter(bag) as writer:
        return converter.write_to(writer)


class Contents:
    """Everything that a converted bag holds."""

    def __init__(self, bag: Path) -> None:
        with BagReader(bag) as reader:
            image, info = resolve_topic(reader, 'image'), resolve_topic(reader, 'camera_info')
            self.frames: list[Frame] = list(frames(reader, image, info, rectify=True))
            self.sweeps: list[LidarSweep] = list(sweeps(reader, LIDAR_TOPIC))
            self.odometry: list[OdometrySample] = list(odometry(reader, ODOMETRY_TOPIC))
            self.tree = static_transforms(reader)
            self.log_ns = [raw.log_ns for raw in reader.raw_messages()]


MAKERS = {
    'raw': (kitti.raw_drive, open_raw_drive),
    'odometry': (kitti.odometry_sequence, open_odometry_sequence),
}


@pytest.fixture(params=sorted(MAKERS))
def contents(request: pytest.FixtureRequest, tmp_path: Path) -> Contents:
    make, open_drive = MAKERS[request.param]
    convert(open_drive(make(tmp_path)), tmp_path / 'bag')
    return Contents(tmp_path / 'bag')


def test_point_lands_at_its_known_pixel(contents: Contents) -> None:
    frame, sweep = contents.frames[0], contents.sweeps[0]
    camera_T_lidar = contents.tree.lookup(frame.frame_id, sweep.frame_id)
    x, y, z = transform_points(camera_T_lidar, sweep.xyz_N3.astype(np.float64)).T
    i = frame.camera.intrinsics
    assert (i.width, i.height) == (kitti.WIDTH, kitti.HEIGHT)
    for row in (0, 1):
        pixel = i.fx * x[row] / z[row] + i.cx, i.fy * y[row] / z[row] + i.cy
        np.testing.assert_allclose(pixel, kitti.expected_pixel(kitti.POINTS[row]), atol=1e-6)
        assert z[row] == pytest.approx(10.002)


def test_images_are_rectified_and_unchanged(contents: Contents) -> None:
    for index, frame in enumerate(contents.frames):
        assert not frame.camera.needs_rectification
        np.testing.assert_array_equal(frame.image_HW3, kitti.picture(index))


def test_messages_are_recorded_in_the_order_of_their_stamps(contents: Contents) -> None:
    assert contents.log_ns == sorted(contents.log_ns)
    assert len(contents.log_ns) == 1 + 3 * 4


def test_stamps_of_a_raw_drive_are_those_of_each_sensor(tmp_path: Path) -> None:
    convert(open_raw_drive(kitti.raw_drive(tmp_path)), tmp_path / 'bag')
    found = Contents(tmp_path / 'bag')
    expected = [kitti.FIRST_NS + index * kitti.PERIOD_NS for index in range(3)]
    assert [f.stamp_ns for f in found.frames] == expected
    assert [s.stamp_ns for s in found.sweeps] == [t - 10_000_000 for t in expected]
    assert [o.stamp_ns for o in found.odometry] == [t + 5_000_000 for t in expected]


def test_stamps_of_a_sequence_count_from_its_epoch(tmp_path: Path) -> None:
    convert(open_odometry_sequence(kitti.odometry_sequence(tmp_path)), tmp_path / 'bag')
    found = Contents(tmp_path / 'bag')
    expected = [ODOMETRY_EPOCH_NS + index * kitti.PERIOD_NS for index in range(3)]
    assert [f.stamp_ns for f in found.frames] == expected
    assert [s.stamp_ns for s in found.sweeps] == expected


def test_raw_odometry_is_in_axes_east_north_up(tmp_path: Path) -> None:
    convert(open_raw_drive(kitti.raw_drive(tmp_path)), tmp_path / 'bag')
    found = Contents(tmp_path / 'bag')
    for index, sample in enumerate(found.odometry):
        np.testing.assert_allclose(sample.world_T_body_44[:3, 3], (0, index, 0), atol=1e-5)
        np.testing.assert_allclose(sample.world_T_body_44[:3, 0], (0, 1, 0), atol=1e-9)
        np.testing.assert_allclose(sample.twist, (10, 0, 0, 0, 0, 0.1), atol=1e-9)
    base_T_lidar = found.tree.lookup('base_link', 'velodyne')
    np.testing.assert_allclose(base_T_lidar[:3, 3], (0.8, -0.3, 0.75), atol=1e-9)


def test_sequence_poses_become_forward_motion_of_the_lidar(tmp_path: Path) -> None:
    convert(open_odometry_sequence(kitti.odometry_sequence(tmp_path)), tmp_path / 'bag')
    for index, sample in enumerate(Contents(tmp_path / 'bag').odometry):
        np.testing.assert_allclose(sample.world_T_body_44[:3, 3], (index, 0, 0), atol=1e-9)
        np.testing.assert_allclose(sample.twist, (10, 0, 0, 0, 0, 0), atol=1e-6)


def test_intensity_is_kept(tmp_path: Path) -> None:
    convert(open_raw_drive(kitti.raw_drive(tmp_path)), tmp_path / 'bag')
    with BagReader(tmp_path / 'bag') as reader:
        cloud = next(reader.messages([LIDAR_TOPIC])).message
    np.testing.assert_array_equal(read_field(cloud, 'intensity'), (0.25, 0.5, 0.75))


def test_png_files_go_into_the_bag_as_they_are(tmp_path: Path) -> None:
    drive = kitti.raw_drive(tmp_path)
    convert(open_raw_drive(drive), tmp_path / 'bag', image='png')
    with BagReader(tmp_path / 'bag') as reader:
        message = next(reader.messages([IMAGE_TOPICS['png']])).message
    assert message.data.tobytes() == (drive / 'image_02/data/0000000000.png').read_bytes()
    assert message.format == 'bgr8; png compressed bgr8'


def test_jpeg_quality_changes_the_size_and_hardly_the_picture(tmp_path: Path) -> None:
    drive = open_raw_drive(kitti.raw_drive(tmp_path))
    sizes = []
    for quality in (30, 95):
        bag = tmp_path / f'bag{quality}'
        convert(drive, bag, image='jpeg', jpeg_quality=quality)
        with BagReader(bag) as reader:
            sizes.append(len(next(reader.messages([IMAGE_TOPICS['jpeg']])).message.data))
    assert sizes[0] < sizes[1]
    picture = Contents(tmp_path / 'bag95').frames[1].image_HW3.astype(int)
    assert np.abs(picture - kitti.picture(1)).max() <= 8


def test_frames_limit_what_is_converted_and_odometry_reaches_one_further(tmp_path: Path) -> None:
    drive = open_raw_drive(kitti.raw_drive(tmp_path, count=8))
    summary = convert(drive, tmp_path / 'bag', frames=(3, 5))
    found = Contents(tmp_path / 'bag')
    assert [f.image_HW3[0, -1, 0] for f in found.frames] == [30, 40]
    assert len(found.sweeps) == 2
    np.testing.assert_allclose(
        [o.world_T_body_44[1, 3] for o in found.odometry], (2, 3, 4, 5), atol=1e-5
    )
    assert not summary.missing


def test_points_are_cropped_to_the_widened_image_and_the_range(tmp_path: Path) -> None:
    drive = open_raw_drive(kitti.raw_drive(tmp_path))
    for margin, limits, expected in (
        (None, (0.0, np.inf), 3),
        (0.0, (0.0, np.inf), 2),
        (0.0, (0.0, 5.0), 0),
        (None, (10.03, np.inf), 2),
    ):
        bag = tmp_path / f'bag{expected}{margin}'
        convert(drive, bag, crop_margin=margin, range_m=limits)
        assert len(Contents(bag).sweeps[0].xyz_N3) == expected


def test_margin_widens_the_crop(tmp_path: Path) -> None:
    # At z = 10 m the image's left edge is at x = -9.75 m: this point lies 2 pixels outside.
    folder = kitti.raw_drive(tmp_path)
    point = np.array([[10.0, 11.0, 0.0, 0.0]], np.float32)
    assert kitti.expected_pixel(point[0])[0] == pytest.approx(-2.0, abs=0.1)
    for file in (folder / 'velodyne_points/data').iterdir():
        point.tofile(file)
    drive = open_raw_drive(folder)
    for margin, expected in ((0.0, 0), (0.1, 1)):
        convert(drive, tmp_path / f'bag{expected}', crop_margin=margin)
        assert len(Contents(tmp_path / f'bag{expected}').sweeps[0].xyz_N3) == expected


# --- What is missing or damaged ----------------------------------------------------------------


def test_missing_frames_and_blank_stamps_are_counted(tmp_path: Path) -> None:
    folder = kitti.raw_drive(tmp_path, count=5)
    (folder / 'image_02/data/0000000001.png').unlink()
    stamps = folder / 'velodyne_points/timestamps.txt'
    lines = stamps.read_text().splitlines()
    lines[2] = ''
    stamps.write_text('\n'.join(lines) + '\n')
    summary = convert(open_raw_drive(folder), tmp_path / 'bag')
    assert summary.missing == {IMAGE_TOPICS['raw']: 1, LIDAR_TOPIC: 1}
    assert summary.written[IMAGE_TOPICS['raw']] == summary.written[LIDAR_TOPIC] == 4


def test_damaged_files_are_skipped_with_their_reason(tmp_path: Path) -> None:
    folder = kitti.raw_drive(tmp_path, count=5)
    (folder / 'image_02/data/0000000001.png').write_bytes(b'no picture')
    cv2.imwrite(str(folder / 'image_02/data/0000000002.png'), np.zeros((5, 7, 3), np.uint8))
    (folder / 'velodyne_points/data/0000000003.bin').write_bytes(bytes(17))
    (folder / 'oxts/data/0000000004.txt').write_text('49 8')
    summary = convert(open_raw_drive(folder), tmp_path / 'bag')
    reasons = ' | '.join(skipped.reason for skipped in summary.skipped)
    assert len(summary.skipped) == 4
    for text in (
        "0000000001.png' cannot be decoded",
        "0000000002.png' has size 7x5: the others have 40x20",
        "0000000003.bin' has 17 bytes",
        "0000000004.txt' has 2 numbers",
    ):
        assert text in reasons
    assert summary.written[IMAGE_TOPICS['raw']] == 3


Spoil = Callable[[Path], Any]


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda d: (d.parent / 'calib_cam_to_cam.txt').unlink(), r"calib_cam_to_cam.txt' cannot"),
        (lambda d: (d.parent / 'calib_velo_to_cam.txt').write_text('R: 1\n'), r"key 'R' has 1 n"),
        (lambda d: (d.parent / 'calib_imu_to_velo.txt').unlink(), r"calib_imu_to_velo.txt' can"),
        (lambda d: (d / 'image_02/timestamps.txt').unlink(), r"image_02/timestamps.txt' cannot"),
        (lambda d: shutil.rmtree(d / 'image_02/data'), r"folder '.*image_02/data' does not"),
        (lambda d: shutil.rmtree(d / 'velodyne_points'), r"velodyne_points/data' does not exist"),
        (lambda d: shutil.rmtree(d / 'oxts'), r"oxts/timestamps.txt' cannot be read"),
        (lambda d: [f.unlink() for f in (d / 'oxts/data').iterdir()], r'holds no packet'),
        (lambda d: [f.unlink() for f in (d / 'image_02/data').iterdir()], r'holds no image'),
    ],
)
def test_missing_file_of_a_raw_drive_is_named(tmp_path: Path, spoil: Spoil, message: str) -> None:
    drive = kitti.raw_drive(tmp_path)
    spoil(drive)
    with pytest.raises(BagError, match=message):
        open_raw_drive(drive)


@pytest.mark.parametrize(
    ('spoil', 'message'),
    [
        (lambda s: (s / 'times.txt').write_text('x'), r"times.txt': must hold one time"),
        (lambda s: (s / 'calib.txt').write_text(''), r"calib.txt': key 'P2' has 0 numbers"),
        (lambda s: shutil.rmtree(s.parents[1] / 'poses'), r"poses/00.txt' does not exist: conv"),
        (lambda s: (s / 'times.txt').write_text('0 1'), r'has 3 poses, times.txt 2 times'),
    ],
)
def test_missing_file_of_a_sequence_is_named(tmp_path: Path, spoil: Spoil, message: str) -> None:
    sequence = kitti.odometry_sequence(tmp_path)
    spoil(sequence)
    with pytest.raises(BagError, match=message):
        open_odometry_sequence(sequence)


def test_drive_without_lidar_and_odometry_is_converted_on_request(tmp_path: Path) -> None:
    folder = kitti.raw_drive(tmp_path)
    shutil.rmtree(folder / 'velodyne_points')
    shutil.rmtree(folder / 'oxts')
    drive = open_raw_drive(folder, with_lidar=False, with_odometry=False)
    summary = convert(drive, tmp_path / 'bag')
    assert LIDAR_TOPIC not in summary.written
    assert summary.written[IMAGE_TOPICS['raw']] == 3


def test_range_without_images_is_told(tmp_path: Path) -> None:
    drive = open_raw_drive(kitti.raw_drive(tmp_path))
    with pytest.raises(BagError, match=r'is within frames \(7, 9\)'):
        KittiConverter(drive, ConversionOptions(frames=(7, 9)), MessageFactory())


def test_drive_without_one_readable_image_is_told(tmp_path: Path) -> None:
    folder = kitti.raw_drive(tmp_path)
    drive = open_raw_drive(folder)
    for file in (folder / 'image_02/data').iterdir():
        file.write_bytes(b'')
    with pytest.raises(BagError, match=r"no image of '.*' could be converted: .*cannot be decod"):
        convert(drive, tmp_path / 'bag')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'image': 'webp'}, r"image = 'webp': must be one of"),
        ({'jpeg_quality': 0}, r'jpeg_quality = 0: must be 1 to 100'),
        ({'frames': (5, 5)}, r'frames = \(5, 5\): must be A:B'),
        ({'range_m': (5.0, 1.0)}, r'points range = \(5.0, 1.0\)'),
        ({'crop_margin': -0.1}, r'points margin = -0.1'),
    ],
)
def test_option_out_of_range_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ConversionOptions(**options)
