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
Totals of many frames, made from their records.

Sums are exact, so that neither the order of the frames nor how they were spread over workers
shows in the result. Memory grows by 100 bytes a frame.
"""

from __future__ import annotations

from array import array
from collections import Counter
import math
from typing import Any

from depth_ros.core.exact_sum import ExactVector
from depth_ros.core.metrics import (
    DEPTH_METRICS,
    DepthScores,
    MetricMeans,
    REGION_NAMES,
    ScoreRules,
)
from depth_ros.core.uncertainty_metrics import UncertaintyScores
from depth_ros.evaluation.config import NS_PER_MS
from depth_ros.evaluation.scoring import Record, SCORED, uncertainty_of
from depth_ros.evaluation.timeline import latency_ms, TimeLine
import numpy as np

STAGES = ('rectify', 'preprocess', 'infer', 'postprocess', 'total')
PERCENTILES = (50, 95, 99)
# Caches fill, and clocks and thread pools start, during the first frames.
WARMUP_FRAMES = 3
NS_PER_S = 1e9
S_PER_MINUTE = 60.0
# Over a shorter time than this [s], the line through the scales shows the scene, not a drift.
MIN_DRIFT_S = 10.0


class ScalarMeans:
    """Mean and spread over frames of values that not every frame has, by name."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._sums: dict[str, ExactVector] = {}

    def add(self, values: dict[str, float]) -> None:
        """Add the values of one frame."""
        for name, value in values.items():
            self._counts[name] += 1
            self._sums.setdefault(name, ExactVector(2)).add((value, value * value))

    def merge(self, other: ScalarMeans) -> None:
        """Add what another one has seen."""
        self._counts.update(other._counts)
        for name, sums in other._sums.items():
            self._sums.setdefault(name, ExactVector(2)).merge(sums)

    def result(self) -> dict[str, dict[str, float]]:
        """Return mean, standard deviation over frames, and number of frames, sorted by name."""
        rows = {}
        for name in sorted(self._sums):
            mean, square = self._sums[name].means(self._counts[name])
            spread = math.sqrt(max(square - mean * mean, 0.0))
            rows[name] = {'mean': mean, 'std': spread, 'frames': self._counts[name]}
        return rows


class Drift:
    """The line through the missing scale of each frame, ln(T / D), over time."""

    def __init__(self) -> None:
        self._frames = 0
        self._first_ns: int | None = None
        self._last_s = 0.0
        self._sums = ExactVector(5)

    def add(self, stamp_ns: int, log_ratio: float) -> None:
        """Add one frame of a sequence."""
        if self._first_ns is None:
            self._first_ns = stamp_ns
        t, r = (stamp_ns - self._first_ns) / NS_PER_S, log_ratio
        self._frames += 1
        self._last_s = t
        self._sums.add((t, r, t * t, t * r, r * r))

    def result(self) -> dict[str, float] | None:
        """
        Return mean scale, its spread, and its growth a minute; None of under two frames.

        The growth is NaN when the sequence is shorter than MIN_DRIFT_S.
        """
        if self._frames < 2:
            return None
        t, r, tt, tr, rr = self._sums.means(self._frames)
        is_long = self._last_s >= MIN_DRIFT_S and tt > t * t
        slope = (tr - t * r) / (tt - t * t) if is_long else math.nan
        return {
            'scale': math.exp(r),
            'scale_spread': math.sqrt(max(rr - r * r, 0.0)),
            'drift_per_minute': math.expm1(slope * S_PER_MINUTE),
            'seconds': self._last_s,
            'frames': self._frames,
        }


class Totals:
    """Everything that is known after the records that were added so far."""

    def __init__(self, rules: ScoreRules) -> None:
        self.depth = DepthScores(rules)
        self.regions = {name: MetricMeans() for name in REGION_NAMES}
        self.uncertainty = UncertaintyScores()
        self.checks = ScalarMeans()
        self.sigma_stats = ScalarMeans()
        self.skipped: Counter[str] = Counter()
        self.scored = 0
        self.lidar_points = 0
        self.lidar_invalid = 0
        self.dropped_sweeps = 0
        # Of this sequence alone: not merged.
        self.drift = Drift()
        self.timeline = TimeLine()
        self.per_frame = {name: array('d') for name in DEPTH_METRICS}
        self._times = {stage: array('q') for stage in STAGES}

    @property
    def frames(self) -> int:
        """How many frames were added."""
        return self.scored + sum(self.skipped.values())

    def add(self, record: Record) -> dict[str, float]:
        """Add one frame and return its scores, empty when it has none."""
        self.dropped_sweeps = max(self.dropped_sweeps, record.get('dropped_sweeps', 0))
        points, invalid = record.get('lidar', (0, 0))
        self.lidar_points += points
        self.lidar_invalid += invalid
        self.checks.add(record.get('checks', {}))
        self.sigma_stats.add(record.get('sigma_stats') or {})
        self._note_times(record.get('times_ns'))
        scores: dict[str, float] = {}
        if record['status'] == SCORED:
            self.scored += 1
            scores = self._add_depth(record)
        else:
            self.skipped[record['status']] += 1
        self._note_course(record, scores)
        return scores

    def _add_depth(self, record: Record) -> dict[str, float]:
        depth = record['depth']
        sums_RS = np.array(depth['by_range'], np.float64)
        counts = (depth[key] for key in ('truth_pixels', 'missing', 'infinite'))
        scores = self.depth.add_sums(sums_RS, *counts)
        for means, sums_S in zip(self.regions.values(), depth['by_region'], strict=True):
            means.add(np.array(sums_S, np.float64))
        self.drift.add(record['stamp_ns'], depth['log_ratio'])
        for name, values in self.per_frame.items():
            values.append(scores[name])
        uncertainty = uncertainty_of(record)
        if uncertainty is not None:
            scores.update(self.uncertainty.add_frame(uncertainty))
        return scores

    def _note_course(self, record: Record, scores: dict[str, float]) -> None:
        values = latency_ms(record.get('times_ns'))
        values.update({name: scores[name] for name in ('abs_rel', 'rmse') if name in scores})
        if values or 'position_m' in record:
            self.timeline.add(
                record['frame'], record['stamp_ns'], values, record.get('position_m')
            )

    def _note_times(self, times_ns: list[int] | None) -> None:
        if times_ns is None:
            return
        for stage, duration in zip(STAGES, (*times_ns, sum(times_ns)), strict=True):
            self._times[stage].append(duration)

    def merge(self, other: Totals) -> None:
        """Add what another one has seen; what belongs to one sequence stays out."""
        self.depth += other.depth
        for name, means in other.regions.items():
            self.regions[name].merge(means)
        self.uncertainty.merge(other.uncertainty)
        self.checks.merge(other.checks)
        self.sigma_stats.merge(other.sigma_stats)
        self.skipped.update(other.skipped)
        for key in ('scored', 'lidar_points', 'lidar_invalid', 'dropped_sweeps'):
            setattr(self, key, getattr(self, key) + getattr(other, key))

    def result(self) -> dict[str, Any]:
        """Return what was measured, the headline first, as metrics.json holds it."""
        depth = self.depth
        pixels = max(depth.truth_pixels, 1)
        return {
            'depth': depth.overall.by_frame(),
            'by_range': {name: _row(means) for name, means in depth.by_range.items()},
            'by_region': {name: _row(means) for name, means in self.regions.items()},
            'by_pixel': {**depth.overall.by_pixel(), 'pixels': depth.overall.pixels},
            'uncertainty': self.uncertainty.result(),
            'sigma_without_truth': self.sigma_stats.result() or None,
            'checks': self.checks.result(),
            'truth': {
                'pixels': depth.truth_pixels,
                'missing_share': depth.missing / pixels,
                'infinite_share': depth.infinite / pixels,
                'lidar_points': self.lidar_points,
                'lidar_points_without_return': self.lidar_invalid,
                'sweeps_dropped': self.dropped_sweeps,
            },
            'frames': {
                'processed': self.frames,
                'scored': self.scored,
                'skipped': dict(sorted(self.skipped.items())),
            },
        }

    def latency(self) -> dict[str, Any] | None:
        """Return p50, p95 and p99 of each stage [ms] after warm-up; None: nothing was timed."""
        count = len(self._times['total'])
        if count == 0:
            return None
        skipped = WARMUP_FRAMES if count > 2 * WARMUP_FRAMES else 0
        result: dict[str, Any] = {}
        for stage in STAGES:
            values = np.percentile(self._times[stage][skipped:], PERCENTILES) / NS_PER_MS
            names = (f'p{percentile}' for percentile in PERCENTILES)
            result[stage] = dict(zip(names, values.tolist(), strict=True))
        return {'unit': 'ms', **result, 'frames': count - skipped, 'warmup_frames': skipped}

    def engine_ns(self) -> int:
        """Return how long the engine has computed, of all frames."""
        return sum(self._times['infer'])


def _row(means: MetricMeans) -> dict[str, Any]:
    return {**means.by_frame(), 'frames': means.frames, 'pixels': means.pixels}
