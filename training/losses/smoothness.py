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
How much a map changes where the picture does not: smoothness of inverse depth, and of features.

First order: <|d x| exp(-e <|d I|>)> along x and y. Second order: the same of the four second
differences (xx, xy, yx, yy), weighed by the second differences of the picture. |dI| is the mean
over the colours; a map may have several channels, which are averaged.
"""

from __future__ import annotations

from torch import Tensor
from training.losses.checks import require_map

# Keeps the division by the mean finite; inverse depth is 0.01 to 10 per metre.
MEAN_FLOOR = 1e-7
ALONG = (3, 2)
# FeatDepth, arXiv:2007.10603: edges of the picture count half beside second differences.
SECOND_ORDER_EDGE = 0.5


def smoothness(inv_depth_B1HW: Tensor, image_B3HW: Tensor, *, order: int = 1) -> Tensor:
    """
    Return how much d* = d / mean(d) changes; the mean over each image makes it free of scale.

    Order 1: Godard et al., Monodepth2, arXiv:1806.01260, equation 3 (L_s). Order 2: first and
    second order together, as Shu et al., FeatDepth, arXiv:2007.10603, have it, at half the
    weight of edges.

    :param inv_depth_B1HW: inverse depth, or any affine map of it through zero, at its own scale:
        enlarged to the nearest pixel its second differences would be stripes.
    :param image_B3HW: the picture at the same size, 0..1.
    :raises ValueError: wrong shapes, or fewer than ``order`` + 1 pixels along a side.
    """
    require_map('inv_depth_B1HW', inv_depth_B1HW)
    normal = inv_depth_B1HW / (inv_depth_B1HW.mean((2, 3), keepdim=True) + MEAN_FLOOR)
    if order == 1:
        return first_order(normal, image_B3HW)
    edge = SECOND_ORDER_EDGE
    return first_order(normal, image_B3HW, edge=edge) + second_order(normal, image_B3HW, edge=edge)


def first_order(map_BCHW: Tensor, image_B3HW: Tensor, *, edge: float = 1.0) -> Tensor:
    """
    Return the sum over x and y of the mean first difference where the picture has no edge.

    :raises ValueError: sizes differ, or fewer than two pixels along a side.
    """
    _check(map_BCHW, image_B3HW, 2)
    terms = [_weighted(map_BCHW.diff(dim=dim), image_B3HW.diff(dim=dim), edge) for dim in ALONG]
    return terms[0] + terms[1]


def second_order(map_BCHW: Tensor, image_B3HW: Tensor, *, edge: float = 1.0) -> Tensor:
    """
    Return the sum over xx, xy, yx, yy of the mean second difference, weighed likewise.

    :raises ValueError: sizes differ, or fewer than three pixels along a side.
    """
    _check(map_BCHW, image_B3HW, 3)
    terms = []
    for first in ALONG:
        steps, edges = map_BCHW.diff(dim=first), image_B3HW.diff(dim=first)
        terms += [
            _weighted(steps.diff(dim=second), edges.diff(dim=second), edge) for second in ALONG
        ]
    return terms[0] + terms[1] + terms[2] + terms[3]


def _weighted(steps_BCHW: Tensor, edges_B3HW: Tensor, edge: float) -> Tensor:
    weight_B1HW = (-edge * edges_B3HW.abs().mean(1, keepdim=True)).exp()
    return (steps_BCHW.abs() * weight_B1HW).mean()


def _check(map_BCHW: Tensor, image_B3HW: Tensor, least: int) -> None:
    require_map('image_B3HW', image_B3HW, 3)
    sizes = [(len(x), *x.shape[-2:]) for x in (map_BCHW, image_B3HW)]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f'the map has batch, height, width {sizes[0]} and image_B3HW {sizes[1]}: must be equal'
        )
    if min(sizes[0][1:]) < least:
        raise ValueError(
            f'an image of {sizes[0][2]}x{sizes[0][1]} has no such differences: {least} px are '
            'the least'
        )
