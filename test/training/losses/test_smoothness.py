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
from training.losses.smoothness import first_order, second_order, smoothness


def test_constant_depth_is_smooth() -> None:
    assert smoothness(torch.full((2, 1, 4, 5), 0.3), torch.rand(2, 3, 4, 5)).item() == 0.0


def test_ramp_has_its_relative_slope_and_edges_forgive_it() -> None:
    ramp = torch.arange(1.0, 6.0, dtype=torch.float64).expand(1, 1, 4, 5)
    flat = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    # Slope 1 over mean 3 along x, none along y.
    assert smoothness(ramp, flat).item() == pytest.approx(1 / 3, rel=1e-6)
    edges = torch.arange(5.0, dtype=torch.float64).mul(0.2).expand(1, 3, 4, 5)
    assert smoothness(ramp, edges).item() == pytest.approx(math.exp(-0.2) / 3, rel=1e-6)


def test_second_order_is_of_bends_and_crossings_and_not_of_slopes() -> None:
    x = torch.arange(6.0, dtype=torch.float64).expand(1, 1, 5, 6)
    y = torch.arange(5.0, dtype=torch.float64)[:, None].expand(1, 1, 5, 6)
    flat = torch.zeros(1, 3, 5, 6, dtype=torch.float64)
    assert second_order(3 * x - 2 * y, flat).item() == 0
    # xx of x^2 is 2; xy and yx of x y are 1 each.
    assert second_order(x * x, flat).item() == 2
    assert second_order(x * y, flat).item() == 2
    # A picture that is bent itself forgives it; one with a slope does not.
    bent, sloped = (image.expand(1, 3, 5, 6) for image in (0.1 * x * x, 0.1 * x))
    assert second_order(x * x, bent).item() == pytest.approx(2 * math.exp(-0.2))
    assert second_order(x * x, bent, edge=0.5).item() == pytest.approx(2 * math.exp(-0.1))
    assert second_order(x * x, sloped).item() == pytest.approx(2)


def test_channels_are_averaged() -> None:
    x = torch.arange(4.0).expand(1, 1, 3, 4)
    maps, flat = torch.cat((x, 3 * x), 1), torch.zeros(1, 3, 3, 4)
    assert first_order(maps, flat).item() == 2


def test_order_two_is_both_together_with_half_the_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    inv_depth = torch.rand(1, 1, 5, 6, dtype=torch.float64, generator=generator) + 0.1
    image = torch.rand(1, 3, 5, 6, dtype=torch.float64, generator=generator)
    normal = inv_depth / inv_depth.mean()
    wanted = first_order(normal, image, edge=0.5) + second_order(normal, image, edge=0.5)
    assert smoothness(inv_depth, image, order=2).item() == pytest.approx(wanted.item(), rel=1e-5)
    assert smoothness(inv_depth, image).item() == pytest.approx(
        first_order(normal, image).item(), rel=1e-5
    )
    with pytest.raises(ValueError, match='2x5 has no such differences: 3 px'):
        smoothness(inv_depth[..., :2], image[..., :2], order=2)


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
        ((1, 1, 1, 4), (1, 3, 1, 4), '4x1 has no such differences: 2 px'),
    ],
)
def test_bad_shapes_are_named(
    depth_shape: tuple[int, ...], image_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        smoothness(torch.ones(depth_shape), torch.ones(image_shape))
