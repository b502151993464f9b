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

"""Affine-invariant errors: what they forgive, exact values, and images that say nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from torch import Tensor
from training.losses.affine import affine_errors, mean_used, mixed_affine_errors

HEIGHT, WIDTH = 10, 20


def maps(count: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, HEIGHT, WIDTH, generator=generator, dtype=torch.float64) + 0.1


def everywhere(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.bool)


@given(st.floats(1e-3, 1e3), st.floats(-50.0, 50.0))
@settings(deadline=None)
def test_error_is_zero_for_any_positive_scale_and_any_shift(scale: float, shift: float) -> None:
    target = maps()
    errors = affine_errors(scale * target + shift, target, everywhere(target))
    assert errors.is_used_B.all()
    assert errors.value_B.max() < 1e-7


def test_negative_scale_is_an_error() -> None:
    target = maps()
    # Each map has mean absolute value 1 after its normalisation, and one is minus the other.
    value = affine_errors(-target, target, everywhere(target)).value_B
    torch.testing.assert_close(value, torch.full_like(value, 2.0), rtol=2e-2, atol=0)


def test_value_is_that_of_the_formula() -> None:
    # Five pixels: median 3, mean deviation (2 + 1 + 0 + 1 + 2) / 5 = 1.2; and 0, 1, 0, 0, 9: 0, 2.
    said = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[None, None, None]
    true = torch.tensor([0.0, 1.0, 0.0, 0.0, 9.0])[None, None, None]
    normal = (said - 3.0) / 1.2 - true / 2.0
    (value,) = affine_errors(said, true, everywhere(said)).value_B
    assert value.item() == pytest.approx(normal.abs().mean().item(), rel=1e-6)


def test_invalid_pixels_have_no_influence_and_no_gradient() -> None:
    target, said = maps(), maps(seed=1).requires_grad_()
    valid = everywhere(target)
    valid[:, :, :, 12:] = False
    spoilt = torch.where(valid, target, torch.nan)
    value = mean_used(affine_errors(said, spoilt, valid))
    cut = affine_errors(said[..., :12], target[..., :12], valid[..., :12])
    assert value.item() == pytest.approx(mean_used(cut).item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, said)
    assert torch.isfinite(gradient).all()
    assert gradient[..., :12].abs().max() > 0
    assert not gradient[..., 12:].any()


def test_constant_target_and_too_few_pixels_leave_an_image_out() -> None:
    target, said = maps(4), maps(4, seed=1).requires_grad_()
    valid = everywhere(target)
    target[0] = 0.25
    target[1] = 0.0
    # 1 % of 200 pixels are two.
    valid[2] = False
    valid[2].view(-1)[7] = True
    valid[3] = False
    valid[3].view(-1)[[7, 90]] = True
    errors = affine_errors(said, target, valid)
    assert errors.is_used_B.tolist() == [False, False, False, True]
    assert errors.value_B[:3].tolist() == [0.0, 0.0, 0.0]
    assert mean_used(errors) == errors.value_B[3]
    (gradient,) = torch.autograd.grad(mean_used(errors), said)
    assert torch.isfinite(gradient).all()
    assert not gradient[:3].any()


def test_share_of_valid_pixels_is_of_the_region() -> None:
    target, said = maps(1), maps(1, seed=1)
    valid, region = torch.zeros(2, 1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    valid[0, 0, 0, :1], region[0, 0, :2, :2] = True, True
    assert not affine_errors(said, target, valid, region).is_used_B.any()
    valid[0, 0, 0, :2] = True
    assert affine_errors(said, target, valid, region).is_used_B.all()


def test_constant_prediction_costs_one_and_its_gradient_is_finite() -> None:
    target = maps(1)
    said = torch.full_like(target, 0.3, requires_grad=True)
    value = mean_used(affine_errors(said, target, everywhere(target)))
    # |0 - d_hat*| has the mean 1 by the normalisation of the target.
    assert value.item() == pytest.approx(1.0, rel=1e-9)
    (gradient,) = torch.autograd.grad(value, said)
    assert torch.isfinite(gradient).all()


def test_half_precision_is_computed_in_float32() -> None:
    target = maps().float()
    errors = affine_errors(target.to(torch.bfloat16), target, everywhere(target))
    assert errors.value_B.dtype == torch.float32


def test_nothing_pasted_is_the_plain_error() -> None:
    target, said = maps(), maps(seed=1)
    nothing = torch.zeros_like(target, dtype=torch.bool)
    plain = affine_errors(said, target, everywhere(target))
    mixed = mixed_affine_errors(said, target, everywhere(target), nothing)
    torch.testing.assert_close(mixed.value_B, plain.value_B, rtol=1e-6, atol=0)
    assert mixed.is_used_B.all()


def test_parts_are_compared_by_themselves_and_count_by_their_area() -> None:
    target, said = maps(1), maps(1, seed=1)
    pasted = torch.zeros_like(target, dtype=torch.bool)
    pasted[..., :5] = True
    parts = [
        affine_errors(said[cut], target[cut], everywhere(target[cut])).value_B
        for cut in (np.s_[..., :5], np.s_[..., 5:])
    ]
    wanted = 0.25 * parts[0] + 0.75 * parts[1]
    mixed = mixed_affine_errors(said, target, everywhere(target), pasted)
    torch.testing.assert_close(mixed.value_B, wanted, rtol=1e-6, atol=0)
    # Each part in its own scale and shift changes nothing.
    other = torch.where(pasted, 7.0 * target - 3.0, target)
    again = mixed_affine_errors(said, other, everywhere(target), pasted)
    torch.testing.assert_close(again.value_B, wanted, rtol=1e-6, atol=0)


def test_part_without_a_scale_leaves_the_image_to_the_other() -> None:
    target, said = maps(1), maps(1, seed=1)
    pasted = torch.zeros_like(target, dtype=torch.bool)
    pasted[..., :5] = True
    target[..., :5] = 0.0
    rest = affine_errors(said[..., 5:], target[..., 5:], everywhere(target)[..., 5:])
    mixed = mixed_affine_errors(said, target, everywhere(target), pasted)
    torch.testing.assert_close(mixed.value_B, rest.value_B, rtol=1e-6, atol=0)
    target[:] = 0.0
    assert not mixed_affine_errors(said, target, everywhere(target), pasted).is_used_B.any()


def test_wrong_shapes_and_no_used_image_are_refused() -> None:
    target = maps()
    with pytest.raises(ValueError, match='target_B1HW has shape'):
        affine_errors(target, target[:1], everywhere(target))
    none = affine_errors(target, torch.ones_like(target), everywhere(target))
    with pytest.raises(ValueError, match='no image of 2 is used'):
        mean_used(none)
