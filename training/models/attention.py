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
Attention within a frame, guided by geometry, and from a frame to other frames.

P. Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192 (TC-Depth). Both take
any feature map and add to it what a learnable gate lets through: with a gate of 0 a trained
network around them begins unchanged. No map of N x N is ever held: queries go in pieces.

Shapes: B batch, C channels, h x w grid, N = h w tokens, M past frames, k and v widths of a key
and of a value. Tokens are token-major (their width contiguous), which is several times faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.layers import at_least_float32

# As published: the distance at which a weight has fallen to exp(-1 / 2), and the gate's start.
SIGMA_M = 0.25
SPATIAL_GATE = 0.7
TEMPORAL_GATE = 1.0
KEY_WIDTH = 64
# Into how many pieces queries are cut, so that a piece has 3 % of the N x N weights; a piece of
# fewer rows than MIN_ROWS costs more in calls than it saves.
PIECES = 32
MIN_ROWS = 60


class Memory(NamedTuple):
    """What a frame is to others: ``keys_BNk`` and ``values_BNv``. Its keys are its queries."""

    keys_BNk: Tensor
    values_BNv: Tensor


class GeometryAttention(nn.Module):
    """
    Each token takes the mean of all tokens, weighted by how near they are in space.

    The weights have no parameters: exp(-distance / (2 sigma)), the distance not squared. With
    ``width`` = C this is the published layer; a smaller one narrows values and context.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int | None = None,
        sigma_m: float = SIGMA_M,
        gate: float = SPATIAL_GATE,
    ) -> None:
        """
        Build it.

        :raises ValueError: sigma is not positive.
        """
        super().__init__()
        if not sigma_m > 0:
            raise ValueError(f'sigma_m = {sigma_m}: must be positive')
        width = channels if width is None else width
        self.sigma_m = sigma_m
        self.value = nn.Conv2d(channels, width, 1)
        self.context = _conv_norm(width, width)
        self.own = _conv_norm(channels, width)
        self.mix = _conv_norm(2 * width, channels)
        self.gate = nn.Parameter(torch.tensor(float(gate)))

    def forward(self, features_BChw: Tensor, points_BN3: Tensor) -> Tensor:
        """Return the features (B, C, h, w); ``points_BN3`` [m] get no gradient."""
        values_BNC = to_tokens(self.value(features_BChw))
        mean = to_grid(nearby_mean(values_BNC, points_BN3, self.sigma_m), features_BChw)
        both = torch.cat((self.context(mean), self.own(features_BChw)), dim=1)
        return features_BChw + self.gate * self.mix(both)


class TemporalAttention(nn.Module):
    """
    Each token looks through each other frame by itself; what is found is added up.

    Neither the values nor the way back has a bias, so a memory of zeros adds exactly nothing.
    The published two 1x1 convolutions after the attention have nothing between them and are
    one here.
    """

    def __init__(
        self,
        channels: int,
        *,
        key_width: int = KEY_WIDTH,
        value_width: int = KEY_WIDTH,
        gate: float = TEMPORAL_GATE,
    ) -> None:
        super().__init__()
        self.key_width, self.value_width = key_width, value_width
        self.key = _conv_norm(channels, key_width)
        self.value = nn.Conv2d(channels, value_width, 1, bias=False)
        self.own = nn.Conv2d(channels, channels, 1)
        self.back = nn.Conv2d(value_width, channels, 1, bias=False)
        self.gate = nn.Parameter(torch.tensor(float(gate)))

    def memory(self, features_BChw: Tensor) -> Memory:
        """Return what the frame is to itself later and to others."""
        return Memory(to_tokens(self.key(features_BChw)), to_tokens(self.value(features_BChw)))

    def forward(self, features_BChw: Tensor, found_BNv: Tensor | None) -> Tensor:
        """
        Return the features with what was found in other frames.

        :param found_BNv: the sum over other frames of ``look_up``; None: there are none.
        """
        added = self.own(features_BChw)
        if found_BNv is not None:
            added = added + self.back(to_grid(found_BNv, features_BChw))
        return features_BChw + self.gate * added


def look_up(queries_BNk: Tensor, keys_BMNk: Tensor, values_BMNv: Tensor) -> Tensor:
    """Return sum_m softmax(q k_m / sqrt(k)) v_m, (B, N, v): one softmax for each frame."""
    found = [_attend(rows, keys_BMNk, values_BMNv).sum(dim=1) for rows in _pieces(queries_BNk)]
    return torch.cat(found, dim=1)


def _attend(rows_BRk: Tensor, keys_BMNk: Tensor, values_BMNv: Tensor) -> Tensor:
    # Copies are small, and the exporter makes three operators of an expansion. The scale is
    # stated, or the graph would compute it from shapes.
    rows = torch.cat([rows_BRk[:, None]] * int(keys_BMNk.shape[1]), dim=1)
    scale = int(keys_BMNk.shape[-1]) ** -0.5
    return functional.scaled_dot_product_attention(rows, keys_BMNk, values_BMNv, scale=scale)


def nearby_mean(values_BNC: Tensor, points_BN3: Tensor, sigma_m: float) -> Tensor:
    """
    Return sum_j exp(-|P_i - P_j| / (2 sigma)) V_j over the sum of the weights, (B, N, C).

    TC-Depth, equations of the spatial attention. Differences are taken before they are
    squared: |P|^2 + |Q|^2 - 2 P Q loses 0.05 m in float32 at 100 m.
    """
    points = at_least_float32(points_BN3.detach()) / (2 * sigma_m)
    if torch.is_grad_enabled() and values_BNC.requires_grad:
        mean: Tensor = _NearbyMean.apply(values_BNC, points)
        return mean
    return _mean_and_weight(values_BNC, points)[0]


class _NearbyMean(torch.autograd.Function):
    """
    The mean, with its weights computed again for the gradient instead of kept.

    The weights are symmetric, so the gradient is the same sum over the gradients.
    """

    @staticmethod
    def forward(ctx: Any, values_BNC: Tensor, points_BN3: Tensor) -> Tensor:
        mean, weight = _mean_and_weight(values_BNC, points_BN3)
        ctx.save_for_backward(points_BN3, weight)
        return mean

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        points_BN3, weight_BN1 = ctx.saved_tensors
        return _weighted_sum(gradients[0] / weight_BN1, points_BN3), None


def _mean_and_weight(values_BNC: Tensor, points_BN3: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the sum of the weights, which is the sum of a column of ones."""
    sums = _weighted_sum(functional.pad(values_BNC, (0, 1), value=1.0), points_BN3)
    width = int(values_BNC.shape[-1])
    mean, weight = sums.split((width, 1), dim=-1)
    return mean / weight, weight


def _weighted_sum(values_BNC: Tensor, points_BN3: Tensor) -> Tensor:
    """Return sum_j exp(-|P_i - P_j|) V_j; in float32, whatever mixed precision is on."""
    with torch.autocast(values_BNC.device.type, enabled=False):
        values = at_least_float32(values_BNC)
        others, pieces = points_BN3.transpose(1, 2), _pieces(points_BN3)
        rooms = _rooms(pieces[0], int(points_BN3.shape[1]))
        sums = [_nearness(rows, others, rooms) @ values for rows in pieces]
        return torch.cat(sums, dim=1)


def _rooms(rows_BR3: Tensor, tokens: int) -> tuple[Tensor | None, Tensor | None]:
    """
    Return room for two maps of a piece, none for a graph, which plans its memory itself.

    Results stay between maps that are allocated one by one, and glibc does not fill such holes
    with aligned memory of the same size: all N x N weights would add up.
    """
    if torch.jit.is_tracing():
        return None, None
    one, other = rows_BR3.new_empty(2, len(rows_BR3), int(rows_BR3.shape[1]), tokens)
    return one, other


def _nearness(
    rows_BR3: Tensor, others_B3N: Tensor, rooms: tuple[Tensor | None, Tensor | None]
) -> Tensor:
    """Return exp(-distance), (B, R, N), in the first room; a later piece overwrites it."""
    count = int(rows_BR3.shape[1])
    squared, change = (None if room is None else room[:, :count] for room in rooms)
    x, y, z = zip(rows_BR3.split(1, dim=2), others_B3N.split(1, dim=1), strict=True)
    squared = torch.sub(*x, out=squared).square_()
    squared += torch.sub(*y, out=change).square_()
    squared += torch.sub(*z, out=change).square_()
    return squared.sqrt_().neg_().exp_()


def _pieces(tokens_BNC: Tensor) -> tuple[Tensor, ...]:
    """Cut the tokens; sizes are listed, because the exporter forgets that the last is shorter."""
    count = int(tokens_BNC.shape[1])
    rows = max(MIN_ROWS, -(-count // PIECES))
    return tokens_BNC.split([min(rows, count - start) for start in range(0, count, rows)], dim=1)


def to_tokens(features_BChw: Tensor) -> Tensor:
    """Return (B, N, C), rows first, with C contiguous."""
    channels, height, width = map(int, features_BChw.shape[1:])
    return features_BChw.reshape(-1, channels, height * width).transpose(1, 2).contiguous()


def to_grid(tokens_BNC: Tensor, like_BChw: Tensor) -> Tensor:
    """Return (B, C, h, w) on the grid of the other features."""
    height, width = map(int, like_BChw.shape[-2:])
    channels = int(tokens_BNC.shape[-1])
    return tokens_BNC.transpose(1, 2).reshape(-1, channels, height, width)


def _conv_norm(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
