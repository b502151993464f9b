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

"""One branch: an encoder, a decoder, and heads for depth and its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn, Tensor
from training.models.decoder import Decoder, SCALES, WIDTHS
from training.models.encoders import (
    Encoder,
    FeatureSpec,
    make_encoder,
    MULTIPLE_PX,
    multiple_px,
    RANDOM,
)
from training.models.heads import DepthHead, LogSigmaHead
from training.models.nested_decoder import NestedDecoder
from training.models.network import (
    NetworkConfig,
    NO_SCALE,
    NO_SHIFT,
    Prediction,
    require_multiple,
    Triple,
)
from training.models.split_network import SplitNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthNetConfig(NetworkConfig):
    """
    Everything that decides the shape of a network; goes into its checkpoint.

    ``weights`` of the encoder: see ``training.models.encoders``. With ``normalise`` the network
    takes RGB in 0..1 and applies the encoder's mean and std itself; without, they belong into
    the model card. ``decoder`` 'nested': deeper features flow into all shallower skips. The
    first of ``scales`` is the size of the deployed output: 0 the image's, 1 half of it.
    """

    kind: Literal['unet'] = 'unet'
    encoder: str
    decoder: Literal['plain', 'nested'] = 'plain'
    parametrisation: str = 'inverse'
    widths: tuple[int, ...] = WIDTHS
    scales: tuple[int, ...] = SCALES
    normalise: bool = True

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        require_multiple(width, height, multiple_px(self.encoder))


DECODERS: dict[str, type[Any]] = {'plain': Decoder, 'nested': NestedDecoder}


class Normalise(nn.Module):
    """Subtract the mean and divide by std, both for each of the ``frames`` pictures in turn."""

    def __init__(self, spec: FeatureSpec, frames: int = 1) -> None:
        super().__init__()
        mean = torch.tensor(spec.mean * frames)[None, :, None, None]
        gain = 1.0 / torch.tensor(spec.std * frames)[None, :, None, None]
        self.register_buffer('mean', mean, persistent=False)
        self.register_buffer('gain', gain, persistent=False)

    def forward(self, image_BCHW: Tensor) -> Tensor:
        return (image_BCHW - self.mean) * self.gain


class DepthNet(SplitNetwork):
    """
    RGB (B, 3, H, W) to depth and uncertainty at several scales.

    H and W are any multiples of the encoder's ``multiple_px``.
    """

    def __init__(self, config: DepthNetConfig) -> None:
        """
        Build the network.

        :raises ModelError: the encoder or its weights.
        :raises ValueError: another value of the configuration.
        """
        super().__init__()
        self.config: DepthNetConfig = config
        self.encoder: Encoder = make_encoder(config.encoder, config.weights)
        spec = self.encoder.spec
        self.normalise = Normalise(spec) if config.normalise else nn.Identity()
        self.decoder = DECODERS[config.decoder](
            spec.channels, spec.strides, widths=config.widths, scales=config.scales
        )
        self.depth_heads = nn.ModuleList(
            DepthHead(
                channels,
                min_depth_m=config.min_depth_m,
                max_depth_m=config.max_depth_m,
                parametrisation=config.parametrisation,
            )
            for channels in self.decoder.channels
        )
        self.sigma_heads = nn.ModuleList(
            LogSigmaHead(channels) for channels in self.decoder.channels
        )

    @property
    def context(self) -> tuple[int, int]:
        """Return the channels and the stride of the encoder's last map."""
        return self.encoder.spec.channels[-1], self.encoder.spec.strides[-1]

    def encode(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """
        Return the encoder's maps, finest first.

        :raises ValueError: not (B, 3, H, W), or a side is no multiple of ``multiple_px``.
        """
        check_image(image_B3HW, 3, multiple_px(self.config.encoder))
        return self.encoder(self.normalise(image_B3HW))

    def decode(self, features: Sequence[Tensor]) -> Prediction:
        """Return every scale."""
        decoded = self.decoder(features)
        return Prediction(
            tuple(head(x) for head, x in zip(self.depth_heads, decoded, strict=True)),
            tuple(head(x) for head, x in zip(self.sigma_heads, decoded, strict=True)),
        )

    def decode_finest(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of the first scale alone."""
        decoded = self.decoder(features)[0]
        return self.depth_heads[0](decoded), self.sigma_heads[0](decoded)

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return the mean and std that the network applies to its input itself."""
        if not self.config.normalise:
            return NO_SHIFT, NO_SCALE
        return self.encoder.spec.mean, self.encoder.spec.std

    def without_normalisation(self) -> DepthNet:
        """Return a copy that takes input with ``normalisation`` applied already."""
        network = copy.deepcopy(self)
        network.normalise = nn.Identity()
        return network

    def pretrained_names(self) -> frozenset[str]:
        """Return the parameters of the encoder, when it does not begin at random."""
        if self.config.weights == RANDOM:
            return frozenset()
        return frozenset(
            name for name, _ in self.named_parameters() if name.startswith('encoder.')
        )


class DeployedDepthNet(nn.Module):
    """What goes into a model file: (image) to (depth, log_sigma), the first scale alone."""

    def __init__(self, network: DepthNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.finest(image_B3HW)


def check_image(image_BCHW: Tensor, channels: int, multiple: int = MULTIPLE_PX) -> None:
    """
    Check the shape that an encoder wants.

    :raises ValueError: it has another number of channels, or a side is no multiple of that many
        pixels.
    """
    if image_BCHW.dim() != 4 or image_BCHW.shape[1] != channels:
        raise ValueError(
            f'image has shape {tuple(image_BCHW.shape)}: must be (B, {channels}, H, W)'
        )
    height, width = map(int, image_BCHW.shape[2:])
    if height % multiple or width % multiple:
        raise ValueError(f'image of {width}x{height}: both must be multiples of {multiple} pixels')
