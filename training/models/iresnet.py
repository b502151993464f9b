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
iResNet-18 and iResNet-50 as encoders.

Duta, Liu, Zhu, Shao, arXiv:2004.04989: within a stage nothing cuts the main path off below zero,
there is one ReLU at the end of each; where a shortcut changes the size it takes the largest of its
pixels before its 1x1 convolution, which at stride 2 would see a quarter of them. Xu et al., Remote
Sensing 2021, 13(9), 1673, describe the same blocks for low texture. Weights of ResNet do not fit.
"""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ModelError
from torch import nn, Tensor
from torch.nn import functional
from training.models.encoders import FeatureSpec, IMAGENET, initialise, RANDOM
from training.weights import load_strictly, read_state

STRIDES = (2, 4, 8, 16, 32)
STEM = 64
WIDTHS = (64, 128, 256, 512)
DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
# Of a block with three convolutions: its result has so many times their channels.
EXPANSION = 4


class Residual(nn.Module):
    """
    What a block adds to the main path: convolutions with batch norm and ReLU between them.

    The first block of a stage begins with a convolution and ends with a batch norm; the others
    begin with batch norm and ReLU, the second without that batch norm, for the first has one.
    """

    def __init__(self, channels: tuple[int, ...], stride: int, place: int) -> None:
        super().__init__()
        is_bottleneck = len(channels) == 4
        kernels = (1, 3, 1) if is_bottleneck else (3, 3)
        strided = 1 if is_bottleneck else 0
        layers: list[nn.Module] = []
        if place:
            layers += [nn.BatchNorm2d(channels[0])] * (place > 1) + [nn.ReLU()]
        for number, kernel in enumerate(kernels):
            if number:
                layers += [nn.BatchNorm2d(channels[number]), nn.ReLU()]
            step = stride if number == strided else 1
            taken, given = channels[number], channels[number + 1]
            layers.append(nn.Conv2d(taken, given, kernel, step, kernel // 2, bias=False))
        if not place:
            layers.append(nn.BatchNorm2d(channels[-1]))
        self.layers = nn.Sequential(*layers)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return self.layers(features_BCHW)


class Stage(nn.Module):
    """Blocks on one main path; batch norm and ReLU at its end alone."""

    def __init__(self, in_channels: int, width: int, depth: int, stride: int, expansion: int):
        """Build it; ``expansion`` 1 is the block of two convolutions."""
        super().__init__()
        out = width * expansion
        self.shortcut = _shortcut(in_channels, out, stride)
        blocks = []
        for place in range(depth):
            first = in_channels if place == 0 else out
            inner = (width, width) if expansion > 1 else (width,)
            step = stride if place == 0 else 1
            blocks.append(Residual((first, *inner, out), step, place))
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        first, *others = self.blocks
        path = first(features_BCHW) + self.shortcut(features_BCHW)
        for block in others:
            path = path + block(path)
        return functional.relu(self.norm(path))


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    if stride > 1:
        layers.append(nn.MaxPool2d(3, stride, 1))
    if in_channels != out_channels:
        layers.append(nn.Conv2d(in_channels, out_channels, 1, bias=False))
        layers.append(nn.BatchNorm2d(out_channels))
    return nn.Sequential(*layers)


class IResNet(nn.Module):
    """The stem at 1/2, without pooling, then four stages that halve."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        expansion = EXPANSION if depth >= 50 else 1
        stages, channels = [], STEM
        for width, count in zip(WIDTHS, DEPTHS[depth], strict=True):
            stages.append(Stage(channels, width, count, 2, expansion))
            channels = width * expansion
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 7, 2, 3, bias=False), nn.BatchNorm2d(STEM), nn.ReLU()
        )
        self.stages = nn.ModuleList(stages)
        widths = tuple(width * expansion for width in WIDTHS)
        self.spec = FeatureSpec(channels=(STEM, *widths), strides=STRIDES)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        taken = [self.stem(image_B3HW)]
        for stage in self.stages:
            taken.append(stage(taken[-1]))
        return tuple(taken)


def load_iresnet(depth: int, weights: str) -> IResNet:
    """
    Return iResNet ``depth`` with 'random' weights or those of a file of this network's tensors.

    :raises ModelError: the file cannot be read or does not fit, or 'imagenet' was asked for.
    """
    if weights == IMAGENET:
        raise ModelError(
            f"encoder 'iresnet{depth}' has no ImageNet weights that install by name, and those "
            "of ResNet do not fit: train it from 'random', or give a file of training.pretrain"
        )
    network = IResNet(depth)
    if weights == RANDOM:
        initialise(network)
    else:
        load_strictly(network, read_state(Path(weights)), weights)
    return network
