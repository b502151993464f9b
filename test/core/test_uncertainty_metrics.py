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

"""Calibration and ranking of sigma: closed forms and a second implementation in plain Python."""

from fractions import Fraction
import itertools
import math

from depth_ros.core.metrics import ScoredPixels
from depth_ros.core.uncertainty_metrics import (
    calibration_sums,
    expected_shares,
    gaussian_share,
    laplace_share,
    PROBABILITIES,
    ranking_areas,
    RANKING_NAMES,
    UncertaintyScores,
)
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest


def pixels_of(prediction, truth, sigma):
    sigma = None if sigma is None else np.asarray(sigma, np.float64)
    return ScoredPixels(
        prediction_N=np.asarray(prediction, np.float64),
        truth_N=np.asarray(truth, np.float64),
        sigma_N=sigma,
        truth_pixels=len(truth),
        missing=0,
        infinite=0,
        scale=1.0,
    )


def percentile(values, percent):
    """Return the percentile with linear interpolation between ranks."""
    ranked = sorted(values)
    at = Fraction((len(ranked) - 1) * percent, 100)
    low = math.floor(at)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * float(at - low)


def loop_areas(prediction, truth, sigma):
    """Return AUSE and AURG as the literature states them, one set at a time."""
    pairs = list(zip(prediction, truth, strict=True))
    abs_rel = [abs(d - t) / t for d, t in pairs]
    absolute = [abs(d - t) for d, t in pairs]
    ratio = [max(d / t, t / d) for d, t in pairs]

    def error(name, kept):
        if name == 'abs_rel':
            return sum(abs_rel[i] for i in kept) / len(kept)
        if name == 'rmse':
            return math.sqrt(sum(absolute[i] ** 2 for i in kept) / len(kept))
        return sum(ratio[i] >= 1.25 for i in kept) / len(kept)

    def area(name, key):
        curve = []
        for step in range(50):
            limit = percentile([-k for k in key], 2 * step)
            kept = [i for i, k in enumerate(key) if -k >= limit]
            curve.append(error(name, kept))
        curve.append(0.0)
        return sum((a + b) / 2 / 50 for a, b in itertools.pairwise(curve))

    areas = {}
    everything = range(len(truth))
    for name, oracle in (('abs_rel', abs_rel), ('rmse', absolute), ('d1', ratio)):
        mine = area(name, sigma)
        areas[f'ause_{name}'] = mine - area(name, oracle)
        areas[f'aurg_{name}'] = error(name, everything) - mine
    return areas


def sample(seed, n):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(2, 79, n)
    sigma = truth * rng.uniform(0.02, 0.4, n)
    prediction = np.clip(truth + rng.laplace(0, sigma / math.sqrt(2)), 1e-3, 80)
    return prediction, truth, sigma


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_ranking_areas_equal_a_loop_over_sets(seed, n):
    values = sample(seed, n)
    expected = loop_areas(*(v.tolist() for v in values))
    assert ranking_areas(*values) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_ranking_areas_with_ties_equal_a_loop():
    prediction, truth, sigma = sample(1, 90)
    sigma = np.round(sigma)
    expected = loop_areas(prediction.tolist(), truth.tolist(), sigma.tolist())
    assert ranking_areas(prediction, truth, sigma) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_ranking_areas_sigma_that_is_the_error_has_no_ause():
    prediction, truth, _ = sample(2, 400)
    areas = ranking_areas(prediction, truth, np.abs(prediction - truth))
    assert areas['ause_rmse'] == pytest.approx(0.0, abs=1e-12)
    assert areas['aurg_rmse'] > 0


def test_ranking_areas_constant_sigma_gains_nothing():
    prediction, truth, _ = sample(3, 200)
    areas = ranking_areas(prediction, truth, np.ones(200))
    full = np.mean(np.abs(prediction - truth) / truth)
    # Nothing is ever removed; only the last point, which is zero by definition, takes 1 %.
    assert areas['aurg_abs_rel'] == pytest.approx(0.01 * full)


def test_ranking_areas_monotone_map_of_sigma_changes_nothing():
    prediction, truth, sigma = sample(4, 101)
    mapped = ranking_areas(prediction, truth, sigma * 1024.0)
    assert mapped == pytest.approx(ranking_areas(prediction, truth, sigma), rel=1e-12)


def test_calibration_sums_match_hand_calculation():
    b = np.array([1.0, 2.0])
    sums = calibration_sums(np.array([0.5, -6.0]), b * math.sqrt(2))
    # |e| = 0.5 < 1 sigma (1.41); 6.0 > 2 sigma (5.66).
    assert sums[:3].tolist() == [2, 1, 1]
    assert sums[3] == pytest.approx(0.5 + math.log(2) + 3.0 + math.log(4))
    assert sums[4] == pytest.approx(3 * math.sqrt(2))
    inside = [
        sum((e / s) < -math.log(1 - p) for e, s in ((0.5, 1), (6, 2))) for p in PROBABILITIES
    ]
    assert sums[5:].tolist() == inside


def test_calibration_of_true_laplace_errors_is_nominal():
    rng = np.random.default_rng(0)
    sigma = rng.uniform(0.5, 3.0, 200_000)
    truth = np.full(sigma.shape, 40.0)
    scores = UncertaintyScores()
    scores.add(pixels_of(truth + rng.laplace(0, sigma / math.sqrt(2)), truth, sigma))
    result = scores.result()
    assert result['coverage_1_sigma'] == pytest.approx(laplace_share(1), abs=0.004)
    assert result['coverage_2_sigma'] == pytest.approx(laplace_share(2), abs=0.004)
    for point in result['reliability']:
        assert point['measured'] == pytest.approx(point['nominal'], abs=0.004)


def test_expected_coverages_are_the_range_from_gaussian_to_laplace_errors():
    assert expected_shares(1) == pytest.approx([0.6827, 0.7569], abs=1e-4)
    assert expected_shares(2) == pytest.approx([0.9545, 0.9409], abs=1e-4)
    rng = np.random.default_rng(1)
    for share, errors in (
        (gaussian_share, rng.normal(0, 1, 400_000)),
        (laplace_share, rng.laplace(0, 1 / math.sqrt(2), 400_000)),
    ):
        counted = [np.mean(np.abs(errors) < sigmas) for sigmas in (0.5, 1, 2)]
        assert counted == pytest.approx([share(sigmas) for sigmas in (0.5, 1, 2)], abs=0.003)


def test_reliability_of_gaussian_errors_follows_its_own_line():
    rng = np.random.default_rng(2)
    truth = np.full(200_000, 40.0)
    scores = UncertaintyScores()
    scores.add(pixels_of(truth + rng.normal(0, 2.0, truth.shape), truth, np.full_like(truth, 2.0)))
    for point in scores.result()['reliability']:
        assert point['measured'] == pytest.approx(point['gaussian'], abs=0.004)


def test_nll_is_least_at_the_true_scale():
    prediction, truth, sigma = sample(6, 5000)
    error = prediction - truth
    nll = {factor: calibration_sums(error, factor * sigma)[3] for factor in (0.7, 1.0, 1.4)}
    assert nll[1.0] < min(nll[0.7], nll[1.4])


def test_scores_leave_out_pixels_without_sigma_and_count_them():
    scores = UncertaintyScores()
    scores.add(pixels_of([10, 10, 10], [11, 10, 50], [2.0, np.nan, np.nan]))
    result = scores.result()
    assert (result['pixels'], result['unscored_pixels'], result['frames']) == (1, 2, 1)
    assert result['coverage_1_sigma'] == 1.0


def test_scores_without_any_sigma_have_no_result():
    scores = UncertaintyScores()
    assert scores.add(pixels_of([10.0], [11.0], None)) == {}
    assert scores.add(pixels_of([10.0], [11.0], [np.nan])) == {}
    assert scores.result() is None
    assert scores.unscored == 1


def test_scores_merge_is_exact_in_any_order():
    parts = []
    for seed in range(4):
        scores = UncertaintyScores()
        for frame in range(3):
            scores.add(pixels_of(*sample(10 * seed + frame, 50)))
        parts.append(scores)
    a, b, c, d = parts
    assert a + b + c + d == d + (c + (b + a))
    assert (a + b + c + d).result() == (d + (c + (b + a))).result()
    assert hash(a + b) == hash(b + a)


def test_scores_ranking_is_the_mean_over_frames():
    scores = UncertaintyScores()
    rows = [scores.add(pixels_of(*sample(seed, 40))) for seed in range(5)]
    result = scores.result()
    for name in RANKING_NAMES:
        assert result[name] == pytest.approx(math.fsum(row[name] for row in rows) / 5, rel=1e-12)


def test_scores_by_sigma_equal_a_loop_over_pixels():
    rng = np.random.default_rng(8)
    truth, sigma = rng.uniform(5, 60, 400), rng.uniform(0.05, 14, 400)
    prediction = truth + rng.laplace(0, sigma / math.sqrt(2))
    prediction = np.clip(prediction, 1.0, 80.0)
    scores = UncertaintyScores()
    scores.add(pixels_of(prediction, truth, sigma))
    rows = {row['sigma_m']: row for row in scores.result()['by_sigma']}
    assert len(rows) == 8
    inside = [
        (s, d - t) for d, t, s in zip(prediction, truth, sigma, strict=True) if 1.0 <= s < 2.0
    ]
    assert rows['1-2']['pixels'] == len(inside)
    rms_sigma = math.sqrt(math.fsum(s * s for s, _ in inside) / len(inside))
    rmse = math.sqrt(math.fsum(e * e for _, e in inside) / len(inside))
    assert rows['1-2']['rms_sigma_m'] == pytest.approx(rms_sigma)
    assert rows['1-2']['rmse_m'] == pytest.approx(rmse)
    assert sum(row['pixels'] for row in rows.values()) == 400


def test_sparsification_curves_begin_with_the_metric_and_hold_the_areas():
    rng = np.random.default_rng(9)
    truth = rng.uniform(5, 60, 300)
    prediction = truth * rng.uniform(0.7, 1.4, 300)
    scores = UncertaintyScores()
    scores.add(pixels_of(prediction, truth, np.abs(prediction - truth) + 0.1))
    result = scores.result()
    curve = result['sparsification']['abs_rel']['by_sigma']
    oracle = result['sparsification']['abs_rel']['by_error']
    assert len(curve) == len(result['sparsification']['removed_share']) == 51
    mean = np.mean(np.abs(prediction - truth) / truth)
    assert (curve[0], oracle[0]) == pytest.approx((mean, mean))
    assert curve[-1] == 0.0
    area = sum((a + b) / 2 for a, b in itertools.pairwise(curve)) / 50
    oracle_area = sum((a + b) / 2 for a, b in itertools.pairwise(oracle)) / 50
    assert result['ause_abs_rel'] == pytest.approx(area - oracle_area)


def test_calibration_error_is_the_mean_distance_from_the_diagonal():
    scores = UncertaintyScores()
    scores.add(pixels_of([10.0, 20.0], [10.0, 20.0], [1.0, 1.0]))
    result = scores.result()
    assert result['calibration_error'] == pytest.approx(1 - np.mean(PROBABILITIES))
