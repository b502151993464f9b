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

"""METER with a memory: METER's answer without a past, and steps that equal the sequence."""

from __future__ import annotations

from dataclasses import replace

from depth_ros.errors import ConfigError
import pytest
import torch
from torch import Tensor
from training.models.attention_stack import StackOptions
from training.models.meter_depth_net import ContextBranch
from training.models.meter_tc_net import DEPTH_STATES, MeterTcConfig, MeterTcNet
from training.models.networks import make_network, read_network

SIZE = 64, 124
FRAMES = 4
CAMERA = torch.tensor([[72.0, 71.0, 61.0, 31.0]])
SMALL = StackOptions(value_width=8, key_width=8, bins=16, volume_width=8)
CONFIG = MeterTcConfig(weights='random', focal_px=72.0, attention=SMALL)
VARIANTS = {
    'whole': CONFIG,
    'one_past': replace(CONFIG, memory=1),
    'two_layers': replace(CONFIG, attention=replace(SMALL, layers=2)),
    'no_depth': replace(CONFIG, depth_memory=False),
    'only_depth': replace(CONFIG, attention=replace(SMALL, spatial=False, temporal=False)),
    'no_temporal': replace(CONFIG, attention=replace(SMALL, temporal=False)),
}


def network(config: MeterTcConfig = CONFIG) -> MeterTcNet:
    torch.manual_seed(0)
    net = MeterTcNet(config).eval()
    # Depths around 20 m that differ from pixel to pixel.
    out, raw = net.base.decoder.conv2d_out, []
    hook = out.register_forward_hook(lambda _, __, answer: raw.append(answer))
    with torch.no_grad():
        net.base(video()[:, 0])
        out.weight.mul_(200.0 / raw[0].mean())
    hook.remove()
    return net


def video(frames: int = FRAMES, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(batch, frames, 3, *SIZE, generator=generator)


@torch.no_grad()
def stepped(net: MeterTcNet, images: Tensor, camera: Tensor) -> list:
    states, answers = net.initial_states(images.shape[0], *SIZE), []
    for image in images.unbind(1):
        answer, states = net.step(image, camera, states)
        answers.append(answer)
    return answers


def assert_same(got: tuple, wanted: tuple) -> None:
    torch.testing.assert_close(got[0][0], wanted[0][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got[1][0], wanted[1][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('name', VARIANTS)
@torch.no_grad()
def test_steps_give_what_the_sequence_gives(name: str) -> None:
    net, images, camera = network(VARIANTS[name]), video(batch=2), CAMERA.repeat(2, 1)
    whole = net.sequence(images, camera)
    for got, wanted in zip(stepped(net, images, camera), whole, strict=True):
        assert_same(got, wanted)


@pytest.mark.parametrize('name', VARIANTS)
@torch.no_grad()
def test_zeros_are_no_past(name: str) -> None:
    net, image = network(VARIANTS[name]), video()[:, 0]
    camera = torch.tensor([[72.0, 72.0, (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2]])
    first, states = net.step(image, camera, net.initial_states(1, *SIZE))
    assert_same(first, net(image))
    assert [tuple(state.shape) for state in states] == [
        tuple(state.shape) for state in net.initial_states(1, *SIZE)
    ]
    assert len(states) == len(net.state_names())


@pytest.mark.parametrize('name', [name for name in VARIANTS if name != 'no_temporal'])
@torch.no_grad()
def test_past_frames_have_a_say(name: str) -> None:
    net, images = network(VARIANTS[name]), video()
    last = stepped(net, images, CAMERA)[-1].depths[0]
    assert not torch.allclose(last, net(images[:, -1]).depths[0], rtol=1e-3)


@torch.no_grad()
def test_with_shut_gates_the_first_answer_is_meters() -> None:
    shut = replace(SMALL, spatial_gate=0.0, temporal_gate=0.0)
    net, images = network(replace(CONFIG, attention=shut)), video()
    assert_same(stepped(net, images, CAMERA)[0], net.base(images[:, 0]))


def test_what_the_base_is_the_config_says() -> None:
    base = network(replace(CONFIG, sigma='context', attention_pools=(4, 0, 0))).base
    assert [block.pool for block in base.encoder.mvit] == [4, 0, 0]
    assert isinstance(base.sigma, ContextBranch)


@torch.no_grad()
def test_the_camera_matters_where_there_is_a_memory_of_depth() -> None:
    net, images = network(VARIANTS['only_depth']), video()
    wide = CAMERA * torch.tensor([[0.5, 0.5, 1.0, 1.0]])
    near, far = (stepped(net, images, camera)[-1].depths[0] for camera in (CAMERA, wide))
    assert net.uses_camera
    assert not torch.allclose(near, far, rtol=1e-4)


def test_a_frozen_base_learns_nothing_and_the_memory_all() -> None:
    net = network()
    torch.nn.init.normal_(net.depth_memory.decide[2].weight)
    views = net.sequence_views(video(), CAMERA)
    loss = sum(view.prediction.depths[0].square().mean() for view in views)
    (loss + views[0].inverse_depth_B1hw.mean()).backward()
    assert not any(p.requires_grad for p in net.base.parameters())
    learning = {name for name, p in net.named_parameters() if p.requires_grad}
    still = {name for name in learning if net.get_parameter(name).grad is None}
    assert still == set()
    free = network(replace(CONFIG, frozen_base=False))
    assert all(p.requires_grad for p in free.parameters())


def test_how_many_frames_are_remembered_is_what_the_parts_need() -> None:
    found = {name: network(config).memory for name, config in VARIANTS.items()}
    wanted = {'one_past': 1, 'only_depth': 1, 'no_temporal': 1}
    assert found == {name: wanted.get(name, 2) for name in VARIANTS}
    assert network(VARIANTS['only_depth']).state_names() == DEPTH_STATES


def test_frames_cannot_see_the_future() -> None:
    with pytest.raises(ConfigError, match="views = centred: network kind 'meter_tc' is causal"):
        network().centred(video(3), CAMERA)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'memory': 0}, 'memory = 0'),
        ({'focal_px': -1.0}, 'focal_px = -1.0'),
        ({'attention': replace(SMALL, pool=2)}, 'attention.pool = 2'),
    ],
)
def test_a_value_that_cannot_be_is_named(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MeterTcNet(replace(CONFIG, **changes))


def test_the_registry_makes_it_and_checks_its_size() -> None:
    config = read_network({'kind': 'meter_tc', 'weights': 'random', 'focal_px': 72.0})
    assert isinstance(make_network(config), MeterTcNet)
    with pytest.raises(ConfigError, match=r'data\.width = 30'):
        config.check_size(30, 64)
