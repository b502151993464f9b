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

"""The auto-encoder: what it rebuilds from, at which sizes, and which maps it offers."""

from __future__ import annotations

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from training.models.autoencoder import AutoEncoder, AutoEncoderConfig, response

CONFIG = AutoEncoderConfig(encoder='efficientnet_lite0', weights='random', widths=(4, 4, 4, 4, 4))


@pytest.fixture(scope='module')
def network() -> AutoEncoder:
    torch.manual_seed(0)
    return AutoEncoder(CONFIG).eval()


def test_pictures_have_four_scales_and_are_made_of_the_coarsest_map_alone(
    network: AutoEncoder,
) -> None:
    image = torch.rand(2, 3, 64, 96)
    features, pictures = network(image)
    assert [tuple(x.shape) for x in pictures] == [(2, 3, 64 >> s, 96 >> s) for s in range(4)]
    assert all(x.min() >= 0 and x.max() <= 1 for x in pictures)
    for number, features_BCHW in enumerate(features):
        reaches = torch.autograd.grad(
            pictures[0].sum(), features_BCHW, retain_graph=True, allow_unused=True
        )[0]
        # Finer maps matter through the coarsest one, which is made of them.
        assert reaches is not None, number
    alone = network.decoder(features[-1:])
    others = network.decoder([features[-1].detach()])
    assert torch.equal(alone[0], others[0])


def test_maps_are_the_first_at_their_strides(network: AutoEncoder) -> None:
    numbers = network.maps_at((2, 4, 8))
    maps = network.encode(torch.rand(1, 3, 64, 96))
    assert [tuple(maps[n].shape[2:]) for n in numbers] == [(32, 48), (16, 24), (8, 12)]
    with pytest.raises(ModelError, match=r'efficientnet_lite0. has no feature map at stride 3'):
        network.maps_at((3,))


def test_wrong_sizes_are_named(network: AutoEncoder) -> None:
    with pytest.raises(ValueError, match='96x60: both must be multiples of 32'):
        network(torch.rand(1, 3, 60, 96))
    with pytest.raises(ConfigError, match=r'data.height = 60'):
        CONFIG.check_size(96, 60)


def test_response_goes_from_zero_to_one_and_is_zero_where_all_is_alike() -> None:
    features = torch.zeros(2, 3, 2, 2)
    features[0, :, 0, 0], features[0, 0, 1, 1] = 2.0, 1.0
    shown = response(features)
    assert shown[0, 0].tolist() == [[1.0, 0.0], [0.0, pytest.approx(1 / 12**0.5)]]
    assert shown[1].abs().max() == 0
