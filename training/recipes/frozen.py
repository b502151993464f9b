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

from functools import cached_property
from typing import Any

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.depth_net import Normalise
from training.models.encoders import make_encoder
from training.models.network import DepthNetwork, Prediction


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
        encoder: Any = make_encoder(self.name, self._weights)
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
    encoder = getattr(network, 'encoder', None)
    if not isinstance(encoder, nn.Module):
        kind = type(network).__name__ if isinstance(network, DepthNetwork) else type(network)
        raise ModelError(
            f'alignment: {kind} has no encoder of training.models.encoders; use network.kind = '
            'unet, or alignment = null'
        )
    taken: list[Tensor] = []
    handle = encoder.register_forward_hook(lambda *called: taken.append(called[2][-1]))
    try:
        prediction: Prediction = network(image_B3HW)
    finally:
        handle.remove()
    return prediction, taken[-1]
