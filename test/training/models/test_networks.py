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

"""Kinds of networks in a config, and what each of them promises to trainer and export."""

from __future__ import annotations

from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from training.models.depth_net import DepthNet
from training.models.network import DepthNetwork
from training.models.networks import KINDS, make_network, read_network

CONTENTS: dict[str, dict[str, Any]] = {
    'unet': {'encoder': 'efficientnet_lite0', 'weights': 'random', 'scales': [1]},
    'meter_xxs': {'weights': 'random'},
    'depth_anything': {'weights': 'random', 'size': 'tiny'},
    'tc_depth': {
        'encoder': 'efficientnet_lite0_dilated',
        'weights': 'random',
        'focal_px': 50.0,
        'attention': {'pool': 2, 'value_width': None},
    },
    'meter_tc': {'weights': 'random', 'focal_px': 50.0, 'attention': {'bins': 16}},
    'autoencoder': {'encoder': 'efficientnet_lite0', 'weights': 'random'},
    'encoder': {'encoder': 'efficientnet_lite0', 'weights': 'random'},
}
# The others answer with features or a code.
DEPTH_KINDS = [kind for kind, (_, network) in KINDS.items() if issubclass(network, DepthNetwork)]
# Height and width [px] that a kind takes, where it is not the usual.
SIZES = {'depth_anything': (56, 126)}


def test_every_kind_is_tested() -> None:
    assert set(CONTENTS) == set(KINDS)


@pytest.mark.parametrize('kind', DEPTH_KINDS)
@torch.no_grad()
def test_network_without_normalisation_takes_what_is_normalised(kind: str) -> None:
    torch.manual_seed(0)
    network = make_network(read_network({'kind': kind, **CONTENTS[kind]})).eval()
    image = torch.rand(1, 3, *SIZES.get(kind, (64, 128)))
    mean, std = (torch.tensor(x)[None, :, None, None] for x in network.normalisation)
    depth, log_sigma = network.without_normalisation().finest((image - mean) / std)
    wanted = network.finest(image)
    assert torch.allclose(depth, wanted[0], rtol=1e-4)
    assert torch.allclose(log_sigma, wanted[1], atol=1e-4)


@pytest.mark.parametrize('kind', KINDS)
def test_config_goes_through_plain_values(kind: str) -> None:
    from dataclasses import asdict

    config = read_network({'kind': kind, **CONTENTS[kind]})
    assert read_network(asdict(config)) == config


def test_config_without_a_kind_means_the_unet() -> None:
    assert isinstance(make_network(read_network(CONTENTS['unet'])), DepthNet)


def test_encoder_begins_pretrained_unless_at_random() -> None:
    content = {**CONTENTS['unet'], 'weights': 'imagenet'}
    names = make_network(read_network(content)).pretrained_names()
    assert names
    assert all(name.startswith('encoder.') for name in names)
    assert not make_network(read_network(CONTENTS['unet'])).pretrained_names()


@pytest.mark.parametrize(
    ('content', 'named'),
    [
        ({'kind': 'vit'}, "network.kind = 'vit': must be one of unet, meter_xxs"),
        ('unet', "network = 'unet': must be keys with values"),
        ({'kind': 'meter_xxs', 'weights': 'random', 'encoder': 'x'}, 'network.encoder'),
        ({'kind': 'meter_xxs'}, 'network.weights is missing'),
    ],
)
def test_wrong_content_is_refused_by_its_key(content: Any, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        read_network(content)
