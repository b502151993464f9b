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

"""The volume answers within its bins, and its points are where a camera would see them."""

from __future__ import annotations

from depth_ros.core.camera import Intrinsics
import numpy as np
import pytest
import torch
from training.models.disparity_volume import DisparityVolume, points_of
from training.warp import resize_intrinsics, unproject

CAMERA = torch.tensor([[50.0, 45.0, 47.0, 30.5]])


def volume(**options: int) -> DisparityVolume:
    return DisparityVolume(6, min_depth_m=0.5, max_depth_m=100.0, **options)


def test_answers_are_inverse_depths_within_the_range() -> None:
    inverse = volume(width=8)(100 * torch.randn(2, 6, 3, 4))
    assert inverse.shape == (2, 1, 3, 4)
    assert inverse.min() >= 0.01
    assert inverse.max() <= 2.0


def test_certainty_of_one_bin_answers_that_bin() -> None:
    network = volume(bins=5, width=8)
    with torch.no_grad():
        network.scores.weight.zero_()
        network.scores.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 200.0, 0.0]))
    wanted = 0.01 + 3 / 4 * (2.0 - 0.01)
    torch.testing.assert_close(network(torch.rand(1, 6, 2, 2)), torch.full((1, 1, 2, 2), wanted))


def test_equal_shares_answer_the_middle() -> None:
    network = volume(bins=256, width=8)
    with torch.no_grad():
        network.scores.weight.zero_()
        network.scores.bias.zero_()
    wanted = torch.full((1, 1, 2, 2), (2.0 + 0.01) / 2)
    torch.testing.assert_close(network(torch.rand(1, 6, 2, 2)), wanted)


def test_untrained_answers_are_those_of_a_street() -> None:
    network = DisparityVolume(6, min_depth_m=0.1, max_depth_m=100.0, width=8)
    depth = 1 / network(10 * torch.randn(1, 6, 3, 4))
    assert 5.0 < depth.min() == depth.max() < 20.0


def test_large_features_can_be_learned_from_at_a_high_rate() -> None:
    """As those of an encoder that ends in a projection: not one bin for all, for ever."""
    torch.manual_seed(0)
    network = DisparityVolume(16, min_depth_m=0.1, max_depth_m=100.0, width=32)
    features, truth = 6 * torch.randn(4, 16, 5, 9), 0.01 + 0.19 * torch.rand(4, 1, 5, 1)
    features[:, :1] = 60 * truth
    truth = truth.expand(-1, -1, -1, 9)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(60):
        loss = (network(features) - truth).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.4 * (truth - truth.median()).abs().mean()


def test_size_and_offset_of_the_features_do_not_count() -> None:
    network = volume(width=8)
    torch.nn.init.normal_(network.scores.weight, std=0.1)
    features = torch.randn(2, 6, 3, 4)
    said = network(features)
    torch.testing.assert_close(network(40 * features - 7), said, rtol=1e-4, atol=1e-5)
    assert (said - said.mean()).abs().max() > 1e-2
    assert torch.isfinite(network(torch.full((1, 6, 2, 2), 3.0))).all()


def test_no_gradient_reaches_the_features_and_all_parameters_learn() -> None:
    network = volume(width=8)
    torch.nn.init.normal_(network.scores.weight, std=0.1)
    features = torch.rand(1, 6, 3, 4).requires_grad_()
    network(features).sum().backward()
    assert features.grad is None
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize('options', [{'min_depth_m': 0.0}, {'min_depth_m': 9.0}, {'bins': 1}])
def test_impossible_ranges_and_bins_are_refused(options: dict) -> None:
    values = {'min_depth_m': 1.0, 'max_depth_m': 8.0} | options
    with pytest.raises(ValueError, match=r'depth range|bins = 1'):
        DisparityVolume(6, **values)


def test_points_agree_with_the_geometry_of_the_warps() -> None:
    """At the network's own focal length, on the grid's own camera matrix."""
    stride, (height, width) = 8, (8, 12)
    inverse = 0.02 + torch.rand(1, 1, height, width)
    fx, fy, cx, cy = CAMERA[0].tolist()
    K_B33 = torch.tensor([[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]]])
    K_grid = resize_intrinsics(K_B33, (height * stride, width * stride), (height, width))
    wanted = unproject(1 / inverse, K_grid).flatten(2).transpose(1, 2)
    points = points_of(inverse, CAMERA, stride=stride, focal_px=fx)
    torch.testing.assert_close(points, wanted, rtol=1e-5, atol=1e-5)


def test_points_agree_with_the_rays_of_the_core() -> None:
    height, width = 5, 7
    fx, fy, cx, cy = CAMERA[0].tolist()
    camera = Intrinsics(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
    points = points_of(torch.full((1, 1, height, width), 0.25), CAMERA, stride=1, focal_px=fx)
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x, y = (u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy
    rays = np.dstack((x, y, np.ones(u.shape)))
    np.testing.assert_allclose(points.numpy().reshape(height, width, 3), 4.0 * rays, rtol=1e-5)


def test_a_longer_lens_sees_the_same_answer_farther_away() -> None:
    inverse = torch.full((1, 1, 4, 4), 0.1)
    points = points_of(inverse, CAMERA, stride=8, focal_px=25.0)
    torch.testing.assert_close(points[..., 2], torch.full((1, 16), 20.0))
