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

"""Steps give what the whole sequence gives, zeros are no past, and switches leave the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn, Tensor
from training.models.attention_stack import StackOptions
from training.models.sequence import camera_in_the_middle, View
from training.models.tc_depth import TcDepthConfig, TcDepthNet

LIGHT = 'efficientnet_lite0_dilated'
SIZE = 40, 72
FRAMES = 5
CAMERA = torch.tensor([[60.0, 55.0, 33.0, 21.0]])
SMALL = StackOptions(layers=2, value_width=8, key_width=8, bins=16, volume_width=8)
CONFIG = TcDepthConfig(
    encoder=LIGHT,
    weights='random',
    focal_px=50.0,
    widths=(4, 4, 8, 8),
    scales=(0, 2),
    attention=SMALL,
)


def network(encoder: str = LIGHT, memory: int = 2, **options: object) -> TcDepthNet:
    torch.manual_seed(0)
    config = replace(CONFIG, encoder=encoder, memory=memory, attention=replace(SMALL, **options))
    net = TcDepthNet(config)
    # Heads and volumes that begin at a constant would hide what comes before them.
    for name, parameter in net.named_parameters():
        if name.endswith('weight') and ('heads' in name or 'scores' in name):
            nn.init.normal_(parameter, std=0.3)
    settle(net)
    return net.eval()


def settle(net: TcDepthNet) -> None:
    """Give batch normalisation the statistics of some frames, so that features are not tiny."""
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    net.train()
    with torch.no_grad():
        net.sequence(video(3), CAMERA)


def video(frames: int = FRAMES, batch: int = 1) -> Tensor:
    return torch.rand(batch, frames, 3, *SIZE)


def stepped(net: TcDepthNet, images: Tensor, camera: Tensor = CAMERA) -> list:
    states = net.initial_states(images.shape[0], *SIZE)
    predictions = []
    for image in images.unbind(1):
        prediction, states = net.step(image, camera, states)
        predictions.append(prediction)
    return predictions


def assert_same(got: tuple, wanted: tuple, exactly: bool = False) -> None:
    tolerance = {'rtol': 0.0, 'atol': 0.0} if exactly else {'rtol': 1e-4, 'atol': 1e-4}
    for ours, theirs in zip(got.depths, wanted.depths, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)
    for ours, theirs in zip(got.log_sigmas, wanted.log_sigmas, strict=True):
        torch.testing.assert_close(ours, theirs, **tolerance)


def differs(a: tuple, b: tuple) -> bool:
    return not torch.allclose(a.depths[0], b.depths[0], rtol=1e-3)


OPTIONS = [
    {},
    {'pool': 2},
    {'layers': 1, 'memory': 1},
    {'memory': 3},
    {'spatial': False},
    {'temporal': False},
    {'value_width': None},
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@torch.no_grad()
def test_steps_equal_the_sequence(options: dict) -> None:
    net, images = network(**options), video(batch=2)
    camera = torch.cat((CAMERA, CAMERA + 5))
    sequence = net.sequence(images, camera)
    for got, wanted in zip(stepped(net, images, camera), sequence, strict=True):
        assert_same(got, wanted)
    if options.get('temporal', True):
        assert differs(sequence[-1], net.sequence(images[:, -1:], camera)[0])


@torch.no_grad()
def test_steps_of_drn_equal_the_sequence() -> None:
    net, images = network('drn_c_26'), video(3)
    for got, wanted in zip(stepped(net, images), net.sequence(images, CAMERA), strict=True):
        assert_same(got, wanted)


@torch.no_grad()
def test_states_of_zeros_are_exactly_no_past() -> None:
    net, image = network(), video(1)[:, 0]
    camera = camera_in_the_middle(image, CONFIG.focal_px)
    prediction, states = net.step(image, camera, net.initial_states(1, *SIZE))
    assert_same(prediction, net(image), exactly=True)
    assert_same(net.sequence(image[:, None], camera)[0], net(image), exactly=True)
    assert all(state[:, 0].abs().max() > 0 for state in states)
    assert all(state[:, 1:].abs().max() == 0 for state in states)


@torch.no_grad()
def test_finest_is_the_first_scale() -> None:
    net, image = network(), video(1)[:, 0]
    states = net.initial_states(1, *SIZE)
    prediction, after = net.step(image, CAMERA, states)
    depth, log_sigma, finest_after = net.finest_step(image, CAMERA, states)
    assert torch.equal(depth, prediction.depths[0])
    assert torch.equal(log_sigma, prediction.log_sigmas[0])
    assert all(map(torch.equal, after, finest_after))
    assert all(map(torch.equal, net.finest(image), (x[0] for x in net(image))))


@torch.no_grad()
def test_a_frame_older_than_the_memory_of_one_layer_is_forgotten() -> None:
    net, images = network(layers=1, memory=1), video(3)
    changed = images.clone()
    changed[:, 0] = torch.rand_like(changed[:, 0])
    results = [net.sequence(x, CAMERA) for x in (images, changed)]
    assert differs(results[0][1], results[1][1])
    assert_same(results[0][2], results[1][2], exactly=True)


@torch.no_grad()
def test_a_later_frame_changes_nothing() -> None:
    net, images = network(), video(3)
    changed = images.clone()
    changed[:, 2] = torch.rand_like(changed[:, 2])
    results = [net.sequence(x, CAMERA) for x in (images, changed)]
    assert_same(results[0][1], results[1][1])
    assert differs(results[0][2], results[1][2])


@torch.no_grad()
def test_centred_views_all_see_each_other_whatever_their_order() -> None:
    net, images = network(), video(3)
    views = net.centred(images, CAMERA)
    turned = net.centred(images.flip(1), CAMERA)
    for got, wanted in zip(turned, views[::-1], strict=True):
        assert_same(got, wanted)
    for other in (1, 2):
        changed = images.clone()
        changed[:, other] = torch.rand_like(changed[:, other])
        assert differs(net.centred(changed, CAMERA)[0], views[0])


@torch.no_grad()
def test_two_frames_in_the_centred_form_see_what_a_step_sees_with_one_layer() -> None:
    """With one layer a source gives what it has in both forms."""
    net, images = network(layers=1), video(2)
    assert_same(net.centred(images, CAMERA)[1], net.sequence(images, CAMERA)[1])


@torch.no_grad()
def test_the_camera_acts_through_the_attention_in_space_alone() -> None:
    image = video(1)[:, 0]
    for spatial in (True, False):
        net = network(spatial=spatial, sigma_m=1.0)
        states = net.initial_states(1, *SIZE)
        wide, narrow = (net.step(image, CAMERA * k, states)[0] for k in (1.0, 4.0))
        assert net.uses_camera == spatial
        assert differs(wide, narrow) == spatial


@torch.no_grad()
def test_without_both_attentions_it_is_the_single_frame_network() -> None:
    net, images = network(spatial=False, temporal=False), video(2)
    for prediction, image in zip(net.sequence(images, CAMERA), images.unbind(1), strict=True):
        assert_same(prediction, net.base(image))
    assert (net.memory, net.uses_camera, net.state_names()) == (0, False, ())
    assert net.initial_states(1, *SIZE) == ()


@torch.no_grad()
@pytest.mark.parametrize('pool', [1, 2])
def test_gates_of_zero_begin_as_the_single_frame_network(pool: int) -> None:
    net, images = network(spatial_gate=0.0, temporal_gate=0.0, pool=pool), video(2)
    for prediction, image in zip(stepped(net, images), images.unbind(1), strict=True):
        assert_same(prediction, net.base(image), exactly=True)


def test_everything_learns_and_the_volume_from_its_own_loss_alone() -> None:
    net = network().train()
    views = net.sequence_views(video(3), CAMERA)
    depths = sum(scale.log().sum() for view in views for scale in view.prediction.depths)
    sigmas = sum(scale.sum() for view in views for scale in view.prediction.log_sigmas)
    (depths + sigmas).backward(retain_graph=True)
    missing = {name for name, p in net.named_parameters() if p.grad is None}
    volume = {name for name, _ in net.named_parameters() if name.startswith('attention.volume.')}
    assert missing == volume
    reference(views).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


def reference(views: tuple[View, ...]) -> Tensor:
    references = [view.inverse_depth_B1hw for view in views]
    assert all(x is not None for x in references)
    return torch.cat(references)


@pytest.mark.parametrize(('pool', 'grid'), [(1, (5, 9)), (2, (3, 5))])
def test_reference_is_on_the_grid_of_the_attention(pool: int, grid: tuple[int, int]) -> None:
    found = reference(network(pool=pool).sequence_views(video(2, batch=3), CAMERA.expand(3, 4)))
    assert found.shape == (6, 1, *grid)


def test_states_have_names_and_the_shapes_that_steps_give() -> None:
    net = network(memory=3, pool=2)
    states = net.initial_states(2, *SIZE)
    _, after = net.step(video(1, batch=2)[:, 0], CAMERA.expand(2, 4), states)
    assert net.state_names() == ('keys_0', 'values_0', 'keys_1', 'values_1')
    assert [x.shape for x in after] == [x.shape for x in states]
    assert states[0].shape == (2, 3, 15, 8)


def test_copy_without_normalisation_takes_normalised_frames() -> None:
    net, image = network(), video(1)[:, 0]
    mean, std = (torch.tensor(x)[None, :, None, None] for x in net.normalisation)
    states = net.initial_states(1, *SIZE)
    bare = net.without_normalisation().step((image - mean) / std, CAMERA, states)[0]
    assert_same(bare, net.step(image, CAMERA, states)[0])


def test_pretrained_parameters_are_those_of_the_encoder() -> None:
    net = TcDepthNet(replace(CONFIG, weights='imagenet'))
    names = net.pretrained_names()
    assert names == {n for n, _ in net.named_parameters() if n.startswith('base.encoder.')}
    assert not network().pretrained_names()


@pytest.mark.parametrize(('key', 'value'), [('memory', 0), ('focal_px', 0.0)])
def test_impossible_values_are_refused(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=f'{key} = {value}'):
        TcDepthNet(replace(CONFIG, **{key: value}))


def test_images_that_are_no_multiple_of_8_are_refused() -> None:
    with pytest.raises(ValueError, match='multiples of 8'):
        network()(torch.rand(1, 3, 44, 72))
