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

"""What moves by itself, by the word of a teacher who saw single frames; and what to do there."""

from __future__ import annotations

import torch
from torch import Tensor
from training.losses.checks import masked_mean, require_equal_shapes, require_map, require_mask

# Ruhkamp et al. 2021: relative difference to the teacher from which a point is said to move.
MAX_DIFFERENCE = 0.6


@torch.no_grad()
def is_static(
    depth_B1HW: Tensor, teacher_m_B1HW: Tensor, max_difference: float = MAX_DIFFERENCE
) -> Tensor:
    """
    Return where student and teacher agree, bool (B, 1, H, W); True where the teacher is unknown.

    Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192, motion mask:
    (D_0 - D_T) / D_T and (D_T - D_0) / D_0 are both below 0.6. What moves along with the camera
    misleads the photometric error to depths that a single frame does not show.

    :param teacher_m_B1HW: depth [m]; not finite: unknown.
    :raises ValueError: shapes differ.
    """
    require_map('depth_B1HW', depth_B1HW)
    require_equal_shapes(depth_B1HW=depth_B1HW, teacher_m_B1HW=teacher_m_B1HW)
    nearer = torch.minimum(depth_B1HW, teacher_m_B1HW)
    differs = (depth_B1HW - teacher_m_B1HW).abs() >= max_difference * nearer
    return ~(differs & torch.isfinite(teacher_m_B1HW))


def motion_consistency(
    depth_B1HW: Tensor, teacher_m_B1HW: Tensor, static_B1HW: Tensor, known_B1HW: Tensor
) -> Tensor:
    """
    Return the mean over the known pixels of |1 / D_0 - 1 / D_T| where it is not static.

    Ruhkamp et al., arXiv:2110.08192, L_m; static pixels count as zero. No gradient reaches the
    teacher.

    :param known_B1HW: where the teacher is asked and knows.
    :raises ValueError: shapes differ, or nothing is known.
    """
    require_map('depth_B1HW', depth_B1HW)
    require_mask('known_B1HW', known_B1HW)
    require_equal_shapes(
        depth_B1HW=depth_B1HW,
        teacher_m_B1HW=teacher_m_B1HW,
        static_B1HW=static_B1HW,
        known_B1HW=known_B1HW,
    )
    teacher = torch.where(known_B1HW, teacher_m_B1HW.detach(), torch.ones_like(depth_B1HW))
    difference = (1.0 / depth_B1HW - 1.0 / teacher).abs()
    moving = torch.where(static_B1HW, torch.zeros_like(difference), difference)
    return masked_mean(moving, known_B1HW)
