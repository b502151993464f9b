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
What a model file says about itself, as data (DESIGN: a model file describes itself).

The card in the file is read and checked by ``depth_ros.engines.model_card``; the pipeline only
sees these frozen values. Every value is checked here once, so that nothing downstream has to.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import get_args, Literal

from depth_ros.errors import ModelError

ColorOrder = Literal['rgb', 'bgr']
Resize = Literal['stretch', 'letterbox']
Interpolation = Literal['linear', 'supersample', 'area', 'cubic']
OutputKind = Literal['metric_depth', 'inverse_depth', 'affine_inverse_depth']
UncertaintyKind = Literal['none', 'log_laplace_scale', 'flip']
SkyKind = Literal['none', 'beyond_max_depth', 'mask']
FirstFrames = Literal['publish', 'hold']


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ModelError(f'{key} = {value!r}: {rule}')


def _require_choice(key: str, value: str, choices: object) -> None:
    _require(value in get_args(choices), key, value, f'must be one of {get_args(choices)}')


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """
    The image tensor: (batch, 3, height, width) float32, (pixel / 255 - mean) / std.

    ``resize`` says how a camera image reaches width x height: ``stretch`` squeezes the whole
    image, ``letterbox`` keeps the aspect and pads with zeros after normalisation.
    ``interpolation`` says by which filter: ``supersample`` averages four bilinear samples a pixel,
    which is close to ``area`` (the mean of all pixels) at a quarter to a half of its time.
    ``camera`` names a second input, (batch, 4) float32: fx, fy, cx, cy in pixels of this tensor,
    integer pixel = pixel centre. None: the network does not ask for the camera.
    """

    name: str
    width: int
    height: int
    color_order: ColorOrder
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: Resize = 'stretch'
    interpolation: Interpolation = 'linear'
    camera: str | None = None

    def __post_init__(self) -> None:
        for key, value in (('input.width', self.width), ('input.height', self.height)):
            _require(value > 0, key, value, 'must be a positive number of pixels')
        _require_choice('input.color_order', self.color_order, ColorOrder)
        _require_choice('input.resize', self.resize, Resize)
        _require_choice('input.interpolation', self.interpolation, Interpolation)
        for key, triple in (('input.mean', self.mean), ('input.std', self.std)):
            finite = len(triple) == 3 and all(math.isfinite(value) for value in triple)
            _require(finite, key, triple, 'must be three finite numbers')
        _require(min(self.std) > 0, 'input.std', self.std, 'must be positive')
        _require(
            self.camera is None or self.camera not in ('', self.name),
            'input.camera',
            self.camera,
            'must name another graph input than input.name, or be null',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """
    The depth tensor, (batch, 1, h, w) or (batch, h, w) float32, at any grid size.

    ``scale`` turns raw values into metres (``metric_depth``) or 1/metres (``inverse_depth``).
    Depth outside [min_depth_m, max_depth_m] is published as -Inf or +Inf (REP 117).
    ``focal_px`` is fx at the input size for which the metres hold; on another camera depth is
    multiplied by fx / focal_px. None: the model does not depend on the focal length.
    """

    name: str
    kind: OutputKind
    scale: float
    min_depth_m: float
    max_depth_m: float
    focal_px: float | None

    def __post_init__(self) -> None:
        _require_choice('output.kind', self.kind, OutputKind)
        _require(0 < self.scale < math.inf, 'output.scale', self.scale, 'must be positive')
        depth_range = (self.min_depth_m, self.max_depth_m)
        _require(
            0 < self.min_depth_m < self.max_depth_m < math.inf,
            'output.min_depth_m, output.max_depth_m',
            depth_range,
            'must be 0 < min < max < infinity, in metres',
        )
        if self.focal_px is not None:
            _require(
                0 < self.focal_px < math.inf,
                'output.focal_px',
                self.focal_px,
                'must be a positive number of pixels, or null',
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertaintySpec:
    """
    How one standard deviation in metres is had.

    ``log_laplace_scale``: output ``name`` is ln b in the units of the depth output's metres;
    sigma = temperature * sqrt(2) * exp(ln b). ``flip``: the mirrored image is a second batch
    item; with mirrored-back depth D' and depth D, sigma = temperature *
    (flip_gain * |D - D'| + flip_relative * D). ``none``: there is no uncertainty.
    """

    kind: UncertaintyKind
    name: str | None = None
    temperature: float = 1.0
    flip_gain: float = 0.0
    flip_relative: float = 0.0

    def __post_init__(self) -> None:
        _require_choice('uncertainty.kind', self.kind, UncertaintyKind)
        has_output = self.kind == 'log_laplace_scale'
        _require(
            (self.name is not None) == has_output,
            'uncertainty.name',
            self.name,
            'names the output of kind log_laplace_scale and is null for the others',
        )
        _require(
            0 < self.temperature < math.inf,
            'uncertainty.temperature',
            self.temperature,
            'must be positive',
        )
        for key in ('flip_gain', 'flip_relative'):
            value = getattr(self, key)
            _require(0 <= value < math.inf, f'uncertainty.{key}', value, 'must be zero or more')
        if self.kind == 'flip':
            gains = (self.flip_gain, self.flip_relative)
            _require(
                max(gains) > 0,
                'uncertainty.flip_gain, flip_relative',
                gains,
                'cannot both be zero with kind flip',
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SkySpec:
    """How sky is told: ``mask`` reads output ``name``, sky where its value >= threshold."""

    kind: SkyKind
    name: str | None = None
    threshold: float = 0.5

    def __post_init__(self) -> None:
        _require_choice('sky.kind', self.kind, SkyKind)
        _require(
            (self.name is not None) == (self.kind == 'mask'),
            'sky.name',
            self.name,
            'names the output of kind mask and is null for the others',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """
    One state tensor: graph output ``output`` feeds graph input ``input`` of the next frame.

    After a reset the input is filled with zeros of ``shape``.
    """

    input: str  # noqa: A003
    output: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        _require(
            len(self.shape) > 0 and min(self.shape, default=0) > 0,
            f'temporal.states[{self.input}].shape',
            self.shape,
            'must be positive sizes',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalSpec:
    """
    Memory of the model.

    ``window`` counts the images that the graph takes at once, oldest first, on axis 1 of a
    (1, window, 3, height, width) input; 1 means a plain (batch, 3, height, width) input, with
    or without state tensors. ``warmup_frames`` counts frames after a reset that have less past
    than the model was trained with; ``first_frames`` says whether these are published or held.
    """

    window: int = 1
    states: tuple[StateSpec, ...] = ()
    nominal_interval_ms: float = 100.0
    max_gap_ms: float = 500.0
    warmup_frames: int = 0
    first_frames: FirstFrames = 'publish'

    def __post_init__(self) -> None:
        _require(self.window >= 1, 'temporal.window', self.window, 'must be 1 or more images')
        _require(
            self.warmup_frames >= 0,
            'temporal.warmup_frames',
            self.warmup_frames,
            'must be zero or more frames',
        )
        _require_choice('temporal.first_frames', self.first_frames, FirstFrames)
        intervals = (self.nominal_interval_ms, self.max_gap_ms)
        _require(
            0 < intervals[0] <= intervals[1] < math.inf,
            'temporal.nominal_interval_ms, temporal.max_gap_ms',
            intervals,
            'must be 0 < nominal <= largest gap, in milliseconds',
        )

    @property
    def is_stateful(self) -> bool:
        """Tell whether a result depends on earlier frames."""
        return self.window > 1 or bool(self.states)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Everything that the pipeline needs to know of a model."""

    name: str
    revision: str
    licence: str
    training_data: str
    input: InputSpec  # noqa: A003
    output: OutputSpec
    uncertainty: UncertaintySpec
    sky: SkySpec
    temporal: TemporalSpec

    def __post_init__(self) -> None:
        for key in ('name', 'revision', 'licence', 'training_data'):
            value = getattr(self, key)
            _require(bool(value.strip()), key, value, 'must not be empty')
        if self.uncertainty.kind == 'flip':
            _require(
                not self.temporal.is_stateful,
                'uncertainty.kind',
                'flip',
                'cannot be combined with temporal states or a window above 1',
            )
