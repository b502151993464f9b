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
Test-time refinement: a network goes on learning from each window of frames that it is shown.

TC-Depth (arXiv:2110.08192) and ManyDepth report results with it; how many steps at which rate the
former made was not published. Here every window begins with the trained weights: encoder and
depth decoder make some Adam steps on the photometric, geometric and smoothness terms, batch
normalisation keeps its statistics, LiDAR and teacher have no part. Far too slow for a robot: this
is for finding out what the weights could know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
import time
from typing import Any

from depth_ros.core.datatypes import DepthEstimate, Frame, StageTimes
from depth_ros.errors import ConfigError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.augment import Resize
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.recipes.recipe import FrameNeeds
from training.recipes.tc_depth import TcDepth
from training.samples import Batch, collate

STEPS, LEARNING_RATE = 20, 1e-5
# What is neither encoder nor depth decoder.
OTHER_PARTS = frozenset({'attention', 'sigma_head', 'sigma_heads'})
NS_PER_S = 1e9


@dataclass(slots=True)
class Cost:
    """What the frames have taken so far; those without a whole window are not refined."""

    plain_ns: list[int] = field(default_factory=list)
    refined_ns: list[int] = field(default_factory=list)
    alone: int = 0

    def result(self) -> dict[str, Any]:
        """Return seconds a frame, and their ratio; None where nothing was refined."""
        plain, refined = (_mean_s(values) for values in (self.plain_ns, self.refined_ns))
        ratio = refined / plain if plain and refined else None
        return {
            'plain_s_per_frame': plain,
            'refined_s_per_frame': refined,
            'times_plain': ratio,
            'refined_frames': len(self.refined_ns),
            'frames_without_window': self.alone,
        }

    def text(self) -> str:
        """Return the cost in a sentence."""
        found = self.result()
        if found['times_plain'] is None:
            return f'refinement: none of {self.alone} frames has a whole window'
        return (
            f'refinement: {found["refined_s_per_frame"]:.2f} s a frame, '
            f'{found["times_plain"]:.0f} times the plain {found["plain_s_per_frame"]:.3f} s; '
            f'{found["refined_frames"]} frames refined, {self.alone} without a whole window as '
            'they were'
        )


class Refiner:
    """A checkpoint of the recipe ``tc_depth``, asked as it is and refined for each window."""

    def __init__(
        self, checkpoint: Path, *, steps: int = STEPS, learning_rate: float = LEARNING_RATE
    ) -> None:
        """
        Load the checkpoint.

        :raises ModelError: it cannot be used.
        :raises ConfigError: it is of another recipe, or nothing of its network can be refined.
        """
        if steps < 1 or not learning_rate > 0:
            raise ConfigError(
                f'{steps} steps of refinement at {learning_rate}: both must be above 0'
            )
        recipe, config = load_recipe(checkpoint)
        if not isinstance(recipe, TcDepth):
            raise ConfigError(
                f"'{checkpoint}' is of recipe '{config.recipe.name}': only tc_depth has the "
                'geometric term that refinement needs'
            )
        self.checkpoint, self.steps, self.learning_rate = checkpoint, steps, learning_rate
        self.recipe, self.config = recipe, config
        self.cost = Cost()
        self.parameters = refined_parameters(recipe.network)
        if not self.parameters:
            raise ConfigError(
                f"'{checkpoint}' has no encoder and decoder that are trained: nothing to refine"
            )
        self._trained = [parameter.detach().clone() for parameter in self.parameters]

    @property
    def label(self) -> str:
        """Return the name of the training."""
        return self.config.name

    def facts(self) -> dict[str, Any]:
        """Return what was done, for the results."""
        return {
            'checkpoint': str(self.checkpoint),
            'steps': self.steps,
            'learning_rate': self.learning_rate,
        }

    @torch.no_grad()
    def plain(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """Return the depth of the trained network [m], (H, W) of this size."""
        began = time.perf_counter_ns()
        depth_B1HW = self.recipe.predictions(batch)['depth'].depths[0].float()
        depth_B1HW = functional.interpolate(depth_B1HW, size, mode='bilinear', align_corners=False)
        self.cost.plain_ns.append(time.perf_counter_ns() - began)
        return depth_B1HW[0, 0]

    def refined(self, batch: Batch, size: tuple[int, int]) -> Tensor:
        """
        Return the depth after refinement [m], (H, W) of this size.

        Without a whole window it is that of the trained network. The weights are then as before.
        """
        if not len(self.recipe.video.rows(batch)):
            self.cost.alone += 1
            return self.plain(batch, size)
        began = time.perf_counter_ns()
        optimiser = torch.optim.Adam(self.parameters, lr=self.learning_rate)
        try:
            for _ in range(self.steps):
                self._step(batch, optimiser)
            with torch.no_grad():
                depth = self.recipe.predictions(batch)['depth'].depths[0].float()
            full = functional.interpolate(depth, size, mode='bilinear', align_corners=False)
        finally:
            self._restore()
        self.cost.refined_ns.append(time.perf_counter_ns() - began)
        return full[0, 0]

    def _step(self, batch: Batch, optimiser: torch.optim.Optimizer) -> None:
        terms = self.recipe.refinement(batch).values()
        losses = [term.value * term.weight for term in terms if term.value.requires_grad]
        if not losses:
            return
        gradients = torch.autograd.grad(
            torch.stack(losses).sum(), self.parameters, allow_unused=True
        )
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()

    @torch.no_grad()
    def _restore(self) -> None:
        for parameter, trained in zip(self.parameters, self._trained, strict=True):
            parameter.copy_(trained)
            parameter.grad = None


def refined_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return those of encoder and depth decoder that may be trained."""
    return [
        parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and OTHER_PARTS.isdisjoint(name.split('.'))
    ]


class Windows:
    """The windows of prepared drives at the network's size, by drive and stamp."""

    def __init__(self, folders: Iterable[Path], split: str, refiner: Refiner) -> None:
        """
        Open the datasets.

        :raises DatasetError: one cannot be used.
        """
        size = refiner.config.data
        whole = Resize(width=size.width, height=size.height)
        needs: FrameNeeds = refiner.recipe.needs
        self._datasets = [
            DepthDataset(folder, split, labelled=True, **needs.looking(), augment=whole)
            for folder in folders
        ]
        self._places = {
            (line['sequence'], line['stamp_ns']): (dataset, index)
            for dataset in self._datasets
            for index, line in ((i, dataset.line(i)) for i in range(len(dataset)))
        }

    def batch(self, drive: str, frame: Frame) -> Batch:
        """Return the frame with its neighbours."""
        dataset, index = self._places[drive, frame.stamp_ns]
        return collate([dataset[index]])


def estimate_of(depth_HW: Tensor, frame: Frame, infer_ns: int) -> DepthEstimate:
    """Return the depth of a frame as the pipeline would, without an uncertainty."""
    return DepthEstimate(
        depth_HW=depth_HW.numpy(),
        uncertainty_HW=None,
        image_HW3=frame.image_HW3,
        intrinsics=frame.camera.intrinsics,
        stamp_ns=frame.stamp_ns,
        frame_id=frame.frame_id,
        reset=None,
        frames_since_reset=0,
        is_warm=True,
        is_held=False,
        times=StageTimes(rectify_ns=0, preprocess_ns=0, infer_ns=infer_ns, postprocess_ns=0),
    )


def _mean_s(values_ns: list[int]) -> float | None:
    return sum(values_ns) / len(values_ns) / NS_PER_S if values_ns else None
