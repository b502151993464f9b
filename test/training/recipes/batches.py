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

"""Batches whose depth, motion and pictures are known exactly, and networks that are simple."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from test.training.scenes import NEXT_T_TARGET, PlaneScene, PREVIOUS_T_TARGET
from typing import Any

import torch
from torch import nn, Tensor
from training.models.depth_net import Prediction
from training.models.pose_net import Motion
from training.recipes.recipe import Progress, Recipe, Term
from training.samples import Batch

HEIGHT, WIDTH = 64, 96
SCENE = PlaneScene(height=HEIGHT, width=WIDTH)
FOCAL = float(SCENE.K_B33[0, 0, 0])
POSES = torch.stack((PREVIOUS_T_TARGET, NEXT_T_TARGET))
DISTANCES_M = POSES[:, :3, 3].norm(dim=1)
IDENTITY = torch.eye(4, dtype=torch.float64)
# Every option of a network that video needs, at no download.
POSE_NET = {'pose_encoder': 'efficientnet_lite0', 'pose_weights': 'random'}
LATE = Progress(step=1000, epochs=10.0)


def plane_batch(count: int = 2, **changes: Any) -> Batch:
    """Return frames of one exact scene: LiDAR below the middle row, poses, speed; float64."""
    hit = torch.zeros(count, 1, HEIGHT, WIDTH, dtype=torch.bool)
    middle = HEIGHT // 2
    hit[:, :, middle::4, ::3] = True
    neighbours = torch.cat([SCENE.picture(pose) for pose in POSES])
    batch = Batch(
        sequences=('plane',) * count,
        stamps_ns=tuple(range(count)),
        seeds=tuple(range(100, 100 + count)),
        image_B3HW=SCENE.picture(IDENTITY).repeat(count, 1, 1, 1),
        depth_B1HW=SCENE.depth().repeat(count, 1, 1, 1),
        valid_B1HW=hit,
        seen_B1HW=torch.ones_like(hit),
        objects_B1HW=torch.zeros_like(hit),
        has_objects_B=torch.zeros(count, dtype=torch.bool),
        K_B33=SCENE.K_B33.repeat(count, 1, 1),
        is_labelled_B=torch.ones(count, dtype=torch.bool),
        speed_mps_B=torch.full((count,), torch.nan, dtype=torch.float64),
        neighbour_BN3HW=neighbours.repeat(count, 1, 1, 1, 1),
        has_neighbour_BN=torch.ones(count, 2, dtype=torch.bool),
        neighbour_T_this_BN44=POSES.repeat(count, 1, 1, 1),
        has_pose_BN=torch.ones(count, 2, dtype=torch.bool),
        gap_s_BN=torch.tensor([[-0.1, 0.1]], dtype=torch.float64).repeat(count, 1),
    )
    return replace(batch, **changes)


def unlabelled(batch: Batch, *rows: int) -> Batch:
    """Return the batch without the LiDAR of these frames."""
    valid, is_labelled = batch.valid_B1HW.clone(), batch.is_labelled_B.clone()
    valid[list(rows)], is_labelled[list(rows)] = False, False
    return replace(batch, valid_B1HW=valid, is_labelled_B=is_labelled)


def alone(batch: Batch, *rows: int) -> Batch:
    """Return the batch without the neighbours of these frames."""
    has, poses = batch.has_neighbour_BN.clone(), batch.has_pose_BN.clone()
    has[list(rows)], poses[list(rows)] = False, False
    return replace(batch, has_neighbour_BN=has, has_pose_BN=poses)


def part(batch: Batch, rows: Sequence[int]) -> Batch:
    """Return a batch of some of the frames."""
    values: dict[str, Any] = {}
    for key in Batch.__dataclass_fields__:
        value = getattr(batch, key)
        if value is None:
            continue
        chosen = value[list(rows)] if isinstance(value, Tensor) else [value[row] for row in rows]
        values[key] = chosen if isinstance(value, Tensor) else tuple(chosen)
    return Batch(**values)


def mixed_batch() -> Batch:
    """Return four frames: whole, without LiDAR, without neighbours, and half seen and odd."""
    batch = alone(unlabelled(plane_batch(4), 1), 2)
    generator = torch.Generator().manual_seed(5)
    image = batch.image_B3HW + 0.2 * torch.rand(batch.image_B3HW.shape, generator=generator)
    seen, has_pose = batch.seen_B1HW.clone(), batch.has_pose_BN.clone()
    seen[3, :, :, : WIDTH // 3] = False
    has_pose[1] = False
    speed = batch.speed_mps_B.clone()
    speed[1] = 7.0
    objects = batch.objects_B1HW.clone()
    objects[0, :, 20:40, 20:40] = True
    return replace(
        batch,
        image_B3HW=image.clamp(0, 1),
        seen_B1HW=seen,
        valid_B1HW=batch.valid_B1HW & seen,
        has_pose_BN=has_pose,
        speed_mps_B=speed,
        objects_B1HW=objects,
        has_objects_B=torch.tensor([True, False, False, True]),
    )


class Answer(nn.Module):
    """A network that says the same of every picture; what it says can be trained."""

    def __init__(self, depths: Sequence[Tensor], log_sigmas: Sequence[Tensor]) -> None:
        super().__init__()
        self.depths, self.log_sigmas = (nn.ParameterList(x) for x in (depths, log_sigmas))

    def forward(self, image_B3HW: Tensor) -> Prediction:
        count = len(image_B3HW)
        maps = (
            tuple(x.repeat(count, 1, 1, 1) for x in xs) for xs in (self.depths, self.log_sigmas)
        )
        return Prediction(*maps)


def constant(depth_m: float, log_sigma: float = 0.0, scales: int = 1) -> Answer:
    """Return a network that says one depth and one ln sigma everywhere, at several scales."""
    sizes = [(1, 1, HEIGHT >> s, WIDTH >> s) for s in range(scales)]
    return Answer(
        [torch.full(size, depth_m, dtype=torch.float64) for size in sizes],
        [torch.full(size, log_sigma, dtype=torch.float64) for size in sizes],
    )


def truth(log_sigma: float = 0.0) -> Answer:
    """Return a network that knows the depth of the scene."""
    depth = SCENE.depth()
    return Answer([depth], [torch.full_like(depth, log_sigma)])


class SmallNet(nn.Module):
    """Two convolutions, three scales, no batch normalisation: frames do not know each other."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 8, 3, padding=1)
            self.heads = nn.Conv2d(8, 2, 3, padding=1)
        self.double()

    def forward(self, image_B3HW: Tensor) -> Prediction:
        maps = self.heads(torch.tanh(self.first(image_B3HW)))
        scaled = [maps, *(nn.functional.avg_pool2d(maps, 2**s) for s in (1, 2))]
        return Prediction(
            tuple(8.0 * x[:, :1].exp() for x in scaled), tuple(x[:, 1:] for x in scaled)
        )


class TrueMotion(nn.Module):
    """A pose network that knows the motion of the scene, up to a scale; in temporal order."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, earlier_B3HW: Tensor, later_B3HW: Tensor) -> Motion:
        count = len(earlier_B3HW) // 2
        this_T_previous = torch.linalg.inv(PREVIOUS_T_TARGET)
        rows = [this_T_previous] * count + [NEXT_T_TARGET] * count
        translation = torch.stack([row[:3, 3] for row in rows])
        return Motion(torch.stack([vector(row) for row in rows]), self.scale * translation)


def vector(a_T_b: Tensor) -> Tensor:
    """Return the axis-angle of a rotation [rad]."""
    rotation = a_T_b[:3, :3]
    angle = torch.arccos((rotation.trace() - 1) / 2)
    axis = torch.stack(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    return axis / (2 * torch.sin(angle)) * angle


def total(terms: dict[str, Term]) -> Tensor:
    """Return what is minimised."""
    return torch.stack([term.value * term.weight for term in terms.values()]).sum()


def gradient_norms(recipe: Recipe, value: Tensor) -> dict[str, float]:
    """Return the largest gradient of the value in each child of the recipe's branches."""
    parameters = dict(recipe.named_parameters())
    found = torch.autograd.grad(
        value, list(parameters.values()), retain_graph=True, allow_unused=True
    )
    return {
        name: 0.0 if gradient is None else float(gradient.abs().max())
        for name, gradient in zip(parameters, found, strict=True)
    }
