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

"""Edge-aware smoothness of inverse depth."""

from __future__ import annotations

from torch import Tensor
from training.losses.checks import require_map

# Keeps the division by the mean finite; inverse depth is 0.01 to 10 per metre.
MEAN_FLOOR = 1e-7


def smoothness(inv_depth_B1HW: Tensor, image_B3HW: Tensor) -> Tensor:
    """
    Return the mean of |dx d*| exp(-|dx I|) plus the same along y; d* = d / mean(d).

    Godard et al., Monodepth2, arXiv:1806.01260, equation 3 (L_s). The mean over each image
    makes it free of scale. |dI| is the mean over the colours.

    :param inv_depth_B1HW: inverse depth, or any affine map of it through zero, at its own scale.
    :param image_B3HW: the picture at the same size, 0..1.
    :raises ValueError: wrong shapes, or fewer than two pixels along a side.
    """
    require_map('inv_depth_B1HW', inv_depth_B1HW)
    require_map('image_B3HW', image_B3HW, 3)
    sizes = [(len(x), *x.shape[-2:]) for x in (inv_depth_B1HW, image_B3HW)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'inv_depth_B1HW has batch, height, width {sizes[0]} and image_B3HW {sizes[1]}: '
            'must be equal'
        )
    if min(sizes[0][1:]) < 2:
        raise ValueError(f'an image of {sizes[0][2]}x{sizes[0][1]} has no gradient')
    normal = inv_depth_B1HW / (inv_depth_B1HW.mean((2, 3), keepdim=True) + MEAN_FLOOR)
    return _weighted(normal, image_B3HW, 3) + _weighted(normal, image_B3HW, 2)


def _weighted(normal_B1HW: Tensor, image_B3HW: Tensor, dim: int) -> Tensor:
    edge = image_B3HW.diff(dim=dim).abs().mean(1, keepdim=True)
    return (normal_B1HW.diff(dim=dim).abs() * (-edge).exp()).mean()
