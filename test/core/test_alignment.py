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

"""Alignments: closed forms, the definitions once more in plain Python, impossible ones."""

import math
from statistics import median
from test.core.test_metrics import truth_of

from depth_ros.core.alignment import Fit, fit
from depth_ros.core.metrics import ScoreRules, select
from depth_ros.errors import FrameError
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

depths = st.lists(st.floats(0.5, 80.0), min_size=3, max_size=12, unique=True)


def loop_line(xs, ys):
    """Return the least-squares line by the normal equations, one pixel at a time."""
    n, sx, sy = len(xs), math.fsum(xs), math.fsum(ys)
    sxx = math.fsum(x * x for x in xs)
    sxy = math.fsum(x * y for x, y in zip(xs, ys, strict=True))
    slope = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return slope, (sy - slope * sx) / n


def test_fit_none_changes_nothing():
    line = fit(np.array([1.0, 2.0]), np.array([3.0, 9.0]), 'none')
    np.testing.assert_array_equal(line.depth(np.array([5.0, np.nan])), [5.0, np.nan])


@given(depths)
def test_fit_median_is_the_ratio_of_medians(values):
    truth = [3.0 * value + 1.0 for value in values]
    assert fit(np.array(values), np.array(truth), 'median').scale == pytest.approx(
        median(truth) / median(values)
    )


@given(depths, st.floats(0.2, 4.0), st.floats(-0.4, 5.0))
def test_fit_scale_shift_undoes_a_line(values, scale, shift):
    prediction = np.array(values)
    line = fit(prediction, scale * prediction + shift, 'scale_shift')
    np.testing.assert_allclose(line.depth(prediction), scale * prediction + shift, rtol=1e-5)
    np.testing.assert_allclose(line.sigma(np.ones(2), prediction[:2]), scale, rtol=1e-4)


def test_fit_scale_shift_is_the_line_of_the_normal_equations():
    xs, ys = [1.0, 4.0, 5.0, 9.0], [2.0, 3.5, 8.0, 11.0]
    line = fit(np.array(xs), np.array(ys), 'scale_shift')
    assert (line.scale, line.shift) == pytest.approx(loop_line(xs, ys))


def test_fit_scale_shift_inverse_is_the_line_of_inverse_depths():
    xs, ys = [1.0, 4.0, 5.0, 9.0], [2.0, 3.5, 8.0, 11.0]
    line = fit(np.array(xs), np.array(ys), 'scale_shift_inverse')
    expected = loop_line([1 / x for x in xs], [1 / y for y in ys])
    assert (line.scale, line.shift) == pytest.approx(expected)
    slope, offset = expected
    np.testing.assert_allclose(line.depth(np.array(xs)), [1 / (slope / x + offset) for x in xs])


def test_fit_inverse_sigma_is_the_slope_times_sigma():
    line = Fit(scale=2.0, shift=0.05, is_inverse=True)
    depth, step = 7.0, 1e-6
    slope = np.diff(line.depth(np.array([depth, depth + step])))[0] / step
    sigma = line.sigma(np.array([0.5]), np.array([depth]))[0]
    assert sigma == pytest.approx(0.5 * slope, rel=1e-5)


def test_fit_inverse_beyond_infinity_is_infinite_and_unknown_stays():
    line = Fit(scale=1.0, shift=-0.1, is_inverse=True)
    aligned = line.depth(np.array([5.0, 20.0, np.nan, np.inf, -np.inf]))
    np.testing.assert_array_equal(aligned[1:], [np.inf, np.nan, np.inf, -np.inf])
    assert aligned[0] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ('prediction', 'truth', 'alignment', 'reason'),
    [
        ([-1.0, -2.0], [1.0, 2.0], 'median', 'must be above 0'),
        ([4.0, 4.0, 4.0], [1.0, 2.0, 3.0], 'scale_shift', 'every prediction is 4'),
        ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 'scale_shift', 'must be above 0'),
        ([0.0, 2.0, 3.0], [3.0, 2.0, 1.0], 'scale_shift_inverse', 'not above 0 m'),
    ],
)
def test_fit_of_what_has_no_scale_is_refused(prediction, truth, alignment, reason):
    with pytest.raises(FrameError, match=reason):
        fit(np.array(prediction), np.array(truth), alignment)


def test_select_scale_shift_scores_a_line_as_perfect():
    truth = truth_of(np.array([[4.0, 8.0, 20.0]]))
    depth = np.array([[1.0, 2.0, 5.0]], np.float32) + np.float32(3.0)
    pixels = select(depth, depth / 8, truth, ScoreRules(crop='none', alignment='scale_shift'))
    np.testing.assert_allclose(pixels.prediction_N, [4.0, 8.0, 20.0], rtol=1e-6)
    np.testing.assert_allclose(pixels.sigma_N, 4.0 * depth[0] / 8, rtol=1e-6)
    assert (pixels.scale, pixels.shift) == pytest.approx((4.0, -12.0))


def test_select_sequence_scale_multiplies_every_frame_alike():
    rules = ScoreRules(crop='none', alignment='median_sequence')
    truth = truth_of(np.array([[4.0, 8.0]]))
    pixels = select(np.ones((1, 2), np.float32), None, truth, rules, sequence_scale=5.0)
    np.testing.assert_allclose(pixels.prediction_N, 5.0)
    with pytest.raises(ValueError, match='median_sequence'):
        select(np.ones((1, 2), np.float32), None, truth, rules)
    with pytest.raises(ValueError, match='none'):
        select(np.ones((1, 2), np.float32), None, truth, ScoreRules(), sequence_scale=5.0)
