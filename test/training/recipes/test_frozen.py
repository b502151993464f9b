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

"""A frozen encoder stays as it is, and may be any that has as many channels."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

from depth_ros.errors import ModelError
import pytest
import torch
from torch import Tensor
from training.models.depth_net import DepthNet, DepthNetConfig
from training.recipes.frozen import FrozenEncoder, with_features

SMALL = DepthNetConfig(
    encoder='efficientnet_lite0', weights='random', widths=(8, 8, 8, 8, 8), scales=(0,)
)


def picture(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def test_student_that_begins_with_the_same_weights_has_the_same_features() -> None:
    network = DepthNet(replace(SMALL, weights='imagenet')).eval()
    frozen = FrozenEncoder('efficientnet_lite0', 'imagenet')
    prediction, features = with_features(network, picture())
    assert torch.equal(prediction.depths[0], network(picture()).depths[0])
    torch.testing.assert_close(frozen.beside(features, picture()), features)
    # Nothing is left behind that would take features again.
    assert not network.encoder._forward_hooks


def test_frozen_encoder_has_no_gradient_and_keeps_its_statistics() -> None:
    frozen = FrozenEncoder('efficientnet_lite0', 'random')
    first = frozen.features(picture())
    assert not first.requires_grad
    assert torch.equal(frozen.features(picture()), first)
    assert copy.deepcopy(frozen) is frozen


def test_dinov2_gives_its_patch_tokens_for_any_size() -> None:
    pytest.importorskip('transformers', reason='transformers is only installed for training')
    frozen = FrozenEncoder('dinov2_tiny', 'random')
    assert frozen.features(picture(28, 42)).shape == (2, 32, 2, 3)
    # 64 x 96 is nearest to 70 x 98.
    assert frozen.features(picture()).shape == (2, 32, 5, 7)
    # The last layer is a normalisation without a scale of its own: mean 0, variance 1.
    tokens = frozen.features(picture())
    torch.testing.assert_close(tokens.mean(1), torch.zeros(2, 5, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        tokens.var(1, unbiased=False), torch.ones(2, 5, 7), atol=1e-2, rtol=0
    )


def test_depth_anything_is_compared_with_dinov2() -> None:
    pytest.importorskip('transformers', reason='transformers is only installed for training')
    from training.models.depth_anything_net import DepthAnythingNet, DepthAnythingNetConfig

    network = DepthAnythingNet(DepthAnythingNetConfig(weights='random', size='tiny')).eval()
    prediction, features = with_features(network, picture(28, 42))
    assert prediction.depths[0].shape == (2, 1, 28, 42)
    assert features.shape == (2, 32, 2, 3)
    frozen = FrozenEncoder('dinov2_tiny', 'random')
    frozen._network[1].backbone.load_state_dict(network.metric.network.backbone.state_dict())
    torch.testing.assert_close(frozen.features(picture(28, 42)), features)


def test_features_are_brought_to_the_size_of_the_others() -> None:
    frozen = FrozenEncoder('efficientnet_lite0', 'random')
    wanted = torch.zeros(2, 320, 4, 6)
    assert frozen.beside(wanted, picture()).shape == wanted.shape


@pytest.mark.parametrize(
    ('name', 'weights', 'message'),
    [
        ('nothing', 'random', "encoder 'nothing': must be one of"),
        ('dinov2_vits', 'imagenet', "encoder 'dinov2_vits': was not trained on ImageNet"),
    ],
)
def test_encoder_that_cannot_be_built_is_named(name: str, weights: str, message: str) -> None:
    frozen = FrozenEncoder(name, weights)
    with pytest.raises(ModelError, match=message):
        frozen.features(picture())


def test_missing_file_of_weights_is_named(tmp_path: Path) -> None:
    pytest.importorskip('transformers', reason='transformers is only installed for training')
    frozen = FrozenEncoder('dinov2_tiny', str(tmp_path / 'dinov2.pth'))
    with pytest.raises(ModelError, match=r'dinov2\.pth: there is no such weights file'):
        frozen.features(picture())
