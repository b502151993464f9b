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
Are depth edges where the LiDAR sees them, and are they sharp.

Precision, recall and F1 of occluding edges are those of Depth Pro (Bochkovskii et al. 2024,
arXiv:2410.02073, section 4.2): of two neighbouring pixels i, j the surface of i occludes that of
j when d(j) / d(i) > 1 + t; F1 is averaged over thresholds t of 5 to 25 %, weighted by t.
Deviation: neighbours are LiDAR hits next to each other in a row of the image, since only
there is truth. The edge width needs no truth. N hits, P pairs, H W image.
"""

from __future__ import annotations

import math

from depth_ros.core.lidar import SparseDepth
import numpy as np
from numpy.typing import NDArray

BOUNDARY_METRICS = ('edge_precision', 'edge_recall', 'edge_f1')
# Columns of a 64-line scanner at 10 Hz are 2 px apart at f = 720 px.
MAX_PAIR_GAP_PX = 6
THRESHOLDS = np.linspace(0.05, 0.25, 10)
# Fewer occluding pairs than this in a frame make a share of chance.
MIN_EDGES = 20

# Edge width: rows that are looked at, half of the window, least jump (25 %) across it.
ROW_STEP = 4
HALF_WINDOW_PX = 8
MIN_LOG_JUMP = math.log(1.25)


def boundary_metrics(depth_HW: NDArray[np.float32], truth: SparseDepth) -> dict[str, float]:
    """
    Return precision, recall and F1 of occluding edges; empty when there are too few.

    :param truth: hits that the camera can see (hits that shine through would be false edges).
    """
    first, second = _neighbours(truth)
    true = np.stack([truth.depth_N[first], truth.depth_N[second]])
    predicted_N = depth_HW[truth.rows_N, truth.cols_N]
    predicted = np.stack([predicted_N[first], predicted_N[second]])
    is_usable = np.isfinite(predicted).all(axis=0) & (predicted > 0).all(axis=0)
    true, predicted = true[:, is_usable], predicted[:, is_usable]
    # An edge in one direction is a ratio above 1 + t, in the other its inverse.
    predicted_ratio, true_ratio = predicted[1] / predicted[0], true[1] / true[0]
    counts = np.array([_counts(predicted_ratio, true_ratio, float(t)) for t in THRESHOLDS])
    both, seen, real = counts.T
    if real[0] < MIN_EDGES:
        return {}
    precision = both / np.maximum(seen, 1)
    recall = both / np.maximum(real, 1)
    f1 = 2 * both / np.maximum(seen + real, 1)
    weights = THRESHOLDS / THRESHOLDS.sum()
    values = (float(weights @ share) for share in (precision, recall, f1))
    return dict(zip(BOUNDARY_METRICS, values, strict=True))


def edge_width_px(depth_HW: NDArray[np.float32]) -> float:
    """
    Return how many pixels a depth edge takes, the median over edges along rows; NaN without.

    The width is the whole jump of ln D across the window over its steepest step: 1 for an edge
    between two pixels, w for a ramp of w pixels.
    """
    with np.errstate(invalid='ignore', divide='ignore'):
        logs = np.log(depth_HW[::ROW_STEP])
    logs[~np.isfinite(logs)] = np.nan
    steps = np.diff(logs, axis=1)
    width = 2 * HALF_WINDOW_PX + 1
    if steps.shape[1] < width:
        return math.nan
    windows = np.lib.stride_tricks.sliding_window_view(steps, width, axis=1)
    middle = np.abs(steps[:, HALF_WINDOW_PX:-HALF_WINDOW_PX])
    jump = np.abs(logs[:, width:] - logs[:, : logs.shape[1] - width])
    # Only windows with a jump are worth the maximum over them.
    row, col = np.nonzero(jump > MIN_LOG_JUMP)
    peak = np.abs(windows[row, col]).max(axis=1, initial=0.0)
    # The steepest step stands in the middle of just one window of an edge.
    is_centre = (middle[row, col] >= peak) & (peak > 0)
    widths = jump[row, col][is_centre] / peak[is_centre]
    return float(np.median(widths)) if widths.size else math.nan


def _neighbours(truth: SparseDepth) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of hits that follow each other in a row of the image."""
    order = np.argsort(truth.rows_N * truth.width + truth.cols_N)
    first, second = order[:-1], order[1:]
    gap = truth.cols_N[second] - truth.cols_N[first]
    is_pair = (truth.rows_N[first] == truth.rows_N[second]) & (gap <= MAX_PAIR_GAP_PX)
    return first[is_pair], second[is_pair]


def _counts(
    predicted_P: NDArray[np.float32], true_P: NDArray[np.float32], threshold: float
) -> tuple[int, int, int]:
    """Return how many directed pairs are edges in both, in the prediction, in the truth."""
    both, seen, real = 0, 0, 0
    for compare, limit in ((np.greater, 1 + threshold), (np.less, 1 / (1 + threshold))):
        is_seen, is_real = compare(predicted_P, limit), compare(true_P, limit)
        seen += int(np.count_nonzero(is_seen))
        real += int(np.count_nonzero(is_real))
        both += int(np.count_nonzero(is_seen & is_real))
    return both, seen, real
