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
How different two pictures look at each pixel: structural similarity and absolute difference.

``photometric_error`` says the formula. ``moment_error`` gives the same values and gradients
several times faster: the target's moments are computed once, box filters are sums of slices,
and the gradient is written out instead of recorded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from training.losses.checks import require_equal_shapes, require_map

SSIM_WEIGHT = 0.85
# Wang et al. 2004: (K L)^2 with K = 0.01 and 0.03, and a range L of 1.
C1 = 0.01**2
C2 = 0.03**2
COLORS = 3
BOX_PIXELS = 9
# A reflected border needs a second row and column.
MIN_SIDE_PX = 2


class TargetMoments(NamedTuple):
    """A target picture (B, 3, H, W) and what its SSIM needs of it: mean, and two constants."""

    image: Tensor
    mean: Tensor
    squared_mean_plus_c1: Tensor
    variance_plus_c2: Tensor


def photometric_error(a_B3HW: Tensor, b_B3HW: Tensor) -> Tensor:
    """
    Return 0.85 (1 - SSIM) / 2 + 0.15 |a - b| averaged over the colours, (B, 1, H, W).

    Godard et al., Monodepth2, arXiv:1806.01260, pe below equation 2, with SSIM (Wang et al.,
    "Image quality assessment", IEEE TIP 2004, equation 13) over 3x3 means with a reflected
    border, and (1 - SSIM) / 2 clamped to 0..1.

    :raises ValueError: shapes differ or a side is shorter than 2.
    """
    _check(a_B3HW, b_B3HW)
    a, b = (functional.pad(x, (1, 1, 1, 1), mode='reflect') for x in (a_B3HW, b_B3HW))
    mean_a, mean_b = (functional.avg_pool2d(x, 3, 1) for x in (a, b))
    variance_a = functional.avg_pool2d(a * a, 3, 1) - mean_a * mean_a
    variance_b = functional.avg_pool2d(b * b, 3, 1) - mean_b * mean_b
    covariance = functional.avg_pool2d(a * b, 3, 1) - mean_a * mean_b
    numerator = (2 * mean_a * mean_b + C1) * (2 * covariance + C2)
    denominator = (mean_a * mean_a + mean_b * mean_b + C1) * (variance_a + variance_b + C2)
    dssim = ((1 - numerator / denominator) / 2).clamp(0, 1).mean(1, keepdim=True)
    return SSIM_WEIGHT * dssim + (1 - SSIM_WEIGHT) * (a_B3HW - b_B3HW).abs().mean(1, True)


def target_moments(target_B3HW: Tensor) -> TargetMoments:
    """
    Return what ``moment_error`` needs of a target, once for all scales and sources.

    :raises ValueError: not (B, 3, H, W), a side is shorter than 2, or it wants a gradient.
    """
    _check(target_B3HW, target_B3HW)
    if target_B3HW.requires_grad:
        raise ValueError('the target picture requires a gradient: moment_error gives it none')
    image = target_B3HW.contiguous()
    mean = _box_mean(image)
    squared = mean * mean
    variance = _box_mean(image * image).sub_(squared)
    return TargetMoments(image, mean, squared.add_(C1), variance.add_(C2))


def moment_error(target: TargetMoments, image_B3HW: Tensor) -> Tensor:
    """
    Return ``photometric_error(target.image, image_B3HW)``, (B, 1, H, W), and its gradient.

    :raises ValueError: shapes differ.
    """
    require_equal_shapes(image_B3HW=image_B3HW, target=target.image)
    return _MomentError.apply(image_B3HW, *target)


class _MomentError(torch.autograd.Function):
    """
    The error and its closed-form gradient.

    With m, q, c the box means of x, x^2, x y: SSIM = n1 n2 / (d1 d2), n1 = 2 m my + C1,
    n2 = 2 (c - m my) + C2, d1 = m^2 + my^2 + C1, d2 = q - m^2 + vy + C2. Its derivatives are
    dq = -SSIM / d2, dc = 2 n1 / (d1 d2) and dm = my (2 n2 - 2 n1) / (d1 d2) - 2 m SSIM
    (1 / d1 - 1 / d2); each goes back through the transposed box filter.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, y: Tensor, mean_y: Tensor, square_c1: Tensor, var_c2: Tensor
    ) -> Tensor:
        x = x.contiguous()
        mean = _box_mean(x)
        mean_xy = mean * mean_y
        covariance = _box_mean(x * y).sub_(mean_xy)
        square = mean * mean
        d2 = _box_mean(x * x).sub_(square).add_(var_c2)
        n1, n2 = mean_xy.mul_(2).add_(C1), covariance.mul_(2).add_(C2)
        inverse_d1 = square.add_(square_c1).reciprocal_()
        inverse_d2 = d2.reciprocal_()
        dssim = (n1 * inverse_d1).mul_(n2 * inverse_d2).mul_(-0.5).add_(0.5).clamp_(0, 1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(x, y, mean, mean_y, n1, n2, inverse_d1, inverse_d2)
        difference = (x - y).abs_()
        dssim.mul_(SSIM_WEIGHT / COLORS).add_(difference, alpha=(1 - SSIM_WEIGHT) / COLORS)
        return dssim.sum(1, keepdim=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, y, mean, mean_y, n1, n2, inverse_d1, inverse_d2 = ctx.saved_tensors
        inverse = inverse_d1 * inverse_d2
        ssim = (n1 * n2).mul_(inverse)
        # As clamp does: no gradient beyond the ends.
        weight = ssim.abs().le_(1).mul_(grad).mul_(-0.5 * SSIM_WEIGHT / (COLORS * BOX_PIXELS))
        inverse.mul_(weight)
        ssim.mul_(weight)
        by_square = (ssim * inverse_d2).neg_()
        by_product = (n1 * inverse).mul_(2)
        by_mean = (n2 - n1).mul_(2).mul_(mean_y).mul_(inverse)
        by_mean.addcmul_(ssim.mul_(mean), inverse_d1 - inverse_d2, value=-2)
        result = _box_transposed(by_square).mul_(x).mul_(2)
        result.addcmul_(_box_transposed(by_product), y).add_(_box_transposed(by_mean))
        sign = (x - y).sign_()
        result.addcmul_(sign, grad, value=(1 - SSIM_WEIGHT) / COLORS)
        return result, None, None, None, None


def _box_mean(x_BCHW: Tensor) -> Tensor:
    """Return 3x3 means with a reflected border, as sums along each axis."""
    return _sum_of_three(_sum_of_three(x_BCHW, 3), 2).mul_(1 / BOX_PIXELS)


def _sum_of_three(x: Tensor, dim: int) -> Tensor:
    size = x.shape[dim]
    result = x.clone()
    result.narrow(dim, 1, size - 1).add_(x.narrow(dim, 0, size - 1))
    result.narrow(dim, 0, size - 1).add_(x.narrow(dim, 1, size - 1))
    result.narrow(dim, 0, 1).add_(x.narrow(dim, 1, 1))
    result.narrow(dim, size - 1, 1).add_(x.narrow(dim, size - 2, 1))
    return result


def _box_transposed(x_BCHW: Tensor) -> Tensor:
    """Return the transposed sum: what went into the reflected border comes back inside."""
    return _spread_to_three(_spread_to_three(x_BCHW, 2), 3)


def _spread_to_three(x: Tensor, dim: int) -> Tensor:
    size = x.shape[dim]
    result = x.clone()
    result.narrow(dim, 1, size - 1).add_(x.narrow(dim, 0, size - 1))
    result.narrow(dim, 0, size - 1).add_(x.narrow(dim, 1, size - 1))
    result.narrow(dim, 1, 1).add_(x.narrow(dim, 0, 1))
    result.narrow(dim, size - 2, 1).add_(x.narrow(dim, size - 1, 1))
    return result


def _check(a_B3HW: Tensor, b_B3HW: Tensor) -> None:
    require_map('a_B3HW', a_B3HW, COLORS)
    require_equal_shapes(a_B3HW=a_B3HW, b_B3HW=b_B3HW)
    height, width = a_B3HW.shape[-2:]
    if min(height, width) < MIN_SIDE_PX:
        raise ValueError(f'a picture of {width}x{height} has no 3x3 window: 2x2 is the least')
