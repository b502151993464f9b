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

"""Edge-aware smoothness in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from training.losses.smoothness import smoothness


def test_constant_depth_is_smooth() -> None:
    assert smoothness(torch.full((2, 1, 4, 5), 0.3), torch.rand(2, 3, 4, 5)).item() == 0.0


def test_ramp_has_its_relative_slope_and_edges_forgive_it() -> None:
    ramp = torch.arange(1.0, 6.0, dtype=torch.float64).expand(1, 1, 4, 5)
    flat = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    # Slope 1 over mean 3 along x, none along y.
    assert smoothness(ramp, flat).item() == pytest.approx(1 / 3, rel=1e-6)
    edges = torch.arange(5.0, dtype=torch.float64).mul(0.2).expand(1, 3, 4, 5)
    assert smoothness(ramp, edges).item() == pytest.approx(math.exp(-0.2) / 3, rel=1e-6)


def test_scale_of_depth_does_not_matter() -> None:
    generator = torch.Generator().manual_seed(0)
    inv_depth = torch.rand(2, 1, 6, 7, dtype=torch.float64, generator=generator) + 0.1
    image = torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=generator)
    factors = torch.tensor([7.0, 0.2], dtype=torch.float64).reshape(2, 1, 1, 1)
    torch.testing.assert_close(
        smoothness(inv_depth, image), smoothness(factors * inv_depth, image), rtol=1e-5, atol=0
    )


def test_gradient_is_that_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    inv_depth = torch.rand(2, 1, 3, 4, dtype=torch.float64, generator=generator) + 0.1
    image = torch.rand(2, 3, 3, 4, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda d: smoothness(d, image), inv_depth.requires_grad_())


@pytest.mark.parametrize(
    ('depth_shape', 'image_shape', 'message'),
    [
        ((1, 2, 4, 4), (1, 3, 4, 4), 'inv_depth_B1HW'),
        ((1, 1, 4, 4), (1, 1, 4, 4), 'image_B3HW'),
        ((1, 1, 4, 4), (1, 3, 8, 8), 'must be equal'),
        ((1, 1, 1, 4), (1, 3, 1, 4), '4x1 has no gradient'),
    ],
)
def test_bad_shapes_are_named(
    depth_shape: tuple[int, ...], image_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        smoothness(torch.ones(depth_shape), torch.ones(image_shape))
