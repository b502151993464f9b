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
Score the frames of one bag: the running totals, the table of frames, the frames to draw.

Memory does not grow with the bag but for 40 bytes a frame (its latencies).
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.core.datatypes import DepthEstimate, ImageF32, ImageU8, StageTimes
from depth_ros.core.lidar import SparseDepth
from depth_ros.core.metrics import counted, DepthScores, select
from depth_ros.core.uncertainty_metrics import UncertaintyScores
from depth_ros.errors import FrameError
from depth_ros.evaluation.album import Album
from depth_ros.evaluation.config import EvaluationConfig, MIN_SCORED_PIXELS, NS_PER_MS
from depth_ros.evaluation.figures import Snapshot
from depth_ros.evaluation.files import FrameTable
import numpy as np

STAGES = ('rectify', 'preprocess', 'infer', 'postprocess', 'total')
PERCENTILES = (50, 95, 99)
# Caches fill, and clocks and thread pools start, during the first frames.
WARMUP_FRAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Depth of one frame, from the pipeline or from a recording; ``times`` only of the former."""

    stamp_ns: int
    frame_id: str
    depth_HW: ImageF32
    uncertainty_HW: ImageF32 | None
    image_HW3: ImageU8
    intrinsics: Intrinsics
    times: StageTimes | None

    @classmethod
    def of(cls, estimate: DepthEstimate) -> Prediction:
        """Return what is scored of an estimate."""
        return cls(
            stamp_ns=estimate.stamp_ns,
            frame_id=estimate.frame_id,
            depth_HW=estimate.depth_HW,
            uncertainty_HW=estimate.uncertainty_HW,
            image_HW3=estimate.image_HW3,
            intrinsics=estimate.intrinsics,
            times=estimate.times,
        )


class Session:
    """Everything that is known after the frames that were handed over so far."""

    def __init__(self, config: EvaluationConfig, table: FrameTable) -> None:
        self.depth = DepthScores(config.rules)
        self.uncertainty = UncertaintyScores()
        self.skipped: Counter[str] = Counter()
        self.scored = 0
        self.lidar_points = 0
        self.lidar_invalid = 0
        self.album = Album(config.pictures)
        self._config = config
        self._table = table
        self._times = {stage: array('q') for stage in STAGES}

    @property
    def frames(self) -> int:
        """How many frames were handed over."""
        return self.scored + sum(self.skipped.values())

    def skip(self, index: int, stamp_ns: int, reason: str, detail: str = '') -> None:
        """Count a frame that is not scored; ``detail`` goes to its line of the table."""
        self.skipped[reason] += 1
        status = f'{reason}: {detail}' if detail else reason
        self._table.add({'frame': index, 'stamp_ns': stamp_ns, 'status': status})

    def note_times(self, times: StageTimes) -> None:
        """Keep how long a frame took, whether it is scored or not."""
        for stage in STAGES[:-1]:
            self._times[stage].append(getattr(times, f'{stage}_ns'))
        self._times['total'].append(times.total_ns)

    def score(self, index: int, prediction: Prediction, truth: SparseDepth, sweep_ns: int) -> None:
        """Score one frame, or count why it cannot be."""
        self.lidar_points += truth.points
        self.lidar_invalid += truth.invalid
        rules = self._config.rules
        try:
            pixels = select(prediction.depth_HW, prediction.uncertainty_HW, truth, rules)
        except FrameError as error:
            self.skip(index, prediction.stamp_ns, 'alignment impossible', str(error))
            return
        if len(pixels) < MIN_SCORED_PIXELS:
            reason = f'fewer than {MIN_SCORED_PIXELS} pixels with truth and prediction'
            self.skip(
                index, prediction.stamp_ns, reason, f'{len(pixels)} of {pixels.truth_pixels}'
            )
            return
        scores = self.depth.add(pixels)
        row = {
            'frame': index,
            'stamp_ns': prediction.stamp_ns,
            'lidar_stamp_ns': sweep_ns,
            'gap_ms': (sweep_ns - prediction.stamp_ns) / NS_PER_MS,
            'status': 'scored',
            'truth_pixels': pixels.truth_pixels,
            'missing_pixels': pixels.missing,
            'infinite_pixels': pixels.infinite,
            'scale': pixels.scale,
            **scores,
            **self.uncertainty.add(pixels),
        }
        if prediction.times is not None:
            row['latency_ms'] = prediction.times.total_ns / NS_PER_MS
        self._table.add(row)
        self._show(index, prediction, truth.where(counted(truth, rules)), scores)
        self.scored += 1

    def _show(
        self,
        index: int,
        prediction: Prediction,
        truth: SparseDepth,
        scores: dict[str, float],
    ) -> None:
        shot = Snapshot(
            name=f'Frame {index}',
            verdict='AbsRel {abs_rel:.3f}, RMSE {rmse:.2f} m, a1 {a1:.3f}'.format(**scores),
            image_HW3=prediction.image_HW3,
            depth_HW=prediction.depth_HW,
            sigma_HW=prediction.uncertainty_HW,
            truth=truth,
            cap_m=self._config.rules.cap_m,
        )
        self.album.offer(index, scores['abs_rel'], shot, prediction.intrinsics)

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
