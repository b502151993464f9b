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

"""Absolute error at the pixels that the LiDAR hit."""

from __future__ import annotations

from torch import Tensor
from training.losses.checks import require_equal_shapes, require_mask


def l1(depth_B1HW: Tensor, target_B1HW: Tensor, hit_B1HW: Tensor) -> Tensor:
    """
    Return the mean of |D - D*| over the hit pixels [m].

    Supervised base loss of Baek, Kim, Kim, "Semi-supervised learning with mutual distillation
    for monocular depth estimation", ICRA 2022, arXiv:2203.09737.

    :param target_B1HW: LiDAR depth [m]; never read where ``hit_B1HW`` is False.
    :raises ValueError: shapes differ, or nothing was hit.
    """
    require_equal_shapes(depth_B1HW=depth_B1HW, target_B1HW=target_B1HW, hit_B1HW=hit_B1HW)
    require_mask('hit_B1HW', hit_B1HW)
    return (depth_B1HW[hit_B1HW] - target_B1HW[hit_B1HW]).abs().mean()


def log_l1(depth_B1HW: Tensor, target_B1HW: Tensor, hit_B1HW: Tensor) -> Tensor:
    """
    Return the mean of |ln D - ln D*| over the hit pixels.

    A relative error: a metre at 5 m weighs as much as ten at 50 m, where LiDAR has most of its
    error in metres and the metric AbsRel has not.

    :param target_B1HW: LiDAR depth [m], positive where hit; never read elsewhere.
    :raises ValueError: shapes differ, or nothing was hit.
    """
    require_equal_shapes(depth_B1HW=depth_B1HW, target_B1HW=target_B1HW, hit_B1HW=hit_B1HW)
    require_mask('hit_B1HW', hit_B1HW)
    return (depth_B1HW[hit_B1HW] / target_B1HW[hit_B1HW]).log().abs().mean()
