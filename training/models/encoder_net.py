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

"""An encoder alone, with the code of a whole picture, to train it before there is any depth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from depth_ros.errors import ConfigError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.depth_net import check_image, Normalise
from training.models.encoders import Encoder, make_encoder, MULTIPLE_PX
from training.models.layers import at_least_float32
from training.models.network import AnyNetworkConfig, require_multiple

COLORS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderNetConfig(AnyNetworkConfig):
    """Everything that decides the shape; goes into its checkpoint."""

    kind: Literal['encoder'] = 'encoder'
    encoder: str
    dimensions: int = 256

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        require_multiple(width, height, MULTIPLE_PX)
        if width == height == MULTIPLE_PX:
            raise ConfigError(
                f'data.width = {width}, data.height = {height}: the coarsest feature map would be '
                'one pixel, of which a single picture has no statistics; choose more'
            )


class EncoderNet(nn.Module):
    """
    A picture (B, 3, H, W), H and W multiples of 32, to its code (B, D) of length 1.

    The mean over the coarsest feature map, a linear layer, ReLU, then length 1, in this order:
    Shim and Kim, ICRA 2021.
    """

    def __init__(self, config: EncoderNetConfig) -> None:
        """
        Build it.

        :raises ModelError: the encoder or its weights.
        :raises ValueError: another value of the configuration.
        """
        super().__init__()
        if config.dimensions < 1:
            raise ValueError(f'dimensions {config.dimensions}: must be at least 1')
        self.config = config
        self.encoder: Encoder = make_encoder(config.encoder, config.weights)
        self.normalise = Normalise(self.encoder.spec)
        self.head = nn.Linear(self.encoder.spec.channels[-1], config.dimensions)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """
        Return the codes of RGB in 0..1.

        :raises ValueError: not (B, 3, H, W), or a side is no multiple of 32.
        """
        return self.code(self.normalise(image_B3HW))

    def code(self, picture_B3HW: Tensor) -> Tensor:
        """Return the codes of pictures as they are, without mean and std; errors as above."""
        check_image(picture_B3HW, COLORS)
        pooled_BC = self.encoder(picture_B3HW)[-1].mean(dim=(2, 3))
        positive_BD = at_least_float32(functional.relu(self.head(pooled_BC)))
        return functional.normalize(positive_BD, dim=1)


@torch.no_grad()
def follow(network: nn.Module, leader: nn.Module, momentum: float) -> None:
    """
    Move every parameter towards the leader's: own <- momentum own + (1 - momentum) leader's.

    He et al., MoCo, arXiv:1911.05722, eq. 2. Statistics of batch normalisation are its own.
    """
    for own, other in zip(network.parameters(), leader.parameters(), strict=True):
        own.mul_(momentum).add_(other, alpha=1.0 - momentum)
