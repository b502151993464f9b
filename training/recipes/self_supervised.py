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
Self-supervised training from monocular video: Monodepth2 with LiDAR for nothing.

Godard et al., arXiv:1806.01260: one network for depth, one for the motion between frames. Depth
has the metre where odometry or speed give it, else its scale is arbitrary.
"""

from __future__ import annotations

from dataclasses import dataclass

from depth_ros.core.model_spec import OutputKind
from torch import Tensor
from training.models.depth_net import Prediction
from training.recipes.branches import exactly, in_metres
from training.recipes.recipe import focal_ratio, FrameNeeds, Progress, Term
from training.recipes.video_network import ColoredVideoOptions, VideoNetwork
from training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class SelfSupervisedConfig(ColoredVideoOptions):
    """Options of video, and ``colors``."""

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        return self.frames(needed=True)


class SelfSupervised(VideoNetwork):
    """One network that learns depth from the frames before and after."""

    # It is in units of the photometric error.
    has_sigma = False

    @property
    def output_kind(self) -> OutputKind:  # type: ignore[override]
        """Return whether anything gives depth its metre."""
        return self.options.output_kind

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        prediction, motion = self._watched(batch)
        with exactly(batch):
            return self.video.terms(prediction, motion, batch)

    def _predicted(self, batch: Batch, image_B3HW: Tensor) -> Prediction:
        # Sigma is in units of the photometric error.
        ratio = focal_ratio(batch.K_B33, self.focal_px)
        return in_metres(self.network(image_B3HW), ratio, with_sigma=False)
