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

"""SILog: exact values, finite at zero, image by image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from training.losses.silog import ROOT_FLOOR, silog_errors


def depth(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[None, None, None]


def hit(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.bool)


def test_value_is_that_of_the_formula() -> None:
    # g = ln 2 and 0: the mean of squares is ln^2 2 / 2, the square of the mean ln^2 2 / 4.
    said, true = depth(1.0, 3.0), depth(2.0, 3.0)
    (value,) = silog_errors(said, true, hit(said)).value_B
    assert value.item() == pytest.approx(math.sqrt(math.log(2) ** 2 * 3 / 8 + ROOT_FLOOR))


@pytest.mark.parametrize(('focus', 'wanted'), [(1.0, 0.0), (0.0, math.log(3.0))])
def test_focus_forgives_a_common_factor(focus: float, wanted: float) -> None:
    said = depth(1.0, 4.0, 9.0)
    (value,) = silog_errors(said, 3.0 * said, hit(said), variance_focus=focus).value_B
    assert value.item() == pytest.approx(math.sqrt(wanted**2 + ROOT_FLOOR))


def test_gradient_is_finite_where_there_is_no_error() -> None:
    said = depth(1.0, 4.0, 9.0).requires_grad_()
    (value,) = silog_errors(said, said.detach(), hit(said)).value_B
    (gradient,) = torch.autograd.grad(value, said)
    assert value.item() == pytest.approx(math.sqrt(ROOT_FLOOR))
    assert torch.isfinite(gradient).all()


def test_images_do_not_know_each_other_and_empty_ones_are_not_used() -> None:
    said = torch.cat((depth(1.0, 3.0), depth(5.0, 7.0), depth(1.0, 1.0))).requires_grad_()
    true = torch.cat((depth(2.0, 3.0), depth(0.0, 0.0), depth(4.0, 0.0)))
    errors = silog_errors(said, true, true > 0)
    assert errors.is_used_B.tolist() == [True, False, True]
    alone = silog_errors(said[:1], true[:1], true[:1] > 0)
    assert errors.value_B[0] == alone.value_B[0]
    (gradient,) = torch.autograd.grad(errors.value_B.sum(), said)
    assert torch.isfinite(gradient).all()
    assert not gradient[1].any()
    assert gradient[2, 0, 0, 1] == 0


def test_half_precision_is_computed_in_float32() -> None:
    said = depth(1.0, 3.0).to(torch.bfloat16)
    assert silog_errors(said, depth(2.0, 3.0).float(), hit(said)).value_B.dtype == torch.float32


def test_wrong_arguments_are_refused() -> None:
    said = depth(1.0, 3.0)
    with pytest.raises(ValueError, match='variance_focus = 2: must be 0 to 1'):
        silog_errors(said, said, hit(said), variance_focus=2)
    with pytest.raises(ValueError, match='valid_B1HW has shape'):
        silog_errors(said, said, hit(said)[..., :1])
