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
METER-XXS as a network to train: the published weights, and a head for the uncertainty.

The head reads the features that the last convolution reads. Input sizes other than the 636x192
of the published weights work, and are less exact until they have been trained for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depth_ros.errors import ConfigError
from torch import Tensor
from torch.nn import functional
from training.models.encoders import RANDOM
from training.models.heads import LogSigmaHead
from training.models.layers import at_least_float32
from training.models.meter import fits, MeterXxs, SIZE_RULE
from training.models.network import (
    DepthNetwork,
    NetworkConfig,
    NO_SCALE,
    NO_SHIFT,
    Prediction,
    Triple,
)
from training.weights import load_strictly, read_state

# The published KITTI weights answer in decimetres.
METRES_PER_UNIT = 0.1
# Width of the bend where depth approaches its minimum [m]: 1 / this. A metre above it, the
# answer is the last convolution's within 5e-6 m.
BEND_PER_M = 10.0
FEATURES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterNetConfig(NetworkConfig):
    """``weights``: 'random', or the file of the published weights."""

    kind: Literal['meter_xxs'] = 'meter_xxs'
    min_depth_m: float = 0.5

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        for key, value in (('data.width', width), ('data.height', height)):
            if not fits(value):
                raise ConfigError(f'{key} = {value}: {SIZE_RULE}')


class MeterDepthNet(DepthNetwork):
    """RGB in 0..1 to depth and ln sigma at a quarter of the size, rounded up to even."""

    def __init__(self, config: MeterNetConfig) -> None:
        """
        Build the network and load all tensors of its weights.

        :raises ModelError: the file cannot be read or does not fit.
        :raises ValueError: an impossible range of depth.
        """
        super().__init__()
        if not 0 < config.min_depth_m < config.max_depth_m:
            raise ValueError(
                f'depth range {config.min_depth_m} to {config.max_depth_m} m: must be '
                '0 < minimum < maximum'
            )
        self.config: MeterNetConfig = config
        whole = MeterXxs()
        if config.weights != RANDOM:
            load_strictly(whole, read_state(Path(config.weights)), config.weights)
        self.encoder, self.decoder = whole.encoder, whole.decoder
        self.sigma_head = LogSigmaHead(FEATURES)

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return the only scale.

        :raises ValueError: not (B, 3, H, W), or a size that METER cannot take.
        """
        depth, log_sigma = self.finest(image_B3HW)
        return Prediction((depth,), (log_sigma,))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma."""
        if image_B3HW.dim() != 4 or not all(map(fits, map(int, image_B3HW.shape[-2:]))):
            raise ValueError(f'image has shape {tuple(image_B3HW.shape)}: {SIZE_RULE}')
        features = self.decoder.features(*self.encoder(image_B3HW))
        raw = at_least_float32(self.decoder.conv2d_out(features)) * METRES_PER_UNIT
        return self._in_range(raw), self.sigma_head(features)

    def _in_range(self, raw_m: Tensor) -> Tensor:
        """Bend towards the minimum, so that there is always a gradient; cut at the maximum."""
        low, high = self.config.min_depth_m, self.config.max_depth_m
        return (low + functional.softplus(raw_m - low, beta=BEND_PER_M)).clamp(max=high)

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return that METER takes RGB in 0..1 as it is."""
        return NO_SHIFT, NO_SCALE

    def without_normalisation(self) -> MeterDepthNet:
        """Return itself, for there is none."""
        return self

    def pretrained_names(self) -> frozenset[str]:
        """Return all parameters but the uncertainty head's, when they were loaded."""
        if self.config.weights == RANDOM:
            return frozenset()
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if not name.startswith('sigma_head.'))
