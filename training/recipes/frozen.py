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

"""An encoder that stays as somebody trained it, to compare another one with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.depth_anything import PATCH_PX
from training.models.depth_anything_net import DepthAnythingNet
from training.models.depth_net import Normalise
from training.models.dinov2 import load_dinov2, patch_map
from training.models.encoders import make_encoder
from training.models.network import Prediction

# Beside the encoders that a decoder can use; the files of their weights are not installed.
DINOV2 = {f'dinov2_{size}': size for size in ('vits', 'vitb', 'vitl', 'tiny')}


class FrozenEncoder:
    """
    An encoder with its published weights, built when it is first asked: export does not need it.

    No part of the state dict; copies of a recipe share it.
    """

    def __init__(self, name: str, weights: str) -> None:
        self.name, self._weights = name, weights

    def __deepcopy__(self, memo: dict[int, object]) -> FrozenEncoder:
        return self

    @cached_property
    def _network(self) -> nn.Module:
        if self.name in DINOV2:
            encoder: Any = load_dinov2(DINOV2[self.name], self._weights)
        else:
            encoder = make_encoder(self.name, self._weights)
        network = nn.Sequential(Normalise(encoder.spec), encoder)
        return network.requires_grad_(False).eval()

    @torch.no_grad()
    def features(self, image_B3HW: Tensor) -> Tensor:
        """
        Return its deepest map, (B, C, h, w), of rgb in 0..1.

        :raises ModelError: there is no such encoder, or its weights cannot be read.
        """
        maps: tuple[Tensor, ...] = self._network.to(image_B3HW)(image_B3HW)
        return maps[-1]

    def beside(self, features_BChw: Tensor, image_B3HW: Tensor) -> Tensor:
        """
        Return ``features`` at the size of the features of another encoder.

        :raises ModelError: the other one has another number of channels.
        """
        own = self.features(image_B3HW)
        if own.shape[1] != features_BChw.shape[1]:
            raise ModelError(
                f"alignment.encoder = '{self.name}' has {own.shape[1]} channels and the encoder "
                f'of the network {features_BChw.shape[1]}: choose one with as many, usually the '
                'same'
            )
        size = features_BChw.shape[-2:]
        if own.shape[-2:] != size:
            own = functional.interpolate(own, size, mode='bilinear', align_corners=False)
        return own


def with_features(network: nn.Module, image_B3HW: Tensor) -> tuple[Prediction, Tensor]:
    """
    Return what a network says, and the deepest map of its encoder, in one pass.

    :raises ModelError: it has no such encoder.
    """
    encoder, map_of = _encoder_of(network, image_B3HW)
    taken: list[Tensor] = []
    handle = encoder.register_forward_hook(lambda *called: taken.append(map_of(called[2])))
    try:
        prediction: Prediction = network(image_B3HW)
    finally:
        handle.remove()
    return prediction, taken[-1]


def _encoder_of(
    network: nn.Module, image_B3HW: Tensor
) -> tuple[nn.Module, Callable[[Any], Tensor]]:
    """Return the encoder, and what makes a map of its output."""
    if isinstance(network, DepthAnythingNet):
        whole: Any = network.metric.network
        rows, columns = (side // PATCH_PX for side in image_B3HW.shape[2:])
        return whole.backbone, lambda out: patch_map(out.feature_maps[-1], rows, columns)
    encoder = getattr(network, 'encoder', None)
    if not isinstance(encoder, nn.Module):
        raise ModelError(
            f'alignment: a {type(network).__name__} has no encoder to compare; use network.kind = '
            'unet or depth_anything, or alignment = null'
        )
    return encoder, lambda out: out[-1]
