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
Whether the depths of two frames agree where one knows how the camera moved between them.

The target is frame 0, the source frame k; ``rays`` lead from pixels of the one to pixels of the
other (``training.warp.ray_map``). Depths are looked up as inverse depth, which is linear in the
pixels of a plane, so that true depths agree there exactly.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from training.losses.checks import require_equal_shapes, require_map, require_mask
from training.losses.dissimilarity import photometric_error
from training.warp import RayMap, sample, source_grid

# TC-Depth compares depths within these bounds [m].
MIN_DEPTH_M, MAX_DEPTH_M = 0.1, 100.0


class Meeting(NamedTuple):
    """
    The points of the target where the source sees them, (B, 1, H, W) each.

    ``depth_m``: z of the target's points in the source's camera. ``inverse_depth_per_m``: what
    the source says there. ``is_visible``: in front of the source, and in its picture; the other
    two mean nothing elsewhere.
    """

    depth_m: Tensor
    inverse_depth_per_m: Tensor
    is_visible: Tensor


def meet(inv_depth_B1HW: Tensor, source_inv_depth_B1HW: Tensor, rays: RayMap) -> Meeting:
    """
    Move the target's points into the source's camera and look up its inverse depth there.

    Differentiable in both.

    :param inv_depth_B1HW: 1 / depth of the target [1/m].
    :param rays: of the size of the target.
    :raises ValueError: wrong shapes.
    """
    require_map('inv_depth_B1HW', inv_depth_B1HW)
    require_equal_shapes(
        inv_depth_B1HW=inv_depth_B1HW, source_inv_depth_B1HW=source_inv_depth_B1HW
    )
    grid, is_visible = source_grid(inv_depth_B1HW, rays)
    depth = rays.ray_B3HW[:, 2:] / inv_depth_B1HW + rays.offset_B3[:, 2, None, None, None]
    return Meeting(depth, sample(source_inv_depth_B1HW, grid), is_visible)


def geometric_error(meeting: Meeting) -> Tensor:
    """
    Return 1 - min / max of both depths, 0 to 1, (B, 1, H, W); 0 where the source sees nothing.

    Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192, G_k of the geometric
    loss, depths clamped to 0.1..100 m. Deviation: what lies outside of the source's picture has
    no error; there the paper compares with the smallest depth.
    """
    moved = meeting.depth_m.clamp(MIN_DEPTH_M, MAX_DEPTH_M)
    there = meeting.inverse_depth_per_m.clamp(1 / MAX_DEPTH_M, 1 / MIN_DEPTH_M).reciprocal()
    error = 1 - torch.minimum(moved, there) / torch.maximum(moved, there)
    return torch.where(meeting.is_visible, error, torch.zeros_like(error))


def log_drift(meeting: Meeting) -> Tensor:
    """
    Return |ln z - ln D_k|, z the target's depth moved into the source, (B, 1, H, W).

    What flickers by a factor of c has the error |ln c|, at any depth. 0 where the source sees
    nothing. Ours: the part of the temporal error of arXiv:2110.08192 (section 4) that a single
    pair of frames shows, relative to the depth.
    """
    moved = meeting.depth_m.clamp(min=MIN_DEPTH_M).log()
    there = meeting.inverse_depth_per_m.clamp(max=1 / MIN_DEPTH_M).log()
    return torch.where(meeting.is_visible, (moved + there).abs(), torch.zeros_like(moved))


def error_change(meeting: Meeting, inv_depth_B1HW: Tensor, true_inv_depth_B1HW: Tensor) -> Tensor:
    """
    Return |(ln D_0 - ln D*_0) - (ln D_k - ln z*)|, (B, 1, H, W); 0 where the source sees nothing.

    How much the relative error changes between the frames at one point of the scene whose
    depth D*_0 is measured. Its place in the source is exact, whatever the network says, and an
    error that stays the same costs nothing. Ours.

    :param meeting: of the measured depth, ``meet(true_inv_depth_B1HW, ...)``.
    :param true_inv_depth_B1HW: 1 / D*_0; any positive number where nothing was measured.
    :raises ValueError: shapes differ.
    """
    require_equal_shapes(inv_depth_B1HW=inv_depth_B1HW, true_inv_depth_B1HW=true_inv_depth_B1HW)
    here = true_inv_depth_B1HW.log() - inv_depth_B1HW.log()
    moved = meeting.depth_m.clamp(min=MIN_DEPTH_M).log()
    there = meeting.inverse_depth_per_m.clamp(max=1 / MIN_DEPTH_M).log()
    # There: ln D_k - ln z*, which is -(there + moved).
    change = (here + there + moved).abs()
    return torch.where(meeting.is_visible, change, torch.zeros_like(change))


@torch.no_grad()
def cycle_error(
    target_B3HW: Tensor,
    inv_depth_B1HW: Tensor,
    rays: RayMap,
    source_inv_depth_B1HW: Tensor,
    rays_back: RayMap,
) -> Tensor:
    """
    Return how different the target looks after a way to the source and back, (B, 1, H, W).

    Ruhkamp et al., arXiv:2110.08192, cycle mask: the source's view is rebuilt from the target,
    and from that the target's; e_k is their photometric error. +Inf where the source does not
    see the point (the paper samples black there). No gradient.

    :param rays: from pixels of the target to the source; ``rays_back``: from those of the
        source to the target.
    :raises ValueError: wrong shapes.
    """
    require_map('inv_depth_B1HW', inv_depth_B1HW)
    there, _ = source_grid(source_inv_depth_B1HW, rays_back)
    back, is_visible = source_grid(inv_depth_B1HW, rays)
    twice = sample(sample(target_B3HW, there), back)
    error = photometric_error(twice, target_B3HW)
    return torch.where(is_visible, error, torch.full_like(error, torch.inf))


@torch.no_grad()
def cycle_mask(error_B1HW: Tensor, share: float = 0.7) -> Tensor:
    """
    Return where the error is at most the quantile ``share`` of its image, bool (B, 1, H, W).

    Ruhkamp et al., arXiv:2110.08192: C_k keeps 70 % of the pixels. Deviations: of each image,
    so that neither other frames nor the number of processes decide; and ties at the quantile
    are kept, so that the mask is binary. Pixels of infinite error are never kept.

    :raises ValueError: wrong shape, or the share is not above 0, up to 1.
    """
    require_map('error_B1HW', error_B1HW)
    if not 0 < share <= 1:
        raise ValueError(f'share = {share}: must be above 0, up to 1')
    flat = error_B1HW.flatten(1)
    rank = math.floor(share * (flat.shape[1] - 1)) + 1
    limit = flat.kthvalue(rank, dim=1).values[:, None, None, None]
    return (error_B1HW <= limit) & torch.isfinite(error_B1HW)


def mean_over_sources(
    errors: list[Tensor], masks: list[Tensor], where_B1HW: Tensor, of_B1HW: Tensor
) -> Tensor:
    """
    Return <where * mean_k(mask_k * error_k)>, the mean over ``of``.

    Ruhkamp et al., arXiv:2110.08192, geometric loss without its weight: ``where`` is what moves
    photometrically and is static for the teacher. Pixels that a mask excludes count as zero:
    a mask that shrinks does not make the rest heavier.

    :param errors: (B, 1, H, W) for each source; ``masks`` bool, as many.
    :raises ValueError: shapes differ, or there is nothing to average over.
    """
    require_mask('of_B1HW', of_B1HW)
    if not errors or len(errors) != len(masks):
        raise ValueError(f'{len(errors)} errors and {len(masks)} masks: must be as many, not 0')
    where = where_B1HW & of_B1HW
    total = errors[0].new_zeros(())
    for error, mask in zip(errors, masks, strict=True):
        require_equal_shapes(error_B1HW=error, mask_B1HW=mask, where_B1HW=where)
        total = total + torch.where(where & mask, error, torch.zeros_like(error)).sum()
    return total / (len(errors) * of_B1HW.sum())
