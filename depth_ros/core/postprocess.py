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
Network output to metres and one-sigma metres at the published size.

Values are converted on the small network grid, then enlarged, then special values are set
(NaN unknown, +Inf beyond range or sky, -Inf too close: REP 117). When the small grid has no
special value the enlarged image cannot have one, and the last step is skipped.

Shape letters: H, W published image; h, w network output grid.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
from depth_ros.core.engine_api import Tensors
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import ImageTransform
from depth_ros.core.scale import ScaleShift
from depth_ros.errors import ModelError
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

SQRT2 = math.sqrt(2.0)
# Laplace scales are clamped as ln b in [-10, 10] before exp: far outside any range in metres,
# and safe in float32.
MAX_LOG_SCALE = 10.0
# No output is trusted to better than a millimetre; also keeps sigma above zero.
MIN_SIGMA_M = 1e-3
# Out-of-range depth is held within this factor of the range before it is enlarged, so that one
# extreme cell does not reach far into its neighbours.
OVERSHOOT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthGrid:
    """
    Depth on the network's grid.

    Fields:
        depth_hw: metres, finite everywhere.
        sigma_hw: one standard deviation [m], finite and positive; None when not asked for.
        unknown_hw: True where the network gave NaN; None when nowhere.
        sky_hw: True where the network says sky; None when nowhere or the model cannot tell.
        min_depth_m, max_depth_m: range of the metres on this camera.
        is_in_range: no value lies outside the range.
    """

    depth_hw: F32
    sigma_hw: F32 | None
    unknown_hw: Mask | None
    sky_hw: Mask | None
    min_depth_m: float
    max_depth_m: float
    is_in_range: bool


def focal_ratio(model: ModelSpec, focal_px: float) -> float:
    """Return what metres are multiplied by on a camera with this fx at the input size [px]."""
    return 1.0 if model.output.focal_px is None else focal_px / model.output.focal_px


def relative_inverse(outputs: Tensors, model: ModelSpec) -> F32:
    """Return a relative model's inverse depth of the first image, (h, w), of no unit."""
    name = model.output.name
    return np.asarray(_as_bhw(outputs[name], name)[0] * np.float32(model.output.scale), np.float32)


def decode(
    outputs: Tensors,
    model: ModelSpec,
    *,
    focal_px: float,
    with_uncertainty: bool,
    line: ScaleShift | None = None,
) -> DepthGrid:
    """
    Return depth and sigma in metres on the network's grid.

    :param focal_px: fx of the camera at the network's input size [px]; depth is multiplied by
        focal_px / card focal_px where the card states one.
    :param line: scale and shift of a relative model (affine_inverse_depth); None of the others.
    :raises ModelError: an unusable shape, or a relative output without a line.
    """
    ratio = focal_ratio(model, focal_px)
    raw_bhw = _as_bhw(outputs[model.output.name], model.output.name)
    depth_bhw = _metres(raw_bhw, model, ratio, line)
    unknown = np.isnan(depth_bhw[0])
    sigma_hw = _sigma(outputs, depth_bhw, model, ratio, line) if with_uncertainty else None
    if sigma_hw is not None:
        unknown |= np.isnan(sigma_hw)
    low, high = model.output.min_depth_m * ratio, model.output.max_depth_m * ratio
    depth_hw = np.clip(depth_bhw[0], low / OVERSHOOT, high * OVERSHOOT)
    any_unknown = bool(unknown.any())
    if any_unknown:
        depth_hw = np.where(unknown, np.float32(high), depth_hw)
        sigma_hw = None if sigma_hw is None else np.where(unknown, np.float32(high), sigma_hw)
    sky_hw = _sky(outputs, model)
    return DepthGrid(
        depth_hw=depth_hw,
        sigma_hw=sigma_hw,
        unknown_hw=unknown if any_unknown else None,
        sky_hw=sky_hw,
        min_depth_m=low,
        max_depth_m=high,
        is_in_range=bool(depth_hw.min() >= low and depth_hw.max() <= high),
    )


def enlarge(
    grid: DepthGrid,
    transform: ImageTransform,
    depth_HW: F32,
    sigma_HW: F32 | None,
    *,
    unseen_HW: Mask | None = None,
) -> bool:
    """
    Fill the published images, special values included.

    :param depth_HW: written in place [m].
    :param sigma_HW: written in place [m]: NaN exactly where depth is NaN, +Inf where depth is
        infinite. None when the grid has no sigma.
    :param unseen_HW: True where rectification had no camera pixel; becomes NaN.
    :returns: True when every depth is finite; False when some may not be.
    """
    _resize_into(grid.depth_hw, transform, depth_HW)
    if sigma_HW is not None and grid.sigma_hw is not None:
        _resize_into(grid.sigma_hw, transform, sigma_HW)
    has_mask = grid.unknown_hw is not None or grid.sky_hw is not None or unseen_HW is not None
    if grid.is_in_range and not has_mask:
        return True
    _set_infinite(grid, transform, depth_HW)
    _set_unknown(grid, transform, depth_HW, unseen_HW)
    if sigma_HW is not None:
        sigma_HW[np.isinf(depth_HW)] = np.inf
        sigma_HW[np.isnan(depth_HW)] = np.nan
    return False


def _as_bhw(raw: NDArray[np.float32], name: str) -> F32:
    if raw.ndim == 4 and raw.shape[1] == 1:
        return raw[:, 0]
    if raw.ndim == 3:
        return raw
    raise ModelError(
        f"output '{name}' has shape {raw.shape}: must be (batch, 1, h, w) or (batch, h, w)"
    )


def _metres(raw_bhw: F32, model: ModelSpec, ratio: float, line: ScaleShift | None) -> F32:
    kind, scale = model.output.kind, model.output.scale
    if kind == 'metric_depth':
        return raw_bhw * np.float32(scale * ratio)
    if kind == 'affine_inverse_depth':
        if line is None:
            raise ModelError(f"output.kind = '{kind}' of model '{model.name}' has no metres")
        inverse = raw_bhw * np.float32(scale * line.scale) + np.float32(line.shift)
    else:
        inverse = raw_bhw * np.float32(scale)
    # Zero or negative inverse depth is beyond any range.
    farthest = 1.0 / (model.output.max_depth_m * OVERSHOOT)
    return np.asarray(ratio / np.maximum(inverse, np.float32(farthest)), np.float32)


def _sigma(
    outputs: Tensors,
    depth_bhw: F32,
    model: ModelSpec,
    ratio: float,
    line: ScaleShift | None,
) -> F32 | None:
    spec = model.uncertainty
    if spec.kind == 'none':
        return None
    if spec.kind == 'flip':
        mirrored_back = depth_bhw[1, :, ::-1]
        spread = np.abs(depth_bhw[0] - mirrored_back) * np.float32(spec.flip_gain)
        sigma_hw = spread + depth_bhw[0] * np.float32(spec.flip_relative)
        sigma_hw *= np.float32(spec.temperature)
    else:
        log_scale = _as_bhw(outputs[spec.name or ''], spec.name or '')[0]
        clamped = np.clip(log_scale, -MAX_LOG_SCALE, MAX_LOG_SCALE)
        unit = ratio if line is None else _metres_per_unit(outputs, model, depth_bhw, ratio, line)
        sigma_hw = np.exp(clamped) * np.asarray(spec.temperature * SQRT2 * unit, np.float32)
    return np.asarray(np.maximum(sigma_hw, MIN_SIGMA_M), np.float32)


def _metres_per_unit(
    outputs: Tensors, model: ModelSpec, depth_bhw: F32, ratio: float, line: ScaleShift
) -> F32:
    """
    Return the slope of metres D over a relative model's own depth d = 1 / x.

    D = ratio / (scale x + shift), so that dD/dd = scale x^2 D^2 / ratio.
    """
    x_hw = relative_inverse(outputs, model)
    return np.asarray(line.scale / ratio * (x_hw * depth_bhw[0]) ** 2, np.float32)


def _sky(outputs: Tensors, model: ModelSpec) -> Mask | None:
    if model.sky.kind != 'mask':
        return None
    name = model.sky.name or ''
    sky_hw = _as_bhw(outputs[name], name)[0] >= model.sky.threshold
    return sky_hw if sky_hw.any() else None


def _resize_into(source_hw: F32, transform: ImageTransform, target_HW: F32) -> None:
    height, width = target_HW.shape
    if transform.is_whole_input:
        result = cv2.resize(source_hw, (width, height), dst=target_HW)
    else:
        grid_wh = (source_hw.shape[1], source_hw.shape[0])
        result = cv2.warpAffine(
            source_hw,
            transform.output_to_grid_23((width, height), grid_wh),
            (width, height),
            dst=target_HW,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    if result is not target_HW:
        np.copyto(target_HW, result)


def _enlarged_mask(mask_hw: Mask, transform: ImageTransform, like_HW: F32, share: float) -> Mask:
    weight_HW = np.empty_like(like_HW)
    _resize_into(mask_hw.astype(np.float32), transform, weight_HW)
    return weight_HW > share


def _set_infinite(grid: DepthGrid, transform: ImageTransform, depth_HW: F32) -> None:
    too_close, beyond = depth_HW < grid.min_depth_m, depth_HW > grid.max_depth_m
    depth_HW[too_close] = -np.inf
    depth_HW[beyond] = np.inf
    if grid.sky_hw is not None:
        depth_HW[_enlarged_mask(grid.sky_hw, transform, depth_HW, 0.5)] = np.inf


def _set_unknown(
    grid: DepthGrid, transform: ImageTransform, depth_HW: F32, unseen_HW: Mask | None
) -> None:
    if grid.unknown_hw is not None:
        # Any pixel that an unknown cell has contributed to is unknown.
        depth_HW[_enlarged_mask(grid.unknown_hw, transform, depth_HW, 0.0)] = np.nan
    if unseen_HW is not None:
        depth_HW[unseen_HW] = np.nan
