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

"""Edges of depth: exact steps and ramps, and the definition in plain Python."""

import itertools
import math
from test.core.test_metrics import truth_of

from depth_ros.core.boundary import boundary_metrics, edge_width_px, THRESHOLDS
import numpy as np
import pytest

HEIGHT, WIDTH = 24, 64


def step_scene(at=32, near=10.0, far=20.0):
    image = np.full((HEIGHT, WIDTH), near, np.float32)
    image[:, at:] = far
    return image


def loop_f1(depth, truth):
    """Return precision, recall, F1 by looking at each pair in each row, both ways."""
    totals = [0.0, 0.0, 0.0]
    for threshold in THRESHOLDS:
        both = seen = real = 0
        for row in range(truth.shape[0]):
            columns = [c for c in range(truth.shape[1]) if not math.isnan(truth[row, c])]
            for a, b in itertools.pairwise(columns):
                if b - a > 6:
                    continue
                for i, j in ((a, b), (b, a)):
                    is_seen = depth[row, j] / depth[row, i] > 1 + threshold
                    is_real = truth[row, j] / truth[row, i] > 1 + threshold
                    seen, real = seen + is_seen, real + is_real
                    both += is_seen and is_real
        weight = threshold / sum(THRESHOLDS)
        totals[0] += weight * both / max(seen, 1)
        totals[1] += weight * both / max(real, 1)
        totals[2] += weight * 2 * both / max(seen + real, 1)
    return totals


def test_boundary_of_the_truth_itself_is_perfect():
    scene = step_scene()
    scores = boundary_metrics(scene, truth_of(scene))
    assert list(scores.values()) == pytest.approx([1.0, 1.0, 1.0])


def test_boundary_of_a_flat_prediction_is_nothing():
    scores = boundary_metrics(np.full((HEIGHT, WIDTH), 12.0, np.float32), truth_of(step_scene()))
    assert list(scores.values()) == [0.0, 0.0, 0.0]


def test_boundary_at_another_place_is_missed():
    scores = boundary_metrics(step_scene(at=40), truth_of(step_scene()))
    assert scores['edge_f1'] == 0.0


def test_boundary_equals_the_definition_in_plain_python():
    rng = np.random.default_rng(4)
    truth = np.where(rng.random((HEIGHT, WIDTH)) < 0.4, np.nan, rng.uniform(5, 9, (HEIGHT, WIDTH)))
    truth = truth.astype(np.float32)
    depth = rng.uniform(5, 9, (HEIGHT, WIDTH)).astype(np.float32)
    scores = boundary_metrics(depth, truth_of(truth))
    assert list(scores.values()) == pytest.approx(loop_f1(depth, truth), rel=1e-9)


def test_boundary_with_too_few_edges_says_nothing():
    assert boundary_metrics(step_scene(), truth_of(step_scene(near=19.9))) == {}


def test_boundary_unknown_and_infinite_predictions_make_no_pair():
    depth = step_scene()
    depth[::8] = np.nan
    depth[1::4, :20] = np.inf
    assert boundary_metrics(depth, truth_of(step_scene()))['edge_f1'] == pytest.approx(1.0)


@pytest.mark.parametrize('width', [1, 2, 4, 8])
def test_edge_width_of_a_ramp_is_its_length(width):
    logs = np.interp(np.arange(WIDTH), [30, 30 + width], [0.0, math.log(3.0)])
    depth = np.tile(10 * np.exp(logs), (HEIGHT, 1)).astype(np.float32)
    assert edge_width_px(depth) == pytest.approx(width, rel=1e-4)


def test_edge_width_without_edges_is_not_a_number():
    assert math.isnan(edge_width_px(np.full((HEIGHT, WIDTH), 7.0, np.float32)))
    assert math.isnan(edge_width_px(np.full((HEIGHT, 5), 7.0, np.float32)))
    assert math.isnan(edge_width_px(np.full((HEIGHT, WIDTH), np.nan, np.float32)))
