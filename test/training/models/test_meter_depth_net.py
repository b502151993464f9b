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

"""METER with a head for its uncertainty: the published answer, its range, sizes and names."""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ConfigError, ModelError
import onnxruntime
import pytest
import torch
from training.models.layers import fused_for_inference
from training.models.meter import ENCODER_OUT, MeterXxs
from training.models.meter_depth_net import (
    ContextBranch,
    EDGES,
    FEATURES,
    MeterDepthNet,
    MeterNetConfig,
    METRES_PER_UNIT,
    REACH,
    repeat_border,
    Seen,
    SigmaBranch,
)
from training.models.networks import make_network, read_network

SIZE = (64, 124)


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a METER whose answers are usual depths."""
    torch.manual_seed(0)
    whole = MeterXxs().eval()
    with torch.no_grad():
        # Decimetres around 20 m, whatever the picture.
        whole.decoder.conv2d_out.weight.mul_(0.1)
    path = tmp_path_factory.mktemp('weights') / 'meter'
    torch.save(whole.state_dict(), path)
    return path


def network(weights: Path | str, **changes: object) -> MeterDepthNet:
    torch.manual_seed(1)
    return MeterDepthNet(MeterNetConfig(weights=str(weights), **changes)).eval()


def seen(features: torch.Tensor, edges: torch.Tensor) -> Seen:
    """Return these and even coarser features, 10 m away."""
    height, width = features.shape[-2:]
    return Seen(
        features,
        edges,
        torch.ones(1, ENCODER_OUT, height // 8, width // 8),
        torch.full((1, 1, height, width), 10.0),
    )


def raw_m(net: MeterDepthNet, image_B3HW: torch.Tensor) -> torch.Tensor:
    """Return the last convolution's answer [m]."""
    features = net.decoder.features(*net.encoded(image_B3HW))
    return net.decoder.conv2d_out(features) * METRES_PER_UNIT


def published(weights: Path, image_B3HW: torch.Tensor) -> torch.Tensor:
    whole = MeterXxs().eval()
    whole.load_state_dict(torch.load(weights, weights_only=True))
    return whole(image_B3HW) * METRES_PER_UNIT


@torch.no_grad()
def test_depth_is_the_published_networks_well_above_the_minimum(weights: Path) -> None:
    image = torch.rand(2, 3, *SIZE)
    raw = published(weights, image)
    # A minimum so low that the bend is far away.
    net = network(weights)
    low = float(raw.min()) - 2.0
    net.config = MeterNetConfig(weights='random', min_depth_m=low, max_depth_m=1e4)
    (depth,), (log_sigma,) = net(image)
    assert depth.shape == log_sigma.shape == (2, 1, 16, 32)
    assert torch.allclose(depth, raw, atol=1e-4)


@torch.no_grad()
def test_depth_stays_in_its_range_whatever_the_last_layer_says(weights: Path) -> None:
    net = network(weights, min_depth_m=0.5, max_depth_m=30.0)
    raw = torch.linspace(-1000.0, 1000.0, 2001)
    depth = net._in_range(raw)
    assert depth.min() >= 0.5
    assert depth.max() == 30.0
    assert bool((depth.diff() >= 0).all())


def test_depth_below_the_minimum_still_has_a_gradient(weights: Path) -> None:
    raw = torch.tensor([0.4], requires_grad=True)
    network(weights)._in_range(raw).sum().backward()
    assert raw.grad is not None
    assert raw.grad.item() > 0.1


def test_untrained_uncertainty_is_about_a_metre(weights: Path) -> None:
    with torch.no_grad():
        _, log_sigma = network(weights).finest(torch.rand(1, 3, *SIZE))
    assert log_sigma.abs().max() < 1.0


@pytest.mark.parametrize('kind', [SigmaBranch, ContextBranch])
@pytest.mark.parametrize('period', [2, 4])
@torch.no_grad()
def test_patterns_of_the_transposed_convolutions_leave_no_trace(
    period: int, kind: type[SigmaBranch]
) -> None:
    torch.manual_seed(3)
    branch = kind().eval()
    flat = torch.rand(1, FEATURES, 1, 1).expand(-1, -1, 16, 32)
    phase = 2 * torch.pi * torch.arange(32) / period
    # Small, so that no ReLU bends it into other periods.
    wave = 1e-3 * torch.cos(phase).expand(1, FEATURES, 16, -1)
    edges = torch.zeros(1, EDGES, 16, 32)
    inside = (..., slice(REACH, -REACH))
    difference = (branch(seen(flat + wave, edges)) - branch(seen(flat, edges)))[inside]
    assert difference.abs().max() < 1e-6
    slower = 1e-3 * torch.cos(phase / 4).expand(1, FEATURES, 16, -1)
    difference = (branch(seen(flat + slower, edges)) - branch(seen(flat, edges)))[inside]
    assert difference.abs().max() > 1e-6


@pytest.mark.parametrize('kind', [SigmaBranch, ContextBranch])
@torch.no_grad()
def test_uncertainty_of_even_features_has_no_border(kind: type[SigmaBranch]) -> None:
    branch = kind().eval()
    sigma = branch(seen(torch.ones(1, FEATURES, 8, 16), torch.ones(1, EDGES, 8, 16)))
    assert sigma.shape == (1, 1, 8, 16)
    assert torch.allclose(sigma, sigma[..., :1, :1].expand_as(sigma), atol=1e-6)


def test_repeated_border_is_that_of_replicate_padding() -> None:
    image = torch.rand(2, 3, 5, 7)
    wanted = torch.nn.functional.pad(image, (4,) * 4, mode='replicate')
    assert torch.equal(repeat_border(image, 4), wanted)


@torch.no_grad()
def test_finest_is_what_forward_gives_first(weights: Path) -> None:
    net, image = network(weights), torch.rand(1, 3, *SIZE)
    for one, other in zip(net.finest(image), net(image), strict=True):
        assert torch.equal(one, other[0])


def test_all_but_the_uncertainty_begins_pretrained(weights: Path) -> None:
    net = network(weights)
    own = {name for name, _ in net.named_parameters()}
    assert own - net.pretrained_names() == {
        f'sigma.{layer}.{kind}'
        for layer in ('mix', 'wide', 'head.conv')
        for kind in ('weight', 'bias')
    }
    assert network('random').pretrained_names() == frozenset()


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other'
    torch.save({'weight': torch.zeros(1)}, path)
    with pytest.raises(ModelError, match='tensors do not fit'):
        network(path)


@pytest.mark.parametrize('size', [(192, 600), (100, 128)])
def test_size_that_meter_cannot_take_is_refused(weights: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match='multiple of 8 for METER'):
        network(weights)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    ('width', 'height', 'named'),
    [(600, 192, 'data.width = 600'), (636, 100, 'data.height = 100'), (0, 64, 'data.width = 0')],
)
def test_size_in_a_config_is_refused_by_its_key(width: int, height: int, named: str) -> None:
    config = read_network({'kind': 'meter_xxs', 'weights': 'random'})
    with pytest.raises(ConfigError, match=f'{named}: an eighth of'):
        config.check_size(width, height)


def test_size_of_the_published_weights_is_taken() -> None:
    read_network({'kind': 'meter_xxs', 'weights': 'random'}).check_size(636, 192)


def test_impossible_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r'depth range 5\.0 to 2\.0 m'):
        network('random', min_depth_m=5.0, max_depth_m=2.0)


def test_kind_chooses_the_network() -> None:
    assert isinstance(
        make_network(read_network({'kind': 'meter_xxs', 'weights': 'random'})), MeterDepthNet
    )


@pytest.mark.parametrize('changed', ['depth_B1HW', 'coarsest_BCHW'])
@torch.no_grad()
def test_uncertainty_with_context_heeds_depth_and_the_coarsest_features(changed: str) -> None:
    torch.manual_seed(3)
    branch = ContextBranch().eval()
    given = seen(torch.ones(1, FEATURES, 8, 16), torch.ones(1, EDGES, 8, 16))
    other = given._replace(**{changed: 2.0 * getattr(given, changed)})
    assert (branch(other) - branch(given)).abs().max() > 1e-5


@torch.no_grad()
def test_coarse_features_mixed_before_they_are_enlarged_are_as_after_it() -> None:
    torch.manual_seed(3)
    branch = ContextBranch().eval()
    coarse = torch.rand(1, ENCODER_OUT, 2, 3)
    enlarge = torch.nn.Upsample((16, 24), mode='bilinear')
    before, after = enlarge(branch.mix_coarsest(coarse)), branch.mix_coarsest(enlarge(coarse))
    assert torch.allclose(before, after, atol=1e-5)


def test_uncertainty_with_context_sends_no_gradient_into_depth() -> None:
    given = seen(torch.ones(1, FEATURES, 8, 16), torch.ones(1, EDGES, 8, 16))
    depth = given.depth_B1HW.clone().requires_grad_()
    features = given.features_BCHW.clone().requires_grad_()
    ContextBranch()(given._replace(depth_B1HW=depth, features_BCHW=features)).sum().backward()
    assert depth.grad is None
    assert features.grad is not None


def test_frozen_depth_trains_the_uncertainty_alone(weights: Path) -> None:
    net = network(weights, sigma='context', frozen_depth=True)
    trained = {name for name, value in net.named_parameters() if value.requires_grad}
    assert trained == {f'sigma.{name}' for name, _ in net.sigma.named_parameters()}
    image = torch.rand(1, 3, *SIZE)
    assert torch.equal(net.finest(image)[0], network(weights).finest(image)[0])


def test_unknown_kind_of_uncertainty_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma 'edge': must be one of"):
        network('random', sigma='edge')


@pytest.mark.filterwarnings('ignore')
@torch.no_grad()
def test_onnx_graph_with_context_and_means_gives_what_torch_gives(
    weights: Path, tmp_path: Path
) -> None:
    """The exporter reads -1 as the end of a slice: a border cut there was empty."""
    net = network(weights, sigma='context', attention_pools=(4, 1, 1))
    path, image = tmp_path / 'graph.onnx', torch.rand(1, 3, *SIZE)
    # Depths around 20 m that differ from pixel to pixel.
    net.decoder.conv2d_out.weight.mul_(20.0 / raw_m(net, image).mean())
    fused = fused_for_inference(net)
    fused.forward = fused.finest
    torch.onnx.export(fused, (image,), str(path), opset_version=17, dynamo=False)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    found = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    for got, wanted in zip(found, net.finest(image), strict=True):
        assert got.shape == wanted.shape
        assert torch.allclose(torch.from_numpy(got), wanted, rtol=1e-4, atol=1e-4)


def test_pools_of_the_config_reach_the_encoder(weights: Path) -> None:
    net = network(weights, attention_pools=(4, 2, 1))
    assert [block.pool for block in net.encoder.mvit] == [4, 2, 1]


def test_pool_that_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r'attention_pools = \(5, 0, 0\)'):
        network('random', attention_pools=(5, 0, 0))
    with pytest.raises(ConfigError, match='attention_pools'):
        read_network({'kind': 'meter_xxs', 'weights': 'random', 'attention_pools': [4]})
