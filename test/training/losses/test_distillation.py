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

"""Distillation: who is believed, who learns, and what does not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from training.losses.distillation import distillation, normalised_weights, Weighting
from training.losses.laplace_nll import laplace_nll

SCHEMES = ('UW', 'UT', 'UWT', 'CT')
SPACES = ('metres', 'log')
SHAPE = (3, 1, 4, 5)
VALID = torch.ones(SHAPE, dtype=torch.bool)


def draw(seed: int, low: float = -1.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(SHAPE, dtype=torch.float64, generator=generator)
    return low + (high - low) * values


@pytest.mark.parametrize('scheme', SCHEMES)
def test_weights_of_each_image_add_to_one(scheme: str) -> None:
    valid = draw(5) > -0.3
    weights = normalised_weights(draw(0), valid, Weighting(scheme=scheme, max_sigma=1.5))
    torch.testing.assert_close(weights.sum((1, 2, 3)), torch.ones(3))
    assert (weights[~valid] == 0).all()


def test_uncertainty_weights_are_one_over_sigma_normalised() -> None:
    sigma = draw(0, 0.5, 4.0)
    weights = normalised_weights(sigma.log(), VALID, Weighting())
    wanted = (1 / sigma) / (1 / sigma).sum((1, 2, 3), keepdim=True)
    torch.testing.assert_close(weights.double(), wanted, rtol=1e-5, atol=1e-8)


def test_loss_is_the_weighted_mean_in_closed_form() -> None:
    student = torch.tensor([[[[1.0, 2.0]]]])
    teacher = torch.tensor([[[[2.0, 5.0]]]])
    log_sigma = torch.tensor([[[[1.0, 2.0]]]]).log()
    valid = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    # Weights 1 and 1/2, errors 1 and 3.
    loss = distillation(student, teacher, log_sigma, valid, Weighting())
    assert loss.item() == pytest.approx((1 + 1.5) / 1.5)


def test_loss_of_logarithms_is_the_weighted_mean_of_ratios_in_closed_form() -> None:
    student = torch.tensor([[[[1.0, 20.0]]]], dtype=torch.float64)
    teacher = torch.tensor([[[[math.e, 20.0 / math.e**3]]]], dtype=torch.float64)
    log_sigma = torch.tensor([[[[1.0, 2.0]]]]).log()
    valid = torch.ones(1, 1, 1, 2, dtype=torch.bool)
    # Weights 1 and 1/2, errors 1 and 3.
    loss = distillation(student, teacher, log_sigma, valid, Weighting(), space='log')
    assert loss.item() == pytest.approx((1 + 1.5) / 1.5, rel=1e-6)


def test_unit_of_depth_matters_to_metres_and_not_to_logarithms() -> None:
    def loss(unit: float, space: str) -> float:
        depths = draw(1, 1, 30) / unit, draw(2, 1, 30) / unit
        return distillation(*depths, draw(3), VALID, Weighting(), space=space).item()

    assert loss(0.3048, 'metres') == pytest.approx(loss(1.0, 'metres') / 0.3048)
    assert loss(0.3048, 'log') == pytest.approx(loss(1.0, 'log'))


@pytest.mark.parametrize(
    ('space', 'sigma_m', 'lets_go'),
    [
        ('metres', 0.5, True),
        ('metres', 2.0, False),
        # 20 m: what counts is sigma / D.
        ('log', 2.0, True),
        ('log', 15.0, True),
        ('log', 25.0, False),
    ],
)
def test_lesson_of_weight_one_holds_a_student_unless_it_is_sure(
    space: str, sigma_m: float, lets_go: bool
) -> None:
    # Both say 20 m, LiDAR says 30 m at every pixel.
    offset = torch.full(SHAPE, 1e-3, dtype=torch.float64, requires_grad=True)
    student, agreed = 20.0 + offset, torch.full(SHAPE, 20.0, dtype=torch.float64)
    lesson = distillation(
        student, agreed, draw(3), VALID, Weighting(scheme='UT', quantile=1.0), space=space
    )
    log_sigma = torch.full_like(agreed, math.log(sigma_m))
    (laplace_nll(student, log_sigma, agreed + 10.0, VALID) + lesson).backward()
    # Going down the gradient leads to LiDAR or back to what both said.
    assert bool((offset.grad < 0).all()) == lets_go
    assert bool((offset.grad > 0).all()) != lets_go


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('scheme', ['UW', 'UT', 'UWT'])
def test_scaling_every_sigma_changes_nothing(scheme: str, space: str) -> None:
    arguments, weighting = (draw(1, 1, 30), draw(2, 1, 30)), Weighting(scheme=scheme)
    one, other = (
        distillation(*arguments, draw(3) + math.log(scale), VALID, weighting, space=space)
        for scale in (1.0, 37.0)
    )
    torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_no_gradient_reaches_the_teacher(scheme: str, space: str) -> None:
    student, teacher, log_sigma = (draw(seed, 1, 3).requires_grad_() for seed in (1, 2, 3))
    weighting = Weighting(scheme=scheme, max_sigma=8.0)
    distillation(student, teacher, log_sigma, VALID, weighting, space=space).backward()
    assert teacher.grad is None
    assert log_sigma.grad is None
    assert student.grad.abs().max() > 0


def test_gradient_of_a_shared_network_comes_through_the_student_alone() -> None:
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    base = draw(1, 1, 3)
    teacher, log_sigma = weight * base + 5.0, weight * draw(2)
    distillation(weight * base, teacher, log_sigma, VALID, Weighting()).backward()
    weights = normalised_weights((2.0 * draw(2)), VALID, Weighting()).double()
    torch.testing.assert_close(weight.grad, -(weights * base).sum() / 3, rtol=1e-6, atol=0)


def test_threshold_keeps_the_most_certain_share_of_each_image() -> None:
    log_sigma = draw(4)
    weights = normalised_weights(log_sigma, VALID, Weighting(scheme='UT', quantile=0.25))
    for image, weight in zip(log_sigma.flatten(1), weights.flatten(1), strict=True):
        best = set(image.argsort()[:5].tolist())
        assert set(weight.nonzero().flatten().tolist()) == best
        assert weight[weight > 0].tolist() == pytest.approx([0.2] * 5)


def test_weighted_threshold_has_both() -> None:
    log_sigma = draw(4)
    both = normalised_weights(log_sigma, VALID, Weighting(scheme='UWT', quantile=0.25))
    kept = normalised_weights(log_sigma, VALID, Weighting(scheme='UT', quantile=0.25)) > 0
    wanted = normalised_weights(log_sigma, kept, Weighting())
    torch.testing.assert_close(both, wanted)


def test_constant_threshold_leaves_uncertain_images_out() -> None:
    log_sigma = draw(4, -2.0, -1.0)
    log_sigma[1] = 3.0
    student, teacher = draw(1, 1, 3).requires_grad_(), draw(2, 1, 3)
    loss = distillation(student, teacher, log_sigma, VALID, Weighting(scheme='CT'))
    errors = (student - teacher).abs().mean((1, 2, 3))
    torch.testing.assert_close(loss, (errors[0] + errors[2]) / 2, rtol=1e-6, atol=0)
    loss.backward()
    assert (student.grad[1] == 0).all()


def test_constant_threshold_that_leaves_nothing_gives_zero() -> None:
    student = draw(1).requires_grad_()
    loss = distillation(student, draw(2), torch.full(SHAPE, 3.0), VALID, Weighting(scheme='CT'))
    loss.backward()
    assert loss.item() == 0.0
    assert (student.grad == 0).all()


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('unknown', [math.nan, 0.0, -1.0])
def test_invalid_teacher_pixels_have_no_influence(space: str, unknown: float) -> None:
    teacher, valid = draw(2, 1, 3), VALID.clone()
    valid[:, :, 0] = False
    student = draw(1, 1, 3).requires_grad_()
    reference = distillation(student, teacher, draw(3), valid, Weighting(), space=space)
    teacher[:, :, 0] = unknown
    loss = distillation(student, teacher, draw(3), valid, Weighting(), space=space)
    loss.backward()
    assert loss.item() == reference.item()
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize('space', SPACES)
@pytest.mark.parametrize('scheme', SCHEMES)
def test_gradient_is_that_of_finite_differences(scheme: str, space: str) -> None:
    teacher, log_sigma, weighting = draw(2, 1, 3), draw(3), Weighting(scheme=scheme)
    assert torch.autograd.gradcheck(
        lambda s: distillation(s, teacher, log_sigma, VALID, weighting, space=space),
        draw(1, 1, 3).requires_grad_(),
    )


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'scheme': 'XX'}, r"scheme = 'XX': must be one of \['CT', 'UT', 'UW', 'UWT'\]"),
        ({'quantile': 0.0}, 'quantile = 0.0'),
        ({'quantile': 1.5}, 'quantile = 1.5'),
        ({'max_sigma': 0.0}, 'max_sigma = 0.0'),
        ({'max_sigma': math.nan}, 'max_sigma = nan'),
    ],
)
def test_weighting_with_a_bad_value_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Weighting(**changes)


def test_bad_shapes_and_empty_masks_are_refused() -> None:
    maps = draw(1), draw(2), draw(3)
    with pytest.raises(ValueError, match='no True pixel'):
        distillation(*maps, ~VALID, Weighting())
    with pytest.raises(ValueError, match='teacher_depth_B1HW has shape'):
        distillation(maps[0], maps[1][:1], maps[2], VALID, Weighting())
    with pytest.raises(ValueError, match='student_depth_B1HW has shape'):
        distillation(maps[0][0], maps[1], maps[2], VALID, Weighting())
    with pytest.raises(ValueError, match=r"space = 'feet': must be one of \['log', 'metres'\]"):
        distillation(*maps, VALID, Weighting(), space='feet')
