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

"""The error of depth in metres that partly forgives a common scale."""

from __future__ import annotations

import torch
from torch import Tensor
from training.losses.affine import ImageErrors
from training.losses.checks import require_equal_shapes, require_map
from training.models.layers import at_least_float32

# Inside the root, whose slope at 0 is infinite.
ROOT_FLOOR = 1e-6


def silog_errors(
    depth_B1HW: Tensor,
    target_B1HW: Tensor,
    valid_B1HW: Tensor,
    *,
    variance_focus: float = 0.5,
) -> ImageErrors:
    """
    Return sqrt(mean g^2 - focus (mean g)^2 + 1e-6), g = ln D* - ln D, of each image.

    Eigen et al. 2014, arXiv:1406.2283, equation 4, under a root as Depth Anything V2
    (arXiv:2406.09414) fine-tunes with it. Deviation: of each image, not of the whole batch, so
    that it does not depend on how a batch is shared. In float32 at least: half precision
    gives NaN. An image without a valid pixel is not used.

    :param depth_B1HW: above 0 everywhere [m].
    :param target_B1HW: above 0 where valid; never read elsewhere.
    :param variance_focus: 1 forgives a common factor wholly, 0 not at all.
    :raises ValueError: wrong shapes, or a focus outside of 0..1.
    """
    require_map('depth_B1HW', depth_B1HW)
    require_equal_shapes(depth_B1HW=depth_B1HW, target_B1HW=target_B1HW, valid_B1HW=valid_B1HW)
    if not 0 <= variance_focus <= 1:
        raise ValueError(f'variance_focus = {variance_focus}: must be 0 to 1')
    valid_BN = valid_B1HW.flatten(1)
    said_BN, true_BN = (
        torch.where(valid_BN, at_least_float32(depth).flatten(1), 1.0).log()
        for depth in (depth_B1HW, target_B1HW)
    )
    g_BN, count_B = true_BN - said_BN, valid_BN.sum(1)
    safe_B = count_B.clamp(min=1)
    square_B, mean_B = (g_BN * g_BN).sum(1) / safe_B, g_BN.sum(1) / safe_B
    value_B = (square_B - variance_focus * mean_B * mean_B + ROOT_FLOOR).sqrt()
    is_used_B = count_B > 0
    return ImageErrors(torch.where(is_used_B, value_B, torch.zeros_like(value_B)), is_used_B)
