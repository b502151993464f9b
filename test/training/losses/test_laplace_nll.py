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

"""Laplace likelihood: where its minimum lies, and what it leaves alone."""

from __future__ import annotations

import math
from test.training.minimise import minimise

import pytest
import torch
from torch import Tensor
from training.losses.laplace_nll import laplace_nll, residual_nll

ALL = torch.ones(1, 1, 2, 2, dtype=torch.bool)


def full(value: float) -> Tensor:
    return torch.full((1, 1, 2, 2), value, dtype=torch.float64)


@pytest.mark.parametrize('beta', [1.0, 0.3])
def test_best_sigma_is_the_residual_over_beta(beta: float) -> None:
    best = minimise(lambda s: laplace_nll(full(7.0), s, full(4.0), ALL, beta=beta), full(0.0))
    torch.testing.assert_close(best.exp(), full(3.0 / beta), rtol=1e-6, atol=0)


def test_value_is_the_density_up_to_ln_2() -> None:
    density = torch.distributions.Laplace(full(7.0), full(2.5))
    wanted = -density.log_prob(full(4.0)).mean() - math.log(2)
    loss = laplace_nll(full(7.0), full(math.log(2.5)), full(4.0), ALL)
    torch.testing.assert_close(loss, wanted)


def test_detached_depth_gets_no_gradient_and_sigma_the_same() -> None:
    gradients = []
    for detach_depth in (False, True):
        depth, log_sigma = full(7.0).requires_grad_(), full(0.5).requires_grad_()
        laplace_nll(depth, log_sigma, full(4.0), ALL, detach_depth=detach_depth).backward()
        gradients.append((depth.grad, log_sigma.grad))
    assert gradients[0][0].abs().min() > 0
    assert gradients[1][0] is None
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_pixels_without_a_hit_have_no_influence() -> None:
    hit = torch.tensor([[[[True, False], [False, True]]]])
    target = torch.tensor([[[[4.0, torch.nan], [torch.inf, 4.0]]]], dtype=torch.float64)
    log_sigma = full(0.0).requires_grad_()
    loss = laplace_nll(full(7.0), log_sigma, target, hit)
    loss.backward()
    assert loss.item() == 3.0
    assert torch.equal(log_sigma.grad != 0, hit)


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    depth, log_sigma, target = (
        torch.rand(1, 1, 3, 3, dtype=torch.float64, generator=generator) for _ in range(3)
    )
    leaves = depth.requires_grad_(), log_sigma.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda d, s: laplace_nll(d, s, target, target > 0.2, beta=0.3), leaves
    )


def test_residual_nll_of_the_error_is_laplace_nll() -> None:
    log_sigma = full(0.7)
    torch.testing.assert_close(
        residual_nll(full(3.0), log_sigma, ALL), laplace_nll(full(7.0), log_sigma, full(4.0), ALL)
    )


def test_float32_at_the_clamp_is_finite() -> None:
    for log_sigma in (-5.0, 5.0):
        loss = laplace_nll(full(80.0).float(), full(log_sigma).float(), full(0.1).float(), ALL)
        assert torch.isfinite(loss)


@pytest.mark.parametrize('beta', [0.0, -1.0, math.nan])
def test_beta_that_is_not_positive_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match='beta ='):
        residual_nll(full(1.0), full(0.0), ALL, beta=beta)


def test_no_hit_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match='no True pixel'):
        laplace_nll(full(1.0), full(0.0), full(1.0), ~ALL)
    with pytest.raises(ValueError, match='log_sigma_B1HW'):
        laplace_nll(full(1.0), full(0.0)[..., :1], full(1.0), ALL)
