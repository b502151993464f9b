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
Depth Anything as a network to train: its metric form, and a head for the uncertainty.

The metric form of V2 (arXiv:2406.09414): the last layer is a sigmoid times the largest depth.
Its authors begin with the encoder of the relative network and a fresh head.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Literal

from torch import nn, Tensor
from training.models.depth_anything import build, DepthAnything, LAYOUTS, PATCH_PX
from training.models.depth_anything_weights import load_encoder, load_whole
from training.models.depth_net import Normalise
from training.models.encoders import FeatureSpec, IMAGENET_MEAN, IMAGENET_STD, RANDOM
from training.models.heads import LogSigmaHead
from training.models.network import (
    DepthNetwork,
    NetworkConfig,
    NO_SCALE,
    NO_SHIFT,
    Prediction,
    require_multiple,
    Triple,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthAnythingNetConfig(NetworkConfig):
    """
    The size, and what training begins with.

    ``weights``: 'random', or a file of Depth Anything or DINOv2 of that size. ``begin`` says
    what is taken of it: 'encoder', or 'all' of a file of the metric network. ``size`` 'tiny' is
    of no publication: it is there to try a configuration out.
    """

    kind: Literal['depth_anything'] = 'depth_anything'
    size: Literal['vits', 'vitb', 'vitl', 'tiny'] = 'vits'
    begin: Literal['encoder', 'all'] = 'encoder'
    max_depth_m: float = 80.0

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        require_multiple(width, height, PATCH_PX)


class DepthAnythingNet(DepthNetwork):
    """RGB in 0..1 to depth and ln sigma, both of the size of the image."""

    def __init__(self, config: DepthAnythingNetConfig) -> None:
        """
        Build the network and load its weights.

        :raises ModelError: the file cannot be read or does not fit.
        :raises ValueError: an impossible range of depth.
        """
        super().__init__()
        if not 0 < config.min_depth_m < config.max_depth_m < math.inf:
            raise ValueError(
                f'depth range {config.min_depth_m} to {config.max_depth_m} m: must be '
                '0 < minimum < maximum'
            )
        self.config: DepthAnythingNetConfig = config
        layout = LAYOUTS[config.size]
        self.metric = DepthAnything(build(layout), config.max_depth_m)
        if config.weights != RANDOM:
            load = load_encoder if config.begin == 'encoder' else load_whole
            load(self.metric, layout, Path(config.weights))
        self.normalise: nn.Module = Normalise(FeatureSpec(channels=(), strides=()))
        self.sigma = LogSigmaHead(layout.hidden)

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return the only scale.

        :raises ValueError: not (B, 3, H, W), or a side is no multiple of 14.
        """
        depth, log_sigma = self.finest(image_B3HW)
        return Prediction((depth,), (log_sigma,))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma."""
        features = self.metric.features(self.normalise(image_B3HW))
        depth = self.metric.answer(features).clamp(min=self.config.min_depth_m)
        return depth, self.sigma(features)

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return the mean and std that the network applies to its input itself."""
        if isinstance(self.normalise, nn.Identity):
            return NO_SHIFT, NO_SCALE
        return IMAGENET_MEAN, IMAGENET_STD

    def without_normalisation(self) -> DepthAnythingNet:
        """Return a copy that takes input with ``normalisation`` applied already."""
        network = copy.deepcopy(self)
        network.normalise = nn.Identity()
        return network

    def for_size(self, width: int, height: int) -> DepthAnythingNet:
        """Return a copy for images of one size alone: nothing is resampled for each."""
        network = copy.copy(self)
        network._modules = {**self._modules, 'metric': self.metric.fixed(width, height)}
        return network

    def pretrained_names(self) -> frozenset[str]:
        """Return the parameters that were loaded."""
        if self.config.weights == RANDOM:
            return frozenset()
        loaded = 'metric.network.backbone.' if self.config.begin == 'encoder' else 'metric.'
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if name.startswith(loaded))
