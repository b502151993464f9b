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
Nested decoder: deeper features flow into all shallower skips, as in UNet++.

Zhou et al., arXiv:1807.10165, in the form of HR-Depth (Lyu et al., arXiv:2012.07356), for the
nested skip connections of Xu et al., Remote Sensing 2021, 13(9), 1673, whose wiring is not
published. Blocks, padding and activation are those of ``training.models.decoder``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
from training.models.decoder import SCALES, UpBlock, WIDTHS


class NestedDecoder(nn.Module):
    """
    Feature maps at 1 / 2^s of the image for every s in ``scales``, finest first.

    Node X(i, 0) is the encoder's map i, X(i, j) is made of all X(i, k < j) beside it and of
    X(i + 1, j - 1) below it, enlarged. The last of each row is the row's result; scales finer than
    the encoder's finest map are enlarged from the one before.
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
        :raises ValueError: strides do not double from map to map, or scales cannot be served.
        """
        super().__init__()
        first = _checked(channels, strides, widths, scales)
        self.scales = tuple(scales)
        self.first, self.rows = first, len(channels)
        # Rows that no result needs are not built.
        self.top = max(min(scales) - first, 0)
        nodes = {}
        for j in range(1, self.rows):
            for i in range(self.top, self.rows - j):
                width = widths[first + i]
                below = channels[i + 1] if j == 1 else widths[first + i + 1]
                beside = channels[i] + (j - 1) * width
                nodes[_name(i, j)] = UpBlock(below, beside, width, 2)
        self.nodes = nn.ModuleDict(nodes)
        finer = range(first - 1, min(scales) - 1, -1)
        self.finer = nn.ModuleList(
            UpBlock(widths[level + 1], 0, widths[level], 2) for level in finer
        )
        self.channels = tuple(widths[scale] for scale in self.scales)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        grid = [[maps] for maps in features]
        for j in range(1, self.rows):
            for i in range(self.top, self.rows - j):
                beside = grid[i][0] if j == 1 else torch.cat(grid[i], dim=1)
                grid[i].append(self.nodes[_name(i, j)](grid[i + 1][j - 1], beside))
        results = {self.first + i: grid[i][-1] for i in range(self.top, self.rows - 1)}
        decoded = grid[self.top][-1]
        for number, block in enumerate(self.finer, 1):
            decoded = block(decoded, None)
            results[self.first - number] = decoded
        return tuple(results[scale] for scale in self.scales)


def _name(i: int, j: int) -> str:
    return f'x{i}_{j}'


def _checked(
    channels: Sequence[int], strides: Sequence[int], widths: Sequence[int], scales: Sequence[int]
) -> int:
    """Return the level of the finest map: its stride is 2^level."""
    first = strides[0].bit_length() - 1
    doubling = [2 ** (first + number) for number in range(len(strides))]
    if len(channels) != len(strides) or list(strides) != doubling or len(strides) < 2:
        raise ValueError(
            f'strides {tuple(strides)}: a nested decoder wants each twice the one before; take '
            'decoder: plain'
        )
    last = first + len(strides) - 2
    rising = list(scales) == sorted(set(scales))
    if not scales or not rising or scales[0] < 0 or scales[-1] > last:
        raise ValueError(f'scales {tuple(scales)}: must rise, from 0 to {last} here')
    if len(widths) <= last:
        raise ValueError(f'widths {tuple(widths)}: {last + 1} are needed here')
    return first
