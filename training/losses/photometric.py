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
Self-supervision by video: the target rebuilt from other frames through depth and motion.

Zhou et al. 2017, arXiv:1704.07813 (view synthesis); Godard et al., Monodepth2,
arXiv:1806.01260, equations 4 (minimum reprojection) and 5 (auto-mask). What does not depend on
the depth is computed once for all scales: ``prepare``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from training.losses.checks import masked_mean, require_map, require_mask
from training.losses.dissimilarity import moment_error, target_moments, TargetMoments
from training.warp import ray_map, RayMap, sample, source_grid

# Breaks the ties between a frame that stood still and its rebuilt copy.
TIE_BREAK = 1e-5


class Views(NamedTuple):
    """
    A target picture, its sources, and what is the same at every scale.

    ``still_B1HW`` is the smallest error of the sources as they are, not warped; None: no
    auto-mask.
    """

    target: TargetMoments
    sources: tuple[Tensor, ...]
    rays: tuple[RayMap, ...]
    still_B1HW: Tensor | None


class Reprojection(NamedTuple):
    """
    The error of the best source at each pixel, (B, 1, H, W) each.

    ``error`` is the smaller of the rebuilt and the still error; ``is_valid`` is True where a
    source sees the pixel; ``is_moving`` where, beyond that, rebuilding wins against standing
    still: only there does the error carry a gradient.
    """

    error: Tensor
    is_valid: Tensor
    is_moving: Tensor


def tie_break_noise(
    target_B3HW: Tensor, sources: int, generator: torch.Generator | None = None
) -> Tensor:
    """Return 1e-5 N(0, 1) for each source, (B, sources, H, W); ``prepare`` wants it."""
    batch, _, height, width = target_B3HW.shape
    noise = torch.randn(
        (batch, sources, height, width),
        generator=generator,
        dtype=target_B3HW.dtype,
        device=target_B3HW.device,
    )
    return TIE_BREAK * noise


def prepare(
    target_B3HW: Tensor,
    sources: Sequence[Tensor],
    K_B33: Tensor,
    source_T_targets: Sequence[Tensor],
    *,
    tie_break_BNHW: Tensor | None,
) -> Views:
    """
    Compute what all scales share.

    :param sources: pictures (B, 3, H, W) in 0..1, without colour augmentation, as the target.
    :param K_B33: intrinsics [px] at H x W, of all frames.
    :param source_T_targets: relative poses (B, 4, 4); may carry a gradient.
    :param tie_break_BNHW: added to the error of each still source; None turns the auto-mask
        off.
    :raises ValueError: wrong shapes, or not one pose for each source.
    """
    if not sources or len(sources) != len(source_T_targets):
        raise ValueError(
            f'{len(sources)} sources and {len(source_T_targets)} poses: must be as many, and '
            'at least one'
        )
    moments = target_moments(target_B3HW)
    size = (target_B3HW.shape[2], target_B3HW.shape[3])
    rays = tuple(ray_map(K_B33, pose, size, target_B3HW.dtype) for pose in source_T_targets)
    still = None if tie_break_BNHW is None else _still_error(moments, sources, tie_break_BNHW)
    return Views(moments, tuple(sources), rays, still)


def reprojection(
    views: Views, inv_depth_B1hw: Tensor, *, exclude_invisible: bool = True
) -> Reprojection:
    """
    Return the smallest error over the sources for one scale of inverse depth.

    Equation 4: min_k pe(I_0, I_k->0), joined with the still errors (equation 5 as a minimum).
    Deviation: a source that does not see a pixel does not take part there, and a pixel that no
    source sees is not valid; ``exclude_invisible=False`` is the paper's repeated border.

    :param inv_depth_B1hw: 1 / depth [1/m]; enlarged bilinearly to the pictures' size.
    :raises ValueError: it is not (B, 1, h, w).
    """
    require_map('inv_depth_B1hw', inv_depth_B1hw)
    full = enlarged(inv_depth_B1hw, views.target.image)
    results = [
        _source_error(views.target, source, rays, full, exclude_invisible)
        for source, rays in zip(views.sources, views.rays, strict=True)
    ]
    error, is_valid = results[0]
    for other, is_visible in results[1:]:
        error, is_valid = torch.minimum(error, other), is_valid | is_visible
    if views.still_B1HW is None:
        return Reprojection(error, is_valid, is_valid)
    is_moving = is_valid & (error.detach() < views.still_B1HW)
    return Reprojection(torch.where(is_moving, error, views.still_B1HW), is_valid, is_moving)


def photometric(result: Reprojection) -> Tensor:
    """
    Return the mean error over the valid pixels.

    Pixels that stand still count in the mean although they carry no gradient, as in Monodepth2.

    :raises ValueError: no source sees any pixel.
    """
    require_mask('is_valid', result.is_valid)
    return masked_mean(result.error, result.is_valid)


def moving_photometric(result: Reprojection, where_B1HW: Tensor | None = None) -> Tensor:
    """
    Return the mean error over the pixels that move, and over them alone.

    Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192, L_ph: the auto-mask
    is hard, so a scene that mostly stands still does not make the rest lighter.

    :param where_B1HW: bool, pixels that may count; None: all.
    :raises ValueError: no pixel moves.
    """
    moving = result.is_moving if where_B1HW is None else result.is_moving & where_B1HW
    require_mask('is_moving', moving)
    return masked_mean(result.error, moving)


def enlarged(map_B1hw: Tensor, like_BCHW: Tensor) -> Tensor:
    """Return the map at the picture's size, bilinear, pixel centres kept."""
    if map_B1hw.shape[-2:] == like_BCHW.shape[-2:]:
        return map_B1hw
    size = like_BCHW.shape[-2:]
    return functional.interpolate(map_B1hw, size=size, mode='bilinear', align_corners=False)


def _still_error(
    moments: TargetMoments, sources: Sequence[Tensor], tie_break_BNHW: Tensor
) -> Tensor:
    batch, _, height, width = moments.image.shape
    wanted = (batch, len(sources), height, width)
    if tuple(tie_break_BNHW.shape) != wanted:
        raise ValueError(
            f'tie_break_BNHW has shape {tuple(tie_break_BNHW.shape)}: must be {wanted}'
        )
    with torch.no_grad():
        errors = torch.cat([moment_error(moments, source) for source in sources], dim=1)
        return (errors + tie_break_BNHW).amin(1, keepdim=True)


def _source_error(
    moments: TargetMoments,
    source_B3HW: Tensor,
    rays: RayMap,
    inv_depth_B1HW: Tensor,
    exclude_invisible: bool,
) -> tuple[Tensor, Tensor]:
    grid, is_visible = source_grid(inv_depth_B1HW, rays)
    error = moment_error(moments, sample(source_B3HW, grid))
    if not exclude_invisible:
        return error, torch.ones_like(is_visible)
    return torch.where(is_visible, error, torch.full_like(error, torch.inf)), is_visible
