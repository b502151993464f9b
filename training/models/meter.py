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
METER-XXS, a light convolution and attention network for monocular depth.

L. Papa, P. Russo, I. Amerini, "METER: a mobile vision transformer architecture for monocular
depth estimation", IEEE TCSVT 2023, arXiv:2403.08368. Module names are those of the published
weights (MIT). Shapes: B batch, C channels, H x W grid, N tokens, D token width.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.layers import (
    Attention,
    conv_block,
    InvertedResidual,
    PreNorm,
    SeparableConv,
)
from training.weights import load_strictly, read_state

HEADS = 4
HEAD_WIDTH = 8
EXPANSION = 2
PATCH = 2
# The grid of the first attention block; it is halved twice more and then cut into patches.
ATTENTION_STRIDE = 8
ATTENTION_MULTIPLE = 2**2 * PATCH

# What the sides of the three attention blocks' grids are multiples of.
GRID_MULTIPLES = tuple(ATTENTION_MULTIPLE // halved for halved in (1, 2, 4))
Pools = tuple[int, int, int]
AS_PUBLISHED: Pools = (0, 0, 0)

SIZE_RULE = (
    'an eighth of width and height, rounded up, must be a multiple of '
    f'{ATTENTION_MULTIPLE} for METER'
)

# (in, out, stride) of each inverted residual. Number 3 repeats number 2's shape.
INVERTED_RESIDUALS = (
    (16, 16, 1),
    (16, 24, 2),
    (24, 24, 1),
    (24, 24, 1),
    (24, 48, 2),
    (48, 64, 2),
    (64, 80, 2),
)
# (channels, token width, width of the feed-forward layer) of each attention block.
ATTENTION_BLOCKS = ((48, 64, 128), (64, 80, 320), (80, 96, 384))
ENCODER_OUT = 160


def fits(size_px: int) -> bool:
    """Tell whether METER takes images with a side of this size."""
    return size_px > 0 and -(-size_px // ATTENTION_STRIDE) % ATTENTION_MULTIPLE == 0


class FeedForward(nn.Module):
    """Two linear layers; the indices 0 and 3 are those of the weights (dropout between)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), nn.Identity(), nn.Linear(hidden, width)
        )

    def forward(self, tokens_BND: Tensor) -> Tensor:
        return self.net(tokens_BND)


class Transformer(nn.Module):
    """One attention layer and one feed-forward layer, both residual."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        attention = Attention(width, heads=HEADS, head_width=HEAD_WIDTH)
        layer = nn.ModuleList(
            [PreNorm(width, attention), PreNorm(width, FeedForward(width, hidden))]
        )
        self.layers = nn.ModuleList([layer])

    def forward(
        self, tokens_BND: Tensor, reduced: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """Return the tokens after both layers; ``reduced`` says which tokens they look at."""
        for attention, feed_forward in self.layers:
            normed = attention.norm(tokens_BND)
            found = attention.fn(normed, None if reduced is None else reduced(normed))
            tokens_BND = feed_forward(tokens_BND + found)
        return tokens_BND


def to_tokens(features_BCHW: Tensor) -> Tensor:
    """
    Return (B * 4, H/2 * W/2, C): pixels at the same place of their 2x2 patch see each other.

    MobileViT's unfolding (Mehta and Rastegari 2022, arXiv:2110.02178, section 3.1).
    """
    channels, height, width = map(int, features_BCHW.shape[1:])
    rows, columns = height // PATCH, width // PATCH
    patches = features_BCHW.reshape(-1, channels, rows, PATCH, columns, PATCH)
    return patches.permute(0, 3, 5, 2, 4, 1).reshape(-1, rows * columns, channels)


def to_features(tokens_BND: Tensor, height: int, width: int) -> Tensor:
    """Undo ``to_tokens`` for a grid of height x width."""
    channels = int(tokens_BND.shape[-1])
    rows, columns = height // PATCH, width // PATCH
    patches = tokens_BND.reshape(-1, PATCH, PATCH, rows, columns, channels)
    return patches.permute(0, 5, 3, 1, 4, 2).reshape(-1, channels, height, width)


class AttentionBlock(nn.Module):
    """
    Local convolutions, attention over the whole grid, and fusion with the block's input.

    With ``pool`` = 0 as published: a cell looks at those at the same place of their 2x2 patch.
    Else every cell looks at the means of squares of ``pool`` x ``pool`` cells, with the same
    weights, as in PVT v2's linear spatial reduction attention (Wang et al., arXiv:2106.13797).
    """

    def __init__(self, channels: int, width: int, hidden: int, pool: int = 0) -> None:
        super().__init__()
        self.pool = pool
        self.conv1 = conv_block(SeparableConv(channels, channels), channels)
        self.conv2 = conv_block(nn.Conv2d(channels, width, 1, bias=False), width)
        self.transformer = Transformer(width, hidden)
        self.conv3 = conv_block(nn.Conv2d(width, channels, 1, bias=False), channels)
        self.conv4 = conv_block(SeparableConv(2 * channels, channels), channels)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        look = self._look_at_means if self.pool else self._look_across_patches
        mixed = self.conv3(look(self.conv2(self.conv1(features_BCHW))))
        return self.conv4(torch.cat((mixed, features_BCHW), dim=1))

    def _look_across_patches(self, grid_BCHW: Tensor) -> Tensor:
        height, width = map(int, grid_BCHW.shape[-2:])
        return to_features(self.transformer(to_tokens(grid_BCHW)), height, width)

    def _look_at_means(self, grid_BCHW: Tensor) -> Tensor:
        channels, height, width = map(int, grid_BCHW.shape[1:])
        shape = (channels, height, width)
        tokens = self.transformer(
            grid_BCHW.flatten(2).transpose(1, 2), lambda tokens: self.pooled(tokens, shape)
        )
        return tokens.transpose(1, 2).reshape(-1, *shape)

    def pooled(self, tokens_BND: Tensor, shape_DHW: tuple[int, int, int]) -> Tensor:
        """Return the means of squares of cells, row by row, as tokens."""
        grid = tokens_BND.transpose(1, 2).reshape(-1, *shape_DHW)
        return functional.avg_pool2d(grid, self.pool).flatten(2).transpose(1, 2)


class Encoder(nn.Module):
    """Features at 1/32, and the skips at 1/4, 1/8 and 1/16."""

    def __init__(self, attention_pools: Pools = AS_PUBLISHED) -> None:
        """
        Build the encoder with ``AttentionBlock.pool`` of each of its three blocks.

        :raises ValueError: a pool that does not divide the grids of all sizes that fit.
        """
        super().__init__()
        for pool, multiple in zip(attention_pools, GRID_MULTIPLES, strict=True):
            if pool and (pool < 0 or multiple % pool):
                raise ValueError(
                    f'attention_pools = {tuple(attention_pools)}: each must be 0 or divide its '
                    f'grid, whose sides are multiples of {GRID_MULTIPLES}'
                )
        stem = INVERTED_RESIDUALS[0][0]
        self.conv1 = conv_block(SeparableConv(3, stem, stride=2), stem)
        self.mv2 = nn.ModuleList(
            InvertedResidual(a, b, stride=stride, expansion=EXPANSION)
            for a, b, stride in INVERTED_RESIDUALS
        )
        self.mvit = nn.ModuleList(
            AttentionBlock(*sizes, pool=pool)
            for sizes, pool in zip(ATTENTION_BLOCKS, attention_pools, strict=True)
        )
        last = ATTENTION_BLOCKS[-1][0]
        self.conv2 = conv_block(nn.Conv2d(last, ENCODER_OUT, 1, bias=False), ENCODER_OUT)

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        quarter = self.mv2[1](self.mv2[0](self.conv1(image_B3HW)))
        eighth = self.mv2[4](self.mv2[3](self.mv2[2](quarter)))
        sixteenth = self.mv2[5](self.mvit[0](eighth))
        coarsest = self.mvit[2](self.mv2[6](self.mvit[1](sixteenth)))
        return self.conv2(coarsest), sixteenth, eighth, quarter


def pad_to(skip_BCHW: Tensor, height: int, width: int) -> Tensor:
    """
    Return the skip with zeros in front, where it is one row or column short of a doubled grid.

    So were the weights trained: 636 columns make 159 at a quarter, against 160.
    """
    rows, columns = height - int(skip_BCHW.shape[-2]), width - int(skip_BCHW.shape[-1])
    if not rows and not columns:
        return skip_BCHW
    return functional.pad(skip_BCHW, (columns, 0, rows, 0))


class UpBlock(nn.Module):
    """Double the size by a transposed convolution, then mix with the encoder's skip."""

    def __init__(self, in_channels: int, skip_channels: int) -> None:
        super().__init__()
        out = in_channels // 2
        self.conv2d_transpose = nn.ConvTranspose2d(
            in_channels, out, 3, stride=2, padding=1, output_padding=1, bias=False
        )
        self.end_up_layer = nn.Sequential(SeparableConv(out + skip_channels, out), nn.ReLU())

    def forward(self, features_BCHW: Tensor, skip_BCHW: Tensor) -> Tensor:
        upsampled = self.conv2d_transpose(features_BCHW)
        skip_BCHW = pad_to(skip_BCHW, *map(int, upsampled.shape[-2:]))
        return self.end_up_layer(torch.cat((upsampled, skip_BCHW), dim=1))


class Decoder(nn.Module):
    """Three doublings, then one map."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_in = nn.Conv2d(ENCODER_OUT, 64, 1, bias=False)
        self.ups_block_1 = UpBlock(64, skip_channels=64)
        self.ups_block_2 = UpBlock(32, skip_channels=48)
        self.ups_block_3 = UpBlock(16, skip_channels=24)
        self.conv2d_out = nn.Conv2d(8, 1, 3, padding=1, bias=False)

    def forward(self, coarsest: Tensor, *skips: Tensor) -> Tensor:
        return self.conv2d_out(self.features(coarsest, *skips))

    def features(self, coarsest: Tensor, *skips: Tensor) -> Tensor:
        """Return what the last convolution reads, 8 channels."""
        sixteenth, eighth, quarter = skips
        features = self.ups_block_1(self.conv2d_in(coarsest), sixteenth)
        features = self.ups_block_2(features, eighth)
        return self.ups_block_3(features, quarter)


class MeterXxs(nn.Module):
    """
    RGB in 0..1, (B, 3, H, W), to depth at a quarter of the size, rounded up to even.

    The published KITTI weights give decimetres and were trained at 192x636, which gives 48x160.
    An eighth of H and of W, rounded up, must be a multiple of 8. A value can be negative,
    because nothing follows the last convolution.
    """

    def __init__(self, attention_pools: Pools = AS_PUBLISHED) -> None:
        super().__init__()
        self.encoder = Encoder(attention_pools)
        self.decoder = Decoder()

    def forward(self, image_B3HW: Tensor) -> Tensor:
        height, width = map(int, image_B3HW.shape[-2:])
        if not fits(height) or not fits(width):
            raise ValueError(f'image of {width}x{height}: {SIZE_RULE}')
        return self.decoder(*self.encoder(image_B3HW))


def load_meter_xxs(path: Path) -> MeterXxs:
    """
    Build the network in evaluation mode with all 261 tensors of a weights file.

    :raises ModelError: the file cannot be read or does not fit.
    """
    network = MeterXxs()
    load_strictly(network, read_state(path), str(path))
    return network.eval()
