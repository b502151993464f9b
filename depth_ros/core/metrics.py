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
Depth metrics at LiDAR pixels: which pixels count, the formulas, and exact accumulation.

Formulas: Eigen et al. 2014, arXiv:1406.2283, and the KITTI benchmark. With D the
prediction, T the truth [m], e = D - T and g = ln D - ln T over the scored pixels:

    abs_rel   mean |e| / T              [-]        mae   mean |e|                         [m]
    sq_rel    mean e^2 / T              [m]        a1    share with max(D/T, T/D) < 1.25  [-]
    rmse      sqrt(mean e^2)            [m]        a2    ... < 1.25^2                     [-]
    rmse_log  sqrt(mean g^2)            [-]        a3    ... < 1.25^3                     [-]
    silog     100 sqrt(mean g^2 - (mean g)^2)  [100 ln m]

sq_rel divides by T once, as every published row does, although the name suggests twice.
Shape letters: N scored pixels, R range bins, S sums.
"""

from __future__ import annotations

from dataclasses import dataclass
import itertools
import math
from typing import Any, get_args, Literal

from depth_ros.core.alignment import Alignment, Fit, fit
from depth_ros.core.exact_sum import ExactVector
from depth_ros.core.lidar import SparseDepth
from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Crop = Literal['garg', 'eigen', 'none']

DEPTH_METRICS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'silog', 'mae', 'a1', 'a2', 'a3')
# What a pixel adds to its range bin: 1, |e|/T, e^2/T, e^2, g^2, g, |e|, d1, d2, d3.
SUM_COUNT = 10
DELTA = 1.25
# Limits of the reported ranges [m]; the last one is the cap.
RANGE_EDGES_M = (0.0, 10.0, 30.0, 50.0, 80.0)
# Thirds of the image, row by row.
REGION_NAMES = tuple(
    f'{row} {column}'
    for row in ('top', 'middle', 'bottom')
    for column in ('left', 'centre', 'right')
)

# Shares of height (top, bottom) and width (left, right). Garg et al. 2016, arXiv:1603.04992, and
# Eigen et al. 2014, as their released code states them.
CROPS: dict[str, tuple[float, float, float, float]] = {
    'garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),
    'eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'none': (0.0, 1.0, 0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRules:
    """
    Which pixels are scored and how.

    Truth counts where min_depth_m < T < cap_m, inside the crop. A finite prediction is clamped
    to [min_depth_m, cap_m]; +Inf (beyond range, sky) counts as cap_m and -Inf (too close) as
    min_depth_m, because both are statements that can be wrong; NaN (unknown) is none: such a
    pixel is missing, is counted as a share and enters no mean. ``alignment`` is what is done
    before to the finite predictions, see ``core.alignment``.
    """

    crop: Crop = 'garg'
    min_depth_m: float = 1e-3
    cap_m: float = 80.0
    alignment: Alignment = 'none'

    def __post_init__(self) -> None:
        for key, choices in (('crop', Crop), ('alignment', Alignment)):
            if getattr(self, key) not in get_args(choices):
                raise ConfigError(
                    f'{key} = {getattr(self, key)!r}: must be one of {get_args(choices)}'
                )
        if not 0 < self.min_depth_m < self.cap_m < math.inf:
            raise ConfigError(
                f'min depth {self.min_depth_m} m, cap {self.cap_m} m: must be 0 < min < cap'
            )

    @property
    def edges_m(self) -> tuple[float, ...]:
        """Limits of the range bins; the last one is the cap."""
        return (*(edge for edge in RANGE_EDGES_M if edge < self.cap_m), self.cap_m)

    @property
    def range_names(self) -> tuple[str, ...]:
        """Name of each range bin in metres, such as '10-30'."""
        edges = self.edges_m
        return tuple(f'{low:g}-{high:g}' for low, high in itertools.pairwise(edges))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredPixels:
    """
    The pixels of one frame that are scored.

    Fields:
        prediction_N, truth_N: metres, float64, clamped.
        sigma_N: one standard deviation [m], NaN where unknown; None: there is no uncertainty.
        truth_pixels: pixels with truth, scored or missing.
        missing: of these, prediction NaN.
        infinite: of these, prediction +Inf or -Inf (scored at the clamp).
        scale, shift: what the alignment multiplied by and added.
        region_N: which of REGION_NAMES the pixel lies in; None: not asked for.

    """

    prediction_N: Vector
    truth_N: Vector
    sigma_N: Vector | None
    truth_pixels: int
    missing: int
    infinite: int
    scale: float
    shift: float = 0.0
    region_N: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.truth_N)


def crop_window(height: int, width: int, crop: Crop) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right [px]; bottom and right are exclusive."""
    top, bottom, left, right = CROPS[crop]
    return int(top * height), int(bottom * height), int(left * width), int(right * width)


def select(
    depth_HW: NDArray[np.float32],
    sigma_HW: NDArray[np.float32] | None,
    truth: SparseDepth,
    rules: ScoreRules,
    *,
    sequence_scale: float | None = None,
) -> ScoredPixels:
    """
    Return the pixels of a frame that the rules score.

    :param sequence_scale: what 'median_sequence' multiplies by.
    :raises ValueError: depth and truth are not of the same image size, or the scale of the
        sequence is missing or not wanted.
    :raises FrameError: the alignment that is asked for is impossible.
    """
    if depth_HW.shape != (truth.height, truth.width):
        raise ValueError(f'depth is {depth_HW.shape}, truth {(truth.height, truth.width)}')
    if (sequence_scale is None) == (rules.alignment == 'median_sequence'):
        raise ValueError(f'scale {sequence_scale} with alignment {rules.alignment!r}')
    truth = truth.where(counted(truth, rules))
    at = (truth.rows_N, truth.cols_N)
    raw, metres = depth_HW[at].astype(np.float64), truth.depth_N.astype(np.float64)
    sigma = None if sigma_HW is None else sigma_HW[at].astype(np.float64)
    is_known, is_finite = ~np.isnan(raw), np.isfinite(raw)
    line = fit(raw[is_finite], metres[is_finite], rules.alignment)
    if sequence_scale is not None:
        line = Fit(scale=sequence_scale)
    prediction = np.clip(line.depth(raw[is_known]), rules.min_depth_m, rules.cap_m)
    return ScoredPixels(
        prediction_N=prediction,
        truth_N=metres[is_known],
        sigma_N=None if sigma is None else _usable(line.sigma(sigma[is_known], raw[is_known])),
        truth_pixels=len(metres),
        missing=int(np.count_nonzero(~is_known)),
        infinite=int(np.count_nonzero(is_known & ~is_finite)),
        scale=line.scale,
        shift=line.shift,
        region_N=_regions(truth)[is_known],
    )


def _regions(truth: SparseDepth) -> NDArray[np.int64]:
    """Return the third of the image, row by row, that each hit lies in."""
    return 3 * (3 * truth.rows_N // truth.height) + 3 * truth.cols_N // truth.width


def counted(truth: SparseDepth, rules: ScoreRules) -> NDArray[np.bool_]:
    """Return which hits the rules count as truth: inside crop and range."""
    top, bottom, left, right = crop_window(truth.height, truth.width, rules.crop)
    return (
        (truth.rows_N >= top)
        & (truth.rows_N < bottom)
        & (truth.cols_N >= left)
        & (truth.cols_N < right)
        & (truth.depth_N > rules.min_depth_m)
        & (truth.depth_N < rules.cap_m)
    )


def _usable(sigma: Vector) -> Vector:
    return np.where((sigma > 0) & np.isfinite(sigma), sigma, np.nan)


def error_sums(pixels: ScoredPixels, rules: ScoreRules) -> NDArray[np.float64]:
    """Return (R, S): what the pixels of each range bin sum to; bins are by truth."""
    return _binned(_terms(pixels), _range_bins(pixels, rules), len(rules.range_names))


def grouped_sums(
    pixels: ScoredPixels, rules: ScoreRules
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return (R, S) by range of the truth and (9, S) by region of the image.

    :raises ValueError: the pixels do not say where in the image they are.
    """
    if pixels.region_N is None:
        raise ValueError('pixels without their region')
    shape = (len(rules.range_names), len(REGION_NAMES))
    # Range and region at once: one pass over the pixels instead of two.
    cells_N = _range_bins(pixels, rules) * shape[1] + pixels.region_N
    cells = _binned(_terms(pixels), cells_N, shape[0] * shape[1]).reshape(*shape, -1)
    return cells.sum(axis=1), cells.sum(axis=0)


def _range_bins(pixels: ScoredPixels, rules: ScoreRules) -> NDArray[np.int64]:
    return np.digitize(pixels.truth_N, rules.edges_m[1:-1])


def _binned(terms: tuple[Vector, ...], bins_N: NDArray[np.int64], count: int) -> Vector:
    sums = [np.bincount(bins_N, weights=term, minlength=count) for term in terms]
    return np.stack(sums, axis=1)


def _terms(pixels: ScoredPixels) -> tuple[Vector, ...]:
    prediction, truth = pixels.prediction_N, pixels.truth_N
    error = prediction - truth
    square = error * error
    log_error = np.log(prediction) - np.log(truth)
    ratio = np.maximum(prediction / truth, truth / prediction)
    return (
        np.ones_like(error),
        np.abs(error) / truth,
        square / truth,
        square,
        log_error * log_error,
        log_error,
        np.abs(error),
        *((ratio < DELTA**power).astype(np.float64) for power in (1, 2, 3)),
    )


def metrics_of(sums_S: Vector) -> dict[str, float]:
    """Return the nine metrics of the pixels that were summed; NaN of none."""
    count = float(sums_S[0])
    if count == 0:
        return dict.fromkeys(DEPTH_METRICS, math.nan)
    abs_rel, sq_rel, square, log_square, log_mean, mae, a1, a2, a3 = (sums_S[1:] / count).tolist()
    # Rounding can make the variance of a constant log error slightly negative.
    variance = max(log_square - log_mean * log_mean, 0.0)
    values = (abs_rel, sq_rel, math.sqrt(square), math.sqrt(log_square), 100 * math.sqrt(variance))
    return dict(zip(DEPTH_METRICS, (*values, mae, a1, a2, a3), strict=True))


class MetricMeans:
    """
    Metrics of many frames, by frame and by pixel; exact, so that order and grouping never show.

    ``by_frame`` is the mean of the frames' metrics (what KITTI rows are), ``by_pixel`` the
    metric of all pixels together (where a frame with more points weighs more).
    """

    def __init__(self) -> None:
        self.frames = 0
        self._frame_sums = ExactVector(len(DEPTH_METRICS))
        self._pixel_sums = ExactVector(SUM_COUNT)

    def add(self, sums_S: Vector) -> None:
        """Add one frame's sums; a frame without pixels adds nothing."""
        if sums_S[0] == 0:
            return
        self.frames += 1
        self._frame_sums.add(list(metrics_of(sums_S).values()))
        self._pixel_sums.add(sums_S.tolist())

    def merge(self, other: MetricMeans) -> None:
        """Add what another accumulator has seen."""
        self.frames += other.frames
        self._frame_sums.merge(other._frame_sums)
        self._pixel_sums.merge(other._pixel_sums)

    @property
    def pixels(self) -> int:
        """How many pixels were scored."""
        return int(self._pixel_sums.values()[0])

    def by_frame(self) -> dict[str, float]:
        """Return the mean over frames of each metric; NaN of none."""
        return dict(zip(DEPTH_METRICS, self._frame_sums.means(self.frames), strict=True))

    def by_pixel(self) -> dict[str, float]:
        """Return each metric over all pixels; NaN of none."""
        return metrics_of(np.array(self._pixel_sums.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MetricMeans) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.frames, self._frame_sums, self._pixel_sums


class DepthScores:
    """Metrics over all ranges and by range bin, of frames scored under the same rules."""

    def __init__(self, rules: ScoreRules) -> None:
        self.rules = rules
        self.overall = MetricMeans()
        self.by_range = {name: MetricMeans() for name in rules.range_names}
        self.truth_pixels = 0
        self.missing = 0
        self.infinite = 0

    def add(self, pixels: ScoredPixels) -> dict[str, float]:
        """Add one frame and return its metrics."""
        sums_RS = error_sums(pixels, self.rules)
        return self.add_sums(sums_RS, pixels.truth_pixels, pixels.missing, pixels.infinite)

    def add_sums(
        self, sums_RS: NDArray[np.float64], truth_pixels: int, missing: int, infinite: int
    ) -> dict[str, float]:
        """Add one frame that was summed before, and return its metrics."""
        for means, sums_S in zip(self.by_range.values(), sums_RS, strict=True):
            means.add(sums_S)
        total_S = sums_RS.sum(axis=0)
        self.overall.add(total_S)
        self.truth_pixels += truth_pixels
        self.missing += missing
        self.infinite += infinite
        return metrics_of(total_S)

    def __add__(self, other: DepthScores) -> DepthScores:
        """
        Return the scores of both sets of frames; exact, so the order does not matter.

        :raises ValueError: they were scored under different rules.
        """
        if self.rules != other.rules:
            raise ValueError(f'scores under {self.rules} and {other.rules} do not add')
        result = DepthScores(self.rules)
        for part in (self, other):
            result.overall.merge(part.overall)
            for name, means in part.by_range.items():
                result.by_range[name].merge(means)
            result.truth_pixels += part.truth_pixels
            result.missing += part.missing
            result.infinite += part.infinite
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DepthScores) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.rules, self.overall))

    def _key(self) -> tuple[Any, ...]:
        counts = (self.truth_pixels, self.missing, self.infinite)
        return self.rules, self.overall, self.by_range, counts
