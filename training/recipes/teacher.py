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
Pseudo-labels: a finished model file says how deep the clean picture is.

It is asked while training, or its answers come from a folder of ``training.pseudo_label``; either
way through the pipeline of the robot, so its own input size, focal length and calibration hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from depth_ros.errors import ConfigError
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from training.label_store import LabelStore
from training.labeller import intrinsics_of, Labeller, picture_of, require_metres
from training.losses.affine import affine_errors, mean_used
from training.losses.l1 import log_l1
from training.losses.laplace_nll import laplace_nll
from training.models.network import Prediction
from training.recipes.branches import full_inverse, full_size
from training.recipes.options import require_choice, require_positive
from training.recipes.recipe import FrameNeeds, Term
from training.samples import Batch

AFFINE_LOSS = 'affine'
LOSSES = ('log', 'nll', AFFINE_LOSS)

# Where the teacher is asked, of the pixels that the camera saw.
WHERE: dict[str, Callable[[Batch], Tensor]] = {
    'unlabelled': lambda batch: ~_is_labelled(batch).expand_as(batch.valid_B1HW),
    'unhit': lambda batch: ~batch.valid_B1HW,
    'all': lambda batch: torch.ones_like(batch.valid_B1HW),
}


def _is_labelled(batch: Batch) -> Tensor:
    return batch.is_labelled_B[:, None, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSource:
    """
    Who says how deep pictures are: one of ``model`` and ``labels``.

    Fields:
        model: a shipped model's name, or the path of an ONNX file with its card; it is asked
            while training.
        labels: a folder of ``training.pseudo_label``.
        engine: what runs the model, as in the node.

    """

    model: str | None = None
    labels: str | None = None
    engine: str = 'auto'

    def __post_init__(self) -> None:
        for key, what in (('model', 'a model or a file'), ('labels', 'a folder')):
            value = getattr(self, key)
            if value is not None and not value.strip():
                raise ConfigError(f"{key} = '': must name {what}")
        if (self.model is None) == (self.labels is None):
            raise ConfigError(
                f'model = {self.model!r}, labels = {self.labels!r}: give exactly one of them'
            )
        if self.labels is not None and self.engine != 'auto':
            raise ConfigError(
                f'engine = {self.engine}: has no effect with labels; training.pseudo_label runs '
                'the model'
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOptions(LabelSource):
    """
    A model that teaches by its answers.

    Fields:
        weight: of the term.
        where: frames without LiDAR (``unlabelled``), all pixels without a hit (``unhit``), or
            ``all``.
        loss: ``log`` for |ln D - ln D_teacher|; ``nll``, which trains sigma too: to how far the
            two differ, not to how wrong the teacher is; or ``affine``, the error of inverse
            depth up to scale and shift, for teachers without metres and students with them.

    """

    weight: float = 1.0
    where: str = 'unlabelled'
    loss: str = 'log'

    def __post_init__(self) -> None:
        LabelSource.__post_init__(self)
        require_choice(self, 'where', tuple(WHERE))
        require_choice(self, 'loss', LOSSES)
        require_positive(self, 'weight')

    def added_to(self, needs: FrameNeeds) -> FrameNeeds:
        """Return the frames of a recipe with this teacher: with its stored labels, if any."""
        return replace(needs, labels=self.labels)


class Labels:
    """
    What a source says of batches; opened when it is first asked: export does not need it.

    No part of the state dict, for its files hold it; copies of a recipe share it.
    """

    def __init__(self, source: LabelSource) -> None:
        self.source = source

    def __deepcopy__(self, memo: dict[int, object]) -> Labels:
        return self

    @cached_property
    def _labeller(self) -> Labeller:
        assert self.source.model is not None
        return Labeller(self.source.model, engine=self.source.engine)

    @cached_property
    def _store(self) -> LabelStore:
        assert self.source.labels is not None
        return LabelStore(self.source.labels)

    @property
    def kind(self) -> str:
        """
        Return the output kind of the model's card.

        :raises DepthRosError: model or folder cannot be used.
        """
        return self._labeller.kind if self.source.labels is None else self._store.kind

    @property
    def knows_sky(self) -> bool:
        """Tell whether the model can tell sky, so that an inverse depth of 0 means it."""
        if self.source.labels is not None:
            return self._store.knows_sky
        return self._labeller.loaded.card.sky.kind != 'none'

    def require_metres(self, wanted_by: str) -> None:
        """Check that the answers have a unit; ModelError names the source and its kind."""
        name = self.source.labels if self.source.model is None else self.source.model
        require_metres(self.kind, f"'{name}'", wanted_by)

    def inv_depths(self, batch: Batch, wanted_B: Tensor) -> Tensor:
        """
        Return inverse depths of the clean pictures, (B, 1, H, W), without a gradient.

        0: sky, or beyond the range; NaN: unknown, or of a picture that is not wanted.

        :raises DepthRosError: the model or the folder cannot be used.
        """
        unknown = torch.full_like(batch.depth_B1HW, torch.nan)
        if self.source.labels is not None:
            if batch.pseudo_B1HW is None:
                raise ValueError('the batch was read without pseudo-labels')
            stored = batch.pseudo_B1HW.to(unknown)
            return torch.where(wanted_B[:, None, None, None], stored, unknown)
        for number in wanted_B.nonzero()[:, 0].tolist():
            unknown[number, 0] = self._asked(batch, number).to(unknown)
        return unknown

    def depths(self, batch: Batch, wanted_B: Tensor) -> Tensor:
        """
        Return depths of the clean pictures [m], (B, 1, H, W); not finite: unknown.

        :raises DepthRosError: the model or the folder cannot be used.
        """
        if self.source.labels is not None:
            return 1.0 / self.inv_depths(batch, wanted_B)
        depths = torch.full_like(batch.depth_B1HW, torch.nan)
        for number in wanted_B.nonzero()[:, 0].tolist():
            image, K = batch.image_B3HW[number], batch.K_B33[number]
            answer = self._labeller.depth(
                picture_of(image), intrinsics_of(K, image), batch.stamps_ns[number]
            )
            depths[number, 0] = torch.from_numpy(answer).to(depths)
        return depths

    def _asked(self, batch: Batch, number: int) -> Tensor:
        image, K = batch.image_B3HW[number], batch.K_B33[number]
        answer = self._labeller.inv_depth(
            picture_of(image), intrinsics_of(K, image), batch.stamps_ns[number]
        )
        small = torch.from_numpy(np.ascontiguousarray(answer))[None, None]
        size = tuple(image.shape[-2:])
        if tuple(small.shape[-2:]) != size:
            small = functional.interpolate(small, size, mode='bilinear', align_corners=False)
        return small[0, 0]


class Teacher:
    """A model whose answers are a term of the loss."""

    def __init__(self, options: TeacherOptions) -> None:
        self.options = options
        self.labels = Labels(options)

    def lesson(self, batch: Batch) -> Lesson:
        """
        Return what it says of a batch, to be compared with one or several predictions.

        :raises DepthRosError: it cannot be asked, or has no metres and the loss wants them.
        """
        where = WHERE[self.options.where](batch) & batch.seen_B1HW
        wanted_B = where.flatten(1).any(1)
        if self.options.loss == AFFINE_LOSS:
            target = self.labels.inv_depths(batch, wanted_B)
        else:
            self.labels.require_metres(f'loss = {self.options.loss}')
            target = self.labels.depths(batch, wanted_B)
        return Lesson(self.options, target, where & torch.isfinite(target))

    def term(self, prediction: Prediction, batch: Batch) -> dict[str, Term]:
        """Return ``teacher``, the mean over where it is asked and knows; nothing without any."""
        return self.lesson(batch).term(prediction)


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """
    What a teacher says of one batch.

    ``target_B1HW``: depth [m], or inverse depth for the affine loss; read only where known.
    """

    options: TeacherOptions
    target_B1HW: Tensor
    known_B1HW: Tensor

    def term(self, prediction: Prediction) -> dict[str, Term]:
        """Return ``teacher``, the mean over pixels, or images for the affine loss, or nothing."""
        if self.options.loss == AFFINE_LOSS:
            return self._affine(prediction)
        count = int(self.known_B1HW.sum())
        if not count:
            return {}
        full = full_size(prediction, self.target_B1HW)
        if self.options.loss == 'log':
            values = [log_l1(x, self.target_B1HW, self.known_B1HW) for x in full.depths]
        else:
            values = [
                laplace_nll(depth, log_sigma, self.target_B1HW, self.known_B1HW)
                for depth, log_sigma in zip(full.depths, full.log_sigmas, strict=True)
            ]
        return {'teacher': Term(torch.stack(values).mean(), count, self.options.weight)}

    def _affine(self, prediction: Prediction) -> dict[str, Term]:
        scales = [
            affine_errors(inverse, self.target_B1HW, self.known_B1HW)
            for inverse in full_inverse(prediction, self.target_B1HW)
        ]
        count = int(scales[0].is_used_B.sum())
        if not count:
            return {}
        value = torch.stack([mean_used(errors) for errors in scales]).mean()
        return {'teacher': Term(value, count, self.options.weight)}
