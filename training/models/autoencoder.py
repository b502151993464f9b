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

"""
An image auto-encoder, whose first feature maps stand in for pictures in the feature-metric loss.

Shu et al., FeatDepth, arXiv:2007.10603, section 3.2: encoder, and a decoder without skips that
rebuilds the picture at four scales from the coarsest map alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from training.models.decoder import Decoder, SCALES, WIDTHS
from training.models.depth_net import check_image, Normalise
from training.models.encoders import Encoder, make_encoder, MULTIPLE_PX
from training.models.layers import at_least_float32
from training.models.network import AnyNetworkConfig, require_multiple

COLORS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoEncoderConfig(AnyNetworkConfig):
    """Everything that decides the shape of an auto-encoder; goes into its checkpoint."""

    kind: Literal['autoencoder'] = 'autoencoder'
    encoder: str
    widths: tuple[int, ...] = WIDTHS

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        require_multiple(width, height, MULTIPLE_PX)


class Rebuilt(NamedTuple):
    """Feature maps of the encoder and pictures (B, 3, h, w) in 0..1, both finest first."""

    features: tuple[Tensor, ...]
    pictures: tuple[Tensor, ...]


class AutoEncoder(nn.Module):
    """
    RGB (B, 3, H, W) in 0..1 to features and to itself at 1, 1/2, 1/4 and 1/8.

    H and W are multiples of 32.
    """

    def __init__(self, config: AutoEncoderConfig) -> None:
        """
        Build it.

        :raises ModelError: the encoder or its weights.
        :raises ValueError: another value of the configuration.
        """
        super().__init__()
        self.config = config
        self.encoder: Encoder = make_encoder(config.encoder, config.weights)
        spec = self.encoder.spec
        self.normalise = Normalise(spec)
        # A skip would hand the picture on, and nothing would have to be encoded.
        self.decoder = Decoder(
            spec.channels[-1:], spec.strides[-1:], widths=config.widths, scales=SCALES
        )
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, COLORS, 3, padding=1) for channels in self.decoder.channels
        )

    def forward(self, image_B3HW: Tensor) -> Rebuilt:
        """
        Return all feature maps and the rebuilt pictures.

        :raises ValueError: not (B, 3, H, W), or a side is no multiple of 32.
        """
        features = self.encode(image_B3HW)
        decoded = self.decoder(features[-1:])
        raw = (head(x) for head, x in zip(self.heads, decoded, strict=True))
        pictures = tuple(at_least_float32(x).sigmoid() for x in raw)
        return Rebuilt(features, pictures)

    def encode(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """Return all feature maps, finest first."""
        check_image(image_B3HW, COLORS)
        return self.encoder(self.normalise(image_B3HW))

    def maps_at(self, strides: tuple[int, ...]) -> tuple[int, ...]:
        """
        Return the numbers of the first feature maps at these strides.

        :raises ModelError: the encoder has none at one of them.
        """
        given = self.encoder.spec.strides
        for stride in strides:
            if stride not in given:
                raise ModelError(
                    f"encoder '{self.config.encoder}' has no feature map at stride {stride}: it "
                    f'has {", ".join(map(str, given))}'
                )
        return tuple(given.index(stride) for stride in strides)


def response(features_BCHW: Tensor) -> Tensor:
    """Return how strong a feature map is at each pixel, (B, 1, H, W): 0..1 in each picture."""
    norm_B1HW = features_BCHW.float().norm(dim=1, keepdim=True)
    low, high = (f(norm_B1HW, dim=(2, 3), keepdim=True) for f in (torch.amin, torch.amax))
    return (norm_B1HW - low) / (high - low).clamp(min=torch.finfo(norm_B1HW.dtype).tiny)
