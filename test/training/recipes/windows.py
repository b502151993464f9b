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

"""Windows of an exact scene, and networks that know what each of its frames shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from test.training.recipes.batches import FOCAL, plane_batch, POSES, SCENE
from test.training.scenes import motion
from typing import Any

import torch
from torch import nn, Tensor
from training.models.network import Prediction
from training.models.sequence import View
from training.recipes.registry import read_options
from training.recipes.tc_depth import TcDepth, TcDepthConfig
from training.samples import Batch

PREVIOUS_T_THIS, NEXT_T_THIS = POSES
BEFORE_T_PREVIOUS = motion((0.002, -0.008, 0.003), (-0.03, 0.02, 0.4))
POSE_AT = {
    0: torch.eye(4, dtype=torch.float64),
    -1: PREVIOUS_T_THIS,
    -2: BEFORE_T_PREVIOUS @ PREVIOUS_T_THIS,
    1: NEXT_T_THIS,
}
ODOMETRY = {'pose': 'odometry', 'travel_weight': 0.0, 'colors': 'off', 'colors_apart': True}


def window_batch(count: int = 2, offsets: tuple[int, ...] = (-1, -2), **changes: Any) -> Batch:
    """Return frames of the scene with these neighbours, LiDAR in all of them."""
    batch = plane_batch(count)
    poses = torch.stack([POSE_AT[offset] for offset in offsets])
    pictures = torch.cat([SCENE.picture(pose) for pose in poses])
    depths = torch.cat([SCENE.depth(pose) for pose in poses])
    hits = batch.valid_B1HW[:, None].repeat(1, len(offsets), 1, 1, 1)
    gaps = torch.tensor([[0.1 * offset for offset in offsets]], dtype=torch.float64)
    batch = replace(
        batch,
        neighbour_BN3HW=pictures.repeat(count, 1, 1, 1, 1),
        neighbour_T_this_BN44=poses.repeat(count, 1, 1, 1),
        has_neighbour_BN=torch.ones(count, len(offsets), dtype=torch.bool),
        has_pose_BN=torch.ones(count, len(offsets), dtype=torch.bool),
        gap_s_BN=gaps.repeat(count, 1),
        neighbour_depth_BN1HW=depths.repeat(count, 1, 1, 1, 1),
        neighbour_valid_BN1HW=hits,
    )
    return replace(batch, **changes)


def shortened(batch: Batch, lengths: Mapping[int, int]) -> Batch:
    """Return the batch in which some frames have only so many neighbours."""
    has = batch.has_neighbour_BN.clone()
    for row, length in lengths.items():
        has[row, length:] = False
    missing = ~has[:, :, None, None, None]
    assert batch.neighbour_valid_BN1HW is not None
    return replace(
        batch,
        has_neighbour_BN=has,
        has_pose_BN=batch.has_pose_BN & has,
        neighbour_BN3HW=batch.neighbour_BN3HW.masked_fill(missing, 0.0),
        neighbour_valid_BN1HW=batch.neighbour_valid_BN1HW & ~missing,
    )


class Knowing(nn.Module):
    """
    A network that knows the depth of the frame at each offset, times ``factors``.

    What it says can be trained: ``depths`` by the offset, ``sigma``, ``reference``. It notes the
    shapes of the windows that it sees.
    """

    def __init__(self, factors: Mapping[int, float] | None = None, memory: int = 2) -> None:
        super().__init__()
        self.memory, self.uses_camera = memory, True
        factors = factors or {}
        self.depths = nn.ParameterDict(
            {str(k): factors.get(k, 1.0) * SCENE.depth(pose) for k, pose in POSE_AT.items()}
        )
        self.sigma = nn.Parameter(torch.zeros_like(SCENE.depth()))
        self.reference = nn.Parameter(torch.ones(1, 1, 1, 1, dtype=torch.float64))
        self.windows: list[tuple[int, ...]] = []
        self.cameras: list[Tensor] = []

    def _views(self, images: Tensor, camera: Tensor, offsets: list[int]) -> tuple[View, ...]:
        self.windows.append(tuple(images.shape[:2]))
        self.cameras.append(camera)
        count = len(images)
        views = []
        for offset in offsets:
            depth = self.depths[str(offset)].repeat(count, 1, 1, 1)
            sigma = self.sigma.repeat(count, 1, 1, 1)
            reference = (self.reference / SCENE.depth(POSE_AT[offset])).repeat(count, 1, 1, 1)
            views.append(View(Prediction((depth,), (sigma,)), reference))
        return tuple(views)

    def sequence_views(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        frames = images_BT3HW.shape[1]
        return self._views(images_BT3HW, camera_B4, list(range(1 - frames, 1)))

    def centred_views(self, images_BV3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        return self._views(images_BV3HW, camera_B4, [0, -1, 1])


class SmallSequence(nn.Module):
    """Convolutions of a frame and of the sum of those before it; frames of a batch are alone."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.memory, self.uses_camera = 2, False
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(3, 6, 3, padding=1)
            self.past = nn.Conv2d(6, 6, 1)
            self.heads = nn.Conv2d(6, 2, 3, padding=1)
            self.volume = nn.Conv2d(6, 1, 1)
        self.double()

    def sequence_views(self, images_BT3HW: Tensor, camera_B4: Tensor) -> tuple[View, ...]:
        views, past = [], None
        for image in images_BT3HW.unbind(1):
            now = torch.tanh(self.first(image))
            seen = now if past is None else now + self.past(past)
            past = now
            maps = self.heads(seen)
            scaled = (maps, nn.functional.avg_pool2d(maps, 2))
            prediction = Prediction(
                tuple(8.0 * x[:, :1].exp() for x in scaled), tuple(x[:, 1:] for x in scaled)
            )
            views.append(View(prediction, self.volume(now.detach()).exp()[..., ::8, ::8]))
        return tuple(views)


def config_of(**options: Any) -> TcDepthConfig:
    config: TcDepthConfig = read_options('tc_depth', {**ODOMETRY, **options})
    return config


def recipe_of(network: nn.Module, **options: Any) -> TcDepth:
    recipe = TcDepth(config_of(**options), lambda: network, FOCAL)
    return recipe.double().eval()
