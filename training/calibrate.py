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
Fit the flip uncertainty of a model on real frames: python -m training.calibrate --model M ...

With D the depth, D' that of the mirror image mirrored back, and e = D - truth, the model card
states sigma = temperature * (flip_gain * |D - D'| + flip_relative * D). The gains maximise the
likelihood of e as Laplace noise of standard deviation sigma, which bears outliers; the
temperature then makes |e| <= sigma for the share ``--coverage`` of the pixels. Every frame weighs
the same. The depth is that of ``DepthPipeline``, the pixels those that ``evaluate`` scores.
Shape letters: N pixels.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
import itertools
import math
from pathlib import Path
import sys

from depth_ros.core.config import PipelineConfig
from depth_ros.core.metrics import ScoreRules, select
from depth_ros.core.model_spec import ModelSpec, UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model, LoadedModel
from depth_ros.engines.model_card import write_card
from depth_ros.errors import ConfigError, DepthRosError, ModelError
import numpy as np
from numpy.typing import NDArray
from training.frames import bag_frames, object_frames, Pair, projected_frames

Vector = NDArray[np.float64]

# Share of a normal distribution within one standard deviation.
GAUSSIAN_1_SIGMA = math.erf(1.0 / math.sqrt(2.0))
# flip_relative / flip_gain is searched from "only the spread" to "only the depth".
RATIO_RANGE = (1e-4, 1e3)
RATIO_STEPS = 400
# Below this the spread is rounding, and its logarithm would run away [m].
MIN_SIGMA_M = 1e-3
DIGITS = 4
EXIT_ERROR = 1
# As the node runs it, on every machine alike.
REFERENCE = 'onnxruntime'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """Scored pixels: |e|, |D - D'| and D [m], and a weight that sums to one over each frame."""

    error_N: Vector
    spread_N: Vector
    depth_N: Vector
    weight_N: Vector

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the pixels of several frames as one."""
        names = ('error_N', 'spread_N', 'depth_N', 'weight_N')
        return cls(**{n: np.concatenate([getattr(part, n) for part in parts]) for n in names})

    def sigma(self, spec: UncertaintySpec) -> Vector:
        """Return one standard deviation [m] as the pipeline computes it."""
        raw = spec.flip_gain * self.spread_N + spec.flip_relative * self.depth_N
        return np.maximum(spec.temperature * raw, MIN_SIGMA_M)


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
    with load_model(arguments.model, engine=REFERENCE) as loaded:
        frames = collect(loaded, _pairs(arguments))
        card, path = loaded.card, loaded.path
    spec = fit(Samples.joined(frames), coverage=arguments.coverage)
    _report(spec, frames)
    if arguments.write:
        write_card(path, replace(card, uncertainty=spec))
        print(f'{path}: card updated')


def collect(loaded: LoadedModel, pairs: Iterable[Pair]) -> list[Samples]:
    """
    Run a model over frames with LiDAR and return what each frame's scored pixels show.

    :raises ModelError: the card states another kind of uncertainty than flip.
    :raises ConfigError: no pixel could be scored.
    """
    pipeline = DepthPipeline(loaded.engine, spread_card(loaded.card), PipelineConfig())
    frames = []
    for frame, truth in pairs:
        estimate = pipeline.process(frame)
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
                    spread_N=pixels.sigma_N[is_usable],
                    depth_N=pixels.prediction_N[is_usable],
                    weight_N=np.full(count, 1.0 / count),
                )
            )
    if not frames:
        raise ConfigError('no frame with LiDAR could be scored: give bags or KITTI folders')
    return frames


def spread_card(card: ModelSpec) -> ModelSpec:
    """Return the card with which the pipeline's uncertainty is just |D - D'|."""
    if card.uncertainty.kind != 'flip':
        raise ModelError(
            f"model '{card.name}': uncertainty.kind = '{card.uncertainty.kind}': only 'flip' is "
            'calibrated here'
        )
    return replace(card, uncertainty=UncertaintySpec(kind='flip', flip_gain=1.0))


def fit(samples: Samples, *, coverage: float = GAUSSIAN_1_SIGMA) -> UncertaintySpec:
    """
    Return gains of the highest Laplace likelihood, and the temperature of this coverage.

    For a fixed ratio of the gains, u = |D - D'| + ratio * D, the best scale of sigma is
    sqrt(2) * mean(e / u), so that only the ratio is searched.

    :param coverage: share of pixels, above 0 and below 1, that shall lie within one sigma.
    """
    if not 0.0 < coverage < 1.0:
        raise ConfigError(f'coverage = {coverage}: must be above 0 and below 1')
    ratios = np.geomspace(*RATIO_RANGE, RATIO_STEPS)
    best = min((_likelihood(samples, float(ratio)) for ratio in ratios), key=lambda fit: fit[0])
    _, scale, ratio = best
    spec = UncertaintySpec(
        kind='flip',
        flip_gain=_rounded(scale),
        flip_relative=_rounded(scale * ratio),
    )
    relative_error_N = samples.error_N / samples.sigma(spec)
    temperature = weighted_quantile(relative_error_N, samples.weight_N, coverage)
    if temperature <= 0.0:
        raise ConfigError(f'a share of {coverage} of the pixels has no error: nothing to fit')
    return replace(spec, temperature=_rounded(temperature))


def _likelihood(samples: Samples, ratio: float) -> tuple[float, float, float]:
    """Return (mean negative log-likelihood up to a constant, scale of sigma, ratio)."""
    u_N = np.maximum(samples.spread_N + ratio * samples.depth_N, MIN_SIGMA_M)
    scale_b = float(np.average(samples.error_N / u_N, weights=samples.weight_N))
    if scale_b <= 0.0:
        raise ConfigError('no pixel has an error: nothing to fit')
    loss = math.log(scale_b) + float(np.average(np.log(u_N), weights=samples.weight_N))
    return loss, math.sqrt(2.0) * scale_b, ratio


def weighted_quantile(values_N: Vector, weight_N: Vector, share: float) -> float:
    """Return the smallest value that this share of the weight does not exceed."""
    order = np.argsort(values_N, kind='stable')
    cumulated = np.cumsum(weight_N[order])
    index = int(np.searchsorted(cumulated, share * cumulated[-1]))
    return float(values_N[order[min(index, len(order) - 1)]])


def covered(samples: Samples, spec: UncertaintySpec, sigmas: float) -> float:
    """Return the weighted share of pixels whose error is at most so many sigma."""
    is_inside = samples.error_N <= sigmas * samples.sigma(spec)
    return float(np.average(is_inside, weights=samples.weight_N))


def _rounded(value: float) -> float:
    return float(f'{value:.{DIGITS}g}')


def _report(spec: UncertaintySpec, frames: Sequence[Samples]) -> None:
    samples = Samples.joined(frames)
    print(f'frames: {len(frames)}  pixels: {len(samples.error_N)}')
    for key in ('temperature', 'flip_gain', 'flip_relative'):
        print(f'{key}: {getattr(spec, key):g}')
    shares = [f'{covered(samples, spec, k):.3f} within {k} sigma' for k in (1, 2)]
    print(f'of these pixels {", ".join(shares)}')


def _pairs(arguments: argparse.Namespace) -> Iterator[Pair]:
    if arguments.kitti_depth and arguments.kitti_calibration is None:
        raise ConfigError('--kitti-depth needs --kitti-calibration, the calib_cam_to_cam.txt')
    return itertools.chain(
        *(bag_frames(path) for path in arguments.bag),
        *(object_frames(path) for path in arguments.kitti_object),
        *(projected_frames(path, arguments.kitti_calibration) for path in arguments.kitti_depth),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='training.calibrate', description=__doc__)
    folders = {'type': Path, 'nargs': '+', 'default': []}
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    parser.add_argument('--bag', **folders, help='bags with camera and LiDAR')
    parser.add_argument('--kitti-object', **folders, help="the object benchmark's training")
    parser.add_argument('--kitti-depth', **folders, help='drives with image_02 and proj_depth')
    parser.add_argument('--kitti-calibration', type=Path, help='calib_cam_to_cam.txt of these')
    parser.add_argument(
        '--coverage',
        type=float,
        default=GAUSSIAN_1_SIGMA,
        help='share of the errors that shall lie within one sigma (default: %(default).3f)',
    )
    parser.add_argument('--write', action='store_true', help='put the result into the model card')
    return parser


if __name__ == '__main__':
    sys.exit(main())
