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
What a recipe is to the trainer: from a batch to loss terms, and from there to a deployable net.

A recipe holds the networks that are trained, so that one state dict is a whole checkpoint and
torch's DistributedDataParallel sees every parameter. Terms carry how many things they are the
mean of: the trainer weights them over the processes, so that two processes give what one gives
with the same global batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, NamedTuple

from depth_ros.core.model_spec import OutputKind
import torch
from torch import nn, Tensor
from training.models.network import DepthNetwork, Prediction
from training.ranks import Ranks
from training.samples import Batch


class Term(NamedTuple):
    """
    One weighted part of the loss.

    ``value`` is a scalar, the mean over ``count`` things (pixels, images, pairs). A term that
    has nothing to average over is left out of the result; never return NaN for it. Count 0 says
    the same of a value whose way back the other processes may need: it is finite and counts
    nothing. Weight 0: the value is only told; where all are so, nothing is learned.
    """

    value: Tensor
    count: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the training is: optimiser steps done, and epochs done with their fraction."""

    step: int
    epochs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameNeeds:
    """
    Which frames a recipe trains on; the arguments of ``DepthDataset`` of the same names.

    ``window``: its networks see the neighbours too, so validation and pictures give them to
    ``predictions``, and a dataset in which no frame has all of them is refused.
    ``mix``: every batch has frames with and without LiDAR in this ratio; so many, first with and
    then without, are never parted among processes. None: as they come.
    """

    labelled: bool | None
    neighbours: bool | None
    offsets: tuple[int, ...] = (-1, 1)
    window: bool = False
    stereo: bool | None = False
    neighbour_depths: bool = False
    labels: str | None = None
    mix: tuple[int, int] | None = None

    def training(self) -> dict[str, Any]:
        """Return the arguments of the dataset that is trained on."""
        return {key: value for key, value in asdict(self).items() if key != 'mix'}

    def looking(self) -> dict[str, Any]:
        """Return the arguments of a dataset that is only looked at, without ``labelled``."""
        return {'neighbours': None if self.window else False, 'offsets': self.offsets}


class Recipe(nn.Module, ABC):
    """
    Networks and how they are trained; ``needs`` says on which frames.

    ``network_type`` is what the config's ``network`` has to be. ``output_kind`` is what the
    numbers of the deployed network mean; of a network without metres, 1 / depth is inverse depth
    up to scale and shift. ``has_sigma``: its ln sigma is trained, and of metres.
    """

    network_type: ClassVar[type[nn.Module]] = DepthNetwork
    output_kind: OutputKind = 'metric_depth'
    has_sigma: bool = True
    needs: FrameNeeds

    @abstractmethod
    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        """
        Return the terms whose weighted sum is minimised, by the name they are logged under.

        All chance comes from ``batch.seeds``, one for each frame, so that neither the number of
        processes nor a resumed run changes what is drawn.
        """

    @abstractmethod
    def deployed(self) -> nn.Module:
        """Return the network that goes into the model file: image to Prediction."""

    @abstractmethod
    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        """
        Return what each branch says of the clean images, for validation and pictures.

        In metres on this camera (see ``focal_ratio``); the deployed branch comes first. Of a
        recipe that has no depth: nothing, and nothing is scored.
        """

    def finish_step(self, ranks: Ranks, *, has_learned: bool) -> None:
        """
        Do what follows a step, in all processes at the same time; most recipes need nothing.

        :param has_learned: False: no process had anything to learn from.
        """
        return

    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what else there is to look at: title to rgb in 0..1, (B, 3, h, w)."""
        return {}


def focal_ratio(K_B33: Tensor, focal_px: float) -> Tensor:
    """
    Return fx / focal_px, (B, 1, 1, 1): metres on a camera = the network's output times this.

    The network is trained for one focal length, the card's ``output.focal_px``, so that a crop
    that is enlarged, or another camera, does not change what a metre looks like to it (Yin et
    al., Metric3D, ICCV 2023, arXiv:2307.10984, section 3.2, the label form of the canonical
    camera).
    """
    return (K_B33[:, 0, 0] / focal_px).to(torch.float32)[:, None, None, None]
