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

"""Metric scale from odometry, and the alignment of a branch that has none yet."""

from __future__ import annotations

import torch
from torch import Tensor
from training.losses.checks import require_equal_shapes, require_map, require_mask

# Keeps the gradient of a length finite where nothing moves [m].
LENGTH_FLOOR_M = 1e-6


def travelled_distance(translation_B3: Tensor, distance_m_B: Tensor, valid_B: Tensor) -> Tensor:
    """
    Return the mean of | |t| - s | [m] over the pairs with odometry.

    Guizilini et al., "3D Packing for Self-Supervised Monocular Depth Estimation", CVPR 2020,
    arXiv:1905.02693, velocity supervision: s is speed times the time between the frames, or the
    length of the odometry's motion.

    :param translation_B3: of the predicted relative pose [m].
    :param distance_m_B: s >= 0 [m]; never read where ``valid_B`` is False.
    :raises ValueError: wrong shapes, or no pair has odometry.
    """
    if translation_B3.dim() != 2 or translation_B3.shape[1] != 3:
        raise ValueError(f'translation_B3 has shape {tuple(translation_B3.shape)}: must be (B, 3)')
    require_equal_shapes(
        translation_B=translation_B3[:, 0], distance_m_B=distance_m_B, valid_B=valid_B
    )
    require_mask('valid_B', valid_B)
    translation = translation_B3[valid_B]
    length = ((translation * translation).sum(1) + LENGTH_FLOOR_M**2).sqrt()
    return (length - distance_m_B[valid_B]).abs().mean()


def median_ratio(
    reference_B1HW: Tensor,
    depth_B1HW: Tensor,
    valid_B1HW: Tensor,
    *,
    dead_band: tuple[float, float] = (0.9, 1.1),
) -> Tensor:
    """
    Return median(reference) / median(depth) of each image, (B, 1, 1, 1), without gradient.

    Aligns the depth of a branch that was trained from video alone. It is 1 once the ratio lies
    within ``dead_band``, and in images without a valid pixel.

    :raises ValueError: wrong shapes, no valid pixel at all, or an impossible band.
    """
    require_map('reference_B1HW', reference_B1HW)
    require_equal_shapes(
        reference_B1HW=reference_B1HW, depth_B1HW=depth_B1HW, valid_B1HW=valid_B1HW
    )
    require_mask('valid_B1HW', valid_B1HW)
    low, high = dead_band
    if not 0 < low <= 1 <= high:
        raise ValueError(f'dead_band = {dead_band}: must be 0 < low <= 1 <= high')
    ratio = _median(reference_B1HW, valid_B1HW) / _median(depth_B1HW, valid_B1HW)
    is_aligned = ((ratio >= low) & (ratio <= high)) | ~torch.isfinite(ratio)
    return torch.where(is_aligned, torch.ones_like(ratio), ratio)[:, None, None, None]


def _median(values_B1HW: Tensor, valid_B1HW: Tensor) -> Tensor:
    missing = values_B1HW.detach().float().masked_fill(~valid_B1HW, torch.nan)
    return missing.flatten(1).nanmedian(dim=1).values
