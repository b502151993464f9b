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
Errors of inverse depth that has no scale and no shift: Depth Anything's losses.

Yang et al., "Depth Anything", CVPR 2024, arXiv:2401.10891, equations 1 to 3 and 5 to 7, after
Ranftl et al., arXiv:1907.01341: prediction and target are brought to median 0 and mean absolute
deviation 1, each by itself, before they are compared. Here d is inverse depth in any unit.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from training.losses.checks import require_equal_shapes, require_map
from training.models.layers import at_least_float32

# Of the pixels of a region that must have a target: fewer say little of its median.
MIN_VALID_SHARE = 0.01
# A mean deviation below this share of the largest value is the arithmetic's, not the scene's.
SPREAD_FLOOR = 1e-6


class ImageErrors(NamedTuple):
    """A mean error for each image, (B,), and where there is one; elsewhere it is 0."""

    value_B: Tensor
    is_used_B: Tensor


def affine_errors(
    inv_depth_B1HW: Tensor,
    target_B1HW: Tensor,
    valid_B1HW: Tensor,
    region_B1HW: Tensor | None = None,
) -> ImageErrors:
    """
    Return the mean of |d_hat - d_hat*| over the valid pixels of each image's region.

    d_hat = (d - median d) / mean |d - median d|; both over these pixels, in float32. An image
    is not used where fewer than ``MIN_VALID_SHARE`` of the region is valid, or where its target
    is constant, so that nothing could be compared.

    :param target_B1HW: never read where ``valid_B1HW`` is False.
    :param region_B1HW: True on the part of each image that counts; None: all of it.
    :raises ValueError: wrong shapes.
    """
    require_map('inv_depth_B1HW', inv_depth_B1HW)
    require_equal_shapes(
        inv_depth_B1HW=inv_depth_B1HW, target_B1HW=target_B1HW, valid_B1HW=valid_B1HW
    )
    region = torch.ones_like(valid_B1HW) if region_B1HW is None else region_B1HW
    valid_BN = (valid_B1HW & region).flatten(1)
    count_B, area_B = valid_BN.sum(1), region.flatten(1).sum(1)
    is_enough_B = (count_B > 1) & (count_B >= MIN_VALID_SHARE * area_B)
    said_BN, said_spread_B, _ = _centred(inv_depth_B1HW, valid_BN)
    true_BN, true_spread_B, is_constant_B = _centred(target_B1HW, valid_BN)
    is_used_B = is_enough_B & ~is_constant_B
    difference_BN = (said_BN / said_spread_B - true_BN / true_spread_B).abs()
    value_B = difference_BN.sum(1) / count_B.clamp(min=1)
    return ImageErrors(torch.where(is_used_B, value_B, torch.zeros_like(value_B)), is_used_B)


def _centred(values_B1HW: Tensor, valid_BN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return d - median, 0 where not valid; its mean deviation; and where that is none."""
    values_BN = at_least_float32(values_B1HW).flatten(1)
    values_BN = torch.where(valid_BN, values_BN, torch.zeros_like(values_BN))
    median_B1 = values_BN.masked_fill(~valid_BN, torch.nan).nanmedian(1, keepdim=True).values
    median_B1 = torch.where(valid_BN.any(1, keepdim=True), median_B1, torch.zeros_like(median_B1))
    centred_BN = torch.where(valid_BN, values_BN - median_B1, torch.zeros_like(values_BN))
    count_B1 = valid_BN.sum(1, keepdim=True).clamp(min=1)
    spread_B1 = centred_BN.abs().sum(1, keepdim=True) / count_B1
    largest_B1 = values_BN.detach().abs().amax(1, keepdim=True)
    # Where all is zero any floor does.
    floor_B1 = SPREAD_FLOOR * torch.where(largest_B1 > 0, largest_B1, torch.ones_like(largest_B1))
    is_constant_B = (spread_B1 <= floor_B1)[:, 0]
    return centred_BN, torch.maximum(spread_B1, floor_B1), is_constant_B


def mixed_affine_errors(
    inv_depth_B1HW: Tensor, target_B1HW: Tensor, valid_B1HW: Tensor, pasted_B1HW: Tensor
) -> ImageErrors:
    """
    Return the affine error of images of which a part was pasted from another one.

    Equations 5 to 7 of Depth Anything: each part is brought to its own median and deviation, for
    the scales of two pseudo-labels have nothing to do with each other, and counts by its share
    of the area. Deviation from the letter: the mean of a part is over its own pixels; divided
    by all pixels and weighted by the area, small parts would be weighted twice. A part that
    cannot be used leaves the image to the other one.

    :param pasted_B1HW: True on the pasted part; False everywhere: a whole image.
    """
    sums, weights = [], []
    for region in (~pasted_B1HW, pasted_B1HW):
        part = affine_errors(inv_depth_B1HW, target_B1HW, valid_B1HW, region)
        weight_B = region.flatten(1).float().mean(1) * part.is_used_B
        sums.append(part.value_B * weight_B)
        weights.append(weight_B)
    weight_B = torch.stack(weights).sum(0)
    is_used_B = weight_B > 0
    safe_B = torch.where(is_used_B, weight_B, torch.ones_like(weight_B))
    return ImageErrors(torch.stack(sums).sum(0) / safe_B, is_used_B)


def mean_used(errors: ImageErrors) -> Tensor:
    """
    Return the mean over the images that are used.

    :raises ValueError: there is none.
    """
    if not errors.is_used_B.any():
        raise ValueError(f'no image of {len(errors.is_used_B)} is used: leave this term out')
    return errors.value_B.sum() / errors.is_used_B.sum()
