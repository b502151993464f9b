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
Metrics of the predicted one-sigma: does it cover, and does it rank the errors.

Likelihood and reliability take the error as Laplace distributed with standard deviation sigma,
so of scale b = sigma / sqrt(2), which is what the models learn. What share of the errors lies
within a sigma that is right depends on their distribution, so it is told as a range, from
Gaussian to Laplace errors. AUSE and AURG are
Poggi et al. 2020, arXiv:2005.06209; they see only the order of sigma.
Shape letters: N pixels, P probabilities, T 50 steps of sparsification.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from depth_ros.core.exact_sum import ExactVector
from depth_ros.core.metrics import DELTA, ScoredPixels, Vector
import numpy as np
from numpy.typing import NDArray

# Nominal coverages of the reliability diagram.
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
STEPS = 50
RANKED_METRICS = ('abs_rel', 'rmse', 'd1')
# Which errors come with which sigma: bins of sigma [m].
SIGMA_EDGES_M = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
RANKING_NAMES = tuple(f'{area}_{name}' for name in RANKED_METRICS for area in ('ause', 'aurg'))


def gaussian_share(sigmas: float) -> float:
    """Return the share of Gaussian errors within so many standard deviations."""
    return math.erf(sigmas / math.sqrt(2.0))


def laplace_share(sigmas: float) -> float:
    """Return the share of Laplace errors within so many standard deviations."""
    return 1.0 - math.exp(-math.sqrt(2.0) * sigmas)


def expected_shares(sigmas: float) -> list[float]:
    """Return the ends of what is to be expected within so many sigmas: Gaussian, Laplace."""
    return [gaussian_share(sigmas), laplace_share(sigmas)]


def _gaussian_at(nominal: float) -> float:
    """Return the share of Gaussian errors in the interval that holds ``nominal`` of Laplace's."""
    return gaussian_share(-math.log1p(-nominal) / math.sqrt(2.0))


def calibration_sums(error_N: Vector, sigma_N: Vector) -> Vector:
    """Return sums over pixels: 1, inside 1 sigma, inside 2 sigma, NLL, sigma, inside each p."""
    error = np.abs(error_N)
    scale_b = sigma_N / math.sqrt(2.0)
    nll = error / scale_b + np.log(2.0 * scale_b)
    inside = [np.count_nonzero(error < scale_b * -math.log1p(-p)) for p in PROBABILITIES]
    one, two = (np.count_nonzero(error <= k * sigma_N) for k in (1, 2))
    return np.array([len(error), one, two, nll.sum(), sigma_N.sum(), *inside], np.float64)


def sigma_bins(error_N: Vector, sigma_N: Vector) -> Vector:
    """Return (8, 3): number of pixels, sum of sigma^2 and of error^2, by bin of sigma."""
    bins = np.digitize(sigma_N, SIGMA_EDGES_M)
    terms = (np.ones_like(error_N), sigma_N * sigma_N, error_N * error_N)
    count = len(SIGMA_EDGES_M) + 1
    return np.stack([np.bincount(bins, term, count) for term in terms], axis=1)


def ranking_areas(prediction_N: Vector, truth_N: Vector, sigma_N: Vector) -> dict[str, float]:
    """
    Return AUSE and AURG of abs_rel, rmse and d1 (here 1 - a1) for the pixels of one frame.

    Each curve removes 2t % of the pixels with the largest sigma (or error, for the oracle),
    t = 0..49, and ends at zero.
    """
    return areas_of(sparsification_curves(prediction_N, truth_N, sigma_N))


def areas_of(curves: dict[str, tuple[Vector, Vector]]) -> dict[str, float]:
    """Return AUSE and AURG of each metric from its curves by sigma and by the error itself."""
    areas: dict[str, float] = {}
    for name, (curve, oracle) in curves.items():
        areas[f'ause_{name}'] = _area(curve) - _area(oracle)
        areas[f'aurg_{name}'] = float(curve[0]) - _area(curve)
    return areas


def sparsification_curves(
    prediction_N: Vector, truth_N: Vector, sigma_N: Vector
) -> dict[str, tuple[Vector, Vector]]:
    """Return by metric two curves (T + 1,): what is left by sigma, and by the error itself."""
    error = np.abs(prediction_N - truth_N)
    ratio = np.maximum(prediction_N / truth_N, truth_N / prediction_N)
    # Metric -> what the oracle removes first, and what is averaged, as a function of that.
    keys = {'abs_rel': error / truth_N, 'rmse': error, 'd1': ratio}
    # Not a stable sort: equal keys stay or go together, and this one is six times faster.
    order = np.argsort(sigma_N)
    kept = _kept(sigma_N[order])
    curves: dict[str, tuple[Vector, Vector]] = {}
    for name in RANKED_METRICS:
        # Sorting values alone is five times faster than finding their order.
        ranked = np.sort(keys[name])
        curve = _curve(_term(name, keys[name][order]), kept)
        oracle = _curve(_term(name, ranked), _kept(ranked))
        curves[name] = (np.sqrt(curve), np.sqrt(oracle)) if name == 'rmse' else (curve, oracle)
    return curves


def _term(name: str, key_N: Vector) -> Vector:
    """Return what is averaged of a metric, from what the oracle sorts by."""
    if name == 'rmse':
        return key_N * key_N
    return (key_N >= DELTA).astype(np.float64) if name == 'd1' else key_N


def _kept(ranked_N: Vector) -> NDArray[np.intp]:
    """Return how many of the pixels remain at each step, the smallest keys first."""
    # The threshold is the percentile 2t of -key, linear between ranks, and what equals it
    # stays. Its rank is taken in integers: rounded, it would keep or drop a pixel by chance.
    last = (len(ranked_N) - 1) * (STEPS - np.arange(STEPS)) // STEPS
    return np.searchsorted(ranked_N, ranked_N[last], side='right')


def _curve(term_N: Vector, kept_T: NDArray[np.intp]) -> Vector:
    """Return (T + 1,): mean of the terms that remain at each step, then zero."""
    running = np.cumsum(term_N)
    return np.append(running[kept_T - 1] / kept_T, 0.0)


def _area(curve_T: Vector) -> float:
    return float(np.sum((curve_T[1:] + curve_T[:-1]) * 0.5) / STEPS)


_NONE = np.empty(0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameUncertainty:
    """
    What one frame adds to ``UncertaintyScores``.

    Fields:
        unscored: pixels without a usable sigma.
        sums: of calibration_sums; empty when no pixel had a sigma.
        bins: of sigma_bins, (8, 3).
        curves: of sparsification_curves, in the order of RANKED_METRICS, (3, 2, T + 1).

    """

    unscored: int
    sums: Vector
    bins: Vector
    curves: Vector

    @classmethod
    def of(cls, pixels: ScoredPixels) -> FrameUncertainty | None:
        """Return the sums of one frame, or None when the model has no uncertainty."""
        if pixels.sigma_N is None:
            return None
        is_known = np.isfinite(pixels.sigma_N)
        unscored = int(np.count_nonzero(~is_known))
        if not is_known.any():
            return cls(unscored=unscored, sums=_NONE, bins=_NONE, curves=_NONE)
        prediction, truth = pixels.prediction_N[is_known], pixels.truth_N[is_known]
        sigma = pixels.sigma_N[is_known]
        curves = sparsification_curves(prediction, truth, sigma)
        return cls(
            unscored=unscored,
            sums=calibration_sums(prediction - truth, sigma),
            bins=sigma_bins(prediction - truth, sigma),
            curves=np.stack([np.stack(curves[name]) for name in RANKED_METRICS]),
        )

    def areas(self) -> dict[str, float]:
        """Return AUSE and AURG of the frame."""
        pairs = ((curve, oracle) for curve, oracle in self.curves)
        return areas_of(dict(zip(RANKED_METRICS, pairs, strict=True)))


class UncertaintyScores:
    """
    Calibration over all pixels and ranking as a mean over frames; exact as ``DepthScores``.

    Pixels with an infinite or unknown prediction or sigma are left out and counted as unscored.
    """

    def __init__(self) -> None:
        self.frames = 0
        self.unscored = 0
        self._calibration = ExactVector(5 + len(PROBABILITIES))
        self._ranking = ExactVector(len(RANKING_NAMES))
        self._bins = ExactVector(3 * (len(SIGMA_EDGES_M) + 1))
        self._curves = ExactVector(len(RANKED_METRICS) * 2 * (STEPS + 1))

    def add(self, pixels: ScoredPixels) -> dict[str, float]:
        """Add one frame and return its metrics; empty when it has no pixel with a sigma."""
        frame = FrameUncertainty.of(pixels)
        return {} if frame is None else self.add_frame(frame)

    def add_frame(self, frame: FrameUncertainty) -> dict[str, float]:
        """Add one frame that was summed before; the result is that of ``add``."""
        self.unscored += frame.unscored
        if not frame.sums.size:
            return {}
        areas = frame.areas()
        self.frames += 1
        self._calibration.add(frame.sums.tolist())
        self._ranking.add([areas[name] for name in RANKING_NAMES])
        self._bins.add(frame.bins.ravel().tolist())
        self._curves.add(frame.curves.ravel().tolist())
        return {**_calibration(frame.sums), **areas}

    def merge(self, other: UncertaintyScores) -> None:
        """Add what another accumulator has seen."""
        self.frames += other.frames
        self.unscored += other.unscored
        for mine, theirs in zip(self._vectors(), other._vectors(), strict=True):
            mine.merge(theirs)

    def __add__(self, other: UncertaintyScores) -> UncertaintyScores:
        """Return the scores of both sets of frames."""
        result = UncertaintyScores()
        for part in (self, other):
            result.merge(part)
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UncertaintyScores) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.frames, self.unscored, *self._vectors()

    def _vectors(self) -> tuple[ExactVector, ...]:
        return self._calibration, self._ranking, self._bins, self._curves

    def result(self) -> dict[str, Any] | None:
        """Return everything by name, or None when no pixel had a sigma."""
        if self.frames == 0:
            return None
        sums = np.array(self._calibration.values())
        measured = (sums[5:] / sums[0]).tolist()
        off = np.abs(np.array(measured) - PROBABILITIES)
        return {
            **_calibration(sums),
            'expected_1_sigma': expected_shares(1),
            'expected_2_sigma': expected_shares(2),
            **dict(zip(RANKING_NAMES, self._ranking.means(self.frames), strict=True)),
            'reliability': [
                {'nominal': nominal, 'measured': share, 'gaussian': _gaussian_at(nominal)}
                for nominal, share in zip(PROBABILITIES, measured, strict=True)
            ],
            'calibration_error': float(off.mean()),
            'by_sigma': self._by_sigma(),
            'sparsification': self._sparsification(),
            'frames': self.frames,
            'pixels': int(sums[0]),
            'unscored_pixels': self.unscored,
        }

    def _by_sigma(self) -> list[dict[str, Any]]:
        edges = (0.0, *SIGMA_EDGES_M, math.inf)
        rows = np.array(self._bins.values()).reshape(-1, 3).tolist()
        return [
            {
                'sigma_m': f'{low:g}-{high:g}' if math.isfinite(high) else f'{low:g}-',
                'pixels': int(count),
                'rms_sigma_m': math.sqrt(squares / count) if count else math.nan,
                'rmse_m': math.sqrt(errors / count) if count else math.nan,
            }
            for low, high, (count, squares, errors) in zip(edges, edges[1:], rows, strict=False)
        ]

    def _sparsification(self) -> dict[str, Any]:
        curves = np.array(self._curves.means(self.frames)).reshape(-1, 2, STEPS + 1)
        names = ('by_sigma', 'by_error')
        return {
            'removed_share': [step / STEPS for step in range(STEPS + 1)],
            **{
                metric: dict(zip(names, pair.tolist(), strict=True))
                for metric, pair in zip(RANKED_METRICS, curves, strict=True)
            },
        }


def _calibration(sums: Vector) -> dict[str, float]:
    names = ('coverage_1_sigma', 'coverage_2_sigma', 'nll', 'mean_sigma_m')
    return dict(zip(names, (sums[1:5] / sums[0]).tolist(), strict=True))
