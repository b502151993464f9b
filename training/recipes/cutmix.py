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
CutMix: a box of one picture is pasted into another one, and so is everything that goes with it.

Yun et al., arXiv:1905.04899, as Depth Anything (arXiv:2401.10891, section 3.2) perturbs unlabelled
pictures. Its strengths were not published in the text; these are of UniMatch (Yang et al., CVPR
2023, arXiv:2208.09910), by the same first author.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import NamedTuple

import torch
from torch import Tensor
from training.recipes.chance import generator


@dataclass(frozen=True, slots=True, kw_only=True)
class CutMix:
    """
    Draws boxes.

    Fields:
        probability: that a picture gets one.
        area: smallest and largest share of the picture.
        aspect: smallest and largest width / height.

    """

    probability: float = 0.5
    area: tuple[float, float] = (0.02, 0.4)
    aspect: tuple[float, float] = (0.3, 1 / 0.3)

    def draw(self, height: int, width: int, chance: torch.Generator) -> tuple[slice, slice] | None:
        """Return rows and columns of a box that lies inside, or None for no box."""
        if float(torch.rand(1, generator=chance, dtype=torch.float64)) >= self.probability:
            return None
        while True:
            unit = torch.rand(4, generator=chance, dtype=torch.float64).tolist()
            area = _between(*self.area, unit[0]) * height * width
            aspect = _between(*self.aspect, unit[1])
            left, top = int(unit[2] * width), int(unit[3] * height)
            right = left + round(math.sqrt(area * aspect))
            bottom = top + round(math.sqrt(area / aspect))
            if left < right <= width and top < bottom <= height:
                return slice(top, bottom), slice(left, right)


def _between(low: float, high: float, unit: float) -> float:
    return low + (high - low) * unit


class Pasted(NamedTuple):
    """Where each picture of a batch has a box, and from which row of the batch it comes."""

    is_pasted_B1HW: Tensor
    partner_B: Tensor

    def mixed(self, values_BCHW: Tensor) -> Tensor:
        """Return pictures, or what belongs to them, with the boxes in."""
        return torch.where(self.is_pasted_B1HW, values_BCHW[self.partner_B], values_BCHW)


def draw_pasted(
    seeds: Sequence[int], rows: Sequence[int], like_BCHW: Tensor, rule: CutMix | None = None
) -> Pasted:
    """
    Return boxes for these rows of a batch, which change them two by two.

    A row without a partner, the last of an odd number, stays whole. Each box is drawn from the
    seed of the picture it is pasted into.

    :param rows: of the pictures that take part, in the order of the batch.
    """
    rule = rule or CutMix()
    count, (height, width) = len(like_BCHW), like_BCHW.shape[-2:]
    pasted = torch.zeros(count, 1, height, width, dtype=torch.bool)
    partner = torch.arange(count)
    for first, second in zip(rows[::2], rows[1::2], strict=False):
        for own, other in ((first, second), (second, first)):
            box = rule.draw(height, width, generator(seeds[own], 'cutmix'))
            if box is not None:
                pasted[own, 0, box[0], box[1]] = True
                partner[own] = other
    device = like_BCHW.device
    return Pasted(pasted.to(device), partner.to(device))
