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
Depth Anything's recipe: a student learns from LiDAR and from what a teacher says of other frames.

Yang et al., "Depth Anything", CVPR 2024, arXiv:2401.10891: inverse depth up to scale and shift.
The teacher is this recipe without a teacher, on frames with LiDAR alone. The student begins
anew, sees frames with and without LiDAR 1 : 2, and gets those without in strong colours and with
boxes of each other, while their pseudo-labels are of the clean pictures. Its encoder stays near
a frozen one. What comes out has no metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from depth_ros.core.model_spec import OutputKind
import torch
from torch import Tensor
from training.losses.affine import affine_errors, ImageErrors, mean_used, mixed_affine_errors
from training.losses.feature_alignment import feature_alignment, TOLERANCE
from training.models.network import Prediction
from training.recipes import colors
from training.recipes.branches import exactly, full_inverse, MakeNetwork, OneNetwork
from training.recipes.cutmix import draw_pasted, Pasted
from training.recipes.frozen import FrozenEncoder, with_features
from training.recipes.options import refuse_unused, require_choice, require_positive
from training.recipes.recipe import FrameNeeds, Progress, Term
from training.recipes.teacher import Labels, LabelSource
from training.samples import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentOptions:
    """
    An encoder that the student's stays near.

    Fields:
        encoder, weights: as in ``training.models.encoders``, or dinov2_vits, dinov2_vitb,
            dinov2_vitl with the file of its weights; with as many channels as the student's.
        tolerance: places whose features have at least this cosine are left alone.

    """

    encoder: str
    weights: str = 'imagenet'
    tolerance: float = TOLERANCE

    def __post_init__(self) -> None:
        if not -1 <= self.tolerance <= 1:
            raise ValueError(f'tolerance = {self.tolerance}: must be -1 to 1')


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthAnythingConfig:
    """
    How a relative depth network learns.

    Fields:
        teacher: who labels the frames without LiDAR; null: LiDAR alone, which makes a teacher.
        unlabelled_per_labelled: frames without LiDAR to each one with it, in every batch.
        colors: changes to frames with LiDAR: ``off``, ``jitter``, ``noise`` or ``strong``.
        perturbation: changes to frames without: the same choices.
        cutmix: half of the frames without LiDAR get a box of another one.
        alignment: an encoder to stay near; null: none.
        max_lidar_m: farther hits do not count [m].

    """

    teacher: LabelSource | None = None
    unlabelled_per_labelled: int = 2
    colors: str = 'off'
    perturbation: str = 'strong'
    cutmix: bool = True
    alignment: AlignmentOptions | None = None
    max_lidar_m: float = 80.0

    def __post_init__(self) -> None:
        require_choice(self, 'colors', colors.CHOICES)
        require_choice(self, 'perturbation', colors.CHOICES)
        require_positive(self, 'unlabelled_per_labelled', 'max_lidar_m')
        if self.teacher is None:
            keys = ('unlabelled_per_labelled', 'perturbation', 'cutmix', 'alignment')
            refuse_unused(self, 'teacher = null', *keys)

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        if self.teacher is None:
            return FrameNeeds(labelled=True, neighbours=False)
        # Pictures change boxes two by two, and a pair has to stay in one process.
        even = 1 + self.unlabelled_per_labelled % 2
        return FrameNeeds(
            labelled=None,
            neighbours=False,
            labels=self.teacher.labels,
            mix=(even, even * self.unlabelled_per_labelled),
        )


class DepthAnything(OneNetwork):
    """One network that learns inverse depth up to scale and shift."""

    output_kind: OutputKind = 'affine_inverse_depth'
    has_sigma = False

    def __init__(
        self, options: DepthAnythingConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it.

        :raises ModelError: the network.
        """
        super().__init__(make_network, focal_px)
        self.options, self.needs = options, options.needs
        self.labels = None if options.teacher is None else Labels(options.teacher)
        aligned = options.alignment
        self.frozen = None if aligned is None else FrozenEncoder(aligned.encoder, aligned.weights)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        # Pseudo-labels are of the clean pictures, and change boxes with them afterwards.
        target, boxes = self._targets(batch), self._boxes(batch)
        image = boxes.mixed(self._recolored(batch))
        if self.frozen is None:
            prediction, features = self.network(image), None
        else:
            prediction, features = with_features(self.network, image)
        with exactly(batch):
            terms = {
                **self._labelled(prediction, batch, target),
                **self._unlabelled(prediction, batch, target, boxes),
            }
            if features is not None:
                terms.update(self._alignment(features, boxes.mixed(batch.image_B3HW), batch))
        return terms

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        """Return depth in no unit: what the focal length does to metres means nothing here."""
        return {'depth': self.network(batch.image_B3HW)}

    @property
    def _weight(self) -> float:
        """L = (L_l + L_u + L_feat) / 3: the mean of the terms that there are."""
        return 1.0 / (1 + (self.labels is not None) + (self.frozen is not None))

    def _targets(self, batch: Batch) -> Tensor | None:
        """Return the teacher's inverse depth, NaN where it is not asked or does not know."""
        if self.labels is None:
            return None
        wanted_B = ~batch.is_labelled_B
        if self.labels.source.labels is not None and self.labels.knows_sky:
            # Stored answers cost nothing: those of frames with LiDAR tell their sky.
            wanted_B = torch.ones_like(wanted_B)
        return self.labels.inv_depths(batch, wanted_B)

    def _boxes(self, batch: Batch) -> Pasted:
        rows = (~batch.is_labelled_B).nonzero()[:, 0].tolist()
        takes_part = self.labels is not None and self.options.cutmix
        return draw_pasted(batch.seeds, rows if takes_part else [], batch.image_B3HW)

    def _recolored(self, batch: Batch) -> Tensor:
        kinds = [
            self.options.colors if is_labelled else self.options.perturbation
            for is_labelled in batch.is_labelled_B.tolist()
        ]
        return colors.recolored_each(batch, kinds, 'colors')

    def _labelled(
        self, prediction: Prediction, batch: Batch, pseudo_B1HW: Tensor | None
    ) -> dict[str, Term]:
        """Return L_l: LiDAR, and 0 where a teacher that can tell sky says so."""
        hit = batch.valid_B1HW & (batch.depth_B1HW <= self.options.max_lidar_m)
        target = torch.where(hit, 1.0 / batch.depth_B1HW, 0.0)
        valid = hit
        if pseudo_B1HW is not None and self.labels is not None and self.labels.knows_sky:
            is_sky = (pseudo_B1HW == 0) & ~batch.valid_B1HW & batch.seen_B1HW
            is_sky &= as_dense_as(hit, batch.seen_B1HW)
            valid = hit | (is_sky & batch.is_labelled_B[:, None, None, None])
        scales = [
            affine_errors(inverse, target, valid)
            for inverse in full_inverse(prediction, batch.image_B3HW)
        ]
        return self._terms('labelled', scales, batch.is_labelled_B)

    def _unlabelled(
        self, prediction: Prediction, batch: Batch, pseudo_B1HW: Tensor | None, boxes: Pasted
    ) -> dict[str, Term]:
        """Return L_u: pseudo-labels, each part of a picture by itself."""
        if pseudo_B1HW is None:
            return {}
        known = torch.isfinite(pseudo_B1HW) & batch.seen_B1HW
        known = known & ~batch.is_labelled_B[:, None, None, None]
        target, known = boxes.mixed(pseudo_B1HW), boxes.mixed(known)
        scales = [
            mixed_affine_errors(inverse, target, known, boxes.is_pasted_B1HW)
            for inverse in full_inverse(prediction, batch.image_B3HW)
        ]
        return self._terms('unlabelled', scales, ~batch.is_labelled_B)

    def _terms(self, name: str, scales: list[ImageErrors], wanted_B: Tensor) -> dict[str, Term]:
        """Return the mean over images and scales, and the share of images that is left out."""
        wanted = int(wanted_B.sum())
        if not wanted:
            return {}
        used = int(scales[0].is_used_B.sum())
        share = scales[0].value_B.new_tensor(1.0 - used / wanted)
        terms = {f'{name}_left_out': Term(share, wanted, 0.0)}
        if used:
            value = torch.stack([mean_used(errors) for errors in scales]).mean()
            terms[name] = Term(value, used, self._weight)
        return terms

    def _alignment(
        self, features_BChw: Tensor, clean_B3HW: Tensor, batch: Batch
    ) -> dict[str, Term]:
        """Return L_feat of the frames without LiDAR: the frozen encoder sees clean colours."""
        rows = (~batch.is_labelled_B).nonzero()[:, 0]
        if self.frozen is None or self.options.alignment is None or not len(rows):
            return {}
        features = features_BChw[rows]
        frozen = self.frozen.beside(features, clean_B3HW[rows])
        value, count = feature_alignment(
            features, frozen, tolerance=self.options.alignment.tolerance
        )
        return {'alignment': Term(value, count, self._weight)} if count else {}


def as_dense_as(hit_B1HW: Tensor, seen_B1HW: Tensor) -> Tensor:
    """
    Return a regular grid of pixels, as many to an area as there are hits in what each image saw.

    Sky is known at every pixel and depth at few: taken whole it would decide the median alone.
    """
    hits_B, seen_B = (mask.flatten(1).sum(1) for mask in (hit_B1HW, seen_B1HW))
    step_B = (seen_B / hits_B.clamp(min=1)).sqrt().round().clamp(min=1)[:, None]
    rows_BH, cols_BW = (
        torch.arange(hit_B1HW.shape[dim], device=hit_B1HW.device) % step_B == 0 for dim in (2, 3)
    )
    return rows_BH[:, None, :, None] & cols_BW[:, None, None, :]
