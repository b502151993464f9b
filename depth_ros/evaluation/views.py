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

"""Bird's-eye view of a frame: the predicted points seen from above, the LiDAR's on top."""

from __future__ import annotations

from typing import Any

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.lidar import SparseDepth
from depth_ros.evaluation.colors import ImageU8
from depth_ros.evaluation.figures import (
    BACKGROUND_BGR,
    FAINT_BGR,
    put_text,
    Snapshot,
    stamp_points,
    TEXT_BGR,
    TITLE_HEIGHT_PX,
)
import numpy as np
from numpy.typing import NDArray

# What is drawn [m]: to each side, ahead; and how finely [px/m].
SIDE_M = 25.0
AHEAD_M = 60.0
PIXELS_PER_M = 14.0
GRID_M = 10.0
GRID_BGR = (58, 58, 58)
LIDAR_BGR = (80, 255, 80)
# Above this height over the camera are crowns of trees and facades, which would cover all [m].
TOP_M = 1.5


def birdseye(shot: Snapshot, intrinsics: Intrinsics) -> ImageU8:
    """Return the view from above: predicted points in image colours, LiDAR points in green."""
    picture = _grid()
    rows, cols = np.mgrid[: intrinsics.height, : intrinsics.width]
    points = _drawable(rows.ravel(), cols.ravel(), shot.depth_HW.ravel(), intrinsics)
    index, at_rows, at_cols = points
    colors = shot.image_HW3.reshape(-1, 3)[index]
    # Highest points last: from above they hide the others.
    order = np.argsort(-rows.ravel()[index], kind='stable')
    stamp_points(picture, at_rows[order], at_cols[order], colors[order], 0)
    _draw_lidar(picture, shot.truth, intrinsics)
    for metres in np.arange(0.0, AHEAD_M, GRID_M):
        y = round((AHEAD_M - metres) * PIXELS_PER_M)
        put_text(picture, f'{metres:g} m', (4, y - 4), FAINT_BGR)
    title = np.full((TITLE_HEIGHT_PX, picture.shape[1], 3), BACKGROUND_BGR, np.uint8)
    used = put_text(title, 'Seen from above', (8, TITLE_HEIGHT_PX - 11), TEXT_BGR)
    note = 'predicted in image colours'
    used += put_text(title, note, (24 + used, TITLE_HEIGHT_PX - 11), FAINT_BGR)
    put_text(title, 'LiDAR', (40 + used, TITLE_HEIGHT_PX - 11), LIDAR_BGR)
    return np.concatenate([title, picture], axis=0)


def _draw_lidar(picture: ImageU8, truth: SparseDepth, intrinsics: Intrinsics) -> None:
    _, rows, cols = _drawable(truth.rows_N, truth.cols_N, truth.depth_N, intrinsics)
    colors = np.broadcast_to(np.array(LIDAR_BGR, np.uint8), (len(rows), 3))
    stamp_points(picture, rows, cols, colors, 0)


def _drawable(
    rows_N: NDArray[Any], cols_N: NDArray[Any], depth_N: NDArray[np.float32], k: Intrinsics
) -> tuple[NDArray[np.intp], NDArray[Any], NDArray[Any]]:
    """Return which points lie in the view, and their row and column there."""
    with np.errstate(invalid='ignore', over='ignore'):
        x = (cols_N - k.cx) / k.fx * depth_N
        y = (rows_N - k.cy) / k.fy * depth_N
        is_drawn = (np.abs(x) < SIDE_M) & (depth_N > 0) & (depth_N < AHEAD_M) & (y > -TOP_M)
    index = np.flatnonzero(is_drawn)
    rows = (AHEAD_M - depth_N[index]) * PIXELS_PER_M
    return index, rows, (x[index] + SIDE_M) * PIXELS_PER_M


def _grid() -> ImageU8:
    shape = (round(AHEAD_M * PIXELS_PER_M) + 1, round(2 * SIDE_M * PIXELS_PER_M) + 1, 3)
    picture = np.full(shape, BACKGROUND_BGR, np.uint8)
    for metres in np.arange(0.0, AHEAD_M + GRID_M, GRID_M):
        y = round((AHEAD_M - metres) * PIXELS_PER_M)
        cv2.line(picture, (0, y), (shape[1], y), GRID_BGR, 1)
    for metres in np.arange(-SIDE_M + SIDE_M % GRID_M, SIDE_M, GRID_M):
        x = round((metres + SIDE_M) * PIXELS_PER_M)
        cv2.line(picture, (x, 0), (x, shape[0]), GRID_BGR, 1)
    return picture
