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

"""KITTI folders with one known point per frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

WIDTH, HEIGHT, FOCAL = 64, 32, 50.0
CX, CY = 31.5, 15.5
# The camera stands 0.25 m to the right of the rectified one and the LiDAR 0.5 m behind it.
OFFSET_X, LIDAR_BEHIND = 0.25, 0.5
FRAMES = 3


def numbers(*values: float) -> str:
    return ' '.join(str(value) for value in values)


def projection(key: str) -> str:
    row = (FOCAL, 0, CX, -FOCAL * OFFSET_X)
    return f'{key}: {numbers(*row, 0, FOCAL, CY, 0, 0, 0, 1, 0)}\n'


def picture(index: int) -> np.ndarray:
    generator = np.random.default_rng(index)
    return generator.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def points(index: int) -> np.ndarray:
    """Return points that cover the lower image: x forward, y left, z up of the LiDAR."""
    columns, rows = np.meshgrid(np.arange(4, 60), np.arange(14, 31))
    z = 8.0 + index + 0.1 * columns
    right, down = (columns - CX) / FOCAL * z + OFFSET_X, (rows - CY) / FOCAL * z
    return np.stack([z + LIDAR_BEHIND, -right, -down, z], -1).reshape(-1, 4).astype(np.float32)


@pytest.fixture
def object_folder(tmp_path: Path) -> Path:
    """Return a folder of the object benchmark; point z lands at column, row with that depth."""
    folder = tmp_path / 'object'
    for name in ('image_2', 'velodyne', 'calib'):
        (folder / name).mkdir(parents=True)
    rotation = numbers(0, -1, 0, 0, 0, 0, -1, 0, 1, 0, 0, -LIDAR_BEHIND)
    for index in range(FRAMES):
        cv2.imwrite(str(folder / 'image_2' / f'{index:06d}.png'), picture(index))
        points(index).tofile(folder / 'velodyne' / f'{index:06d}.bin')
        (folder / 'calib' / f'{index:06d}.txt').write_text(
            projection('P2')
            + f'R0_rect: {numbers(1, 0, 0, 0, 1, 0, 0, 0, 1)}\n'
            + f'Tr_velo_to_cam: {rotation}\n',
            encoding='utf-8',
        )
    return folder


@pytest.fixture
def projected_drive(tmp_path: Path) -> Path:
    """Return a drive of the depth benchmark; depth 12.5 m at row 20, column 30 + number."""
    drive = tmp_path / 'drive'
    images, depths = drive / 'image_02' / 'data', drive / 'proj_depth/velodyne_raw/image_02'
    images.mkdir(parents=True)
    depths.mkdir(parents=True)
    (tmp_path / 'calib_cam_to_cam.txt').write_text(projection('P_rect_02'), encoding='utf-8')
    for index in range(FRAMES):
        cv2.imwrite(str(images / f'{index:010d}.png'), picture(index))
        depth = np.zeros((HEIGHT, WIDTH), np.uint16)
        depth[20, 30 + index] = round(12.5 * 256)
        cv2.imwrite(str(depths / f'{index:010d}.png'), depth)
    return drive


@pytest.fixture(scope='session')
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset for trainings of seconds; nobody may change it."""
    from test.training.runs import make_dataset

    return make_dataset(tmp_path_factory.mktemp('tiny'))
