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

"""Intervals and tests by bootstrap: known distributions, and a second implementation."""

import random
import statistics

from depth_ros.evaluation.bootstrap import (
    block_length,
    block_means,
    drive_means,
    interval,
    LEVEL,
    of_drives,
    of_frames,
)
import numpy as np
import pytest


def loop_drive_interval(sums, counts, resamples=4000):
    """Return the interval with the standard library alone."""
    rng = random.Random(1)
    means = []
    for _ in range(resamples):
        picks = [rng.randrange(len(sums)) for _ in sums]
        means.append(sum(sums[i] for i in picks) / sum(counts[i] for i in picks))
    means.sort()
    cut = round(resamples * (1 - LEVEL) / 2)
    return means[cut], means[-cut]


def test_drive_means_interval_equals_a_second_implementation():
    rng = np.random.default_rng(3)
    counts = rng.integers(20, 200, 12).astype(float)
    sums = counts * rng.normal(0.1, 0.02, 12)
    found = interval(drive_means(sums, counts))
    low, high = loop_drive_interval(sums.tolist(), counts.tolist())
    assert found.low == pytest.approx(low, rel=0.02)
    assert found.high == pytest.approx(high, rel=0.02)


def test_interval_of_independent_frames_is_that_of_the_normal_distribution():
    values = np.random.default_rng(5).normal(3.0, 1.0, 900)
    found = interval(block_means(values))
    half = 1.96 * statistics.stdev(values.tolist()) / 30
    assert found.low == pytest.approx(values.mean() - half, abs=0.25 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.25 * half)


def test_blocks_widen_the_interval_of_a_slow_series():
    steps = np.random.default_rng(6).normal(size=400)
    slow = np.convolve(steps, np.ones(20) / 20, mode='same')
    shuffled = np.random.default_rng(7).permutation(slow)
    widths = [
        interval(block_means(v)).high - interval(block_means(v)).low for v in (slow, shuffled)
    ]
    assert widths[0] > 2 * widths[1]


def test_interval_p_value_is_small_only_when_zero_is_far():
    rng = np.random.default_rng(8)
    assert interval(rng.normal(0.0, 1.0, 4000)).p_value > 0.5
    assert interval(rng.normal(5.0, 1.0, 4000)).p_value < 0.01
    assert interval(rng.normal(-5.0, 1.0, 4000)).p_value < 0.01


def test_bootstrap_is_the_same_every_time():
    values = np.random.default_rng(9).normal(size=50)
    np.testing.assert_array_equal(block_means(values), block_means(values))


def test_block_means_of_a_constant_are_the_constant():
    np.testing.assert_allclose(block_means(np.full(37, 0.25)), 0.25, rtol=1e-12)
    assert block_length(37) == 6


def test_of_drives_needs_three_and_weighs_by_frames():
    drives = [(10, {'abs_rel': 0.1}), (30, {'abs_rel': 0.2}), (0, {'abs_rel': float('nan')})]
    assert of_drives(drives) is None
    found = of_drives([*drives, (20, {'abs_rel': 0.15})])
    assert found['units'] == 3
    low, high = found['metrics']['abs_rel']
    assert 0.1 <= low < 0.166 < high <= 0.2


def test_of_frames_of_a_short_drive_says_nothing():
    assert of_frames({'abs_rel': [0.1, 0.2, 0.3]}) is None
    assert of_frames({'abs_rel': []}) is None
    values = np.random.default_rng(2).uniform(0.1, 0.2, 100).tolist()
    low, high = of_frames({'abs_rel': values})['metrics']['abs_rel']
    assert 0.12 < low < statistics.fmean(values) < high < 0.18
