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
What every depth network is to recipes, trainer and export, and the settings that all have.

A network that is trained here answers metres and ln of their Laplace scale; what is inside is
its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from depth_ros.errors import ConfigError
from torch import nn, Tensor

Triple = tuple[float, float, float]
NO_SHIFT: Triple = (0.0, 0.0, 0.0)
NO_SCALE: Triple = (1.0, 1.0, 1.0)


class Prediction(NamedTuple):
    """Depth [m] and ln of its Laplace scale [ln m] for each scale, finest first, (B, 1, h, w)."""

    depths: tuple[Tensor, ...]
    log_sigmas: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyNetworkConfig(ABC):
    """
    What all networks are told, those for something else than depth too.

    ``weights``: what training begins with: 'random', 'imagenet' where it is known, or a file.
    """

    weights: str

    @abstractmethod
    def check_size(self, width: int, height: int) -> None:
        """
        Check an input size [px].

        :raises ConfigError: the network cannot take it; names ``data.width`` or ``data.height``.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig(AnyNetworkConfig):
    """What all depth networks are told."""

    min_depth_m: float = 0.1
    max_depth_m: float = 100.0


def require_multiple(width: int, height: int, multiple: int) -> None:
    """Check both sides; ConfigError names the first that is no multiple."""
    for key, value in (('data.width', width), ('data.height', height)):
        if value % multiple:
            raise ConfigError(f'{key} = {value}: must be a multiple of {multiple} px')


class DepthNetwork(nn.Module, ABC):
    """RGB in 0..1, (B, 3, H, W), to depth and its uncertainty."""

    config: NetworkConfig

    @abstractmethod
    def forward(self, image_B3HW: Tensor) -> Prediction:
        """Return every scale."""

    @abstractmethod
    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of the deployed scale alone."""

    @property
    @abstractmethod
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return the mean and std that the network applies to its input itself."""

    @abstractmethod
    def without_normalisation(self) -> DepthNetwork:
        """Return a copy that takes input with ``normalisation`` applied already."""

    def for_size(self, width: int, height: int) -> DepthNetwork:
        """Return what is exported for inputs of one size [px]; may share tensors with this."""
        return self

    @abstractmethod
    def pretrained_names(self) -> frozenset[str]:
        """Return the parameters that begin with weights which somebody trained."""
