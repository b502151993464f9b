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
Unprojected-point filtering: uncertainty stays high where the LiDAR never reaches.

Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737, L_S,upf: a sum over the pixels without LiDAR of the
upper image that keeps sigma from becoming small there. The paper's formula and its M were not
available; both forms here are ours.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional
from training.losses.checks import require_equal_shapes, require_map, require_mask


def never_covered(hit_B1HW: Tensor, radius_px: int) -> Tensor:
    """
    Return the complement of the dilated hit mask, bool (B, 1, H, W).

    The plain complement also holds the gaps between the scan lines, most of the image. The
    square of dilation has 2 * ``radius_px`` + 1 pixels a side; 8 at 640x192 closes those of 64
    lines.

    :raises ValueError: not a mask of that shape, or the radius is negative.
    """
    require_map('hit_B1HW', hit_B1HW)
    if radius_px < 0:
        raise ValueError(f'radius_px = {radius_px}: must be zero or more')
    side = 2 * radius_px + 1
    hits = hit_B1HW.float()
    rows = functional.max_pool2d(hits, (1, side), stride=1, padding=(0, radius_px))
    return functional.max_pool2d(rows, (side, 1), stride=1, padding=(radius_px, 0)) == 0


def fixed_residual(
    log_sigma_B1HW: Tensor, uncovered_B1HW: Tensor, residual_m: float = 10.0
) -> Tensor:
    """
    Return the mean of M / sigma + ln sigma over the uncovered pixels.

    The Laplace likelihood of an error of M metres: the minimum is at sigma = M, so the weight
    1 / sigma in a distillation goes to 1 / M there.

    :param residual_m: M [m].
    :raises ValueError: shapes differ, nothing is uncovered, or M is not positive.
    """
    _check(log_sigma_B1HW, uncovered_B1HW, residual_m)
    log_sigma = log_sigma_B1HW[uncovered_B1HW]
    return (residual_m * (-log_sigma).exp() + log_sigma).mean()


def hinge(log_sigma_B1HW: Tensor, uncovered_B1HW: Tensor, residual_m: float = 10.0) -> Tensor:
    """
    Return the mean of max(0, ln M - ln sigma) over the uncovered pixels.

    Only pushes sigma up to M [m]; a larger one is left alone.

    :raises ValueError: shapes differ, nothing is uncovered, or M is not positive.
    """
    _check(log_sigma_B1HW, uncovered_B1HW, residual_m)
    return functional.relu(math.log(residual_m) - log_sigma_B1HW[uncovered_B1HW]).mean()


def _check(log_sigma_B1HW: Tensor, uncovered_B1HW: Tensor, residual_m: float) -> None:
    require_equal_shapes(log_sigma_B1HW=log_sigma_B1HW, uncovered_B1HW=uncovered_B1HW)
    require_mask('uncovered_B1HW', uncovered_B1HW)
    if not 0 < residual_m < math.inf:
        raise ValueError(f'residual_m = {residual_m}: must be a positive number of metres')
