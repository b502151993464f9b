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
Image encoders under one interface, each imported when it is chosen.

``weights`` is 'random', 'imagenet', or a path: a file of ``training.pretrain``, a published file
of tensors, or for ResNet a folder that transformers wrote. Not every encoder finds ImageNet
weights by itself; those that do not say where the file is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import cast, Protocol

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from training.models.encoder_file import load_encoder, read_encoder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RANDOM = 'random'
IMAGENET = 'imagenet'
# The coarsest stride of most; width and height of an image are multiples of it.
MULTIPLE_PX = 32
# Of those that dilate instead, so that there is nothing coarser than 1/8.
FINER_MULTIPLES_PX = {'drn_c_26': 8, 'efficientnet_lite0_dilated': 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """
    What an encoder takes and gives.

    ``channels`` and ``strides`` are of each feature map, finest first; two maps may have the
    same stride. The input is RGB, (pixel / 255 - mean) / std.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class Encoder(Protocol):
    """A module from (B, 3, H, W), sides of ``multiple_px``, to feature maps, finest first."""

    spec: FeatureSpec

    def __call__(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """Return one (B, channels, H / stride, W / stride) for each entry of ``spec``."""


def _efficientnet_lite(level: int) -> Callable[[str], Encoder]:
    def load(weights: str) -> Encoder:
        from training.models.efficientnet_lite import load_efficientnet_lite

        return load_efficientnet_lite(level, weights)

    return load


def _dilated_efficientnet_lite(level: int) -> Callable[[str], Encoder]:
    def load(weights: str) -> Encoder:
        from training.models.efficientnet_lite import load_dilated_efficientnet_lite

        return load_dilated_efficientnet_lite(level, weights)

    return load


def _resnet(depth: int) -> Callable[[str], Encoder]:
    def load(weights: str) -> Encoder:
        from training.models.resnet import load_resnet

        return load_resnet(depth, weights)

    return load


def _iresnet(depth: int) -> Callable[[str], Encoder]:
    def load(weights: str) -> Encoder:
        from training.models.iresnet import load_iresnet

        return load_iresnet(depth, weights)

    return load


def _drn_c_26(weights: str) -> Encoder:
    from training.models.drn import load_drn_c_26

    return load_drn_c_26(weights)


def _densenet161(weights: str) -> Encoder:
    from training.models.densenet import load_densenet161

    return load_densenet161(weights)


ENCODERS: dict[str, Callable[[str], Encoder]] = {
    'efficientnet_lite0': _efficientnet_lite(0),
    'efficientnet_lite1': _efficientnet_lite(1),
    'efficientnet_lite2': _efficientnet_lite(2),
    'efficientnet_lite0_dilated': _dilated_efficientnet_lite(0),
    'resnet18': _resnet(18),
    'resnet50': _resnet(50),
    'iresnet18': _iresnet(18),
    'iresnet50': _iresnet(50),
    'drn_c_26': _drn_c_26,
    'densenet161': _densenet161,
}


def multiple_px(name: str) -> int:
    """Return what both sides of an image must be multiples of, for the encoder of this name."""
    return FINER_MULTIPLES_PX.get(name, MULTIPLE_PX)


def make_encoder(name: str, weights: str) -> Encoder:
    """
    Return the encoder in training mode.

    :raises ModelError: the name is unknown, its library is not installed, or the weights
        cannot be read or do not fit.
    """
    if name not in ENCODERS:
        raise ModelError(f"encoder '{name}': must be one of {sorted(ENCODERS)}")
    own = None if weights in (RANDOM, IMAGENET) else read_encoder(Path(weights))
    try:
        encoder = ENCODERS[name](weights if own is None else RANDOM)
    except ImportError as error:
        raise ModelError(
            f"encoder '{name}' needs the package {error.name}: pip install '.[train]'"
        ) from error
    if own is not None:
        load_encoder(cast(nn.Module, encoder), name, own, weights)
    return encoder


def published_state(
    network: nn.Module, state: Mapping[str, Tensor], where: str, classifier: tuple[str, ...]
) -> dict[str, Tensor]:
    """
    Return a published classifier's tensors without its last layer.

    Files older than batch normalisation's counter lack it; nothing else may be missing, which
    is for ``load_strictly`` to see.

    :raises ModelError: the last layer is missing, so it is another file than was meant.
    """
    missing = [key for key in classifier if key not in state]
    if missing:
        raise ModelError(f'{where}: {missing[0]} is missing: not the published ImageNet weights')
    result = {key: value for key, value in state.items() if key not in classifier}
    for key, value in network.state_dict().items():
        if key.endswith('.num_batches_tracked'):
            result.setdefault(key, torch.zeros_like(value))
    return result


def initialise(network: nn.Module) -> None:
    """
    Give every convolution He's initialisation by fan-out (He et al. 2015, arXiv:1502.01852).

    A grouped convolution's fan is that of one group. Without it the features of depthwise
    networks shrink until they are denormal, which is slow as well as useless.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            area = layer.kernel_size[0] * layer.kernel_size[1]
            fan_out = area * layer.out_channels / layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2.0 / fan_out))


def accept_frames(encoder: Encoder, frames: int) -> Encoder:
    """
    Let the first convolution take ``frames`` pictures at once, 3 * frames channels.

    Monodepth2, arXiv:1806.01260: the weights are repeated and divided by their number, so that
    equal pictures give what one picture gave. Changes the encoder and returns it.
    """
    first = next(layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
    with torch.no_grad():
        first.weight = nn.Parameter(first.weight.repeat(1, frames, 1, 1) / frames)
    first.in_channels *= frames
    return encoder
