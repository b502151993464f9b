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
Layers of spatial and temporal attention around one feature map, and how frames see each other.

P. Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192 (TC-Depth). Shapes: B
batch, C channels, F = B * T frames in one batch (T in a row), h x w grid of the features, N
tokens, M past frames, k and v widths of a key and of a value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.attention import (
    GeometryAttention,
    KEY_WIDTH,
    look_up,
    Memory,
    SIGMA_M,
    SPATIAL_GATE,
    TEMPORAL_GATE,
    TemporalAttention,
)
from training.models.disparity_volume import BINS, DisparityVolume, points_of, WIDTH

# From the number of a layer and what each frame is there, to what each finds in others: the sum
# of ``look_up``, (F, N, v); None where there are no others.
Look = Callable[[int, Memory], Tensor | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackOptions:
    """
    What the attention is made of. The values are the published ones but for its cost.

    Fields:
        spatial, temporal: leave one out, or both, and the rest stays as it is.
        layers: of one spatial and one temporal attention each; 3 are published.
        pool: attend on a grid that many times coarser, and add what changed to the finer one.
        value_width: of values of the spatial attention; null: as wide as the features, which is
            published.
        key_width: of keys, queries and values of the temporal attention.
        spatial_gate, temporal_gate: what is let through at first; 0 begins as if without.
        bins, volume_width: of the discrete disparity volume.

    """

    spatial: bool = True
    temporal: bool = True
    layers: int = 1
    pool: int = 1
    value_width: int | None = 128
    key_width: int = KEY_WIDTH
    sigma_m: float = SIGMA_M
    spatial_gate: float = SPATIAL_GATE
    temporal_gate: float = TEMPORAL_GATE
    bins: int = BINS
    volume_width: int = WIDTH

    def __post_init__(self) -> None:
        for name in ('layers', 'pool', 'key_width', 'volume_width', 'bins'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} = {getattr(self, name)}: must be 1 or more')
        if self.value_width is not None and self.value_width < 1:
            raise ValueError(f'value_width = {self.value_width}: must be 1 or more, or null')


class AttentionStack(nn.Module):
    """Features to features of the same shape, and the inverse depth that guided them."""

    def __init__(
        self,
        channels: int,
        stride: int,
        options: StackOptions,
        *,
        min_depth_m: float,
        max_depth_m: float,
        focal_px: float,
    ) -> None:
        """
        Build for features of so many channels, so many times coarser than the image.

        :param focal_px: for which inverse depths hold: what ``points_of`` needs.
        :raises ValueError: a value of the options, or of the range of depth.
        """
        super().__init__()
        self.options, self.stride, self.focal_px = options, stride * options.pool, focal_px
        self.volume: DisparityVolume | None = None
        layers = range(options.layers)
        if options.spatial:
            self.volume = DisparityVolume(
                channels,
                min_depth_m=min_depth_m,
                max_depth_m=max_depth_m,
                bins=options.bins,
                width=options.volume_width,
            )
        self.spatial = nn.ModuleList(_spatial(channels, options) for _ in layers)
        self.temporal = nn.ModuleList(_temporal(channels, options) for _ in layers)

    def forward(
        self, features_FChw: Tensor, camera_F4: Tensor, look: Look
    ) -> tuple[Tensor, Tensor | None]:
        """Return the features, and the inverse depth [1/m] on the grid of the attention."""
        pooled = pool(features_FChw, self.options.pool)
        inverse_depth, points = self._points(pooled, camera_F4)
        attended = pooled
        for number, (spatial, temporal) in enumerate(
            zip(self.spatial, self.temporal, strict=True)
        ):
            if points is not None:
                attended = spatial(attended, points)
            if self.options.temporal:
                attended = temporal(attended, look(number, temporal.memory(attended)))
        if self.options.pool == 1:
            return attended, inverse_depth
        return features_FChw + enlarge(attended - pooled, features_FChw), inverse_depth

    def _points(self, pooled: Tensor, camera_F4: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if self.volume is None:
            return None, None
        inverse_depth = self.volume(pooled)
        points = points_of(
            inverse_depth.detach(), camera_F4, stride=self.stride, focal_px=self.focal_px
        )
        return inverse_depth, points


def _spatial(channels: int, options: StackOptions) -> nn.Module:
    if not options.spatial:
        return nn.Identity()
    return GeometryAttention(
        channels, width=options.value_width, sigma_m=options.sigma_m, gate=options.spatial_gate
    )


def _temporal(channels: int, options: StackOptions) -> nn.Module:
    if not options.temporal:
        return nn.Identity()
    return TemporalAttention(
        channels,
        key_width=options.key_width,
        value_width=options.key_width,
        gate=options.temporal_gate,
    )


class FromStates:
    """One frame looks at the states of past ones, and ``next`` collects the states after it."""

    def __init__(self, states: tuple[Tensor, ...]) -> None:
        """Take keys (B, M, N, k) and values (B, M, N, v) of each layer in turn, newest first."""
        self.states = states
        self.next: list[Tensor] = []

    def __call__(self, number: int, own: Memory) -> Tensor | None:
        if not self.states:
            return None
        past = self.states[2 * number], self.states[2 * number + 1]
        for now, state in zip(own, past, strict=True):
            self.next.append(torch.cat((now[:, None], state[:, :-1]), dim=1))
        return look_up(own.keys_BNk, *past)


def causal(frames: int, memory: int) -> Look:
    """Let each of T frames in a row look at up to ``memory`` frames before it."""

    def look(number: int, own: Memory) -> Tensor | None:
        keys, values = (_unfolded(tokens, frames) for tokens in own)
        found = [
            _later(look_up_frames(keys[:, age:], keys[:, :-age], values[:, :-age]), age)
            for age in range(1, min(memory, frames - 1) + 1)
        ]
        return sum(found[1:], start=found[0]).flatten(0, 1) if found else None

    return look


def centred(views: int) -> Look:
    """Let each of V views look at all the others."""

    def look(number: int, own: Memory) -> Tensor | None:
        keys, values = (_unfolded(tokens, views) for tokens in own)
        found = [
            look_up_frames(keys, keys.roll(shift, 1), values.roll(shift, 1))
            for shift in range(1, views)
        ]
        return sum(found[1:], start=found[0]).flatten(0, 1) if found else None

    return look


def look_up_frames(queries_BTNk: Tensor, keys_BTNk: Tensor, values_BTNv: Tensor) -> Tensor:
    """Return ``look_up`` of each frame in the one other frame beside it, (B, T, N, v)."""
    frames = int(queries_BTNk.shape[1])
    found = look_up(
        queries_BTNk.flatten(0, 1),
        keys_BTNk.flatten(0, 1)[:, None],
        values_BTNv.flatten(0, 1)[:, None],
    )
    return _unfolded(found, frames)


def _later(found_BTNv: Tensor, age: int) -> Tensor:
    """Put zeros in front, for the frames that have no frame of this age."""
    return functional.pad(found_BTNv, (0, 0, 0, 0, age, 0))


def _unfolded(tokens_FNC: Tensor, frames: int) -> Tensor:
    return tokens_FNC.unflatten(0, (-1, frames))


def pool(features_BChw: Tensor, factor: int) -> Tensor:
    """Return means of factor x factor cells; the border is repeated where the last is cut."""
    if factor == 1:
        return features_BChw
    for dim in (2, 3):
        size = int(features_BChw.shape[dim])
        whole = -(-size // factor) * factor
        if whole > size:
            index = torch.arange(whole, device=features_BChw.device).clamp(max=size - 1)
            features_BChw = features_BChw.index_select(dim, index)
    return functional.avg_pool2d(features_BChw, factor)


def enlarge(pooled_BChw: Tensor, like_BChw: Tensor) -> Tensor:
    """Repeat each cell on the grid of the other features."""
    height, width = map(int, like_BChw.shape[-2:])
    factor = -(-height // int(pooled_BChw.shape[2]))
    repeated = functional.interpolate(pooled_BChw, scale_factor=float(factor), mode='nearest')
    return repeated[:, :, :height, :width]
