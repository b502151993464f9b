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

"""Negative log-likelihood under a Laplace distribution: error and learned uncertainty."""

from __future__ import annotations

from torch import Tensor
from training.losses.checks import require_equal_shapes, require_mask


def residual_nll(
    residual_B1HW: Tensor, log_sigma_B1HW: Tensor, valid_B1HW: Tensor, *, beta: float = 1.0
) -> Tensor:
    """
    Return the mean of e / sigma + beta ln sigma of a residual e >= 0.

    Poggi et al. 2020, arXiv:2005.06209, "Log": e is the minimum reprojection error and sigma
    has its units. Deviation: pixels that the auto-mask took out must be False in
    ``valid_B1HW``, or sigma collapses there. The constant ln 2 of the density is left out.

    :param log_sigma_B1HW: ln of the Laplace scale.
    :param beta: weight of the second part; the minimum is at sigma = e / beta.
    :raises ValueError: shapes differ, no pixel is valid, or beta is not positive.
    """
    require_equal_shapes(
        residual_B1HW=residual_B1HW, log_sigma_B1HW=log_sigma_B1HW, valid_B1HW=valid_B1HW
    )
    require_mask('valid_B1HW', valid_B1HW)
    return _nll(residual_B1HW[valid_B1HW], log_sigma_B1HW[valid_B1HW], beta)


def laplace_nll(
    depth_B1HW: Tensor,
    log_sigma_B1HW: Tensor,
    target_B1HW: Tensor,
    hit_B1HW: Tensor,
    *,
    beta: float = 1.0,
    detach_depth: bool = False,
) -> Tensor:
    """
    Return the mean of |D - D*| / sigma + beta ln sigma over the hit pixels.

    L_S,nll of Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737 (beta = 1). MaskingDepth (Baek et
    al., IROS 2024, arXiv:2212.10806) takes beta = 0.3 on sparse LiDAR, lets no gradient of this
    term reach the depth, and trains the depth by plain L1 beside it: ``detach_depth``.

    :param log_sigma_B1HW: ln of the Laplace scale in metres.
    :raises ValueError: shapes differ, nothing was hit, or beta is not positive.
    """
    require_equal_shapes(
        depth_B1HW=depth_B1HW,
        log_sigma_B1HW=log_sigma_B1HW,
        target_B1HW=target_B1HW,
        hit_B1HW=hit_B1HW,
    )
    require_mask('hit_B1HW', hit_B1HW)
    depth = depth_B1HW.detach() if detach_depth else depth_B1HW
    residual = (depth[hit_B1HW] - target_B1HW[hit_B1HW]).abs()
    return _nll(residual, log_sigma_B1HW[hit_B1HW], beta)


def _nll(residual: Tensor, log_sigma: Tensor, beta: float) -> Tensor:
    if not beta > 0:
        raise ValueError(f'beta = {beta}: must be positive, or sigma grows without bound')
    return (residual * (-log_sigma).exp() + beta * log_sigma).mean()
