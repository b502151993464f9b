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

"""The pose network: shapes, small first motions, order of the frames."""

from __future__ import annotations

import pytest
import torch
from training.models.pose_net import PoseNet
from training.warp import inverse_pose_matrix, pose_matrix

SHAPE = (2, 3, 64, 96)


@pytest.mark.parametrize('encoder', ['efficientnet_lite0', 'resnet18', 'drn_c_26'])
def test_motion_is_small_at_first_and_makes_a_pose(encoder: str) -> None:
    torch.manual_seed(0)
    motion = PoseNet(encoder, 'random')(torch.rand(SHAPE), torch.rand(SHAPE))
    assert motion.axis_angle_B3.shape == motion.translation_B3.shape == (2, 3)
    assert motion.axis_angle_B3.abs().max() < 0.2
    product = inverse_pose_matrix(*motion) @ pose_matrix(*motion)
    torch.testing.assert_close(product, torch.eye(4).expand(2, 4, 4), rtol=0, atol=1e-6)


def test_every_parameter_is_trained_but_the_unused_features() -> None:
    net = PoseNet('efficientnet_lite0', 'random')
    motion = net(torch.rand(SHAPE), torch.rand(SHAPE))
    (motion.axis_angle_B3.sum() + motion.translation_B3.sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_order_of_the_frames_matters() -> None:
    torch.manual_seed(0)
    net = PoseNet('efficientnet_lite0', 'imagenet').eval()
    a, b = torch.rand(SHAPE), torch.rand(SHAPE)
    with torch.no_grad():
        net.encoder.stem.weight[:, 3:] *= -1
        forward, backward = net(a, b), net(b, a)
    assert not torch.allclose(forward.axis_angle_B3, backward.axis_angle_B3, atol=1e-6)


def test_a_few_steps_learn_a_motion() -> None:
    torch.manual_seed(0)
    net = PoseNet('efficientnet_lite0', 'random').train()
    earlier, later = torch.rand(2, 3, 32, 64), torch.rand(2, 3, 32, 64)
    wanted = torch.tensor([[0.0, 0.0, 0.5], [0.1, 0.0, -0.5]])
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(30):
        optimiser.zero_grad()
        loss = (net(earlier, later).translation_B3 - wanted).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_bad_pictures_are_refused() -> None:
    net = PoseNet('efficientnet_lite0', 'random')
    with pytest.raises(ValueError, match='later picture has shape'):
        net(torch.rand(SHAPE), torch.rand(1, 3, 64, 96))
    with pytest.raises(ValueError, match='multiples of 32'):
        net(torch.rand(1, 3, 60, 64), torch.rand(1, 3, 60, 64))
