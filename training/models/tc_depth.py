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
TC-Depth: depth that remembers, in a causal form for live use and in the published one.

P. Ruhkamp, D. Gao, H. Chen, N. Navab, B. Busam, "Attention meets Geometry: Geometry Guided
Spatial-Temporal Attention for Consistent Self-Supervised Monocular Depth Estimation", 3DV 2021,
arXiv:2110.08192. Deviations: the decoder is that of ``training.models.decoder``; a head for the
uncertainty; and in the causal form a past frame gives the keys and values that it had when it
was current, so that each image is encoded once. Shapes as in ``training.models.sequence``.
"""

from __future__ import annotations

from collections.abc import Sequence
import copy
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor
from training.models.attention_stack import (
    AttentionStack,
    causal,
    centred,
    FromStates,
    Look,
    StackOptions,
)
from training.models.decoder import SCALES, WIDTHS
from training.models.depth_net import DepthNet, DepthNetConfig
from training.models.encoders import multiple_px
from training.models.network import NetworkConfig, Prediction, require_multiple, Triple
from training.models.sequence import camera_in_the_middle, SequenceNetwork, States, View
from training.models.split_network import SplitNetwork

# As published: two other frames.
MEMORY = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TcDepthConfig(NetworkConfig):
    """
    Everything that decides the shape of a network; goes into its checkpoint.

    ``encoder``, ``weights``, ``parametrisation``, ``widths`` and ``scales``: see
    ``DepthNetConfig``.

    Fields:
        focal_px: the training's ``focal_px``, for which depths hold: points in space follow
            from it and the camera of each frame.
        memory: past frames that a step keeps.
        attention: see ``StackOptions``.

    """

    kind: Literal['tc_depth'] = 'tc_depth'
    encoder: str
    focal_px: float
    parametrisation: str = 'inverse'
    widths: tuple[int, ...] = WIDTHS
    scales: tuple[int, ...] = SCALES
    memory: int = MEMORY
    attention: StackOptions = field(default_factory=StackOptions)

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        require_multiple(width, height, multiple_px(self.encoder))


class TcDepthNet(SequenceNetwork):
    """A single-frame network with attention in space and time on the last map of its encoder."""

    def __init__(self, config: TcDepthConfig) -> None:
        """
        Build the network.

        :raises ModelError: the encoder or its weights.
        :raises ValueError: another value of the configuration.
        """
        super().__init__()
        for key in ('memory', 'focal_px'):
            if not getattr(config, key) > 0:
                raise ValueError(f'{key} = {getattr(config, key)}: must be positive')
        self.config: TcDepthConfig = config
        self.base = _base(config)
        self.attention = AttentionStack(
            *self.base.context,
            config.attention,
            min_depth_m=config.min_depth_m,
            max_depth_m=config.max_depth_m,
            focal_px=config.focal_px,
        )

    @property
    def memory(self) -> int:
        """Return how many past frames a step reads."""
        return self.config.memory if self.config.attention.temporal else 0

    @property
    def uses_camera(self) -> bool:
        """Tell whether there is attention in space."""
        return self.config.attention.spatial

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return every scale of a frame without a past, by a camera of the config's focal length.

        :raises ValueError: the size of the image.
        """
        return self.base.decode(self._alone(image_B3HW))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of a frame without a past, of the first scale alone."""
        return self.base.decode_finest(self._alone(image_B3HW))

    def step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Prediction, States]:
        """Return every scale of the newest frame, and the states for the next one."""
        features, states = self._stepped(image_B3HW, camera_B4, states)
        return self.base.decode(features), states

    def finest_step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Tensor, Tensor, States]:
        """Return depth and ln sigma of the first scale alone, and the states for the next one."""
        features, states = self._stepped(image_B3HW, camera_B4, states)
        return *self.base.decode_finest(features), states

    def sequence_views(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """Return what each step would see, all frames encoded in one batch."""
        frames = int(images_BT3HW.shape[1])
        return self._views(images_BT3HW, camera_B4, causal(frames, self.config.memory))

    def centred_views(self, images_BV3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """Return the views, each of which attends to all others."""
        return self._views(images_BV3HW, camera_B4, centred(int(images_BV3HW.shape[1])))

    def initial_states(self, batch: int, height: int, width: int) -> States:
        """Return zeros for images of this size [px]: (B, M, N, key width) for every state."""
        stride, options = self.attention.stride, self.config.attention
        tokens = -(-height // stride) * -(-width // stride)
        size = (batch, self.memory, tokens, options.key_width)
        like = next(self.parameters())
        return tuple(like.new_zeros(size) for _ in self.state_names())

    def state_names(self) -> tuple[str, ...]:
        """Return keys and values of each layer."""
        layers = range(self.config.attention.layers if self.memory else 0)
        return tuple(f'{part}_{number}' for number in layers for part in ('keys', 'values'))

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return the mean and std that the network applies to its input itself."""
        return self.base.normalisation

    def without_normalisation(self) -> TcDepthNet:
        """Return a copy that takes input with ``normalisation`` applied already."""
        network = copy.deepcopy(self)
        network.base = network.base.without_normalisation()
        return network

    def pretrained_names(self) -> frozenset[str]:
        """Return the parameters of the encoder, when it does not begin at random."""
        return frozenset(f'base.{name}' for name in self.base.pretrained_names())

    def _alone(self, image_B3HW: Tensor) -> Sequence[Tensor]:
        camera = camera_in_the_middle(image_B3HW, self.config.focal_px)
        return self._attended(image_B3HW, camera, FromStates(()))[0]

    def _stepped(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Sequence[Tensor], States]:
        past = FromStates(states)
        features, _ = self._attended(image_B3HW, camera_B4, past)
        return features, tuple(past.next)

    def _views(self, images_BT3HW: Tensor, camera_B4: Tensor, look: Look) -> tuple[View, ...]:
        frames = int(images_BT3HW.shape[1])
        cameras = camera_B4.repeat_interleave(frames, dim=0)
        features, reference = self._attended(images_BT3HW.flatten(0, 1), cameras, look)
        prediction = self.base.decode(features)
        return tuple(_view(prediction, reference, number, frames) for number in range(frames))

    def _attended(
        self, image_F3HW: Tensor, camera_F4: Tensor, look: Look
    ) -> tuple[Sequence[Tensor], Tensor | None]:
        """Return the maps that the decoder reads, and the inverse depth of the volume."""
        *rest, context = self.base.encode(image_F3HW)
        attended, inverse_depth = self.attention(context, camera_F4, look)
        return (*rest, attended), inverse_depth


def _view(prediction: Prediction, reference: Tensor | None, number: int, frames: int) -> View:
    """Take one of so many frames in a row out of the batch."""
    parts = (tuple(scale[number::frames] for scale in scales) for scales in prediction)
    return View(Prediction(*parts), None if reference is None else reference[number::frames])


def _base(config: TcDepthConfig) -> SplitNetwork:
    return DepthNet(
        DepthNetConfig(
            weights=config.weights,
            encoder=config.encoder,
            min_depth_m=config.min_depth_m,
            max_depth_m=config.max_depth_m,
            parametrisation=config.parametrisation,
            widths=config.widths,
            scales=config.scales,
        )
    )
