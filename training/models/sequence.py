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
What a network that remembers is to recipes, trainer and export.

Shapes: B batch, T frames oldest first, V views, H x W image, h x w the grid of the reference.
``camera_B4`` is fx, fy, cx, cy [px] of images of that size; integer pixel = pixel centre.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor
from training.models.network import DepthNetwork, Prediction

States = tuple[Tensor, ...]


class View(NamedTuple):
    """
    What a network says of one frame.

    ``inverse_depth_B1hw`` [1/m], for the same focal length as the depths, is the reference
    that the spatial attention was guided by; no gradient of the depths reaches it, so it needs
    a loss of its own. None where a network has none.
    """

    prediction: Prediction
    inverse_depth_B1hw: Tensor | None


class SequenceNetwork(DepthNetwork):
    """
    A network whose answer depends on the camera and on what it kept of earlier frames.

    A past frame contributes what it was when it was current, so ``step`` after ``step`` gives
    what ``sequence`` gives. States of zeros are no past, exactly.
    """

    @property
    @abstractmethod
    def memory(self) -> int:
        """Return how many past frames ``step`` reads from its states; 0: it keeps nothing."""

    @property
    @abstractmethod
    def uses_camera(self) -> bool:
        """Tell whether an answer depends on ``camera_B4``."""

    @abstractmethod
    def step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Prediction, States]:
        """Return the answer to the newest frame, and the states for the next one."""

    @abstractmethod
    def finest_step(
        self, image_B3HW: Tensor, camera_B4: Tensor, states: States
    ) -> tuple[Tensor, Tensor, States]:
        """Return depth and ln sigma of the deployed scale alone, and the next states."""

    @abstractmethod
    def initial_states(self, batch: int, height: int, width: int) -> States:
        """Return zeros, of the sizes that images of this size [px] need."""

    @abstractmethod
    def state_names(self) -> tuple[str, ...]:
        """Return a name for each state, in order."""

    @abstractmethod
    def sequence_views(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """Return each frame as ``step`` would see it, beginning without a past."""

    @abstractmethod
    def centred_views(self, images_BV3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        """Return the views, usually (0, -1, +1); each attends to all others."""

    def sequence(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[Prediction, ...]:
        """Return what T steps from empty states predict."""
        return tuple(view.prediction for view in self.sequence_views(images_BT3HW, camera_B4))

    def centred(self, images_BV3HW: Tensor, camera_B4: Tensor) -> tuple[Prediction, ...]:
        """Return the prediction for each of the views, which all see each other."""
        return tuple(view.prediction for view in self.centred_views(images_BV3HW, camera_B4))


def camera_in_the_middle(image_B3HW: Tensor, focal_px: float) -> Tensor:
    """Return fx = fy = ``focal_px`` and the centre of the image as (B, 4) [px]."""
    height, width = map(int, image_B3HW.shape[-2:])
    values = [focal_px, focal_px, (width - 1) / 2, (height - 1) / 2]
    camera = torch.tensor(values, dtype=torch.float32, device=image_B3HW.device)
    return camera.expand(image_B3HW.shape[0], 4)
