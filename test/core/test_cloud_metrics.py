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

"""Chamfer and F-scores: closed forms and all pairs in plain Python."""

import math
from test.synthetic import intrinsics

from depth_ros.core.cloud_metrics import cloud_metrics, nearest_distances, QUERIES, unproject
import numpy as np
import pytest


def loop_scores(predicted, measured, limit):
    """Return chamfer and the F-score by looking at every pair of points."""

    def nearest(asked, others):
        return [min(math.dist(a, b) for b in others) for a in asked]

    ahead, back = nearest(predicted, measured), nearest(measured, predicted)
    precision = sum(d < limit for d in ahead) / len(ahead)
    recall = sum(d < limit for d in back) / len(back)
    chamfer = math.fsum(ahead) / len(ahead) + math.fsum(back) / len(back)
    total = precision + recall
    return chamfer, 2 * precision * recall / total if total else 0.0


def cloud(seed, count):
    return (np.random.default_rng(seed).normal(size=(count, 3)) * [3, 1, 5]).astype(np.float32)


def test_cloud_metrics_of_the_same_cloud_are_perfect():
    points = cloud(1, 200)
    scores = cloud_metrics(points, points)
    assert scores.pop('chamfer_m') == 0.0
    assert set(scores.values()) == {1.0}


def test_cloud_metrics_of_a_shifted_grid_are_the_closed_form():
    axes = np.meshgrid(*[np.arange(5.0)] * 3)
    grid = np.stack([axes[0], axes[1], axes[2] + 100.0], axis=-1).reshape(-1, 3).astype('f4')
    scores = cloud_metrics(grid + np.float32([0.125, 0, 0]), grid)
    assert scores['chamfer_m'] == pytest.approx(0.25, rel=1e-5)
    assert (scores['f_5cm'], scores['f_10cm'], scores['f_25cm']) == (0.0, 0.0, 1.0)
    # 2 % of at least 100 m is more than the shift.
    assert scores['f_2pct'] == 1.0


@pytest.mark.parametrize('seed', range(4))
def test_cloud_metrics_equal_all_pairs_in_plain_python(seed):
    predicted, measured = cloud(seed, 60) * np.float32(0.2), cloud(seed + 9, 45) * np.float32(0.2)
    scores = cloud_metrics(predicted, measured)
    chamfer, f_score = loop_scores(predicted.tolist(), measured.tolist(), 0.25)
    assert scores['chamfer_m'] == pytest.approx(chamfer, rel=1e-5)
    assert scores['f_25cm'] == pytest.approx(f_score)


def test_cloud_metrics_relative_threshold_is_a_share_of_the_distance():
    near, far = np.float32([[0, 0, 1]]), np.float32([[0, 0, 50]])
    shift = np.float32([[0, 0, 0.3]])
    assert cloud_metrics(near + shift, near)['f_10pct'] == 0.0
    assert cloud_metrics(far + shift, far)['f_10pct'] == 1.0


def test_cloud_metrics_of_many_points_ask_for_a_spread_of_them():
    points = cloud(3, 20 * QUERIES)
    scores = cloud_metrics(points, points[: QUERIES // 2])
    assert 0.0 < scores['chamfer_m'] < 10.0


def test_nearest_distances_are_exact():
    queries, points = cloud(5, 300), cloud(6, 500)
    expected = np.sqrt(((queries[:, None].astype(float) - points[None]) ** 2).sum(2).min(1))
    np.testing.assert_allclose(nearest_distances(queries, points), expected, rtol=1e-5)


def test_unproject_puts_the_principal_point_on_the_axis():
    k = intrinsics(64, 32, 50.0)
    points = unproject(np.array([10]), np.array([20]), np.array([7.0]), k)
    np.testing.assert_allclose(points, [[(20 - k.cx) * 0.14, (10 - k.cy) * 0.14, 7.0]], rtol=1e-6)
