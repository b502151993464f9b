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
U-Net decoder: from an encoder's feature maps to one feature map for each output scale.

Godard et al., Monodepth2, arXiv:1806.01260, appendix, with two deviations: zero padding inside
the convolution and ReLU, where the paper has reflection padding and ELU. Those leave the
blocked layout of ONNX Runtime, so this form runs faster there at the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from torch.nn import functional

# Widths at strides 1, 2, 4, 8, 16.
WIDTHS = (16, 32, 64, 128, 256)
SCALES = (0, 1, 2, 3)


class UpBlock(nn.Module):
    """Convolve, enlarge to the nearest pixel, join with the skip, convolve."""

    def __init__(self, in_channels: int, skip_channels: int, width: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.before = conv3x3(in_channels, width)
        self.after = conv3x3(width + skip_channels, width)

    def forward(self, features_BCHW: Tensor, skip_BCHW: Tensor | None) -> Tensor:
        features = functional.relu(self.before(features_BCHW))
        if self.factor > 1:
            features = functional.interpolate(
                features, scale_factor=float(self.factor), mode='nearest'
            )
        if skip_BCHW is not None:
            features = torch.cat((features, skip_BCHW), dim=1)
        return functional.relu(self.after(features))


class Decoder(nn.Module):
    """
    Feature maps at 1 / 2^s of the image for every s in ``scales``, finest first.

    Of two encoder maps at the same stride the coarser one is decoded and the finer one is a
    skip, so DRN's context at 1/8 works as ResNet's last stage does.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        *,
        widths: Sequence[int] = WIDTHS,
        scales: Sequence[int] = SCALES,
    ) -> None:
        """
        Build for an encoder's ``channels`` and ``strides``, finest first.

        :param widths: channels at stride 1, 2, 4, ...
        :raises ValueError: strides or scales cannot be served.
        """
        super().__init__()
        _check(channels, strides, widths, scales)
        self.scales = tuple(scales)
        skips = dict(zip(strides[:-1], range(len(strides) - 1), strict=True))
        in_channels, stride = channels[-1], strides[-1]
        blocks, self.skips, self.levels = [], [], []
        for level in _levels(strides, scales):
            skip = skips.get(2**level)
            factor = stride // 2**level
            skip_channels = 0 if skip is None else channels[skip]
            blocks.append(UpBlock(in_channels, skip_channels, widths[level], factor))
            self.skips.append(skip)
            self.levels.append(level)
            in_channels, stride = widths[level], 2**level
        self.blocks = nn.ModuleList(blocks)
        self.channels = tuple(widths[scale] for scale in self.scales)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        decoded, taken = features[-1], {}
        for block, skip, level in zip(self.blocks, self.skips, self.levels, strict=True):
            decoded = block(decoded, None if skip is None else features[skip])
            taken[level] = decoded
        return tuple(taken[scale] for scale in self.scales)


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return a zero-padded 3x3 convolution, initialised for ReLU (He et al. 2015)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
    nn.init.kaiming_normal_(conv.weight, nonlinearity='relu')
    nn.init.zeros_(conv.bias)
    return conv


def _levels(strides: Sequence[int], scales: Sequence[int]) -> range:
    coarsest = strides[-1].bit_length() - 1
    has_skip_beside = len(strides) > 1 and strides[-2] == strides[-1]
    return range(coarsest if has_skip_beside else coarsest - 1, min(scales) - 1, -1)


def _check(
    channels: Sequence[int], strides: Sequence[int], widths: Sequence[int], scales: Sequence[int]
) -> None:
    if len(channels) != len(strides) or list(strides) != sorted(strides):
        raise ValueError(f'channels {channels} at strides {strides}: finest first, as many')
    if any(stride < 1 or stride & (stride - 1) for stride in strides):
        raise ValueError(f'strides {strides}: must be powers of two')
    levels = _levels(strides, scales) if scales else range(0)
    served = len(scales) > 0 and list(scales) == sorted(set(scales)) and scales[0] >= 0
    if not served or any(scale not in levels for scale in scales):
        raise ValueError(
            f'scales {tuple(scales)}: must rise, from 0 to {max(_levels(strides, [0]))} here'
        )
    if len(widths) <= max(levels):
        raise ValueError(f'widths {tuple(widths)}: {max(levels) + 1} are needed here')
