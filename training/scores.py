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

"""The scores of one model on one drive, and the table that holds several side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from depth_ros.core.datatypes import DepthEstimate
from depth_ros.core.lidar import SparseDepth
from depth_ros.core.metrics import DepthScores, ScoreRules, select
from depth_ros.core.uncertainty_metrics import UncertaintyScores
import numpy as np
from rich.table import Table
from training.calibrate_samples import TARGETS

RULES = ScoreRules()
# As in depth_ros.evaluation: with fewer pixels a frame's metrics say more about chance.
MIN_SCORED_PIXELS = 50
PERCENTILES = (50, 95, 99)
# Caches fill, and clocks and thread pools start, during the first frames.
WARMUP_FRAMES = 3
NS_PER_MS = 1e6
SCORED = 'scored'
FEW = f'fewer than {MIN_SCORED_PIXELS} pixels with truth and prediction'
PROTOCOL = {
    **asdict(RULES),
    'averaging': 'mean over frames; coverage and NLL over all pixels',
    'min_scored_pixels': MIN_SCORED_PIXELS,
    'infinite_predictions': 'scored as the cap (+Inf) or the least depth (-Inf)',
    'missing_predictions': 'NaN: left out of every mean, counted as missing_share',
    'coverage_targets': [asdict(target) for target in TARGETS],
}
# Title -> group and key in a drive's result, decimals. The d1 of AUSE is 1 - a1.
ROWS: dict[str, tuple[str, str, int]] = {
    'AbsRel': ('depth', 'abs_rel', 4),
    'SqRel, m': ('depth', 'sq_rel', 3),
    'RMSE, m': ('depth', 'rmse', 3),
    'RMSE log': ('depth', 'rmse_log', 4),
    'a1': ('depth', 'a1', 4),
    'a2': ('depth', 'a2', 4),
    'a3': ('depth', 'a3', 4),
    'within 1 sigma': ('uncertainty', 'coverage_1_sigma', 3),
    'within 2 sigma': ('uncertainty', 'coverage_2_sigma', 3),
    'AUSE AbsRel': ('uncertainty', 'ause_abs_rel', 4),
    'AUSE RMSE, m': ('uncertainty', 'ause_rmse', 3),
    'AUSE a1': ('uncertainty', 'ause_d1', 4),
    'NLL, ln m': ('uncertainty', 'nll', 3),
    'ms a frame': ('latency', 'p50', 1),
}
ABSENT = '-'


class Score:
    """Running totals over the frames of a drive."""

    def __init__(self) -> None:
        self.depth = DepthScores(RULES)
        self.uncertainty = UncertaintyScores()
        self.frames: Counter[str] = Counter()
        self.times_ns: list[int] = []

    @classmethod
    def summed(cls, parts: Iterable[Score]) -> Score:
        """Return several drives as one."""
        total = cls()
        for part in parts:
            total.depth += part.depth
            total.uncertainty += part.uncertainty
            total.frames += part.frames
            total.times_ns += part.times_ns
        return total

    def add(self, estimate: DepthEstimate, truth: SparseDepth) -> dict[str, Any]:
        """Add one frame and return its line of per_frame.csv."""
        pixels = select(estimate.depth_HW, estimate.uncertainty_HW, truth, RULES)
        # The first frames of a drive warm up as the drive begins.
        if sum(self.frames.values()) >= WARMUP_FRAMES:
            self.times_ns.append(estimate.times.total_ns)
        status = SCORED if len(pixels) >= MIN_SCORED_PIXELS else FEW
        self.frames[status] += 1
        row: dict[str, Any] = {
            'status': status,
            'truth_pixels': pixels.truth_pixels,
            'missing_pixels': pixels.missing,
            'infinite_pixels': pixels.infinite,
            'latency_ms': estimate.times.total_ns / NS_PER_MS,
        }
        if status == SCORED:
            row.update(self.depth.add(pixels))
            row.update(self.uncertainty.add(pixels))
        return row

    def result(self) -> dict[str, Any]:
        """Return every figure by name; None where there is nothing to tell."""
        pixels = max(self.depth.truth_pixels, 1)
        return {
            'depth': self.depth.overall.by_frame(),
            'by_range': {n: means.by_frame() for n, means in self.depth.by_range.items()},
            'by_pixel': self.depth.overall.by_pixel(),
            'uncertainty': self.uncertainty.result(),
            'latency': self._latency(),
            'frames': {SCORED: self.frames[SCORED], 'not scored': self.frames[FEW]},
            'truth_pixels': self.depth.truth_pixels,
            'missing_share': self.depth.missing / pixels,
            'infinite_share': self.depth.infinite / pixels,
        }

    def _latency(self) -> dict[str, Any] | None:
        if not self.times_ns:
            return None
        values = np.percentile(self.times_ns, PERCENTILES) / NS_PER_MS
        names = (f'p{percentile}' for percentile in PERCENTILES)
        return {
            'unit': 'ms',
            **dict(zip(names, values.tolist(), strict=True)),
            'frames': len(self.times_ns),
        }


def table(models: Sequence[dict[str, Any]]) -> Table:
    """Return the models side by side, drive after drive, all drives last."""
    result = Table()
    result.add_column('')
    for model in models:
        result.add_column(model['label'], justify='right', overflow='fold')
    drives = list(models[0]['drives'])
    sections = [(name, [m['drives'][name] for m in models]) for name in drives]
    if len(drives) > 1:
        sections.append(('all drives', [m['all'] for m in models]))
    for name, columns in sections:
        result.add_section()
        frames = columns[0]['frames']
        result.add_row(f'{name}, {frames[SCORED]} frames', style='bold')
        for title, place in ROWS.items():
            result.add_row(title, *(_cell(column, *place) for column in columns))
    return result


def _cell(result: dict[str, Any], group: str, key: str, digits: int) -> str:
    values = result[group]
    if values is None or values[key] != values[key]:
        return ABSENT
    return f'{values[key]:.{digits}f}'
