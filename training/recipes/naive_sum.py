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
The baseline of mutual distillation: one network, the sum of both objectives.

Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737, compare with it: LiDAR and video pull at the same
weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from depth_ros.errors import ConfigError
from training.recipes.branches import exactly
from training.recipes.lidar import lidar_terms
from training.recipes.options import LidarOptions
from training.recipes.recipe import FrameNeeds, Progress, Term
from training.recipes.video_network import ColoredVideoOptions, VideoNetwork
from training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class NaiveSumConfig(LidarOptions, ColoredVideoOptions):
    """Options of LiDAR and of video, and ``colors``."""

    def __post_init__(self) -> None:
        LidarOptions.__post_init__(self)
        ColoredVideoOptions.__post_init__(self)
        if self.photometric == 'nll':
            raise ConfigError(
                'photometric = nll: one network has one sigma, and LiDAR has it in metres; '
                'use plain'
            )

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        return self.frames(needed=False)


class NaiveSum(VideoNetwork):
    """One network that learns from LiDAR and from the frames before and after."""

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        prediction, motion = self._watched(batch)
        with exactly(batch):
            return {
                **lidar_terms(prediction, batch, self.options),
                **self.video.terms(prediction, motion, batch),
            }
