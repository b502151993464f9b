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
Feature-metric error: features of the target against those of other frames, moved by depth.

Shu et al., FeatDepth, arXiv:2007.10603, equation 4; at several scales as in Xu et al., Remote
Sensing 2021, 13(9), 1673. Features that change where colours do not give depth a direction to
move where the photometric error is flat.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from training.losses.checks import require_map
from training.warp import ray_map, resize_intrinsics, sample, source_grid

# Of rho(a, b) = sqrt((a - b)^2 + eps^2): about |a - b| beyond it, without a corner at zero.
EPS = 1e-3


def feature_error(
    target_BCHW: Tensor,
    sources: Sequence[Tensor],
    inv_depth_B1hw: Tensor,
    K_B33: Tensor,
    source_T_targets: Sequence[Tensor],
    image_size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """
    Return the smallest error over the sources, and where a source sees the pixel.

    min_k <rho(phi(I_0), phi(I_k)(p'))> over the channels, (B, 1, H, W) of the features' size;
    rho is taken less its least value, eps, so that equal features cost nothing. A source that
    does not see a pixel has no part there; where none does the value means nothing.

    :param target_BCHW: features of the target; ``sources``: of the others, of the same shape.
        A gradient is for depth and motion alone: give features without one.
    :param inv_depth_B1hw: 1 / depth [1/m] at any size, brought to that of the features: the
        mean over each feature's pixels, exact for planes.
    :param K_B33: intrinsics [px] at ``image_size``, (height, width); scaled here.
    :raises ValueError: wrong shapes, or not one pose for each source.
    """
    require_map('inv_depth_B1hw', inv_depth_B1hw)
    if not sources or len(sources) != len(source_T_targets):
        raise ValueError(
            f'{len(sources)} sources and {len(source_T_targets)} poses: must be as many, and '
            'at least one'
        )
    size = (int(target_BCHW.shape[2]), int(target_BCHW.shape[3]))
    inv_depth = _at(inv_depth_B1hw, size)
    K_small = resize_intrinsics(K_B33.double(), image_size, size)
    errors, visible = [], []
    for source, pose in zip(sources, source_T_targets, strict=True):
        rays = ray_map(K_small, pose, size, inv_depth.dtype)
        grid, is_visible = source_grid(inv_depth, rays)
        error = rho(target_BCHW, sample(source, grid)).mean(1, keepdim=True)
        errors.append(torch.where(is_visible, error, torch.full_like(error, torch.inf)))
        visible.append(is_visible)
    return torch.cat(errors, 1).amin(1, keepdim=True), torch.cat(visible, 1).any(1, keepdim=True)


def rho(a: Tensor, b: Tensor) -> Tensor:
    """Return sqrt((a - b)^2 + eps^2) - eps."""
    return ((a - b).square() + EPS * EPS).sqrt() - EPS


def _at(inv_depth_B1hw: Tensor, size: tuple[int, int]) -> Tensor:
    given = tuple(inv_depth_B1hw.shape[-2:])
    if given == size:
        return inv_depth_B1hw
    if given[0] >= size[0] and given[1] >= size[1]:
        return functional.interpolate(inv_depth_B1hw, size=size, mode='area')
    return functional.interpolate(inv_depth_B1hw, size=size, mode='bilinear', align_corners=False)
