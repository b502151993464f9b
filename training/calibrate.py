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
Fit the uncertainty of a model on frames with LiDAR: python -m training.calibrate --model M ...

Kind log_laplace_scale: sigma = temperature * sqrt(2) * exp(ln b), and the temperature is fitted.
Kind flip: with D the depth and D' that of the mirror image mirrored back, sigma = temperature *
(flip_gain * |D - D'| + flip_relative * D); the gains maximise the likelihood of the errors as
Laplace noise of standard deviation sigma, which bears outliers, and then the temperature is
fitted.

A reader of one standard deviation expects 68 % of the errors within one sigma and 95 % within
two, as a Gaussian has them. The tails of real errors are longer (Laplace: 75.7 % and 94.1 %), so
that one temperature cannot give both. Without ``--coverage`` it is the one whose two misses,
each in units of its tolerance (``TARGETS``), are equal and opposite: no other has a smaller
larger miss. Errors of Laplace's distribution then have 72.4 % and 92.4 %. Tails may be so long
that no temperature is within both tolerances; then it is the smallest that is within that of two
sigma, for a robot bears a sigma that is too large better than one that is too small.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
import math
import sys
from typing import Any

from depth_ros.core.model_spec import UncertaintySpec
from depth_ros.core.uncertainty_metrics import expected_shares
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
from depth_ros.errors import ConfigError, DepthRosError
import numpy as np
from rich.console import Console
from rich.table import Table
from training.calibrate_samples import (
    admissible_temperatures,
    collect,
    covered,
    MIN_SIGMA_M,
    raw_card,
    RAW_SPECS,
    reliability,
    Samples,
    TARGETS,
    weighted_quantile,
)
from training.truth_sources import add_source_options, drives_of

# The temperature is searched between these quantiles of |e| / raw; the first lies below any
# sensible coverage of one sigma, the second above that of two.
SEARCHED = (0.02, 0.9999)
BISECTIONS = 40
# flip_relative / flip_gain is searched from "only the spread" to "only the depth".
RATIO_RANGE = (1e-4, 1e3)
RATIO_STEPS = 400
DIGITS = 4
EXIT_ERROR = 1
# As the node runs it, on every machine alike.
REFERENCE = 'onnxruntime'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        _run(arguments)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    return 0


def _run(arguments: argparse.Namespace) -> None:
    drives = drives_of(arguments)
    with load_model(arguments.model, engine=REFERENCE) as loaded:
        card, path = loaded.card, loaded.path
        raw_card(card)
        frames = {drive.name: collect(loaded, drive.pairs()) for drive in drives}
    scored = {name: Samples.joined(parts) for name, parts in frames.items() if parts}
    if not scored:
        names, memory = ', '.join(frames), ''
        if card.temporal.is_stateful:
            memory = (
                f': the model remembers, and its first {card.temporal.warmup_frames} frames of a '
                'drive do not count, nor do pictures that stand alone'
            )
        raise ConfigError(f'no frame with LiDAR could be scored in {names}{memory}')
    samples = Samples.joined(list(scored.values()))
    spec = fit(samples, card.uncertainty, coverage=arguments.coverage)
    for drive in drives:
        print(f'{drive.name}: {len(frames[drive.name])} frames, {drive.truth}')
    for key in RAW_SPECS[spec.kind]:
        print(f'{key}: {getattr(spec, key):g}')
    print_figures({'all': samples, **scored}, card.uncertainty, spec)
    if arguments.write:
        write_card(path, replace(card, uncertainty=spec))
        print(f'{path}: card updated')


def fit(
    samples: Samples, given: UncertaintySpec, *, coverage: float | None = None
) -> UncertaintySpec:
    """
    Return the calibrated uncertainty of the same kind.

    :param coverage: share of the errors, above 0 and below 1, that shall lie within one sigma;
        None: the best compromise between ``TARGETS``, but never too small for any of them.
    :raises ConfigError: the coverage, or there is no error to fit to.
    """
    if coverage is not None and not 0.0 < coverage < 1.0:
        raise ConfigError(f'coverage = {coverage}: must be above 0 and below 1')
    if not samples.error_N.any():
        raise ConfigError('no pixel has an error: nothing to fit')
    spec = replace(given, temperature=1.0)
    if spec.kind == 'flip':
        spec = flip_gains(samples, spec)
    ratio_N = samples.error_N / samples.sigma(spec)
    if coverage is None:
        lowest, _ = admissible_temperatures(samples, spec)
        temperature = max(balanced_temperature(ratio_N, samples), lowest)
    else:
        temperature = weighted_quantile(ratio_N, samples.weight_N, coverage)
    if temperature <= 0.0:
        raise ConfigError(f'a share of {coverage} of the pixels has no error: nothing to fit')
    return replace(spec, temperature=_rounded(temperature))


def balanced_temperature(ratio_N: np.ndarray[Any, Any], samples: Samples) -> float:
    """
    Return the temperature at which the misses of the two ``TARGETS`` add up to zero.

    Both shares rise with the temperature. Where the misses are opposite and equal, less would
    make the lower one worse, and more the higher one.

    :param ratio_N: |e| / sigma at temperature 1.
    """
    low, high = (weighted_quantile(ratio_N, samples.weight_N, share) for share in SEARCHED)
    low = max(low, high * float(np.finfo(np.float32).eps))
    for _ in range(BISECTIONS):
        middle = math.sqrt(low * high)
        misses = (t.miss(samples.mean(ratio_N <= t.sigmas * middle)) for t in TARGETS)
        low, high = (low, middle) if sum(misses) >= 0.0 else (middle, high)
    return high


def flip_gains(samples: Samples, given: UncertaintySpec) -> UncertaintySpec:
    """
    Return gains of the highest Laplace likelihood.

    For a fixed ratio of the gains, u = |D - D'| + ratio * D, the best scale of sigma is
    sqrt(2) * mean(e / u), so that only the ratio is searched.
    """
    ratios = np.geomspace(*RATIO_RANGE, RATIO_STEPS)
    best = min((_likelihood(samples, float(ratio)) for ratio in ratios), key=lambda fit: fit[0])
    _, scale, ratio = best
    return replace(given, flip_gain=_rounded(scale), flip_relative=_rounded(scale * ratio))


def _likelihood(samples: Samples, ratio: float) -> tuple[float, float, float]:
    """Return (mean negative log-likelihood up to a constant, scale of sigma, ratio)."""
    u_N = np.maximum(samples.raw_N + ratio * samples.depth_N, MIN_SIGMA_M)
    scale_b = samples.mean(samples.error_N / u_N)
    loss = math.log(scale_b) + samples.mean(np.log(u_N))
    return loss, math.sqrt(2.0) * scale_b, ratio


def _rounded(value: float) -> float:
    return float(f'{value:.{DIGITS}g}')


def print_figures(
    drives: Mapping[str, Samples], before: UncertaintySpec, after: UncertaintySpec
) -> None:
    """Print coverage and reliability with the card as it was, and as it was fitted."""
    table = Table(title='before -> after; every frame weighs the same')
    table.add_column('errors of Laplace noise')
    columns = []
    for name, samples in drives.items():
        table.add_column(name, justify='right')
        columns.append((reliability(samples, before), reliability(samples, after)))
    for key in columns[0][0]:
        cells = (f'{was[key]:.3f} -> {now[key]:.3f}' for was, now in columns)
        table.add_row(key, *cells)
    Console().print(table)
    for target in TARGETS:
        share = covered(drives['all'], after, target.sigmas)
        expected = ' to '.join(f'{end:.3f}' for end in expected_shares(target.sigmas))
        verdict = 'within' if abs(target.miss(share)) <= 1.0 else 'OUTSIDE'
        print(
            f'within {target.sigmas} sigma: {share:.3f}, {verdict} {target.share:.2f} +- '
            f'{target.tolerance:.2f} (Gaussian to Laplace errors: {expected})'
        )
    low, high = admissible_temperatures(drives['all'], after)
    if low <= high:
        print(f'temperatures that meet both: {low:.4g} to {high:.4g}')
    else:
        print(
            f'no temperature meets both: the first needs at most {high:.4g}, the second at least '
            f'{low:.4g}; sigma does not tell which pixels are far off (look at the drives one by '
            'one, and train on more kinds of streets)'
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='training.calibrate',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    add_source_options(parser)
    parser.add_argument(
        '--coverage',
        type=float,
        help='share of the errors that shall lie within one sigma, instead of the compromise',
    )
    parser.add_argument('--write', action='store_true', help='put the result into the model card')
    return parser


if __name__ == '__main__':
    sys.exit(main())
