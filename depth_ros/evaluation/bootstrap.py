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

"""Confidence intervals and paired tests by bootstrap, the same every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

LEVEL = 0.95
RESAMPLES = 4000
SEED = 20220523
# Fewer drives than this say nothing about the next drive.
MIN_DRIVES = 3
MIN_BLOCKS = 5
# Resamples are drawn in portions, so that long drives need no more memory.
PORTION = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """The interval that holds the mean with ``LEVEL``, and how often zero is passed."""

    low: float
    high: float
    p_value: float


def drive_means(sums_U: Vector, counts_U: Vector) -> Vector:
    """
    Return resampled means over frames, with whole drives drawn with replacement.

    :param sums_U: sum of the metric over the frames of each drive.
    :param counts_U: number of these frames.
    """
    rng = np.random.default_rng(SEED)
    picks = rng.integers(0, len(sums_U), (RESAMPLES, len(sums_U)))
    return np.asarray(sums_U[picks].sum(axis=1) / counts_U[picks].sum(axis=1), np.float64)


def block_means(values_N: Vector) -> Vector:
    """
    Return resampled means of a time series, with blocks of sqrt(N) neighbours drawn.

    Circular block bootstrap, Politis and Romano 1992: neighbours are alike, so that drawing
    single frames would promise too much.
    """
    rng = np.random.default_rng(SEED)
    count = len(values_N)
    length = block_length(count)
    blocks = math.ceil(count / length)
    running = np.concatenate([[0.0], np.cumsum(np.concatenate([values_N, values_N[:length]]))])
    block_sums = running[length:] - running[:-length]
    means = []
    for start in range(0, RESAMPLES, PORTION):
        size = (min(PORTION, RESAMPLES - start), blocks)
        picks = rng.integers(0, count, size)
        means.append(block_sums[picks].sum(axis=1) / (blocks * length))
    return np.concatenate(means)


def block_length(count: int) -> int:
    """Return how many neighbouring frames are drawn together."""
    return max(1, round(math.sqrt(count)))


def interval(means: Vector) -> Interval:
    """Return the percentile interval and the two-sided p value of a mean of zero."""
    tail = (1.0 - LEVEL) / 2.0
    low, high = np.quantile(means, (tail, 1.0 - tail)).tolist()
    # Both counts include the observation itself, so that p is never zero.
    below = (np.count_nonzero(means <= 0) + 1) / (len(means) + 1)
    above = (np.count_nonzero(means >= 0) + 1) / (len(means) + 1)
    return Interval(low=low, high=high, p_value=float(min(1.0, 2.0 * min(below, above))))


def of_drives(drives: Sequence[tuple[int, Mapping[str, float]]]) -> dict[str, Any] | None:
    """
    Return the intervals of each metric over drives; None: too few to say anything.

    :param drives: number of frames and mean of each metric over them.
    """
    drives = [(count, means) for count, means in drives if count]
    if len(drives) < MIN_DRIVES:
        return None
    counts = np.array([count for count, _ in drives], np.float64)
    metrics = {
        name: _pair(drive_means(counts * np.array([means[name] for _, means in drives]), counts))
        for name in drives[0][1]
    }
    return {**_facts('drives', len(drives)), 'metrics': metrics}


def of_frames(series: Mapping[str, Sequence[float]]) -> dict[str, Any] | None:
    """Return the intervals of each metric over the frames of one drive; None: too short."""
    count = len(next(iter(series.values())))
    if count < MIN_BLOCKS * block_length(count):
        return None
    metrics = {name: _pair(block_means(np.array(values))) for name, values in series.items()}
    facts = _facts('blocks of frames of one drive', math.ceil(count / block_length(count)))
    return {**facts, 'block_frames': block_length(count), 'metrics': metrics}


def _pair(means: Vector) -> list[float]:
    found = interval(means)
    return [found.low, found.high]


def _facts(over: str, units: int) -> dict[str, Any]:
    return {
        'level': LEVEL,
        'over': over,
        'units': units,
        'method': 'percentile bootstrap',
        'resamples': RESAMPLES,
        'seed': SEED,
    }
