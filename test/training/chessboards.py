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

"""Photos of a flat chessboard through a known lens, ray by ray, and small video files."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
from depth_ros.core.camera import CameraModel
from depth_ros.core.geometry import exp_se3, Matrix, transform_from
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240
PATTERN = (7, 5)
K_33 = np.array([[262.0, 0, 156.0], [0, 258.0, 123.0], [0, 0, 1]])
# k1, k2, p1, p2, k3 of plumb_bob: a lens that bends the corners inwards by 12 px.
D = (-0.24, 0.05, 0.001, -0.0008, 0.0)
SUBPIXELS = 3
# Where the middle of the board is [m; squares of 1 m], and how it is turned [rad].
TURNS = (
    (0.0, 0.0, 8.2, 0.0, 0.0, 0.0),
    (0.3, -0.2, 8.4, 0.45, 0.1, 0.05),
    (-0.3, 0.3, 8.6, -0.5, 0.0, -0.1),
    (0.4, 0.2, 8.5, 0.1, 0.55, 0.0),
    (-0.4, -0.2, 8.8, 0.0, -0.5, 0.15),
    (-0.2, -0.4, 9.0, 0.3, -0.4, 0.0),
    (0.2, 0.4, 8.9, -0.3, 0.4, 0.1),
)


def camera(k_33: Matrix = K_33) -> CameraModel:
    """Return the true camera, whose rectified image keeps its K."""
    k = tuple(k_33.reshape(-1))
    return CameraModel(
        width=WIDTH,
        height=HEIGHT,
        distortion_model='plumb_bob',
        d=D,
        k=k,
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0),
    )


def distorted(rays_N2: Matrix) -> Matrix:
    """Return where the lens puts x/z, y/z (Brown's model, as CameraInfo states it)."""
    k1, k2, p1, p2, k3 = D
    x, y = rays_N2.T
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return np.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        ],
        axis=1,
    )


@cache
def _rays() -> Matrix:
    """Return x/z, y/z, 1 of the subpixels (3, N): the distortion undone by iteration."""
    step = 1 / SUBPIXELS
    v, u = np.mgrid[:HEIGHT:step, :WIDTH:step].reshape(2, -1) + (step / 2 - 0.5)
    seen = np.stack([(u - K_33[0, 2]) / K_33[0, 0], (v - K_33[1, 2]) / K_33[1, 1]], axis=1)
    rays = seen.copy()
    for _ in range(30):
        rays = seen - (distorted(rays) - rays)
    return np.vstack([rays.T, np.ones(len(rays))])


def _camera_T_board(turn: tuple[float, ...]) -> Matrix:
    middle = ((PATTERN[0] - 1) / 2, (PATTERN[1] - 1) / 2, 0.0)
    camera_T_middle = exp_se3((0.0, 0.0, 0.0, *turn[3:]))
    camera_T_middle[:3, 3] = turn[:3]
    return camera_T_middle @ transform_from(np.eye(3), tuple(-value for value in middle))


@cache
def photo(turn: tuple[float, ...]) -> NDArray[np.uint8]:
    """Return the grey picture of the board, averaged over each pixel."""
    # Point of the plane z = 0 of the board that a ray meets: the other columns are a homography.
    image_H_board = _camera_T_board(turn)[:3][:, [0, 1, 3]]
    board = np.linalg.inv(image_H_board) @ _rays()
    x, y = board[:2] / board[2]
    is_board = (x > -1) & (x < PATTERN[0]) & (y > -1) & (y < PATTERN[1])
    is_dark = is_board & ((np.floor(x) + np.floor(y)) % 2 == 0)
    fine = np.where(is_dark, 30.0, 220.0).reshape(HEIGHT, SUBPIXELS, WIDTH, SUBPIXELS)
    return np.rint(fine.mean(axis=(1, 3))).astype(np.uint8)


def rectified_corners(turn: tuple[float, ...]) -> Matrix:
    """Return the inner corners (N, 2) [px] of a pinhole camera with the same K."""
    corners = np.mgrid[: PATTERN[0], : PATTERN[1]].T.reshape(-1, 2)
    points = np.column_stack([corners, np.zeros(len(corners)), np.ones(len(corners))])
    xyz = points @ _camera_T_board(turn)[:3].T
    return (xyz / xyz[:, 2:]) @ K_33[:2].T


def photos(folder: Path) -> Path:
    """Write one photo for each turn."""
    folder.mkdir(parents=True)
    for number, turn in enumerate(TURNS):
        cv2.imwrite(str(folder / f'board_{number}.png'), photo(turn))
    return folder


def video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float = 10.0) -> Path:
    """Write a motion JPEG file, which every OpenCV can do."""
    writer = None
    for frame in frames:
        image = np.dstack([frame] * 3) if frame.ndim == 2 else frame
        if writer is None:
            code = cv2.VideoWriter_fourcc(*'MJPG')
            writer = cv2.VideoWriter(str(path), code, fps, image.shape[1::-1])
            assert writer.isOpened(), 'this OpenCV cannot write motion JPEG'
        writer.write(image)
    assert writer is not None
    writer.release()
    return path
