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
From one prediction to its record: everything that is counted of a frame, ready for a journal.

A record is a dict of JSON values. Floats pass through JSON unchanged, so totals made from
records that were read back are the same as those made from fresh ones.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
import math
from typing import Any

from depth_ros.core.boundary import boundary_metrics, edge_width_px
from depth_ros.core.camera import Intrinsics
from depth_ros.core.cloud_metrics import cloud_metrics, unproject
from depth_ros.core.datatypes import DepthEstimate, ImageF32, ImageU8, StageTimes
from depth_ros.core.geometry import Matrix
from depth_ros.core.lidar import OcclusionFilter, SparseDepth
from depth_ros.core.metrics import counted, grouped_sums, ScoredPixels, select
from depth_ros.core.plane_checks import ground_checks, wall_checks
from depth_ros.core.temporal_metrics import Moment, TemporalChecks
from depth_ros.core.uncertainty_metrics import FrameUncertainty
from depth_ros.errors import FrameError
from depth_ros.evaluation.config import EvaluationConfig, MIN_SCORED_PIXELS
from depth_ros.evaluation.figures import Snapshot
import numpy as np

Record = dict[str, Any]

SCORED = 'scored'
# Only checked, and why: there is nothing to score against in the whole bag.
NO_TRUTH = 'no truth in this run'
# Key of the records of frames that were held back and with which the model's memory began anew.
HELD_RESET = 'held_reset'
# Frames further apart are not compared with each other.
MAX_GAP_NS = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """
    Depth of one frame, from the pipeline or from a recording.

    ``times`` and ``frames_since_reset`` are known only of the former.
    """

    stamp_ns: int
    frame_id: str
    depth_HW: ImageF32
    uncertainty_HW: ImageF32 | None
    image_HW3: ImageU8
    intrinsics: Intrinsics
    times: StageTimes | None
    frames_since_reset: int = 0

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
            frames_since_reset=estimate.frames_since_reset,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """
    What was measured for a frame, beside its image.

    Fields:
        truth: None when there is none.
        reason, detail: why there is none.
        sweep_ns: stamp of the sweep, as corrected.
        world_T_cam: pose of the camera; None: not known.

    """

    truth: SparseDepth | None = None
    reason: str = NO_TRUTH
    detail: str = ''
    sweep_ns: int | None = None
    world_T_cam: Matrix | None = None


def skip_record(
    index: int, stamp_ns: int, reason: str, detail: str = '', *, dropped_sweeps: int = 0
) -> Record:
    """Return the record of a frame without prediction."""
    return {
        'frame': index,
        'stamp_ns': stamp_ns,
        'status': reason,
        'detail': detail,
        'dropped_sweeps': dropped_sweeps,
    }


class FrameScorer:
    """
    Scores the frames of one bag in their order.

    :param sequence_scale: for the alignment 'median_sequence'.
    :param is_parallel: the checks run beside the scores, in a thread of their own; the records
        are the same.
    """

    def __init__(
        self,
        config: EvaluationConfig,
        sequence_scale: float | None = None,
        *,
        is_parallel: bool = False,
    ) -> None:
        self._pool = ThreadPoolExecutor(1, 'checks') if is_parallel else None
        self._config = config
        self._sequence_scale = sequence_scale
        self._temporal = TemporalChecks(MAX_GAP_NS)

    def close(self) -> None:
        """End the thread of the checks."""
        if self._pool is not None:
            self._pool.shutdown()

    def score(
        self, index: int, prediction: Prediction, measured: Measured
    ) -> tuple[Record, Snapshot | None]:
        """Return the record of a frame, and what to draw when it was scored."""
        record = skip_record(index, prediction.stamp_ns, measured.reason, measured.detail)
        times = prediction.times
        if times is not None:
            stages = (times.rectify_ns, times.preprocess_ns, times.infer_ns, times.postprocess_ns)
            record['times_ns'] = list(stages)
        record['since_reset'] = prediction.frames_since_reset
        if measured.world_T_cam is not None:
            record['position_m'] = measured.world_T_cam[:2, 3].tolist()
        checks = self._begun_checks(prediction, measured)
        shot = None
        if measured.truth is not None:
            shot = self._score(record, index, prediction, measured.truth)
            record['sweep_ns'] = measured.sweep_ns
        record['sigma_stats'] = _sigma_stats(prediction)
        record['checks'] = checks()
        return record, shot

    def _begun_checks(
        self, prediction: Prediction, measured: Measured
    ) -> Callable[[], dict[str, float]]:
        """Return what waits for the checks; without a thread, what does them."""
        if self._pool is None:
            return lambda: self._checks(prediction, measured)
        return self._pool.submit(self._checks, prediction, measured).result

    def _score(
        self, record: Record, index: int, prediction: Prediction, truth: SparseDepth
    ) -> Snapshot | None:
        rules = self._config.rules
        record['lidar'] = [truth.points, truth.invalid]
        try:
            pixels = select(
                prediction.depth_HW,
                prediction.uncertainty_HW,
                truth,
                rules,
                sequence_scale=self._sequence_scale,
            )
        except FrameError as error:
            record.update(status='alignment impossible', detail=str(error))
            return None
        if len(pixels) < MIN_SCORED_PIXELS:
            reason = f'fewer than {MIN_SCORED_PIXELS} pixels with truth and prediction'
            record.update(status=reason, detail=f'{len(pixels)} of {pixels.truth_pixels}')
            return None
        by_range, by_region = grouped_sums(pixels, rules)
        record.update(
            status=SCORED,
            detail='',
            depth={
                'by_range': by_range.tolist(),
                'by_region': by_region.tolist(),
                'truth_pixels': pixels.truth_pixels,
                'missing': pixels.missing,
                'infinite': pixels.infinite,
                'scale': pixels.scale,
                'shift': pixels.shift,
                'log_ratio': _log_ratio(pixels),
            },
            sigma=_sigma(pixels),
        )
        return Snapshot(
            name=f'Frame {index}',
            verdict='',
            image_HW3=prediction.image_HW3,
            depth_HW=prediction.depth_HW,
            sigma_HW=prediction.uncertainty_HW,
            truth=truth.where(counted(truth, rules)),
            cap_m=rules.cap_m,
        )

    def _checks(self, prediction: Prediction, measured: Measured) -> dict[str, float]:
        groups = self._config.checks
        depth_HW, k = prediction.depth_HW, prediction.intrinsics
        truth = self._visible(measured.truth)
        values: dict[str, float] = {}
        if 'planes' in groups:
            values.update(ground_checks(depth_HW, k))
            if self._config.wall is not None:
                values.update(wall_checks(depth_HW, k, self._config.wall))
        if 'boundary' in groups:
            values['edge_width_px'] = edge_width_px(depth_HW)
            if truth is not None:
                values.update(boundary_metrics(depth_HW, truth))
        if 'cloud' in groups and truth is not None:
            values.update(_cloud(depth_HW, k, truth, self._config.rules.cap_m))
        if 'temporal' in groups:
            values.update(self._temporal.add(_moment(prediction, truth, measured.world_T_cam)))
        return {name: value for name, value in values.items() if math.isfinite(value)}

    def _visible(self, truth: SparseDepth | None) -> SparseDepth | None:
        """Return the hits that count and that the camera can see."""
        if truth is None:
            return None
        if self._config.occlusion is None and self._config.truth == 'sweep':
            truth = OcclusionFilter()(truth)
        return truth.where(counted(truth, self._config.rules))


def _log_ratio(pixels: ScoredPixels) -> float:
    """Return ln of the median truth over the median prediction: the scale that is missing."""
    return math.log(float(np.median(pixels.truth_N)) / float(np.median(pixels.prediction_N)))


def _sigma(pixels: ScoredPixels) -> dict[str, Any] | None:
    found = FrameUncertainty.of(pixels)
    if found is None:
        return None
    return {
        'unscored': found.unscored,
        'sums': found.sums.tolist(),
        'bins': found.bins.tolist(),
        'curves': found.curves.tolist(),
    }


def uncertainty_of(record: Record) -> FrameUncertainty | None:
    """Return the sums of uncertainty that a record holds."""
    sigma = record.get('sigma')
    if sigma is None:
        return None
    arrays = {key: np.array(sigma[key], np.float64) for key in ('sums', 'bins', 'curves')}
    return FrameUncertainty(unscored=sigma['unscored'], **arrays)


def _sigma_stats(prediction: Prediction) -> dict[str, float] | None:
    """Return what sigma says without any truth: its median, and that of sigma / depth."""
    if prediction.uncertainty_HW is None:
        return None
    sigma = prediction.uncertainty_HW[::SIGMA_STEP_PX, ::SIGMA_STEP_PX].ravel()
    depth = prediction.depth_HW[::SIGMA_STEP_PX, ::SIGMA_STEP_PX].ravel()
    is_known = np.isfinite(sigma) & np.isfinite(depth) & (depth > 0)
    if not is_known.any():
        return None
    sigma, depth = sigma[is_known], depth[is_known]
    return {
        'median_sigma_m': float(np.median(sigma)),
        'median_relative_sigma': float(np.median(sigma / depth)),
    }


SIGMA_STEP_PX = 4


def _cloud(
    depth_HW: ImageF32, k: Intrinsics, truth: SparseDepth, cap_m: float
) -> dict[str, float]:
    predicted = depth_HW[truth.rows_N, truth.cols_N].astype(np.float64)
    is_usable = np.isfinite(predicted) & (predicted > 0)
    if np.count_nonzero(is_usable) < MIN_SCORED_PIXELS:
        return {}
    truth = truth.where(is_usable)
    rows, cols = truth.rows_N, truth.cols_N
    clipped = np.minimum(predicted[is_usable], cap_m)
    return cloud_metrics(
        unproject(rows, cols, clipped, k),
        unproject(rows, cols, truth.depth_N.astype(np.float64), k),
    )


def _moment(
    prediction: Prediction, truth: SparseDepth | None, world_T_cam: Matrix | None
) -> Moment:
    return Moment(
        depth_HW=prediction.depth_HW,
        sigma_HW=prediction.uncertainty_HW,
        image_HW3=prediction.image_HW3,
        intrinsics=prediction.intrinsics,
        stamp_ns=prediction.stamp_ns,
        truth=truth,
        world_T_cam=world_T_cam,
    )
