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

"""
Tiny KITTI folders with known geometry.

The LiDAR looks along x, the camera along the same axis from the same place, except for the
offset in the last column of P: a point (10, 1, 0.5) of the LiDAR is at x = -1, y = -0.5, z = 10
of camera 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 40, 20
FOCAL, CENTER_X, CENTER_Y = 20.0, 19.5, 9.5
# Camera 2 stands 0.25 m left of camera 0 and 0.002 m before it: P = K [I | t].
OFFSET = (0.25, 0.0, 0.002)
# Camera 0 from LiDAR axes: x = -y, y = -z, z = x.
CAMERA_ROTATION = '0 -1 0 0 0 -1 1 0 0'
POINTS = np.array([[10, 1, 0.5, 0.25], [10, -1, 0.5, 0.5], [-10, 0, 0, 0.75]], np.float32)
# 2011-09-26 13:04:33 UTC, the stamp of the first image.
FIRST_NS = 1_317_042_273_000_000_000
PERIOD_NS = 100_000_000
# One degree of latitude on the ball of the development kit [m].
METRES_PER_DEGREE = np.pi / 180 * 6378137.0
LATITUDE = 49.0


def expected_pixel(xyz: Sequence[float]) -> tuple[float, float]:
    """Return u, v of a LiDAR point in camera 2, from first principles."""
    x, y, z = -xyz[1] + OFFSET[0], -xyz[2] + OFFSET[1], xyz[0] + OFFSET[2]
    return FOCAL * x / z + CENTER_X, FOCAL * y / z + CENTER_Y


def projection() -> str:
    k = np.array([[FOCAL, 0, CENTER_X], [0, FOCAL, CENTER_Y], [0, 0, 1]])
    p = np.hstack([k, (k @ np.array(OFFSET))[:, None]])
    return ' '.join(f'{value:.12e}' for value in p.reshape(-1))


def clock(index: int, shift_ns: int = 0) -> str:
    fraction = index * PERIOD_NS + shift_ns
    return f'2011-09-26 13:04:{32 + fraction // 10**9}.{fraction % 10**9:09}'


def picture(index: int) -> np.ndarray:
    image = np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8)
    image[:, : WIDTH // 2, 2] = 200
    return image


def raw_drive(folder: Path, count: int = 3) -> Path:
    """Write a raw drive: LiDAR 10 ms before each image, packets 5 ms after, moving north."""
    date = folder / '2011_09_26'
    drive = date / '2011_09_26_drive_0001_sync'
    for name in ('image_02/data', 'velodyne_points/data', 'oxts/data'):
        (drive / name).mkdir(parents=True)
    (date / 'calib_cam_to_cam.txt').write_text(
        'calib_time: 09-Jan-2012 13:57:47\n'
        f'R_rect_00: 1 0 0 0 1 0 0 0 1\nP_rect_02: {projection()}\n'
    )
    (date / 'calib_velo_to_cam.txt').write_text(f'R: {CAMERA_ROTATION}\nT: 0 0 0\n')
    (date / 'calib_imu_to_velo.txt').write_text('R: 1 0 0 0 1 0 0 0 1\nT: -0.8 0.3 -0.75\n')
    for name, shift_ns in (('image_02', 0), ('velodyne_points', -(10**7)), ('oxts', 5 * 10**6)):
        # One second on, so that no stamp lies before the whole second of FIRST_CLOCK.
        lines = [clock(index + 10, shift_ns) for index in range(count)]
        (drive / name / 'timestamps.txt').write_text('\n'.join(lines) + '\n')
    for index in range(count):
        cv2.imwrite(str(drive / f'image_02/data/{index:010}.png'), picture(index))
        POINTS.tofile(drive / f'velodyne_points/data/{index:010}.bin')
        (drive / f'oxts/data/{index:010}.txt').write_text(packet(index))
    return drive


def packet(index: int, yaw: float = np.pi / 2) -> str:
    """Return a packet of a vehicle that drives north at 10 m/s, level, turning at 0.1 rad/s."""
    latitude = LATITUDE + index / METRES_PER_DEGREE
    values = [0.0] * 30
    values[0:6] = [latitude, 8.4, 112.0, 0.0, 0.0, yaw]
    values[6:8] = [10.0, 0.0]
    values[19] = 0.1
    values[23] = 0.05
    return ' '.join(f'{value:.15g}' for value in values)


def odometry_sequence(folder: Path, count: int = 3) -> Path:
    """Write an odometry sequence that moves 1 m forward a frame, with its poses."""
    sequence = folder / 'sequences' / '00'
    for name in ('image_2', 'velodyne'):
        (sequence / name).mkdir(parents=True)
    (folder / 'poses').mkdir()
    rotation = CAMERA_ROTATION.split()
    rows = [' '.join([*rotation[slice(3 * row, 3 * row + 3)], '0']) for row in range(3)]
    (sequence / 'calib.txt').write_text(f'P2: {projection()}\nTr: {" ".join(rows)}\n')
    (sequence / 'times.txt').write_text(''.join(f'{0.1 * i:.6e}\n' for i in range(count)))
    poses = ''.join(f'1 0 0 0 0 1 0 0 0 0 1 {index}\n' for index in range(count))
    (folder / 'poses' / '00.txt').write_text(poses)
    for index in range(count):
        cv2.imwrite(str(sequence / f'image_2/{index:06}.png'), picture(index))
        POINTS.tofile(sequence / f'velodyne/{index:06}.bin')
    return sequence
