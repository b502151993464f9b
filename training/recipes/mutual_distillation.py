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
Semi-supervised training with mutual distillation.

Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737: branch S learns from LiDAR, branch U from video, each
sees its own photometric noise outside of objects, and each teaches the other where it is
certain. Pairs of two S or two U are the controls that tell what a second opinion is worth
without a second kind of supervision. What the paper leaves open is chosen here and can be
changed by options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from depth_ros.core.model_spec import OutputKind
from depth_ros.errors import ConfigError
import torch
from torch import nn, Tensor
from training.losses.distillation import (
    believed_images,
    normalised_weights,
    weighted_difference,
    Weighting,
)
from training.losses.scale import median_ratio
from training.models.depth_net import Prediction
from training.models.pose_net import Motion
from training.recipes import colors
from training.recipes.branches import exactly, full_size, in_metres, MakeNetwork
from training.recipes.lidar import lidar_terms
from training.recipes.options import (
    LidarOptions,
    refuse_unused,
    require_choice,
    require_not_negative,
    require_positive,
    SPACES,
    VideoOptions,
)
from training.recipes.recipe import focal_ratio, FrameNeeds, Progress, Recipe, Term
from training.recipes.teacher import Teacher, TeacherOptions
from training.recipes.video import Video
from training.samples import Batch

# The branches of each pair; the first is deployed. U alone has no metres in its sigma.
PAIRS = {'SU': ('s', 'u'), 'SS': ('s1', 's2'), 'UU': ('u1', 'u2')}
SUPERVISED, VIDEO = 's', 'u'
NEEDS_OF_LIDAR = FrameNeeds(labelled=None, neighbours=False)
WEIGHTINGS = ('UW', 'UT', 'UWT', 'CT')
ALIGNMENTS = ('median_ratio', 'none')
ALIGNMENT_KEYS = ('alignment', 'dead_band')


@dataclass(frozen=True, kw_only=True)
class MutualDistillationConfig(LidarOptions, VideoOptions):
    """
    Options of LiDAR for branch S, of video for branch U, and these.

    Fields:
        branches: ``SU``, or the control pairs ``SS`` and ``UU``.
        noise: of each branch: ``outside_objects``, ``whole_image`` or ``off``.
        distillation_weight: of either direction, when the ramp has ended; 0: off.
        epochs_before, epochs_ramp: epochs without distillation, for a random teacher does
            harm, and epochs in which its weight then grows.
        lesson_space: of the difference between student and teacher: ``log`` for |ln D - ln D'|,
            which lets go where the student's own sigma is below its depth, or ``metres``, as
            published: below one metre (``training.losses.distillation``).
        weighting: who is believed: by 1 / sigma (``UW``), the most certain pixels of each image
            (``UT``), both (``UWT``), or sigma below a constant (``CT``).
        weighting_share: how many are the most certain, for ``UT`` and ``UWT``.
        max_sigma_m, max_sigma_photometric: the constants of ``CT`` for a teacher S [m] and U.
        alignment: ``median_ratio``: what U teaches S is first scaled to S's median at the hits of
            each image (of an image without hits, at all its pixels); ``none``: it is not.
        dead_band: no scaling while the ratio of the medians lies within.
        teacher: a model, or stored pseudo-labels, that both branches learn from too.

    """

    photometric: str = 'nll'
    branches: str = 'SU'
    noise: str = 'outside_objects'
    distillation_weight: float = 1.0
    epochs_before: float = 2.0
    epochs_ramp: float = 2.0
    lesson_space: str = 'log'
    weighting: str = 'UW'
    weighting_share: float = 0.5
    max_sigma_m: float = 1.0
    max_sigma_photometric: float = 0.1
    alignment: str = 'median_ratio'
    dead_band: tuple[float, float] = (0.9, 1.1)
    teacher: TeacherOptions | None = None

    def __post_init__(self) -> None:
        LidarOptions.__post_init__(self)
        VideoOptions.__post_init__(self)
        require_choice(self, 'branches', tuple(PAIRS))
        require_choice(self, 'noise', colors.NOISES)
        require_choice(self, 'lesson_space', SPACES)
        require_choice(self, 'weighting', WEIGHTINGS)
        require_choice(self, 'alignment', ALIGNMENTS)
        require_not_negative(self, 'distillation_weight', 'epochs_before', 'epochs_ramp')
        require_positive(self, 'max_sigma_m', 'max_sigma_photometric')
        if not 0 < self.weighting_share <= 1:
            raise ConfigError(
                f'weighting_share = {self.weighting_share}: must be above 0, up to 1'
            )
        low, high = self.dead_band
        if not 0 < low <= 1 <= high:
            raise ConfigError(f'dead_band = {list(self.dead_band)}: must be 0 < low <= 1 <= high')
        if self.teacher is not None and self.teacher.loss == 'nll':
            raise ConfigError(
                'teacher.loss = nll: sigma of the branches is for LiDAR and video; use log or '
                'affine'
            )
        self._refuse_unused()

    def _refuse_unused(self) -> None:
        kinds = {name[0] for name in PAIRS[self.branches]}
        pair = f'branches = {self.branches}'
        if VIDEO not in kinds:
            keys = (field.name for field in fields(VideoOptions))
            refuse_unused(self, pair, *keys, 'max_sigma_photometric')
        elif self.photometric != 'nll':
            raise ConfigError(
                f'photometric = {self.photometric}: a video branch then learns no uncertainty '
                'to teach by; use nll'
            )
        if SUPERVISED not in kinds:
            keys = (field.name for field in fields(LidarOptions))
            refuse_unused(self, pair, *keys, 'max_sigma_m')
        if len(kinds) == 1:
            refuse_unused(self, pair, *ALIGNMENT_KEYS)
        if self.alignment == 'none':
            refuse_unused(self, 'alignment = none', 'dead_band')
        weighting = f'weighting = {self.weighting}'
        if self.weighting not in ('UT', 'UWT'):
            refuse_unused(self, weighting, 'weighting_share')
        if self.weighting != 'CT':
            refuse_unused(self, weighting, 'max_sigma_m', 'max_sigma_photometric')

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        kinds = {name[0] for name in PAIRS[self.branches]}
        needs = NEEDS_OF_LIDAR
        if VIDEO in kinds:
            needs = self.frames(needed=SUPERVISED not in kinds)
        return needs if self.teacher is None else self.teacher.added_to(needs)

    def strength(self, epochs: float) -> float:
        """Return the weight of the distillation after so many epochs."""
        past = epochs - self.epochs_before
        if past < 0:
            return 0.0
        if past >= self.epochs_ramp:
            return self.distillation_weight
        return self.distillation_weight * past / self.epochs_ramp

    def weighting_of(self, teacher: str) -> Weighting:
        """Return how the uncertainty of a branch decides whether it is believed."""
        is_metric = teacher.startswith(SUPERVISED)
        return Weighting(
            scheme=self.weighting,
            quantile=self.weighting_share,
            max_sigma=self.max_sigma_m if is_metric else self.max_sigma_photometric,
        )


class Branch(nn.Module):
    """A depth network and its own supervision."""

    def __init__(
        self, name: str, options: MutualDistillationConfig, network: nn.Module, focal_px: float
    ) -> None:
        super().__init__()
        self.name, self.options, self.focal_px = name, options, focal_px
        self.network = network
        self.video = Video(options) if name.startswith(VIDEO) else None

    def forward(self, batch: Batch) -> tuple[Prediction, Motion | None]:
        """Return what it says of its own noisy copy of the batch."""
        neighbours = self.video is not None and self.video.sees_neighbours
        colored = colors.disturbed(batch, self.options.noise, self.name, neighbours=neighbours)
        motion = None if self.video is None else self.video(batch, colored)
        return self.predicted(batch, colored.image_B3HW), motion

    def predicted(self, batch: Batch, image_B3HW: Tensor) -> Prediction:
        """Return depth in metres, and sigma in metres or, of U, in photometric units."""
        ratio = focal_ratio(batch.K_B33, self.focal_px)
        return in_metres(self.network(image_B3HW), ratio, with_sigma=self.video is None)

    def terms(
        self, prediction: Prediction, motion: Motion | None, batch: Batch
    ) -> dict[str, Term]:
        """Return the terms of its own supervision, named after the branch."""
        if self.video is None:
            terms = lidar_terms(prediction, batch, self.options)
        else:
            terms = self.video.terms(prediction, motion, batch)
        return named(self.name, terms)


def named(branch: str, terms: Mapping[str, Term]) -> dict[str, Term]:
    """Return the terms under names that begin with the branch's."""
    return {f'{branch}_{name}': term for name, term in terms.items()}


class MutualDistillation(Recipe):
    """Two branches that learn from what each has and from each other; the first is deployed."""

    def __init__(
        self, options: MutualDistillationConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it.

        :raises ModelError: one of the networks.
        """
        super().__init__()
        self.options, self.needs = options, options.needs
        self.teacher = None if options.teacher is None else Teacher(options.teacher)
        self.branches = nn.ModuleDict(
            {name: Branch(name, options, make_network(), focal_px) for name in self.names}
        )

    @property
    def output_kind(self) -> OutputKind:  # type: ignore[override]
        """Return whether anything gives the deployed branch its metre."""
        return 'metric_depth' if self.has_sigma else self.options.output_kind

    @property
    def has_sigma(self) -> bool:  # type: ignore[override]
        """Return whether the deployed branch learns from LiDAR."""
        return self.names[0].startswith(SUPERVISED)

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the branches."""
        return PAIRS[self.options.branches]

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        said = {name: self.branches[name](batch) for name in self.names}
        strength = self.options.strength(progress.epochs)
        terms: dict[str, Term] = {}
        with exactly(batch):
            for name, (prediction, motion) in said.items():
                terms.update(self.branches[name].terms(prediction, motion, batch))
            if self.teacher is not None:
                lesson = self.teacher.lesson(batch)
                for name, (prediction, _) in said.items():
                    terms.update(named(name, lesson.term(prediction)))
            if strength:
                full = {
                    name: full_size(prediction, batch.image_B3HW)
                    for name, (prediction, _) in said.items()
                }
                first, second = self.names
                terms.update(self._lesson(second, first, full, batch, strength))
                terms.update(self._lesson(first, second, full, batch, strength))
        return terms

    def deployed(self) -> nn.Module:
        return self.branches[self.names[0]].network

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        return {
            name: self.branches[name].predicted(batch, batch.image_B3HW) for name in self.names
        }

    def _lesson(
        self,
        teacher: str,
        student: str,
        full: Mapping[str, Prediction],
        batch: Batch,
        strength: float,
    ) -> dict[str, Term]:
        """
        Return L_teacher->student: every scale of the student learns the teacher's finest.

        No gradient reaches the teacher, neither its depth nor its sigma.
        """
        weights = normalised_weights(
            full[teacher].log_sigmas[0], batch.seen_B1HW, self.options.weighting_of(teacher)
        )
        count = int(believed_images(weights).sum())
        if not count:
            return {}
        depth = full[teacher].depths[0].detach()
        if (teacher, student) == ('u', 's') and self.options.alignment == 'median_ratio':
            depth = depth * self._ratio(full[student].depths[0], depth, batch)
        sums = [
            weighted_difference(x, depth, weights, space=self.options.lesson_space).sum()
            for x in full[student].depths
        ]
        value = torch.stack(sums).mean() / count
        return {f'{student}_from_{teacher}': Term(value, count, strength)}

    def _ratio(self, reference_B1HW: Tensor, depth_B1HW: Tensor, batch: Batch) -> Tensor:
        """Return what brings U's depth to the scale of S, for each image."""
        has_hits_B111 = batch.valid_B1HW.flatten(1).any(1)[:, None, None, None]
        where = torch.where(has_hits_B111, batch.valid_B1HW, batch.seen_B1HW)
        return median_ratio(reference_B1HW, depth_B1HW, where, dead_band=self.options.dead_band)
