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

"""Supervised training on sparse LiDAR, with a finished model for what LiDAR does not cover."""

from __future__ import annotations

from dataclasses import dataclass

from training.recipes import colors
from training.recipes.branches import exactly, MakeNetwork, OneNetwork
from training.recipes.lidar import lidar_terms
from training.recipes.options import LidarOptions, require_choice
from training.recipes.recipe import FrameNeeds, Progress, Term
from training.recipes.teacher import Teacher, TeacherOptions
from training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(LidarOptions):
    """
    Options of LiDAR, and these.

    Fields:
        colors: changes to what the network sees: ``off``, ``jitter`` or ``noise``.
        teacher: a model that labels what LiDAR does not; with it frames without LiDAR take part.

    """

    colors: str = 'jitter'
    teacher: TeacherOptions | None = None

    def __post_init__(self) -> None:
        LidarOptions.__post_init__(self)
        require_choice(self, 'colors', colors.CHOICES)

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        if self.teacher is None:
            return FrameNeeds(labelled=True, neighbours=False)
        return self.teacher.added_to(FrameNeeds(labelled=None, neighbours=False))


class Supervised(OneNetwork):
    """One network that learns depth and its uncertainty from LiDAR."""

    def __init__(
        self, options: SupervisedConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it.

        :raises ModelError: the network or the teacher.
        """
        super().__init__(make_network, focal_px)
        self.options, self.needs = options, options.needs
        self.teacher = None if options.teacher is None else Teacher(options.teacher)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        colored = colors.recolored(batch, self.options.colors, 'colors', neighbours=False)
        prediction = self._predicted(batch, colored.image_B3HW)
        with exactly(batch):
            terms = lidar_terms(prediction, batch, self.options)
            if self.teacher is not None:
                terms.update(self.teacher.term(prediction, batch))
        return terms
