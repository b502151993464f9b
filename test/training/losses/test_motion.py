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

"""What moves by the word of a teacher, and what it costs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from training.losses.motion import is_static, motion_consistency


def maps(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


def test_static_is_what_differs_by_less_than_sixty_percent_of_the_nearer() -> None:
    teacher = maps(10.0, 10.0, 10.0, 10.0, 10.0)
    depth = maps(15.9, 16.1, 6.3, 6.2, 10.0)
    assert is_static(depth, teacher)[0, 0, 0].tolist() == [True, False, True, False, True]
    # Who of the two is the teacher makes no difference.
    assert torch.equal(is_static(teacher, depth), is_static(depth, teacher))


def test_unknown_teacher_leaves_everything_static() -> None:
    assert is_static(maps(1.0, 50.0), maps(torch.nan, torch.inf)).all()


def test_moving_pixels_learn_the_teachers_inverse_depth() -> None:
    teacher, depth = maps(10.0, 10.0, 5.0, torch.nan), maps(40.0, 11.0, 20.0, 3.0)
    depth.requires_grad_()
    known = torch.isfinite(teacher)
    value = motion_consistency(depth, teacher, is_static(depth, teacher), known)
    expected = ((1 / 10 - 1 / 40) + (1 / 5 - 1 / 20)) / 3
    assert value.item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(value, depth)
    # Too deep where it moves: less deep is better; nothing else learns.
    assert (gradient > 0)[0, 0, 0].tolist() == [True, False, True, False]
    assert torch.isfinite(gradient).all()


def test_teacher_gets_no_gradient() -> None:
    teacher, depth = maps(10.0, 10.0).requires_grad_(), maps(40.0, 50.0).requires_grad_()
    everywhere = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    static = is_static(depth, teacher)
    assert not static.requires_grad
    value = motion_consistency(depth, teacher, static, everywhere)
    _, gradient = torch.autograd.grad(value, (depth, teacher), allow_unused=True)
    assert gradient is None


def test_nothing_known_is_refused() -> None:
    depth = maps(1.0, 2.0)
    nowhere = torch.zeros(1, 1, 1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match='has no True pixel'):
        motion_consistency(depth, depth, nowhere, nowhere)
    with pytest.raises(ValueError, match='must be equal'):
        is_static(depth, maps(1.0))
