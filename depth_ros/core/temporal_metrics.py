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
How steady depth is in time: from frame to frame, with poses or without, with LiDAR or without.

    consistency     median |ln z - ln D2| of the static points of frame 1 moved to frame 2 by
                    the vehicle's motion, z their depth there, D2 the prediction at their pixel
    scale_step      median of ln D2 - ln z: the scale of the world grew by that much
    step_in_sigma   share of |z - D2| within sqrt(s1^2 + s2^2); Gaussian: 0.683
    tcm_...         Temporal Consistency Metric (Ruhkamp et al. 2021, arXiv:2110.08192) of pairs,
                    with the flow and the moving objects taken from sparse LiDAR and poses
    flicker         median |ln D3 - 2 ln D2 + ln D1| of points followed by optical flow through
                    three frames: motion at constant speed cancels, jumps do not

Shape letters: H W image, N points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.datatypes import ImageF32, ImageU8
from depth_ros.core.geometry import invert, Matrix, transform_points
from depth_ros.core.lidar import SparseDepth
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

STEP_PX = 8
FLOW_WIDTH_PX = 160
MIN_POINTS = 30
# TCM: range, largest motion that the truth itself shows [m], share of errors kept.
TCM_MAX_M = 50.0
TCM_STATIC_M = 0.3
TCM_KEPT = 0.8
# Hits of a frame that are followed, evenly spread: enough for a mean.
TCM_POINTS = 2000
# Truth of the second frame is looked for at the pixel, then around it.
AROUND = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moment:
    """
    One frame of a sequence.

    Fields:
        depth_HW, sigma_HW: the prediction [m]; sigma None: there is none.
        image_HW3: bgr, of the same size.
        intrinsics: of that size.
        stamp_ns: of the image.
        truth: hits that the camera can see and the rules count; None: no LiDAR.
        world_T_cam: pose of the optical frame; None: not known.

    """

    depth_HW: ImageF32
    sigma_HW: ImageF32 | None
    image_HW3: ImageU8
    intrinsics: Intrinsics
    stamp_ns: int
    truth: SparseDepth | None
    world_T_cam: Matrix | None


class TemporalChecks:
    """
    Compares each frame with the one or two before it.

    :param max_gap_ns: frames further apart are not compared.
    """

    def __init__(self, max_gap_ns: int) -> None:
        self._max_gap_ns = max_gap_ns
        self._past: list[tuple[Moment, ImageU8]] = []

    def add(self, moment: Moment) -> dict[str, float]:
        """Return what can be said of this frame; empty for the first of a sequence."""
        self._past = [] if self._is_break(moment) else self._past[-2:]
        self._past.append((moment, _small_gray(moment.image_HW3)))
        if len(self._past) < 2:
            return {}
        return {**pose_checks(self._past[-2][0], moment), **self._flicker()}

    def _is_break(self, moment: Moment) -> bool:
        if not self._past:
            return False
        last = self._past[-1][0]
        gap_ns = moment.stamp_ns - last.stamp_ns
        is_same = moment.intrinsics == last.intrinsics
        return not (0 < gap_ns <= self._max_gap_ns and is_same)

    def _flicker(self) -> dict[str, float]:
        if len(self._past) < 3:
            return {}
        (before, gray0), (middle, gray1), (after, gray2) = self._past
        flows = [_flow(gray1, gray) for gray in (gray0, gray2)]
        depths = [moment.depth_HW for moment in (before, middle, after)]
        values = flicker(depths[0], depths[1], depths[2], flows[0], flows[1])
        return {} if values is None else {'flicker': values}


def flicker(
    before_HW: ImageF32,
    middle_HW: ImageF32,
    after_HW: ImageF32,
    to_before: NDArray[np.float32],
    to_after: NDArray[np.float32],
) -> float | None:
    """
    Return the median second difference of ln D along the flow; None: too few points.

    :param to_before: (h, w, 2) flow x, y from the middle image, in pixels of its own grid, which
        may be smaller than the depth's.
    """
    h, w = to_before.shape[:2]
    rows, cols = (axis.ravel() for axis in np.mgrid[:h, :w])
    logs = [_log_at(middle_HW, rows, cols, (h, w))]
    for depth_HW, flow in ((before_HW, to_before), (after_HW, to_after)):
        moved = flow.reshape(-1, 2)
        logs.append(_log_at(depth_HW, rows + moved[:, 1], cols + moved[:, 0], (h, w)))
    second = np.abs(logs[1] - 2.0 * logs[0] + logs[2])
    second = second[np.isfinite(second)]
    return float(np.median(second)) if len(second) >= MIN_POINTS else None


def _log_at(
    depth_HW: ImageF32, rows_N: NDArray[Any], cols_N: NDArray[Any], grid: tuple[int, int]
) -> Vector:
    """Return ln D at pixels of a smaller grid, NaN outside and where it is not finite."""
    height, width = depth_HW.shape
    scale_y, scale_x = height / grid[0], width / grid[1]
    return _log(sample(depth_HW, (rows_N + 0.5) * scale_y - 0.5, (cols_N + 0.5) * scale_x - 0.5))


def _log(depth_N: NDArray[Any]) -> Vector:
    with np.errstate(invalid='ignore', divide='ignore'):
        logs = np.log(depth_N.astype(np.float64))
    logs[~np.isfinite(logs)] = np.nan
    return np.asarray(logs, np.float64)


def sample(image_HW: ImageF32, rows_N: NDArray[Any], cols_N: NDArray[Any]) -> ImageF32:
    """Return the value of the nearest pixel, NaN outside the image."""
    height, width = image_HW.shape
    with np.errstate(invalid='ignore'):
        rows, cols = np.rint(rows_N), np.rint(cols_N)
        is_inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
    values = np.full(rows.shape, np.nan, np.float32)
    values[is_inside] = image_HW[
        rows[is_inside].astype(np.int64), cols[is_inside].astype(np.int64)
    ]
    return values


def pose_checks(first: Moment, second: Moment) -> dict[str, float]:
    """Return what two frames with poses say; empty without poses."""
    if first.world_T_cam is None or second.world_T_cam is None:
        return {}
    second_T_first = invert(second.world_T_cam) @ first.world_T_cam
    return {
        **_consistency(first, second, second_T_first),
        **temporal_consistency_metric(first, second, second_T_first),
    }


def _consistency(first: Moment, second: Moment, second_T_first: Matrix) -> dict[str, float]:
    height, width = first.depth_HW.shape
    rows, cols = (axis.ravel() for axis in np.mgrid[0:height:STEP_PX, 0:width:STEP_PX])
    depth = first.depth_HW[rows, cols].astype(np.float64)
    to_rows, to_cols, z = _moved(rows, cols, depth, first.intrinsics, second_T_first)
    there = sample(second.depth_HW, to_rows, to_cols).astype(np.float64)
    step = _log(there) - _log(z)
    is_known = np.isfinite(step)
    if np.count_nonzero(is_known) < MIN_POINTS:
        return {}
    result = {
        'consistency': float(np.median(np.abs(step[is_known]))),
        'scale_step': float(np.median(step[is_known])),
    }
    if first.sigma_HW is not None and second.sigma_HW is not None:
        sigma = np.hypot(first.sigma_HW[rows, cols], sample(second.sigma_HW, to_rows, to_cols))
        is_within = np.abs(z - there)[is_known] < sigma[is_known]
        result['step_in_sigma'] = float(np.mean(is_within))
    return result


def temporal_consistency_metric(
    first: Moment, second: Moment, second_T_first: Matrix
) -> dict[str, float]:
    """
    Return the TCM of a pair: mean absolute error [m], mean square [m^2] and RMSE [m].

    Both predictions are multiplied by one median scale, taken from the first frame. Empty when
    the two sweeps share too few static points.
    """
    if first.truth is None or second.truth is None:
        return {}
    is_near = first.truth.depth_N < TCM_MAX_M
    step = max(1, int(np.count_nonzero(is_near)) // TCM_POINTS)
    hits = first.truth.where(is_near & (np.arange(len(is_near)) % step == 0))
    rows, cols, true = hits.rows_N, hits.cols_N, hits.depth_N.astype(np.float64)
    predicted = first.depth_HW[rows, cols].astype(np.float64)
    k = first.intrinsics
    to_rows, to_cols, z_true = _moved(rows, cols, true, k, second_T_first)
    then_true = _truth_at(second.truth, to_rows, to_cols).astype(np.float64)
    length = np.sqrt(1.0 + ((cols - k.cx) / k.fx) ** 2 + ((rows - k.cy) / k.fy) ** 2)
    track_true = np.abs(z_true - then_true) * length
    then = sample(second.depth_HW, to_rows, to_cols).astype(np.float64)
    is_kept = (track_true < TCM_STATIC_M) & np.isfinite(predicted) & np.isfinite(then)
    if np.count_nonzero(is_kept) < MIN_POINTS:
        return {}
    scale = float(np.median(true[is_kept]) / np.median(predicted[is_kept]))
    scaled = np.clip(scale * predicted, 1e-3, TCM_MAX_M)
    _, _, z = _moved(rows, cols, scaled, k, second_T_first)
    track = np.abs(z - np.clip(scale * then, 1e-3, TCM_MAX_M)) * length
    error = np.sort(np.abs(track_true - track)[is_kept])
    error = error[: max(1, int(TCM_KEPT * len(error)))]
    square = float(np.mean(error * error))
    return {
        'tcm_abs_m': float(error.mean()),
        'tcm_sq_m2': square,
        'tcm_rmse_m': float(np.sqrt(square)),
    }


def _moved(
    rows_N: NDArray[Any], cols_N: NDArray[Any], depth_N: Vector, k: Intrinsics, b_T_a: Matrix
) -> tuple[Vector, Vector, Vector]:
    """Return row, column and depth in frame b of pixels of frame a; NaN behind the camera."""
    with np.errstate(invalid='ignore', divide='ignore', over='ignore'):
        x, y = (cols_N - k.cx) / k.fx * depth_N, (rows_N - k.cy) / k.fy * depth_N
        points = transform_points(b_T_a, np.stack([x, y, depth_N], axis=1))
        z = np.where(points[:, 2] > 0, points[:, 2], np.nan)
        return points[:, 1] / z * k.fy + k.cy, points[:, 0] / z * k.fx + k.cx, z


def _truth_at(truth: SparseDepth, rows_N: Vector, cols_N: Vector) -> NDArray[np.float32]:
    image_HW = truth.image_HW()
    found = np.full(rows_N.shape, np.nan, np.float32)
    for dy, dx in AROUND:
        missing = np.isnan(found)
        found[missing] = sample(image_HW, rows_N[missing] + dy, cols_N[missing] + dx)
    return found


def _small_gray(image_HW3: ImageU8) -> ImageU8:
    if image_HW3.shape[1] >= 4 * FLOW_WIDTH_PX:
        image_HW3 = np.ascontiguousarray(image_HW3[::2, ::2])
    # Grey first: one channel is a third of the work.
    gray: Any = cv2.cvtColor(image_HW3, cv2.COLOR_BGR2GRAY)
    height, width = gray.shape
    size = (min(FLOW_WIDTH_PX, width), max(1, round(height * min(1.0, FLOW_WIDTH_PX / width))))
    return np.asarray(cv2.resize(gray, size, interpolation=cv2.INTER_AREA), np.uint8)


def _flow(from_hw: ImageU8, to_hw: ImageU8) -> NDArray[np.float32]:
    method: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return np.asarray(method.calc(from_hw, to_hw, None), np.float32)
