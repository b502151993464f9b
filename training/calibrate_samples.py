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
What calibration sees of a model: errors and the raw uncertainty beside them, at LiDAR pixels.

The depth is that of ``DepthPipeline``, the pixels those that ``evaluate`` scores. Every frame
weighs the same. Shape letters: N pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
import math
from typing import Any

from depth_ros.core.config import PipelineConfig
from depth_ros.core.metrics import ScoreRules, select
from depth_ros.core.model_spec import ModelSpec, UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.uncertainty_metrics import PROBABILITIES
from depth_ros.engines.factory import LoadedModel
from depth_ros.errors import ConfigError, ModelError
import numpy as np
from numpy.typing import NDArray
from training.frames import Pair

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Share of the errors that shall lie within so many sigma, and how far off is still good."""

    sigmas: int
    share: float
    tolerance: float

    def miss(self, share: float) -> float:
        """Return how far off a share is, in tolerances; negative: too few are covered."""
        return (share - self.share) / self.tolerance


TARGETS = (
    Target(sigmas=1, share=0.68, tolerance=0.05),
    Target(sigmas=2, share=0.95, tolerance=0.03),
)
# Below this sigma is rounding, and its logarithm would run away [m]; the pipeline's own floor.
MIN_SIGMA_M = 1e-3
# With these cards the uncertainty that the pipeline gives is what the temperature multiplies
# (kind log_laplace_scale), or the spread |D - D'| alone (kind flip).
RAW_SPECS: dict[str, dict[str, Any]] = {
    'log_laplace_scale': {'temperature': 1.0},
    'flip': {'temperature': 1.0, 'flip_gain': 1.0, 'flip_relative': 0.0},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """
    Scored pixels.

    Fields:
        error_N: |depth - truth| [m].
        raw_N: what the card's uncertainty is made of [m]: sqrt(2) * exp(ln b), or |D - D'|.
        depth_N: predicted depth [m].
        weight_N: sums to one over each frame.

    """

    error_N: Vector
    raw_N: Vector
    depth_N: Vector
    weight_N: Vector

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the pixels of several frames as one."""
        names = ('error_N', 'raw_N', 'depth_N', 'weight_N')
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def sigma(self, spec: UncertaintySpec) -> Vector:
        """Return one standard deviation [m] as the pipeline computes it."""
        raw_N = self.raw_N
        if spec.kind == 'flip':
            raw_N = spec.flip_gain * raw_N + spec.flip_relative * self.depth_N
        return np.maximum(spec.temperature * raw_N, MIN_SIGMA_M)

    def mean(self, values_N: NDArray[np.float64 | np.bool_]) -> float:
        """Return the weighted mean."""
        return float(np.average(values_N, weights=self.weight_N))


def collect(loaded: LoadedModel, pairs: Iterable[Pair]) -> list[Samples]:
    """
    Run a model over frames with LiDAR and return what each frame's scored pixels show.

    Frames without a scored pixel give nothing, nor do the first ones of a model with a memory,
    which has less past there than in training.

    :raises ModelError: the card states no uncertainty.
    """
    pipeline = DepthPipeline(loaded.engine, raw_card(loaded.card), PipelineConfig())
    frames = []
    for frame, truth in pairs:
        estimate = pipeline.process(frame)
        if not estimate.is_warm:
            continue
        pixels = select(estimate.depth_HW, estimate.uncertainty_HW, truth, ScoreRules())
        if pixels.sigma_N is None:
            raise ModelError(f"model '{loaded.card.name}' gave no uncertainty")
        is_usable = np.isfinite(pixels.sigma_N)
        count = int(np.count_nonzero(is_usable))
        if count:
            error_N = np.abs(pixels.prediction_N - pixels.truth_N)
            frames.append(
                Samples(
                    error_N=error_N[is_usable],
                    raw_N=pixels.sigma_N[is_usable],
                    depth_N=pixels.prediction_N[is_usable],
                    weight_N=np.full(count, 1.0 / count),
                )
            )
    return frames


def raw_card(card: ModelSpec) -> ModelSpec:
    """Return the card with which the pipeline's uncertainty is what the calibration scales."""
    if card.uncertainty.kind not in RAW_SPECS:
        raise ModelError(
            f"model '{card.name}': uncertainty.kind = '{card.uncertainty.kind}': there is nothing "
            f'to calibrate; must be one of {sorted(RAW_SPECS)}'
        )
    raw = RAW_SPECS[card.uncertainty.kind]
    return replace(card, uncertainty=replace(card.uncertainty, **raw))


def covered(samples: Samples, spec: UncertaintySpec, sigmas: float) -> float:
    """Return the weighted share of pixels whose error is at most so many sigma."""
    return samples.mean(samples.error_N <= sigmas * samples.sigma(spec))


def weighted_quantile(values_N: Vector, weight_N: Vector, share: float) -> float:
    """Return the smallest value that this share of the weight does not exceed."""
    order = np.argsort(values_N, kind='stable')
    cumulated = np.cumsum(weight_N[order])
    index = int(np.searchsorted(cumulated, share * cumulated[-1]))
    return float(values_N[order[min(index, len(order) - 1)]])


def admissible_temperatures(samples: Samples, spec: UncertaintySpec) -> tuple[float, float]:
    """
    Return the lowest and highest temperature that meet all of ``TARGETS``.

    The first is above the second when none does: the errors have longer tails than any sigma
    of one temperature can tell, because sigma does not know which pixels are far off.
    """
    ratio_N = samples.error_N / samples.sigma(replace(spec, temperature=1.0))
    limits = [
        [weighted_quantile(ratio_N, samples.weight_N, share) / target.sigmas for share in shares]
        for target in TARGETS
        for shares in [(target.share - target.tolerance, target.share + target.tolerance)]
    ]
    return max(low for low, _ in limits), min(high for _, high in limits)


def reliability(samples: Samples, spec: UncertaintySpec) -> dict[str, float]:
    """
    Return how well sigma tells the size of the errors, by the name of the figure.

    'within k sigma', then 'p <nominal>': the share of errors below the quantile that Laplace
    noise of this sigma has there; 'nll' is the mean of -ln of its density [ln m].
    """
    sigma_N = samples.sigma(spec)
    scale_N = sigma_N / math.sqrt(2.0)
    figures = {f'within {k} sigma': samples.mean(samples.error_N <= k * sigma_N) for k in (1, 2)}
    for nominal in PROBABILITIES:
        limit_N = scale_N * -math.log1p(-nominal)
        figures[f'p {nominal:g}'] = samples.mean(samples.error_N < limit_N)
    figures['nll'] = samples.mean(samples.error_N / scale_N + np.log(2.0 * scale_N))
    figures['mean sigma in m'] = samples.mean(sigma_N)
    if not math.isfinite(figures['nll']):
        raise ConfigError('errors or uncertainties are not finite: nothing to calibrate')
    return figures
