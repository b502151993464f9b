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
Scale and shift that turn an affine-invariant inverse depth into 1 / metres, from sparse depth.

A relative model answers x with 1 / D = scale * x + shift, both unknown. They are fitted so that
the relative error D (scale * x + shift) - 1 is least in the mean of squares: the least squares
of inverse depth (Ranftl et al. 2020, arXiv:1907.01341, eq. 4), weighted by D^2, because
unweighted the few nearest points decide alone. Points that contradict the others are left out.

Shape letters: N points.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# The first line goes through medians of so many groups of points, sorted by x.
GROUPS = 16
MAX_ROUNDS = 10
# The standard deviation of a normal distribution over its median absolute deviation.
SIGMA_OF_MAD = 1.4826
# Points within so many sigma are kept; of a perfect fit those within this relative error.
KEPT_SIGMAS = 3.0
KEPT_RELATIVE = 0.01
# Shares of the points that the spread of depth and x is measured between.
LOW_SHARE, HIGH_SHARE = 0.1, 0.9
# Answers that differ by less, relative to their size, are one answer.
MIN_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleShift:
    """``scale`` [1/m per unit of the output] and ``shift`` [1/m] of an inverse depth."""

    scale: float
    shift: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRules:
    """
    When a fit is refused.

    Fields:
        min_points: fewest usable points.
        min_depth_ratio: of the depth below which 90 % of the points lie to that of 10 %: a
            scene at one distance cannot tell scale from shift.
        min_kept_share: fewest points that agree with the line.
        max_relative_error: largest median of the relative error of all points.

    """

    min_points: int = 100
    min_depth_ratio: float = 1.5
    min_kept_share: float = 0.5
    max_relative_error: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSums:
    """
    Means that a weighted line is the solution of; of several sweeps they may be averaged.

    With u = D x and v = D: the means of u u, u v, v v, u and v.
    """

    uu: float
    uv: float
    vv: float
    u: float
    v: float

    @classmethod
    def of(cls, x_N: Vector, depth_N: Vector) -> LineSums:
        """Return the means of some points."""
        u = depth_N * x_N
        pairs = (u * u, u * depth_N, depth_N * depth_N, u, depth_N)
        uu, uv, vv, mean_u, mean_v = (float(each.mean()) for each in pairs)
        return cls(uu=uu, uv=uv, vv=vv, u=mean_u, v=mean_v)

    def mixed(self, other: LineSums, share: float) -> LineSums:
        """Return the average with another, which counts by ``share``."""
        names = ('uu', 'uv', 'vv', 'u', 'v')
        return LineSums(
            **{k: (1 - share) * getattr(self, k) + share * getattr(other, k) for k in names}
        )

    def solve(self) -> ScaleShift:
        """
        Return the line.

        :raises FrameError: every point has the same x.
        """
        determinant = self.uu * self.vv - self.uv * self.uv
        if not determinant > MIN_SPREAD**2 * self.uu * self.vv:
            raise FrameError('the output is the same at every point: it has no scale')
        return ScaleShift(
            scale=(self.u * self.vv - self.v * self.uv) / determinant,
            shift=(self.v * self.uu - self.u * self.uv) / determinant,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleFit:
    """
    A fit that was accepted.

    Fields:
        line: scale and shift.
        sums: what they are the solution of.
        points, kept: usable points, and those that agree.
        relative_error: median of |D (scale x + shift) - 1| over all usable points.

    """

    line: ScaleShift
    sums: LineSums
    points: int
    kept: int
    relative_error: float


def fit_scale_shift(
    x_N: NDArray[np.floating[Any]],
    depth_N: NDArray[np.floating[Any]],
    rules: FitRules = FitRules(),
) -> ScaleFit:
    """
    Fit 1 / D = scale * x + shift.

    :param x_N: output of the model at each point; NaN and infinite ones are left out.
    :param depth_N: measured depth [m]; NaN, infinite ones and those not above 0 are left out.
    :raises FrameError: too few points, all at one distance or of one output, a scale that is
        not above 0, or points that follow no line; says which, with the numbers.
    """
    x, depth = np.asarray(x_N, np.float64), np.asarray(depth_N, np.float64)
    usable = np.isfinite(x) & np.isfinite(depth) & (depth > 0)
    x, depth = x[usable], depth[usable]
    _require_points(x, depth, rules)
    line = _first_line(x, depth)
    kept = np.zeros(x.size, np.bool_)
    for _ in range(MAX_ROUNDS):
        before, kept = kept, _agreeing(line, x, depth)
        if np.array_equal(kept, before):
            break
        line = LineSums.of(x[kept], depth[kept]).solve()
    fit = ScaleFit(
        line=line,
        sums=LineSums.of(x[kept], depth[kept]),
        points=x.size,
        kept=int(np.count_nonzero(kept)),
        relative_error=float(np.median(np.abs(_relative_error(line, x, depth)))),
    )
    _require_depths(depth[kept], rules)
    _require_line(fit, rules)
    return fit


def _require_points(x: Vector, depth: Vector, rules: FitRules) -> None:
    if x.size < rules.min_points:
        raise FrameError(f'{x.size} points with depth: needs at least {rules.min_points}')
    _require_depths(depth, rules)
    low, high = np.quantile(x, (LOW_SHARE, HIGH_SHARE))
    if high - low <= MIN_SPREAD * np.abs(x).max():
        raise FrameError(f'the output is {low:g} at nearly every point: it has no scale')


def _require_depths(depth: Vector, rules: FitRules) -> None:
    near, far = np.quantile(depth, (LOW_SHARE, HIGH_SHARE))
    if far < rules.min_depth_ratio * near:
        raise FrameError(
            f'the points lie between {near:.2f} and {far:.2f} m: scale and shift need depths that '
            f'differ by a factor of {rules.min_depth_ratio:g}'
        )


def _require_line(fit: ScaleFit, rules: FitRules) -> None:
    if not 0 < fit.line.scale < math.inf or not math.isfinite(fit.line.shift):
        raise FrameError(
            f'the scale is {fit.line.scale:g} 1/m: must be above 0, for the output grows with '
            'nearness'
        )
    if fit.kept < rules.min_kept_share * fit.points:
        raise FrameError(f'only {fit.kept} of {fit.points} points agree with a line')
    if fit.relative_error > rules.max_relative_error:
        raise FrameError(
            f'the best line misses half of the points by more than {fit.relative_error:.0%}: must '
            f'be at most {rules.max_relative_error:.0%}'
        )


def _first_line(x: Vector, depth: Vector) -> ScaleShift:
    """Return Siegel's repeated-median line (Biometrika 1982) through medians of groups."""
    order = np.argsort(x, kind='stable')
    groups = np.array_split(order, min(GROUPS, x.size))
    xs = np.array([np.median(x[group]) for group in groups])
    ys = 1.0 / np.array([np.median(depth[group]) for group in groups])
    rises, runs = ys[:, None] - ys, xs[:, None] - xs
    with np.errstate(divide='ignore', invalid='ignore'):
        slopes = np.where(np.abs(runs) > MIN_SPREAD * np.abs(xs).max(), rises / runs, np.nan)
    is_known = np.isfinite(slopes).any(axis=1)
    if not is_known.any():
        raise FrameError(f'the output is {xs[0]:g} at nearly every point: it has no scale')
    scale = float(np.median(np.nanmedian(slopes[is_known], axis=1)))
    return ScaleShift(scale=scale, shift=float(np.median(ys - scale * xs)))


def _relative_error(line: ScaleShift, x: Vector, depth: Vector) -> Vector:
    error: Vector = depth * (line.scale * x + line.shift) - 1.0
    return error


def _agreeing(line: ScaleShift, x: Vector, depth: Vector) -> NDArray[np.bool_]:
    error = np.abs(_relative_error(line, x, depth))
    # Of a line through more than half of the points the median is their rounding alone.
    limit = max(KEPT_SIGMAS * SIGMA_OF_MAD * float(np.median(error)), KEPT_RELATIVE)
    kept: NDArray[np.bool_] = error <= limit
    return kept
