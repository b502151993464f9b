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
Building blocks that several networks share, and their exact fusion for inference.

Shapes: B batch, C channels, H x W grid, N tokens, D token width.
"""

from __future__ import annotations

import copy

import torch
from torch import nn, Tensor
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval


def at_least_float32(values: Tensor) -> Tensor:
    """Return the values without the short floats of mixed precision; float64 stays."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class SeparableConv(nn.Module):
    """
    A 3x3 convolution, then a 1x1, with no bias and nothing between them.

    The first one is called depthwise in METER's published weights although it is dense; the
    names are kept because they are the names of the weights.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.pointwise = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(features_BCHW))

    def composed(self) -> nn.Conv2d:
        """Return the one 3x3 convolution that is equal to both: W = pointwise @ depthwise."""
        first = self.depthwise
        conv = nn.Conv2d(
            first.in_channels, self.pointwise.out_channels, 3, first.stride, 1, bias=False
        )
        pointwise = self.pointwise.weight[:, :, 0, 0].double()
        weight = torch.einsum('om,mihw->oihw', pointwise, first.weight.double())
        conv.weight = nn.Parameter(weight.to(first.weight.dtype).detach())
        return conv.train(self.training)


def conv_block(conv: nn.Module, channels: int) -> nn.Sequential:
    """Follow a convolution by batch normalisation and ReLU."""
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


class InvertedResidual(nn.Module):
    """MobileNetV2's block (Sandler et al. 2018): widen 1x1, depthwise 3x3, narrow 1x1."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = in_channels * expansion
        self.is_residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            *conv_block(nn.Conv2d(in_channels, hidden, 1, bias=False), hidden),
            *conv_block(
                nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), hidden
            ),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, features_BCHW: Tensor) -> Tensor:
        result = self.conv(features_BCHW)
        return features_BCHW + result if self.is_residual else result


class Attention(nn.Module):
    """Multi-head self-attention over N tokens, the bias only on the way out."""

    def __init__(self, width: int, *, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = head_width
        inner = heads * head_width
        self.to_qkv = nn.Linear(width, 3 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, width))

    def forward(self, tokens_BND: Tensor, seen_BMD: Tensor | None = None) -> Tensor:
        """Return what each token finds among M others, or among all of its own kind."""
        inner = self.heads * self.head_width
        query, key, value = (self._heads(part) for part in self._parts(tokens_BND, seen_BMD))
        # The scale goes onto the query, which is much smaller than the N x N scores.
        scores = (query * self.head_width**-0.5) @ key.transpose(-1, -2)
        mixed = scores.softmax(dim=-1) @ value
        return self.to_out(mixed.transpose(1, 2).reshape(-1, int(mixed.shape[2]), inner))

    def _parts(self, tokens_BND: Tensor, seen_BMD: Tensor | None) -> tuple[Tensor, ...]:
        """Return query, key and value, (B, N or M, heads * head width)."""
        inner = self.heads * self.head_width
        if seen_BMD is None:
            return self.to_qkv(tokens_BND).split(inner, dim=-1)
        of_query, of_seen = self.to_qkv.weight.split((inner, 2 * inner))
        key, value = functional.linear(seen_BMD, of_seen).split(inner, dim=-1)
        return functional.linear(tokens_BND, of_query), key, value

    def _heads(self, part_BND: Tensor) -> Tensor:
        """Return (B, heads, N, head width)."""
        count = int(part_BND.shape[1])
        return part_BND.reshape(-1, count, self.heads, self.head_width).transpose(1, 2)


class PreNorm(nn.Module):
    """Layer normalisation before a function of the tokens, and the residual around both."""

    def __init__(self, width: int, function: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = function

    def forward(self, tokens_BND: Tensor) -> Tensor:
        return tokens_BND + self.fn(self.norm(tokens_BND))


def _fused_sequence(layers: list[nn.Module]) -> list[nn.Module]:
    fused: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, nn.BatchNorm2d) and fused and isinstance(fused[-1], nn.Conv2d):
            fused[-1] = fuse_conv_bn_eval(fused[-1], layer)
        else:
            fused.append(_fuse(layer))
    return fused


def _fuse(module: nn.Module) -> nn.Module:
    if isinstance(module, SeparableConv):
        return module.composed()
    if isinstance(module, nn.Sequential):
        return nn.Sequential(*_fused_sequence(list(module)))
    for name, child in module.named_children():
        setattr(module, name, _fuse(child))
    return module


def fused_for_inference(network: nn.Module) -> nn.Module:
    """
    Return a copy in which every SeparableConv is one convolution and batch norms are folded.

    Equal to the evaluated network up to rounding.
    """
    return _fuse(copy.deepcopy(network).eval()).requires_grad_(False)
