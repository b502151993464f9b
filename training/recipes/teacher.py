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

It runs through the same pipeline as on the robot, so its own input size, focal length and
calibration hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.errors import ConfigError, ModelError
import numpy as np
import torch
from torch import Tensor
from training.losses.l1 import log_l1
from training.losses.laplace_nll import laplace_nll
from training.models.depth_net import Prediction
from training.recipes.branches import full_size
from training.recipes.options import require_choice, require_positive
from training.recipes.recipe import Term
from training.samples import Batch

LOSSES = ('log', 'nll')

# Where the teacher is asked, of the pixels that the camera saw.
WHERE: dict[str, Callable[[Batch], Tensor]] = {
    'unlabelled': lambda batch: ~_is_labelled(batch).expand_as(batch.valid_B1HW),
    'unhit': lambda batch: ~batch.valid_B1HW,
    'all': lambda batch: torch.ones_like(batch.valid_B1HW),
}


def _is_labelled(batch: Batch) -> Tensor:
    return batch.is_labelled_B[:, None, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherOptions:
    """
    A model that teaches by its answers.

    Fields:
        model: a shipped model's name, or the path of an ONNX file with its card.
        engine: what runs it, as in the node.
        weight: of the term.
        where: frames without LiDAR (``unlabelled``), all pixels without a hit (``unhit``), or
            ``all``.
        loss: ``log`` for |ln D - ln D_teacher|, or ``nll``, which trains sigma too: to how far
            the two differ, not to how wrong the teacher is.

    """

    model: str
    engine: str = 'auto'
    weight: float = 1.0
    where: str = 'unlabelled'
    loss: str = 'log'

    def __post_init__(self) -> None:
        require_choice(self, 'where', tuple(WHERE))
        require_choice(self, 'loss', LOSSES)
        require_positive(self, 'weight')
        if not self.model.strip():
            raise ConfigError("model = '': must name a model or a file")


class Teacher:
    """
    A model that is loaded when it is first asked: export needs the recipe, but not its teacher.

    No part of the state dict, for the file holds it; copies of a recipe share it.
    """

    def __init__(self, options: TeacherOptions) -> None:
        self._options = options

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        return self

    @cached_property
    def _pipeline(self) -> DepthPipeline:
        loaded = load_model(self._options.model, engine=self._options.engine)
        if loaded.card.temporal.is_stateful:
            raise ModelError(
                f"teacher '{loaded.path}' looks at several frames: training shows single ones"
            )
        return DepthPipeline(loaded.engine, loaded.card, PipelineConfig())

    def depths(self, batch: Batch) -> Tensor:
        """
        Return its depth of the clean pictures [m], (B, 1, H, W); not finite: unknown.

        :raises ModelError: the model cannot be used, or needs more than one frame.
        """
        wanted = self._where(batch).flatten(1).any(1).tolist()
        images = (batch.image_B3HW * 255.0).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        depths = np.full(batch.depth_B1HW.shape, np.nan, np.float32)
        for number, is_wanted in enumerate(wanted):
            if is_wanted:
                depths[number, 0] = self._depth(batch, number, images[number])
        return torch.from_numpy(depths).to(batch.depth_B1HW)

    def term(self, prediction: Prediction, batch: Batch) -> dict[str, Term]:
        """Return ``teacher``, the mean over where it is asked and knows; nothing without any."""
        target_B1HW = self.depths(batch)
        known_B1HW = self._where(batch) & torch.isfinite(target_B1HW)
        count = int(known_B1HW.sum())
        if not count:
            return {}
        full = full_size(prediction, batch.image_B3HW)
        if self._options.loss == 'log':
            values = [log_l1(depth, target_B1HW, known_B1HW) for depth in full.depths]
        else:
            values = [
                laplace_nll(depth, log_sigma, target_B1HW, known_B1HW)
                for depth, log_sigma in zip(full.depths, full.log_sigmas, strict=True)
            ]
        return {'teacher': Term(torch.stack(values).mean(), count, self._options.weight)}

    def _where(self, batch: Batch) -> Tensor:
        return WHERE[self._options.where](batch) & batch.seen_B1HW

    def _depth(self, batch: Batch, number: int, rgb_HW3: np.ndarray) -> np.ndarray:
        (fx, _, cx), (_, fy, cy), _ = batch.K_B33[number].tolist()
        height, width = rgb_HW3.shape[:2]
        size = Intrinsics(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
        frame = Frame(
            image_HW3=np.ascontiguousarray(rgb_HW3[:, :, ::-1]),
            stamp_ns=batch.stamps_ns[number],
            frame_id='',
            camera=CameraModel.pinhole(size),
        )
        return self._pipeline.process(frame, with_uncertainty=False).depth_HW
