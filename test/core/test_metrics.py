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

"""Depth metrics: closed forms, a second implementation in plain Python, exact merging."""

import itertools
import math
from random import Random

from depth_ros.core.exact_sum import ExactVector
from depth_ros.core.lidar import SparseDepth
from depth_ros.core.metrics import (
    counted,
    crop_window,
    DEPTH_METRICS,
    DepthScores,
    error_sums,
    grouped_sums,
    metrics_of,
    REGION_NAMES,
    ScoredPixels,
    ScoreRules,
    select,
)
from depth_ros.errors import ConfigError, FrameError
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

ALL = ScoreRules(crop='none')


def truth_of(image_HW):
    """Return the sparse truth of an image that is NaN where there is none."""
    rows, cols = np.nonzero(~np.isnan(image_HW))
    return SparseDepth(
        rows_N=rows,
        cols_N=cols,
        depth_N=image_HW[rows, cols].astype(np.float32),
        width=image_HW.shape[1],
        height=image_HW.shape[0],
        points=len(rows),
        invalid=0,
    )


def pixels_of(prediction, truth, sigma=None):
    return ScoredPixels(
        prediction_N=np.asarray(prediction, np.float64),
        truth_N=np.asarray(truth, np.float64),
        sigma_N=None if sigma is None else np.asarray(sigma, np.float64),
        truth_pixels=len(truth),
        missing=0,
        infinite=0,
        scale=1.0,
    )


def score(prediction, truth, rules=ALL):
    return metrics_of(error_sums(pixels_of(prediction, truth), rules).sum(axis=0))


def loop_metrics(prediction, truth):
    """Return the nine metrics by their definitions, one pixel at a time."""
    n = len(truth)
    pairs = list(zip(prediction, truth, strict=True))
    logs = [math.log(d) - math.log(t) for d, t in pairs]
    mean_log = math.fsum(logs) / n
    ratios = [d / t if d > t else t / d for d, t in pairs]
    return {
        'abs_rel': math.fsum(abs(d - t) / t for d, t in pairs) / n,
        'sq_rel': math.fsum((d - t) ** 2 / t for d, t in pairs) / n,
        'rmse': math.sqrt(math.fsum((d - t) ** 2 for d, t in pairs) / n),
        'rmse_log': math.sqrt(math.fsum(g * g for g in logs) / n),
        'silog': 100 * math.sqrt(math.fsum((g - mean_log) ** 2 for g in logs) / n),
        'mae': math.fsum(abs(d - t) for d, t in pairs) / n,
        'a1': sum(r < 1.25 for r in ratios) / n,
        'a2': sum(r < 1.25 * 1.25 for r in ratios) / n,
        'a3': sum(r < 1.25 * 1.25 * 1.25 for r in ratios) / n,
    }


def test_metrics_perfect_prediction_has_no_error():
    scores = score([3.0, 20.0, 70.0], [3.0, 20.0, 70.0])
    assert scores == dict.fromkeys(DEPTH_METRICS, 0.0) | {'a1': 1.0, 'a2': 1.0, 'a3': 1.0}


def test_metrics_two_pixels_match_hand_calculation():
    scores = score([10.0, 30.0], [8.0, 40.0])
    assert scores['abs_rel'] == pytest.approx((0.25 + 0.25) / 2)
    assert scores['sq_rel'] == pytest.approx((0.5 + 2.5) / 2)
    assert scores['rmse'] == pytest.approx(math.sqrt((4 + 100) / 2))
    assert scores['mae'] == pytest.approx(6.0)
    g1, g2 = math.log(1.25), math.log(0.75)
    assert scores['rmse_log'] == pytest.approx(math.sqrt((g1 * g1 + g2 * g2) / 2))
    assert scores['silog'] == pytest.approx(100 * abs(g1 - g2) / 2)
    # 10/8 is 1.25, which is not below 1.25; 40/30 is 1.33.
    assert (scores['a1'], scores['a2'], scores['a3']) == (0.0, 1.0, 1.0)


def test_silog_of_a_constant_factor_is_zero():
    assert score([6.0, 60.0], [5.0, 50.0])['silog'] == pytest.approx(0.0, abs=1e-5)


@given(st.integers(0, 2**32 - 1), st.integers(1, 300))
def test_metrics_equal_a_loop_over_pixels(seed, n):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1e-3, 80, n)
    prediction = np.clip(truth * np.exp(rng.normal(0, 0.4, n)), 1e-3, 80)
    expected = loop_metrics(prediction.tolist(), truth.tolist())
    # Taking the variance as a difference of means costs digits when the errors are alike.
    assert score(prediction, truth) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_metrics_of_no_pixels_are_nan():
    assert all(math.isnan(value) for value in score([], []).values())


@pytest.mark.parametrize(
    ('crop', 'window'),
    [
        ('garg', (153, 371, 44, 1197)),
        ('eigen', (124, 342, 44, 1197)),
        ('none', (0, 375, 0, 1242)),
    ],
)
def test_crop_window_at_kitti_size_is_the_published_one(crop, window):
    assert crop_window(375, 1242, crop) == window


def test_counted_garg_crop_includes_first_and_excludes_last_row_and_column():
    image = np.full((375, 1242), np.nan, np.float32)
    inside = [(153, 44), (370, 1196)]
    for row, col in [*inside, (152, 44), (153, 43), (371, 44), (370, 1197)]:
        image[row, col] = 10.0
    truth = truth_of(image)
    kept = truth.where(counted(truth, ScoreRules()))
    assert list(zip(kept.rows_N.tolist(), kept.cols_N.tolist(), strict=True)) == inside


def test_counted_range_is_open_at_both_ends():
    truth = truth_of(np.array([[1e-3, 0.5, 79.9, 80.0, 100.0]]))
    assert counted(truth, ALL).tolist() == [False, True, True, False, False]


def test_select_clamps_infinity_and_leaves_out_nan():
    depth = np.array([[np.nan, np.inf, -np.inf, 200.0, 5.0]], np.float32)
    sigma = np.array([[np.nan, np.inf, np.inf, 3.0, 0.5]], np.float32)
    pixels = select(depth, sigma, truth_of(np.full((1, 5), 10.0)), ALL)
    assert pixels.prediction_N.tolist() == [80.0, 1e-3, 80.0, 5.0]
    np.testing.assert_array_equal(pixels.sigma_N, [np.nan, np.nan, 3.0, 0.5])
    assert (pixels.truth_pixels, pixels.missing, pixels.infinite) == (5, 1, 2)


def test_select_median_alignment_scales_depth_and_sigma():
    depth = np.array([[2.0, 3.0, 4.0, np.inf]], np.float32)
    truth = truth_of(np.array([[8.0, 12.0, 16.0, np.nan]]))
    pixels = select(depth, depth / 10, truth, ScoreRules(crop='none', alignment='median'))
    assert pixels.scale == 4.0
    np.testing.assert_allclose(pixels.prediction_N, [8, 12, 16])
    np.testing.assert_allclose(pixels.sigma_N, [0.8, 1.2, 1.6], rtol=1e-6)


def test_select_median_alignment_without_positive_depth_is_refused():
    rules = ScoreRules(crop='none', alignment='median')
    with pytest.raises(FrameError, match=r'median prediction is 0\.0 m'):
        select(np.zeros((1, 1), np.float32), None, truth_of(np.full((1, 1), 5.0)), rules)


def test_select_median_alignment_of_infinite_predictions_keeps_scale_one():
    rules = ScoreRules(crop='none', alignment='median')
    depth = np.full((1, 1), np.inf, np.float32)
    assert select(depth, None, truth_of(np.full((1, 1), 5.0)), rules).scale == 1.0


def test_select_other_size_than_truth_is_refused():
    with pytest.raises(ValueError, match=r'\(2, 2\)'):
        select(np.ones((2, 2), np.float32), None, truth_of(np.full((1, 1), 5.0)), ALL)


@pytest.mark.parametrize(
    ('wrong', 'named'),
    [
        ({'crop': 'center'}, 'crop'),
        ({'alignment': 'mean'}, 'alignment'),
        ({'cap_m': 1e-4}, 'cap'),
        ({'min_depth_m': 0.0}, 'min depth'),
        ({'cap_m': math.inf}, 'cap'),
        ({'cap_m': math.nan}, 'cap'),
    ],
)
def test_score_rules_bad_value_is_refused_by_name(wrong, named):
    with pytest.raises(ConfigError, match=named):
        ScoreRules(**wrong)


@pytest.mark.parametrize(
    ('cap', 'names'),
    [
        (80.0, ('0-10', '10-30', '30-50', '50-80')),
        (50.0, ('0-10', '10-30', '30-50')),
        (120.0, ('0-10', '10-30', '30-50', '50-80', '80-120')),
        (8.0, ('0-8',)),
    ],
)
def test_range_names_end_at_the_cap(cap, names):
    assert ScoreRules(cap_m=cap).range_names == names


def test_error_sums_bins_are_by_truth_and_closed_below():
    sums = error_sums(pixels_of([1, 1, 1, 1, 1], [9.99, 10.0, 29.9, 30.0, 79.0]), ALL)
    assert sums[:, 0].tolist() == [1, 2, 1, 1]


def random_frames(count, seed=0):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        truth = rng.uniform(1, 79, rng.integers(1, 60))
        frames.append(
            pixels_of(np.clip(truth * np.exp(rng.normal(0, 0.3, len(truth))), 1e-3, 80), truth)
        )
    return frames


def scores_of(frames):
    scores = DepthScores(ALL)
    for pixels in frames:
        scores.add(pixels)
    return scores


def test_scores_by_frame_is_the_mean_of_frames_and_by_pixel_of_all_pixels():
    frames = random_frames(12)
    scores = scores_of(frames)
    each = [loop_metrics(f.prediction_N.tolist(), f.truth_N.tolist()) for f in frames]
    mean = {key: math.fsum(m[key] for m in each) / len(each) for key in DEPTH_METRICS}
    assert scores.overall.by_frame() == pytest.approx(mean, rel=1e-7, abs=1e-7)
    joined = [
        np.concatenate([getattr(f, name) for f in frames]).tolist()
        for name in ('prediction_N', 'truth_N')
    ]
    assert scores.overall.by_pixel() == pytest.approx(loop_metrics(*joined), rel=1e-9)
    assert scores.overall.pixels == len(joined[0])


def test_scores_by_range_equal_scoring_only_that_range():
    frames = random_frames(8, seed=3)
    scores = scores_of(frames)
    for name, (low, high) in zip(ALL.range_names, itertools.pairwise(ALL.edges_m), strict=True):
        inside = [(f.truth_N >= low) & (f.truth_N < high) for f in frames]
        each = [
            loop_metrics(f.prediction_N[m].tolist(), f.truth_N[m].tolist())
            for f, m in zip(frames, inside, strict=True)
            if m.any()
        ]
        mean = {key: math.fsum(m[key] for m in each) / len(each) for key in DEPTH_METRICS}
        assert scores.by_range[name].frames == len(each)
        assert scores.by_range[name].by_frame() == pytest.approx(mean, rel=1e-6, abs=1e-6)


def test_scores_merge_is_exact_in_any_order_and_grouping():
    frames = random_frames(30, seed=5)
    whole = scores_of(frames)
    order = list(range(30))
    Random(1).shuffle(order)
    a, b, c = (scores_of([frames[i] for i in order[part::3]]) for part in range(3))
    for merged in (a + b + c, c + (b + a), (b + c) + a):
        assert merged == whole
        assert merged.overall.by_frame() == whole.overall.by_frame()
        assert merged.overall.by_pixel() == whole.overall.by_pixel()
        assert hash(merged) == hash(whole)


def test_scores_under_other_rules_do_not_merge():
    with pytest.raises(ValueError, match='do not add'):
        DepthScores(ALL) + DepthScores(ScoreRules())


def test_scores_count_missing_and_infinite_pixels():
    depth = np.array([[np.nan, np.inf, 5.0]], np.float32)
    scores = DepthScores(ALL)
    scores.add(select(depth, None, truth_of(np.full((1, 3), 5.0)), ALL))
    total = scores + scores
    assert (total.truth_pixels, total.missing, total.infinite) == (6, 2, 2)


def test_scores_of_no_pixels_add_no_frame():
    scores = DepthScores(ALL)
    scores.add(pixels_of([], []))
    assert scores.overall.frames == 0
    assert math.isnan(scores.overall.by_frame()['abs_rel'])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), max_size=40))
def test_exact_vector_sum_is_the_correctly_rounded_one(values):
    vector = ExactVector(1)
    for value in values:
        vector.add([value])
    try:
        expected = math.fsum(values)
    except OverflowError:
        return
    assert vector.values() == [expected]


def test_exact_vector_keeps_what_floats_lose():
    vector = ExactVector(1)
    for value in (1e300, 5e-324, -1e300):
        vector.add([value])
    assert vector.values() == [5e-324]


@pytest.mark.parametrize('values', [[math.nan], [math.inf], [1.0, 2.0]])
def test_exact_vector_bad_term_is_refused(values):
    with pytest.raises(ValueError, match=r'finite|longer'):
        ExactVector(1).add(values)


def test_grouped_sums_by_region_equal_the_metrics_of_each_third():
    rng = np.random.default_rng(5)
    truth = rng.uniform(2, 70, (9, 12)).astype(np.float32)
    depth = (truth * rng.uniform(0.6, 1.5, truth.shape)).astype(np.float32)
    pixels = select(depth, None, truth_of(truth), ALL)
    by_range, by_region = grouped_sums(pixels, ALL)
    np.testing.assert_allclose(by_range, error_sums(pixels, ALL), rtol=1e-14)
    assert len(by_region) == len(REGION_NAMES) == 9
    for number, name in enumerate(REGION_NAMES):
        top, left = 3 * (number // 3), 4 * (number % 3)
        rows, cols = slice(top, top + 3), slice(left, left + 4)
        alone = select(depth[rows, cols], None, truth_of(truth[rows, cols]), ALL)
        expected = loop_metrics(alone.prediction_N.tolist(), alone.truth_N.tolist())
        assert metrics_of(by_region[number]) == pytest.approx(expected, rel=1e-6), name
    assert REGION_NAMES[5] == 'middle right'


def test_grouped_sums_of_pixels_without_place_are_refused():
    with pytest.raises(ValueError, match='without their region'):
        grouped_sums(pixels_of([1.0], [1.0]), ALL)
