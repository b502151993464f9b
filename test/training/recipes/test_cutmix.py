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

"""CutMix: sizes of boxes, who gets which, and that everything moves with them."""

from __future__ import annotations

import pytest
import torch
from training.recipes.chance import generator
from training.recipes.cutmix import CutMix, draw_pasted

HEIGHT, WIDTH = 40, 60


def test_boxes_lie_inside_and_have_the_shares_and_shapes_of_the_rule() -> None:
    rule = CutMix(probability=1.0)
    shares, aspects = [], []
    for seed in range(300):
        box = rule.draw(HEIGHT, WIDTH, generator(seed, 'x'))
        assert box is not None
        rows, columns = box
        assert 0 <= rows.start < rows.stop <= HEIGHT
        assert 0 <= columns.start < columns.stop <= WIDTH
        height, width = rows.stop - rows.start, columns.stop - columns.start
        shares.append(height * width / (HEIGHT * WIDTH))
        aspects.append(width / height)
    # A side of a few pixels is rounded.
    assert 0.015 < min(shares) < 0.05
    assert 0.3 < max(shares) < 0.42
    assert 0.25 < min(aspects) < 0.45
    assert 2.0 < max(aspects) < 4.2


def test_half_of_the_pictures_get_a_box() -> None:
    drawn = [CutMix().draw(HEIGHT, WIDTH, generator(seed, 'x')) for seed in range(400)]
    assert 160 < sum(box is not None for box in drawn) < 240


def test_values_in_the_box_are_the_partners_and_all_others_stay() -> None:
    values = torch.arange(4.0)[:, None, None, None].expand(4, 2, HEIGHT, WIDTH)
    pasted = draw_pasted((1, 2, 3, 4), [1, 3], values, CutMix(probability=1.0))
    assert pasted.partner_B.tolist() == [0, 3, 2, 1]
    mixed = pasted.mixed(values)
    for row, other in ((1, 3), (3, 1)):
        inside = pasted.is_pasted_B1HW[row, 0]
        assert inside.any()
        assert not inside.all()
        assert (mixed[row][:, inside] == other).all()
        assert (mixed[row][:, ~inside] == row).all()
    for row in (0, 2):
        assert not pasted.is_pasted_B1HW[row].any()
        assert (mixed[row] == row).all()


def test_boxes_depend_on_the_seeds_of_the_pictures_alone() -> None:
    rule = CutMix(probability=1.0)
    like = torch.zeros(3, 3, HEIGHT, WIDTH)
    whole = draw_pasted((7, 8, 9), [1, 2], like, rule).is_pasted_B1HW
    other = draw_pasted((8, 9), [0, 1], like[:2], rule).is_pasted_B1HW
    assert torch.equal(whole[1:], other)
    assert not torch.equal(whole[1], whole[2])


@pytest.mark.parametrize('rows', [[], [0], [2]])
def test_picture_without_a_partner_stays_whole(rows: list[int]) -> None:
    like = torch.rand(3, 3, HEIGHT, WIDTH)
    pasted = draw_pasted((1, 2, 3), rows, like, CutMix(probability=1.0))
    assert not pasted.is_pasted_B1HW.any()
    assert torch.equal(pasted.mixed(like), like)
