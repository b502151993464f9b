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
Metric fine-tuning of a relative network: its encoder goes on, the rest begins anew in metres.

As Depth Anything V2 (arXiv:2406.09414) does: the scale-forgiving logarithmic error on LiDAR and,
by ``network.parametrisation: sigmoid``, a head from 0 to the largest depth. The encoder comes by
``network.weights``.
"""

from __future__ import annotations

from dataclasses import dataclass

from depth_ros.errors import ConfigError
import torch
from training.losses.affine import mean_used
from training.losses.silog import silog_errors
from training.recipes import colors
from training.recipes.branches import exactly, full_size, MakeNetwork, OneNetwork
from training.recipes.options import require_choice, require_not_negative, require_positive
from training.recipes.recipe import FrameNeeds, Progress, Term
from training.samples import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFinetuneConfig:
    """
    How a network learns metres.

    Fields:
        colors: changes to what the network sees: ``off``, ``jitter``, ``noise`` or ``strong``.
        variance_focus: of a factor that is common to an image, how much is forgiven: 0 to 1.
        min_lidar_m, max_lidar_m: nearer and farther hits do not count [m].

    """

    colors: str = 'off'
    variance_focus: float = 0.5
    min_lidar_m: float = 0.001
    max_lidar_m: float = 80.0

    def __post_init__(self) -> None:
        require_choice(self, 'colors', colors.CHOICES)
        require_not_negative(self, 'variance_focus', 'min_lidar_m')
        require_positive(self, 'max_lidar_m')
        if self.variance_focus >= 1:
            raise ConfigError(
                f'variance_focus = {self.variance_focus}: must be below 1, or nothing says what a '
                'metre is'
            )
        if self.min_lidar_m >= self.max_lidar_m:
            raise ConfigError(
                f'min_lidar_m = {self.min_lidar_m}: must be below max_lidar_m = {self.max_lidar_m}'
            )

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        return FrameNeeds(labelled=True, neighbours=False)


class MetricFinetune(OneNetwork):
    """One network that learns metres from LiDAR; it learns no uncertainty."""

    has_sigma = False

    def __init__(
        self, options: MetricFinetuneConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it.

        :raises ModelError: the network.
        """
        super().__init__(make_network, focal_px)
        self.options, self.needs = options, options.needs

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        colored = colors.recolored(batch, self.options.colors, 'colors', neighbours=False)
        prediction = self._predicted(batch, colored.image_B3HW)
        with exactly(batch):
            target = batch.depth_B1HW
            hit = batch.valid_B1HW & (target <= self.options.max_lidar_m)
            hit = hit & (target >= self.options.min_lidar_m)
            scales = [
                silog_errors(depth, target, hit, variance_focus=self.options.variance_focus)
                for depth in full_size(prediction, batch.image_B3HW).depths
            ]
            count = int(scales[0].is_used_B.sum())
            if not count:
                return {}
            value = torch.stack([mean_used(errors) for errors in scales]).mean()
        return {'silog': Term(value, count)}
