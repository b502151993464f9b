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

"""Single-frame networks that can be cut in two, so that attention fits in between."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor
from training.models.network import DepthNetwork, Prediction


class SplitNetwork(DepthNetwork):
    """An encoder whose last map is the context of all others, and what decodes them."""

    @property
    @abstractmethod
    def context(self) -> tuple[int, int]:
        """Return the channels and the stride of the last map that ``encode`` gives."""

    @abstractmethod
    def encode(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """
        Return feature maps.

        :raises ValueError: the size of the image.
        """

    @abstractmethod
    def decode(self, features: Sequence[Tensor]) -> Prediction:
        """Return every scale."""

    @abstractmethod
    def decode_finest(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of the deployed scale alone."""

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return every scale.

        :raises ValueError: the size of the image.
        """
        return self.decode(self.encode(image_B3HW))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma of the deployed scale alone."""
        return self.decode_finest(self.encode(image_B3HW))
