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

"""Metric scale: lengths and medians in closed form."""

from __future__ import annotations

import pytest
import torch
from training.losses.scale import median_ratio, travelled_distance


def test_travelled_distance_compares_lengths_where_odometry_exists() -> None:
    translation = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 2.0], [9.0, 9.0, 9.0]])
    distance = torch.tensor([4.0, 2.5, torch.nan])
    valid = torch.tensor([True, True, False])
    translation.requires_grad_()
    loss = travelled_distance(translation, distance, valid)
    loss.backward()
    assert loss.item() == pytest.approx((1.0 + 0.5) / 2)
    torch.testing.assert_close(translation.grad[0], torch.tensor([0.3, 0.0, 0.4]))
    assert (translation.grad[2] == 0).all()


def test_travelled_distance_at_rest_has_a_finite_gradient() -> None:
    translation = torch.zeros(1, 3, requires_grad=True)
    loss = travelled_distance(translation, torch.zeros(1), torch.tensor([True]))
    loss.backward()
    assert loss.item() <= 1e-6
    assert torch.isfinite(translation.grad).all()


def test_travelled_distance_gradient_is_that_of_finite_differences() -> None:
    translation = torch.tensor([[0.3, -0.1, 1.0], [0.0, 0.2, -0.7]], dtype=torch.float64)
    distance = torch.tensor([1.5, 0.2], dtype=torch.float64)
    valid = torch.tensor([True, True])
    assert torch.autograd.gradcheck(
        lambda t: travelled_distance(t, distance, valid), translation.requires_grad_()
    )


def test_median_ratio_aligns_far_scales_and_leaves_near_ones() -> None:
    depth = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3).repeat(3, 1, 1, 1).requires_grad_()
    factors = torch.tensor([5.4, 1.05, 0.5]).reshape(3, 1, 1, 1)
    reference = factors * depth.detach()
    reference[0, 0, 0, 0] = torch.nan
    valid = torch.ones(3, 1, 3, 3, dtype=torch.bool)
    valid[0, 0, 0, 0] = False
    ratio = median_ratio(reference, depth, valid)
    assert not ratio.requires_grad
    torch.testing.assert_close(ratio.flatten(), torch.tensor([5.4, 1.0, 0.5]))


def test_median_ratio_of_an_image_without_a_valid_pixel_is_one() -> None:
    valid = torch.tensor([True, False]).reshape(2, 1, 1, 1)
    depth = torch.full((2, 1, 1, 1), 2.0)
    assert median_ratio(3 * depth, depth, valid).flatten().tolist() == [3.0, 1.0]


def test_bad_input_is_named() -> None:
    maps, valid = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match='translation_B3 has shape'):
        travelled_distance(torch.ones(2, 4), torch.ones(2), torch.tensor([True, True]))
    with pytest.raises(ValueError, match='distance_m_B has shape'):
        travelled_distance(torch.ones(2, 3), torch.ones(1), torch.tensor([True, True]))
    with pytest.raises(ValueError, match='valid_B has no True'):
        travelled_distance(torch.ones(1, 3), torch.ones(1), torch.tensor([False]))
    with pytest.raises(ValueError, match='no True pixel'):
        median_ratio(maps, maps, ~valid)
    with pytest.raises(ValueError, match='depth_B1HW has shape'):
        median_ratio(maps, maps[..., :1], valid)
    with pytest.raises(ValueError, match='dead_band'):
        median_ratio(maps, maps, valid, dead_band=(1.1, 0.9))
