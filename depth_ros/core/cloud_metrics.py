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
Compare predicted points with measured ones in space: chamfer distance and F-scores.

Both clouds are unprojected at the LiDAR's pixels, as in Spencer et al. 2022 (arXiv:2208.01489):
elsewhere there is nothing to compare with. At most MAX_POINTS of them are taken, evenly spread.
Nearest neighbours are exact; each direction asks for at most QUERIES points, evenly spread.

    chamfer  mean distance predicted -> measured + measured -> predicted  [m]
    F        2 P R / (P + R), P and R the shares of predicted and of measured points that have
             one of the other cloud nearer than a threshold: metres, or a share of the
             point's own distance from the camera

Shape letters: N points, Q queries.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
from depth_ros.core.camera import Intrinsics
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]

THRESHOLDS_M = {'f_5cm': 0.05, 'f_10cm': 0.10, 'f_25cm': 0.25}
RELATIVE_THRESHOLDS = {'f_2pct': 0.02, 'f_5pct': 0.05, 'f_10pct': 0.10}
CLOUD_METRICS = ('chamfer_m', *THRESHOLDS_M, *RELATIVE_THRESHOLDS)
# So many hits of a frame are compared, evenly spread, and so many of them asked about: shares are
# right to one or two per cent, in a few milliseconds.
MAX_POINTS = 8000
QUERIES = 1000
LEAF_POINTS = 16
FLANN_SINGLE_KDTREE = 4
UNLIMITED_CHECKS = -1


def unproject(
    rows_N: NDArray[np.int64],
    cols_N: NDArray[np.int64],
    depth_N: NDArray[np.float64],
    k: Intrinsics,
) -> Points:
    """Return (N, 3) points [m] in the optical frame."""
    x = (cols_N - k.cx) / k.fx * depth_N
    y = (rows_N - k.cy) / k.fy * depth_N
    return np.stack([x, y, depth_N], axis=1).astype(np.float32)


def cloud_metrics(predicted_N3: Points, measured_N3: Points) -> dict[str, float]:
    """
    Return chamfer distance and F-scores.

    :param predicted_N3: finite points of the prediction [m], at least one.
    :param measured_N3: finite points of the LiDAR [m], at least one.
    """
    predicted_N3, measured_N3 = (_spread(c, MAX_POINTS) for c in (predicted_N3, measured_N3))
    queries = (_spread(predicted_N3, QUERIES), _spread(measured_N3, QUERIES))
    distances = [
        nearest_distances(asked, others)
        for asked, others in zip(queries, (measured_N3, predicted_N3), strict=True)
    ]
    ranges = [np.linalg.norm(points.astype(np.float64), axis=1) for points in queries]
    result = {'chamfer_m': sum(float(distance.mean()) for distance in distances)}
    for name, limit_m in THRESHOLDS_M.items():
        result[name] = _f_score(*(float(np.mean(distance < limit_m)) for distance in distances))
    for name, share in RELATIVE_THRESHOLDS.items():
        near = (
            float(np.mean(distance < share * from_camera))
            for distance, from_camera in zip(distances, ranges, strict=True)
        )
        result[name] = _f_score(*near)
    return result


def nearest_distances(queries_Q3: Points, points_N3: Points) -> NDArray[np.float64]:
    """Return the distance [m] of each query to its nearest point, exactly."""
    points = np.ascontiguousarray(points_N3, np.float32)
    tree = {'algorithm': FLANN_SINGLE_KDTREE, 'leaf_max_size': LEAF_POINTS}
    library: Any = cv2
    index = library.flann_Index(points, tree)
    queries = np.ascontiguousarray(queries_Q3, np.float32)
    _, squares = index.knnSearch(queries, 1, params={'checks': UNLIMITED_CHECKS})
    return np.sqrt(np.asarray(squares, np.float64)[:, 0])


def _spread(points_N3: Points, count: int) -> Points:
    step = math.ceil(len(points_N3) / count)
    return points_N3[:: max(step, 1)]


def _f_score(precision: float, recall: float) -> float:
    total = precision + recall
    return 2.0 * precision * recall / total if total else 0.0
