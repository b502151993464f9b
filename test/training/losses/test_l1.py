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

"""Absolute error: only hit pixels count."""

from __future__ import annotations

import math

import pytest
import torch
from training.losses.l1 import l1, log_l1


def test_l1_is_the_mean_over_hit_pixels_only() -> None:
    depth = torch.tensor([[[[2.0, 5.0, 7.0]]]], requires_grad=True)
    target = torch.tensor([[[[3.0, torch.nan, 4.0]]]])
    hit = torch.tensor([[[[True, False, True]]]])
    loss = l1(depth, target, hit)
    loss.backward()
    assert loss.item() == 2.0
    assert depth.grad.tolist() == [[[[-0.5, 0.0, 0.5]]]]


def test_log_l1_is_relative_and_over_hit_pixels_only() -> None:
    depth = torch.tensor([[[[6.0, 5.0, 20.0]]]], requires_grad=True)
    target = torch.tensor([[[[3.0, torch.nan, 40.0]]]])
    hit = torch.tensor([[[[True, False, True]]]])
    loss = log_l1(depth, target, hit)
    loss.backward()
    # Twice too far weighs as much as twice too near, at any distance.
    assert loss.item() == pytest.approx(math.log(2))
    torch.testing.assert_close(depth.grad.flatten(), torch.tensor([0.5 / 6, 0.0, -0.5 / 20]))


def test_l1_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda x: l1(x, target, target > 0.3), depth)


@pytest.mark.parametrize(
    ('target_shape', 'hit', 'message'),
    [
        ((1, 1, 2, 3), torch.ones(1, 1, 2, 2, dtype=torch.bool), r'target_B1HW.*\(1, 1, 2, 3\)'),
        ((1, 1, 2, 2), torch.ones(1, 1, 2, 1, dtype=torch.bool), 'hit_B1HW'),
        ((1, 1, 2, 2), torch.ones(1, 1, 2, 2), 'float32: must be torch.bool'),
        ((1, 1, 2, 2), torch.zeros(1, 1, 2, 2, dtype=torch.bool), 'no True pixel of 4'),
    ],
)
def test_l1_with_bad_input_says_what(
    target_shape: tuple[int, ...], hit: torch.Tensor, message: str
) -> None:
    for loss in (l1, log_l1):
        with pytest.raises(ValueError, match=message):
            loss(torch.ones(1, 1, 2, 2), torch.ones(target_shape), hit)
