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
DRN-C-26, a residual network that stays at 1/8 by dilation.

F. Yu, V. Koltun, T. Funkhouser, "Dilated Residual Networks", CVPR 2017, arXiv:1705.09914,
figure 3 (c). Parameter names are those of the published ImageNet weights
(http://dl.yf.io/drn/drn_c_26-ddedf421.pth, BSD-3).
"""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ModelError
from torch import nn, Tensor
from training.models.encoders import FeatureSpec, IMAGENET, initialise, published_state, RANDOM
from training.weights import load_strictly, read_state

STEM = 16
# Of each level: channels, blocks, stride, dilation, residual. The last two take the gridding
# of the dilations away, and have no residual for it would carry the gridding on.
LEVELS = (
    (16, 1, 1, 1, True),
    (32, 1, 2, 1, True),
    (64, 2, 2, 1, True),
    (128, 2, 2, 1, True),
    (256, 2, 1, 2, True),
    (512, 2, 1, 4, True),
    (512, 1, 1, 2, False),
    (512, 1, 1, 1, False),
)
# Levels whose output is a feature map, counted from 1.
TAKEN = (2, 3, 4, 8)
CLASSIFIER = ('fc.weight', 'fc.bias')


class BasicBlock(nn.Module):
    """Two dilated 3x3 convolutions, and the residual where the level has one."""

    def __init__(
        self, in_channels: int, channels: int, *, stride: int, dilation: int, is_residual: bool
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, channels, stride, dilation)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels, 1, dilation)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.is_residual = is_residual
        self.downsample: nn.Module | None = None
        if stride > 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        result = self.relu(self.bn1(self.conv1(features_BCHW)))
        result = self.bn2(self.conv2(result))
        if self.is_residual:
            shortcut = self.downsample(features_BCHW) if self.downsample else features_BCHW
            result = result + shortcut
        return self.relu(result)


class DrnC26(nn.Module):
    """Feature maps 32 at 1/2, 64 at 1/4, 128 at 1/8 and the context, 512 at 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels=(32, 64, 128, 512), strides=(2, 4, 8, 8))
        self.conv1 = nn.Conv2d(3, STEM, 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.relu = nn.ReLU()
        in_channels = STEM
        for number, (channels, *_) in enumerate(LEVELS, start=1):
            setattr(self, f'layer{number}', _level(in_channels, *LEVELS[number - 1]))
            in_channels = channels
        initialise(self)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        features = self.relu(self.bn1(self.conv1(image_B3HW)))
        taken = []
        for number in range(1, len(LEVELS) + 1):
            features = getattr(self, f'layer{number}')(features)
            if number in TAKEN:
                taken.append(features)
        return tuple(taken)


def load_drn_c_26(weights: str) -> DrnC26:
    """
    Return DRN-C-26 with 'random' weights or those of the published file.

    :raises ModelError: the file cannot be read, is not that file, or none was given.
    """
    if weights == IMAGENET:
        raise ModelError(
            "encoder 'drn_c_26' does not download: give the path of drn_c_26-ddedf421.pth from "
            'http://dl.yf.io/drn/'
        )
    network = DrnC26()
    if weights != RANDOM:
        state = published_state(network, read_state(Path(weights)), weights, CLASSIFIER)
        load_strictly(network, state, weights)
    return network


def _level(
    in_channels: int, channels: int, blocks: int, stride: int, dilation: int, is_residual: bool
) -> nn.Sequential:
    layers = [
        BasicBlock(
            in_channels if number == 0 else channels,
            channels,
            stride=stride if number == 0 else 1,
            dilation=dilation,
            is_residual=is_residual,
        )
        for number in range(blocks)
    ]
    return nn.Sequential(*layers)


def _conv3x3(in_channels: int, channels: int, stride: int, dilation: int) -> nn.Conv2d:
    return nn.Conv2d(
        in_channels, channels, 3, stride, padding=dilation, dilation=dilation, bias=False
    )
