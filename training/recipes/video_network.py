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

"""What recipes share that train one network from video, alone or with something else."""

from __future__ import annotations

from dataclasses import dataclass

from training.models.depth_net import Prediction
from training.models.pose_net import Motion
from training.recipes import colors
from training.recipes.branches import MakeNetwork, OneNetwork
from training.recipes.options import require_choice, VideoOptions
from training.recipes.video import Video
from training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class ColoredVideoOptions(VideoOptions):
    """
    Options of video, and ``colors``.

    ``colors`` changes what both networks see: ``off``, ``jitter`` or ``noise``.
    """

    colors: str = 'jitter'

    def __post_init__(self) -> None:
        VideoOptions.__post_init__(self)
        require_choice(self, 'colors', colors.CHOICES)


class VideoNetwork(OneNetwork):
    """A recipe around a single depth network that sees video."""

    def __init__(
        self, options: ColoredVideoOptions, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it; ``options`` also say which frames it ``needs``.

        :raises ModelError: one of the networks.
        """
        super().__init__(make_network, focal_px)
        self.options, self.needs = options, options.needs
        self.video = Video(options)

    def _watched(self, batch: Batch) -> tuple[Prediction, Motion | None]:
        """Return what the networks say of the batch in changed colours: depth, motion."""
        colored = colors.recolored(
            batch, self.options.colors, 'colors', neighbours=self.video.sees_neighbours
        )
        return self._predicted(batch, colored.image_B3HW), self.video(batch, colored)
