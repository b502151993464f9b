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
METER-XXS with the memory of TC-Depth, and with its own depth of the frame before.

The attention of Ruhkamp et al., 3DV 2021, arXiv:2110.08192, stands on the decoder's features at
1/16, where a map of all pairs is small; the depth memory on those at 1/8. The first answer after
a reset begins as that of METER-XXS. Causal only. Shapes as in ``training.models.sequence``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from depth_ros.errors import ConfigError
import torch
from torch import Tensor
from torch.nn import functional
from training.models.attention_stack import AttentionStack, causal, FromStates, Look, StackOptions
from training.models.depth_memory import DepthMemory, Remembered
from training.models.meter import AS_PUBLISHED, fits, pad_to, Pools, SIZE_RULE
from training.models.meter_depth_net import MeterDepthNet, MeterNetConfig
from training.models.network import NetworkConfig, NO_SCALE, NO_SHIFT, Prediction, Triple
from training.models.sequence import camera_in_the_middle, SequenceNetwork, States, View

STRIDE = 16
FEATURES = 32
# The depth memory: its grid, the decoder's features there, the encoder's at 1/8 and 1/4.
MEMORY_STRIDE, MEMORY_FEATURES, MATCHED = 8, 16, 48 + 24
DEPTH_STATES = ('past_keys', 'past_log_depth', 'past_motion')


def small_stack() -> StackOptions:
    """Return attention that fits METER's 32 features, shut at first."""
    return StackOptions(
        value_width=32, key_width=32, volume_width=32, bins=64, spatial_gate=0.0, temporal_gate=0.0
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTcConfig(NetworkConfig):
    """
    Everything that decides the shape of a network; goes into its checkpoint.

    Fields:
        weights: as of ``MeterNetConfig``.
        focal_px: the training's ``focal_px``, for which depths hold.
        memory: past frames whose features a step keeps.
        depth_memory: False: without the depth of the frame before.
        sigma, attention_pools: as of ``MeterNetConfig``.
        frozen_base: all of METER-XXS stays as it was loaded, and only the memory is trained.
        attention: see ``StackOptions``.

    """

    kind: Literal['meter_tc'] = 'meter_tc'
    min_depth_m: float = 0.5
    focal_px: float
    memory: int = 2
    depth_memory: bool = True
    sigma: Literal['edges', 'context'] = 'edges'
    attention_pools: Pools = AS_PUBLISHED
    frozen_base: bool = True
    attention: StackOptions = field(default_factory=small_stack)

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        for key, value in (('data.width', width), ('data.height', height)):
            if not fits(value):
                raise ConfigError(f'{key} = {value}: {SIZE_RULE}')


class _Seen(NamedTuple):
    """F frames before the past's depth is mixed in, and what that needs."""

    log_depth_F1HW: Tensor
    log_sigma_F1HW: Tensor
    features_FChw: Tensor
    keys_FChw: Tensor
    camera_F4: Tensor
    inverse_depth_F1hw: Tensor | None

    def frame(self, number: int, frames: int) -> _Seen:
        """Return one of so many frames in a row."""
        parts = (None if part is None else part[number::frames] for part in self)
        return _Seen(*parts)  # type: ignore[arg-type]


class MeterTcNet(SequenceNetwork):
    """RGB in 0..1 and a past to depth and ln sigma at a quarter of the size."""

    def __init__(self, config: MeterTcConfig) -> None:
        """
        Build the network.

        :raises ModelError: the file of weights cannot be read or does not fit.
        :raises ValueError: another value of the configuration.
        """
        super().__init__()
        for key in ('memory', 'focal_px'):
            if not getattr(config, key) > 0:
                raise ValueError(f'{key} = {getattr(config, key)}: must be positive')
        if config.attention.pool != 1:
            raise ValueError(f'attention.pool = {config.attention.pool}: must be 1 for METER')
        self.config: MeterTcConfig = config
        self.base = MeterDepthNet(
            MeterNetConfig(
                weights=config.weights,
                min_depth_m=config.min_depth_m,
                max_depth_m=config.max_depth_m,
                sigma=config.sigma,
                attention_pools=config.attention_pools,
            )
        )
        self.base.requires_grad_(not config.frozen_base)
        self.attention = AttentionStack(
            FEATURES,
            STRIDE,
            config.attention,
            min_depth_m=config.min_depth_m,
            max_depth_m=config.max_depth_m,
            focal_px=config.focal_px,
        )
        self.depth_memory: DepthMemory | None = None
        if config.depth_memory:
            self.depth_memory = DepthMemory(MEMORY_FEATURES, MATCHED, MEMORY_STRIDE)

    @property
    def memory(self) -> int:
        """Return how many past frames a step reads."""
        if self.config.attention.temporal:
            return self.config.memory
        return 1 if self.config.depth_memory else 0

    @property
    def uses_camera(self) -> bool:
        """Tell whether there is attention in space."""
        return self.config.attention.spatial or self.config.depth_memory

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return the only scale of a frame without a past, by a camera of the config's focal length.

        :raises ValueError: not (B, 3, H, W), or a size that METER cannot take.
        """
        depth, log_sigma = self.finest(image_B3HW)
        return Prediction((depth,), (log_sigma,))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of a frame without a past."""
        camera = camera_in_the_middle(image_B3HW, self.config.focal_px)
        seen = self._seen(image_B3HW, camera, FromStates(()))
        return self._in_range(seen.log_depth_F1HW), seen.log_sigma_F1HW

    def step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Prediction, States]:
        """Return the answer to the newest frame, and the states for the next one."""
        depth, log_sigma, states = self.finest_step(image_B3HW, camera_B4, states)
        return Prediction((depth,), (log_sigma,)), states

    def finest_step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Tensor, Tensor, States]:
        """Return depth and ln sigma, and the states for the next frame."""
        kept = len(DEPTH_STATES) if self.depth_memory is not None else 0
        first = len(states) - kept
        depths = states[first:]
        past = FromStates(states[:first])
        seen = self._seen(image_B3HW, camera_B4, past)
        log_depth, remembered = self._mixed(seen, Remembered(*depths) if depths else None)
        after = () if remembered is None else tuple(remembered)
        return self._in_range(log_depth), seen.log_sigma_F1HW, (*past.next, *after)

    def sequence_views(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """Return what each step would see; all but the depth memory runs in one batch."""
        batch, frames = map(int, images_BT3HW.shape[:2])
        cameras = camera_B4.repeat_interleave(frames, dim=0)
        look = causal(frames, self.config.memory)
        seen = self._seen(images_BT3HW.flatten(0, 1), cameras, look)
        remembered, views = self._no_past(batch, seen), []
        for number in range(frames):
            frame = seen.frame(number, frames)
            log_depth, remembered = self._mixed(frame, remembered)
            prediction = Prediction((self._in_range(log_depth),), (frame.log_sigma_F1HW,))
            views.append(View(prediction, frame.inverse_depth_F1hw))
        return tuple(views)

    def centred_views(self, images_BV3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """
        Refuse: depth that was answered before has no place among frames that see each other.

        :raises ConfigError: always.
        """
        raise ConfigError("views = centred: network kind 'meter_tc' is causal; choose 'tc_depth'")

    def initial_states(self, batch: int, height: int, width: int) -> States:
        """Return zeros for images of this size [px]."""
        rows, columns = (-(-size // STRIDE) for size in (height, width))
        size = (batch, self.config.memory, rows * columns, self.config.attention.key_width)
        like = next(self.parameters())
        states = [like.new_zeros(size) for name in self.state_names() if name not in DEPTH_STATES]
        if self.depth_memory is not None:
            finer = STRIDE // MEMORY_STRIDE
            states += self.depth_memory.empty(batch, finer * rows, finer * columns)
        return tuple(states)

    def state_names(self) -> tuple[str, ...]:
        """Return keys and values of each layer, then those of the depth memory."""
        layers = range(self.config.attention.layers if self.config.attention.temporal else 0)
        names = [f'{part}_{number}' for number in layers for part in ('keys', 'values')]
        return (*names, *(DEPTH_STATES if self.depth_memory is not None else ()))

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return that METER takes RGB in 0..1 as it is."""
        return NO_SHIFT, NO_SCALE

    def without_normalisation(self) -> MeterTcNet:
        """Return itself, for there is none."""
        return self

    def pretrained_names(self) -> frozenset[str]:
        """Return the parameters that were loaded, and the gates that were shut, as METER is."""
        names = {f'base.{name}' for name in self.base.pretrained_names()}
        options = self.config.attention
        for part, gate in (('spatial', options.spatial_gate), ('temporal', options.temporal_gate)):
            if names and gate == 0.0:
                layers = range(len(getattr(self.attention, part)))
                names |= {f'attention.{part}.{number}.gate' for number in layers}
        return frozenset(names)

    def _seen(self, image_F3HW: Tensor, camera_F4: Tensor, look: Look) -> _Seen:
        coarsest, sixteenth, eighth, quarter = self.base.encoded(image_F3HW)
        decoder = self.base.decoder
        features = decoder.ups_block_1(decoder.conv2d_in(coarsest), sixteenth)
        attended, inverse_depth = self.attention(features, camera_F4, look)
        middle = decoder.ups_block_2(attended, eighth)
        finest = decoder.ups_block_3(middle, quarter)
        depth, log_sigma = self.base.answer(finest, quarter, coarsest)
        keys = attended.new_zeros(0)
        if self.depth_memory is not None:
            rows, columns = map(int, middle.shape[-2:])
            matched = functional.avg_pool2d(pad_to(quarter, 2 * rows, 2 * columns), 2)
            matched = torch.cat((pad_to(eighth, rows, columns), matched), dim=1)
            keys = self.depth_memory.keys(matched)
        return _Seen(torch.log(depth), log_sigma, middle, keys, camera_F4, inverse_depth)

    def _no_past(self, batch: int, seen: _Seen) -> Remembered | None:
        if self.depth_memory is None:
            return None
        return self.depth_memory.empty(batch, *map(int, seen.features_FChw.shape[-2:]))

    def _mixed(self, seen: _Seen, past: Remembered | None) -> tuple[Tensor, Remembered | None]:
        if self.depth_memory is None or past is None:
            return seen.log_depth_F1HW, None
        mixed, remembered = self.depth_memory(
            seen.log_depth_F1HW, seen.features_FChw, seen.keys_FChw, seen.camera_F4, past
        )
        return mixed, remembered

    def _in_range(self, log_depth: Tensor) -> Tensor:
        return torch.exp(log_depth).clamp(self.config.min_depth_m, self.config.max_depth_m)
