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
Do two engines compute the same? The gate that every engine but the reference passes.

An engine that is fast and wrong is worse than none: some TensorRT releases give wrong depth for
some networks without a word, and reduced precision can overflow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from depth_ros.core.engine_api import Engine
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.graph_check import named_outputs
from depth_ros.engines.probe import Outputs, run_sequence
import numpy as np
from numpy.typing import NDArray

# Relative errors are taken against at least this share of the largest magnitude, because a
# value near zero has no meaningful relative error of its own.
FLOOR_SHARE = 0.01
TINY = 1e-12
# Counted up when the measures below change: verdicts by others are not recalled then.
MEASURE = 2
# What an output is decides what its relative error is of. Of a logarithm: of the number whose
# logarithm it is. Of a feature, whose sign and size mean nothing by themselves: of the root mean
# square of all of them.
Meaning = Literal['quantity', 'logarithm', 'feature']
# Sigma is fitted to errors, and no length that is relied on: 1 % of it moves the share of errors
# within it by less than half a percent. Its mean and median may be off by so many times as much.
SIGMA_SLACK = 2.0
# exp of more than this is no sigma.
MAX_LOGARITHM = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityTolerance:
    """Largest differences with which an engine is admitted; ratios, without unit."""

    max_relative: float
    mean_relative: float
    min_correlation: float
    max_ratio_error: float


# fp32 engines add in another order. Measured with METER-XXS: 1.3e-6 at most; a wrong kernel shows
# as 1e-1 and more. The space between is for deeper networks.
FP32_TOLERANCE = ParityTolerance(
    max_relative=2e-2, mean_relative=1e-3, min_correlation=0.9999, max_ratio_error=1e-3
)
# bfloat16 keeps 8 bits: 0.4 % per value. Measured with METER-XXS on real streets: largest 3.3e-2,
# mean 6.8e-3, correlation 0.99993, median 8.1e-3.
BF16_TOLERANCE = ParityTolerance(
    max_relative=0.2, mean_relative=2e-2, min_correlation=0.999, max_ratio_error=2e-2
)


# FP16 keeps 11 bits. METER-XXS with every FP16 result rounded, against the same graph in FP32, on
# real streets: largest 1.6e-3, mean 2.6e-4, 1 - correlation 3e-7, median 4.5e-4. A GPU may also
# add in FP16: hence the space.
FP16_TOLERANCE = ParityTolerance(
    max_relative=5e-2, mean_relative=5e-3, min_correlation=0.9995, max_ratio_error=5e-3
)
# Both engines compute the same quantised graph; only what lies half way between two of its 256
# steps may fall to either side. What the steps themselves cost, the gate on LiDAR has judged.
INT8_TOLERANCE = ParityTolerance(
    max_relative=0.2, mean_relative=1e-2, min_correlation=0.999, max_ratio_error=1e-2
)
TOLERANCES = {
    'fp32': FP32_TOLERANCE,
    'bf16': BF16_TOLERANCE,
    'fp16': FP16_TOLERANCE,
    'int8': INT8_TOLERANCE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorParity:
    """How far one output of a candidate is from the reference; NaN in both is equal."""

    name: str
    max_abs: float
    max_relative: float
    mean_relative: float
    correlation: float
    median_ratio: float
    nonfinite_mismatches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """Measurements of each output in each inference, and what follows from them."""

    tensors: tuple[TensorParity, ...]
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Tell whether every output lies within the tolerance."""
        return not self.failures

    @property
    def worst_relative(self) -> float:
        """Return the largest relative error of all."""
        return max(tensor.max_relative for tensor in self.tensors)


def compare_engines(
    reference: Engine,
    candidate: Engine,
    card: ModelSpec,
    images: Sequence[NDArray[np.float32]],
    tolerance: ParityTolerance,
) -> ParityReport:
    """
    Run both engines on the same image tensors and compare what the card names.

    Each engine feeds back its own states, as it does in use.

    :raises ModelError: one of them does not run, or breaks a promise of the card.
    """
    meanings = _meanings(card)
    wanted = run_sequence(reference, card, images)
    got = run_sequence(candidate, card, images)
    return compare_outputs(wanted, got, meanings, tolerance)


def compare_outputs(
    wanted: Sequence[Outputs],
    got: Sequence[Outputs],
    meanings: Mapping[str, Meaning],
    tolerance: ParityTolerance,
) -> ParityReport:
    """Compare the outputs that ``meanings`` names, of two runs over the same images."""
    tensors = tuple(
        compare_tensors(name, a[name], b[name], meaning)
        for a, b in zip(wanted, got, strict=True)
        for name, meaning in meanings.items()
    )
    failures = dict.fromkeys(
        failure
        for tensor in tensors
        for failure in _failures(tensor, _allowed(tolerance, meanings[tensor.name]))
    )
    return ParityReport(tensors=tensors, failures=tuple(failures))


def _allowed(tolerance: ParityTolerance, meaning: Meaning) -> ParityTolerance:
    if meaning != 'logarithm':
        return tolerance
    return replace(
        tolerance,
        mean_relative=SIGMA_SLACK * tolerance.mean_relative,
        max_ratio_error=SIGMA_SLACK * tolerance.max_ratio_error,
    )


def compare_tensors(
    name: str, wanted: NDArray[Any], got: NDArray[Any], meaning: Meaning = 'quantity'
) -> TensorParity:
    """Measure one output against its reference of the same shape, in float64."""
    both = np.isfinite(wanted) & np.isfinite(got)
    a, b = wanted[both].astype(np.float64), got[both].astype(np.float64)
    if meaning == 'logarithm':
        a, b = (np.exp(np.clip(x, -MAX_LOGARITHM, MAX_LOGARITHM)) for x in (a, b))
    same = both | (np.isnan(wanted) & np.isnan(got)) | (wanted == got)
    if a.size == 0:
        a = b = np.zeros(1)
    floor = max(FLOOR_SHARE * float(np.abs(a).max()), TINY)
    scale = max(floor, float(np.sqrt(np.mean(a * a)))) if meaning == 'feature' else floor
    error = np.abs(a - b)
    relative = error / np.maximum(np.abs(a), scale)
    return TensorParity(
        name=name,
        max_abs=float(error.max()),
        max_relative=float(relative.max()),
        mean_relative=float(relative.mean()),
        correlation=_correlation(a, b, floor),
        median_ratio=_median_ratio(a, b, scale),
        nonfinite_mismatches=int(same.size - np.count_nonzero(same)),
    )


def worst_figures(report: ParityReport) -> dict[str, float]:
    """Return the worst of each measure over all outputs and inferences."""
    tensors = report.tensors
    ratios = [tensor.median_ratio for tensor in tensors]
    return {
        'max_abs': max(t.max_abs for t in tensors),
        'max_relative': max(t.max_relative for t in tensors),
        'mean_relative': max(t.mean_relative for t in tensors),
        'min_correlation': min(t.correlation for t in tensors),
        'median_ratio': max(ratios, key=lambda ratio: abs(ratio - 1)),
        'nonfinite_mismatches': max(t.nonfinite_mismatches for t in tensors),
    }


def _meanings(card: ModelSpec) -> dict[str, Meaning]:
    """Return what is compared."""
    meanings: dict[str, Meaning] = {name: 'quantity' for _, name in named_outputs(card)}
    if card.uncertainty.name is not None:
        meanings[card.uncertainty.name] = 'logarithm'
    for state in card.temporal.states:
        meanings[state.output] = 'feature'
    return meanings


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64], floor: float) -> float:
    """Return Pearson's r; a reference without contrast is only asked to be met flat."""
    if a.std() < floor:
        return 1.0 if b.std() < 2 * floor else 0.0
    if b.std() < TINY:
        return 0.0
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))


def _median_ratio(a: NDArray[np.float64], b: NDArray[np.float64], floor: float) -> float:
    middle = float(np.median(a))
    # Around zero a ratio says nothing; the other figures judge.
    return float(np.median(b)) / middle if abs(middle) > floor else 1.0


def _failures(tensor: TensorParity, tolerance: ParityTolerance) -> list[str]:
    ratio_error = abs(tensor.median_ratio - 1.0)
    rules = (
        (tensor.nonfinite_mismatches, 0, 'values that are finite in one engine only'),
        (tensor.max_relative, tolerance.max_relative, 'largest relative error'),
        (tensor.mean_relative, tolerance.mean_relative, 'mean relative error'),
        (1.0 - tensor.correlation, 1.0 - tolerance.min_correlation, '1 - correlation'),
        (ratio_error, tolerance.max_ratio_error, 'error of the median'),
    )
    return [
        f"'{tensor.name}' has {what} {value:.3g}, allowed {limit:.3g}"
        for value, limit, what in rules
        if value > limit
    ]
