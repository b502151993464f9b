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
DenseNet-161 as an encoder.

G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993, with
growth 48, bottlenecks and compression 1/2. Parameter names are those of the ImageNet weights
that PyTorch publishes (https://download.pytorch.org/models/densenet161-8d451a50.pth, BSD-3);
that file writes norm.1 for norm1. Feature maps as in DenseDepth (arXiv:1812.11941).
"""

from __future__ import annotations

from pathlib import Path
import re

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.encoders import FeatureSpec, IMAGENET, published_state, RANDOM
from training.weights import load_strictly, read_state

STEM = 96
GROWTH = 48
BOTTLENECK = 4 * GROWTH
LAYERS = (6, 12, 36, 24)
CLASSIFIER = ('classifier.weight', 'classifier.bias')
OLD_NAME = re.compile(r'(denselayer\d+\.(?:norm|conv))\.([12])\.')


class DenseLayer(nn.Module):
    """48 new channels from all that came before, behind a bottleneck."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, BOTTLENECK, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK)
        self.conv2 = nn.Conv2d(BOTTLENECK, GROWTH, 3, padding=1, bias=False)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        narrow = self.conv1(functional.relu(self.norm1(features_BCHW)))
        return self.conv2(functional.relu(self.norm2(narrow)))


class DenseBlock(nn.Module):
    """Layers that each see the outputs of all before them."""

    def __init__(self, in_channels: int, layers: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f'denselayer{number + 1}', DenseLayer(in_channels + number * GROWTH))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        for layer in self.children():
            features_BCHW = torch.cat((features_BCHW, layer(features_BCHW)), dim=1)
        return features_BCHW


class Transition(nn.Module):
    """Half the channels at half the size."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.conv = nn.Conv2d(in_channels, in_channels // 2, 1, bias=False)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return functional.avg_pool2d(self.conv(functional.relu(self.norm(features_BCHW))), 2)


class Features(nn.Module):
    """All but the classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(3, STEM, 7, 2, 3, bias=False)
        self.norm0 = nn.BatchNorm2d(STEM)
        channels = STEM
        for number, layers in enumerate(LAYERS, start=1):
            self.add_module(f'denseblock{number}', DenseBlock(channels, layers))
            channels += layers * GROWTH
            if number < len(LAYERS):
                self.add_module(f'transition{number}', Transition(channels))
                channels //= 2
        self.norm5 = nn.BatchNorm2d(channels)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        stem = functional.relu(self.norm0(self.conv0(image_B3HW)))
        taken = [stem, functional.max_pool2d(stem, 3, 2, 1)]
        for number in range(1, len(LAYERS)):
            dense = self.get_submodule(f'denseblock{number}')(taken[-1])
            taken.append(self.get_submodule(f'transition{number}')(dense))
        last = self.get_submodule(f'denseblock{len(LAYERS)}')(taken.pop())
        # The last transition only feeds the last block, which is at the same stride.
        return (*taken, functional.relu(self.norm5(last)))


class DenseNet161(nn.Module):
    """Feature maps 96 at 1/2, 96 at 1/4, 192 at 1/8, 384 at 1/16 and 2208 at 1/32."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels=(96, 96, 192, 384, 2208), strides=(2, 4, 8, 16, 32))
        self.features = Features()
        # By fan-in: a layer's few outputs are added to what many others gave.
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        return self.features(image_B3HW)


def load_densenet161(weights: str) -> DenseNet161:
    """
    Return DenseNet-161 with 'random' weights or those of the published file.

    :raises ModelError: the file cannot be read, is not that file, or none was given.
    """
    if weights == IMAGENET:
        raise ModelError(
            "encoder 'densenet161' does not download: give the path of densenet161-8d451a50.pth "
            'from https://download.pytorch.org/models/'
        )
    network = DenseNet161()
    if weights != RANDOM:
        given = read_state(Path(weights))
        renamed = {OLD_NAME.sub(r'\1\2.', key): value for key, value in given.items()}
        load_strictly(network, published_state(network, renamed, weights, CLASSIFIER), weights)
    return network
