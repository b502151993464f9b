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

"""Where the LiDAR never reaches: which pixels, and what sigma goes to."""

from __future__ import annotations

import math
from test.training.minimise import minimise

import pytest
import torch
from torch import Tensor
from training.losses.unprojected import fixed_residual, hinge, never_covered

ALL = torch.ones(1, 1, 2, 2, dtype=torch.bool)


def full(log_sigma: float) -> Tensor:
    return torch.full((1, 1, 2, 2), log_sigma, dtype=torch.float64)


@pytest.mark.parametrize('residual_m', [5.0, 10.0, 20.0])
def test_fixed_residual_pulls_sigma_to_m_from_both_sides(residual_m: float) -> None:
    for start in (-2.0, 4.0):
        best = minimise(lambda s: fixed_residual(s, ALL, residual_m), full(start))
        torch.testing.assert_close(best.exp(), full(residual_m), rtol=1e-6, atol=0)


def test_hinge_pushes_up_and_leaves_the_larger_alone() -> None:
    log_sigma = torch.tensor([[[[0.0, 5.0]]]], requires_grad=True)
    loss = hinge(log_sigma, torch.ones(1, 1, 1, 2, dtype=torch.bool), 10.0)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(10.0) / 2)
    assert log_sigma.grad.tolist() == [[[[-0.5, 0.0]]]]


@pytest.mark.parametrize('term', [fixed_residual, hinge])
def test_covered_pixels_get_no_gradient(term: object) -> None:
    uncovered = torch.tensor([[[[True, False], [False, False]]]])
    log_sigma = full(0.0).requires_grad_()
    term(log_sigma, uncovered, 10.0).backward()
    assert torch.equal(log_sigma.grad != 0, uncovered)


@pytest.mark.parametrize('term', [fixed_residual, hinge])
def test_gradient_is_that_of_finite_differences(term: object) -> None:
    log_sigma = torch.linspace(-2, 4, 6, dtype=torch.float64).reshape(1, 1, 2, 3)
    uncovered = torch.tensor([True, True, False, True, True, True]).reshape(1, 1, 2, 3)
    assert torch.autograd.gradcheck(lambda s: term(s, uncovered, 10.0), log_sigma.requires_grad_())


def test_never_covered_is_farther_than_the_radius_from_every_hit() -> None:
    hit = torch.zeros(1, 1, 20, 30, dtype=torch.bool)
    hit[0, 0, 12, 7] = hit[0, 0, 19, 29] = True
    rows, columns = torch.meshgrid(torch.arange(20), torch.arange(30), indexing='ij')
    for radius in (0, 1, 4):
        near = torch.zeros(20, 30, dtype=torch.bool)
        for v, u in ((12, 7), (19, 29)):
            near |= ((rows - v).abs() <= radius) & ((columns - u).abs() <= radius)
        assert torch.equal(never_covered(hit, radius)[0, 0], ~near)


def test_never_covered_closes_the_gaps_between_scan_lines() -> None:
    hit = torch.zeros(1, 1, 64, 64, dtype=torch.bool)
    hit[:, :, 30::5, ::2] = True
    uncovered = never_covered(hit, 8)
    assert uncovered[:, :, :22].all()
    assert not uncovered[:, :, 22:].any()


@pytest.mark.parametrize('term', [fixed_residual, hinge])
def test_bad_input_is_named(term: object) -> None:
    for residual_m in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match='residual_m ='):
            term(full(0.0), ALL, residual_m)
    with pytest.raises(ValueError, match='no True pixel'):
        term(full(0.0), ~ALL, 10.0)
    with pytest.raises(ValueError, match='uncovered_B1HW has shape'):
        term(full(0.0), ALL[..., :1], 10.0)


def test_never_covered_with_bad_input_says_what() -> None:
    with pytest.raises(ValueError, match='radius_px = -1'):
        never_covered(ALL, -1)
    with pytest.raises(ValueError, match='hit_B1HW has shape'):
        never_covered(ALL[0], 1)
