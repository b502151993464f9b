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

"""KITTI's text and binary files, whole and damaged."""

from __future__ import annotations

from pathlib import Path
from test.bags import kitti_folders as kitti

from depth_ros.bags.kitti_files import (
    clock_to_ns,
    mercator_scale,
    read_calibration,
    read_oxts,
    read_points,
    read_poses,
    read_seconds,
    read_timestamps,
)
from depth_ros.errors import BagError, FrameError
import numpy as np
import pytest


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('1970-01-01 00:00:00', 0),
        ('1970-01-01 00:00:01.000000001', 1_000_000_001),
        ('1970-01-02 00:00:00.5\n', 86_400_500_000_000),
        # date -u -d '2011-09-26 13:04:32' +%s
        ('2011-09-26 13:04:32.345808896', 1_317_042_272_345_808_896),
    ],
)
def test_wall_clock_is_read_as_utc_to_the_nanosecond(text: str, expected: int) -> None:
    assert clock_to_ns(text) == expected


@pytest.mark.parametrize(
    'text', ['', '13:04:32.3', '2011-09-26 13:04:32.1234567890', '2011-09-26 13:04:32.x']
)
def test_other_clock_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r'.*'):
        clock_to_ns(text)


def test_blank_line_is_a_missing_frame(tmp_path: Path) -> None:
    file = tmp_path / 'timestamps.txt'
    file.write_text('1970-01-01 00:00:01\n\n1970-01-01 00:00:03\n')
    assert read_timestamps(file) == [1_000_000_000, None, 3_000_000_000]


def test_bad_line_is_told_with_file_and_number(tmp_path: Path) -> None:
    file = tmp_path / 'timestamps.txt'
    file.write_text('1970-01-01 00:00:01\nyesterday\n')
    with pytest.raises(BagError, match=r"timestamps.txt' line 2: 'yesterday' must look like"):
        read_timestamps(file)


def test_calibration_leaves_text_out_and_names_what_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / 'calib.txt'
    file.write_text('calib_time: 09-Jan-2012\nR: 1 0 0 0 1 0 0 0 1\nT: 1 2\nbad: 1 nan\n\n')
    calibration = read_calibration(file)
    np.testing.assert_array_equal(calibration.matrix('R', 3, 3), np.eye(3))
    for key, columns, count in (
        ('T', 3, 2),
        ('missing', 3, 0),
        ('calib_time', 3, 0),
        ('bad', 2, 2),
    ):
        with pytest.raises(BagError, match=rf"calib.txt': key '{key}' has {count} numbers"):
            calibration.matrix(key, 1, columns)


@pytest.mark.parametrize('data', [b'', bytes(15), bytes(17)])
def test_damaged_points_are_told(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / '0.bin'
    file.write_bytes(data)
    with pytest.raises(FrameError, match=rf"0.bin' has {len(data)} bytes: must be whole points"):
        read_points(file)


def test_packet_gives_rotation_velocity_and_position(tmp_path: Path) -> None:
    file = tmp_path / '0.txt'
    file.write_text(kitti.packet(0))
    packet = read_oxts(file)
    # Yaw 90 degrees: the vehicle's x points north.
    np.testing.assert_allclose(packet.rotation() @ (1, 0, 0), (0, 1, 0), atol=1e-12)
    np.testing.assert_allclose(packet.twist(), (10, 0, 0, 0, 0, 0.1), atol=1e-12)
    file.write_text(kitti.packet(1))
    scale = mercator_scale(kitti.LATITUDE)
    moved = read_oxts(file).mercator(scale) - packet.mercator(scale)
    # One metre of latitude is one metre of the projection, at the latitude of its scale.
    np.testing.assert_allclose(moved, (0, 1, 0), atol=1e-6)


def test_pitch_is_front_down_and_roll_left_up(tmp_path: Path) -> None:
    values = kitti.packet(0, yaw=0.0).split()
    file = tmp_path / '0.txt'
    file.write_text(' '.join([*values[:4], '0.1', *values[5:]]))
    assert (read_oxts(file).rotation() @ (1, 0, 0))[2] == pytest.approx(-np.sin(0.1))
    file.write_text(' '.join([*values[:3], '0.1', *values[4:]]))
    assert (read_oxts(file).rotation() @ (0, 1, 0))[2] == pytest.approx(np.sin(0.1))


def test_short_packet_is_told(tmp_path: Path) -> None:
    file = tmp_path / '0.txt'
    file.write_text('49.0 8.4')
    with pytest.raises(FrameError, match=r"0.txt' has 2 numbers: must be 30"):
        read_oxts(file)


def test_damaged_times_and_poses_are_told(tmp_path: Path) -> None:
    file = tmp_path / 'x.txt'
    file.write_text('0.0\nlater\n')
    with pytest.raises(BagError, match='one time in seconds'):
        read_seconds(file)
    with pytest.raises(BagError, match=r"x.txt' line 1: must be 12 finite numbers"):
        read_poses(file)
    with pytest.raises(BagError, match=r"nowhere.txt' cannot be read"):
        read_seconds(tmp_path / 'nowhere.txt')
