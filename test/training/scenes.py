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

"""Scenes whose depth, motion and pictures are known exactly, for the training tests."""

from __future__ import annotations

from dataclasses import dataclass
import math

import torch
from torch import Tensor

# Waves of the texture: cycles per metre along the plane's two axes, and phase.
WAVES = ((0.22, 0.06, 0.0), (0.1, 0.26, 1.0), (-0.18, 0.16, 2.0))


@dataclass(frozen=True)
class PlaneScene:
    """
    A textured plane n . X = d in the target camera's frame, float64.

    The texture is a sum of slow sine waves of the position on the plane, one for each colour,
    evaluated at the pixel centres: pictures are exact, not resampled.
    """

    height: int = 48
    width: int = 96
    focal_px: float = 60.0
    normal: tuple[float, float, float] = (0.15, -0.25, 1.0)
    distance_m: float = 8.0

    @property
    def K_B33(self) -> Tensor:
        cx, cy = (self.width - 1) / 2 + 1.5, (self.height - 1) / 2 - 0.75
        rows = [[self.focal_px, 0, cx], [0, self.focal_px * 1.1, cy], [0, 0, 1]]
        return torch.tensor([rows], dtype=torch.float64)

    def _rays(self) -> Tensor:
        v, u = torch.meshgrid(
            torch.arange(self.height, dtype=torch.float64),
            torch.arange(self.width, dtype=torch.float64),
            indexing='ij',
        )
        pixels = torch.stack((u, v, torch.ones_like(u)), -1)
        return pixels @ torch.linalg.inv(self.K_B33[0]).T

    def depth(self, camera_T_target_44: Tensor | None = None) -> Tensor:
        """Return the true depth of a camera, by default the target's, (1, 1, H, W) [m]."""
        if camera_T_target_44 is None:
            camera_T_target_44 = torch.eye(4, dtype=torch.float64)
        return self._seen(camera_T_target_44)[0][None, None]

    def picture(self, camera_T_target_44: Tensor) -> Tensor:
        """Return the picture of a camera at that pose, (1, 3, H, W) in 0..1."""
        _, points = self._seen(camera_T_target_44)
        phases = [2 * math.pi * (a * points[..., 0] + b * points[..., 1]) + c for a, b, c in WAVES]
        return torch.stack([0.5 + 0.4 * torch.sin(phase) for phase in phases])[None]

    def _seen(self, camera_T_target_44: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth (H, W) of a camera, and its points (H, W, 3) in the target's frame [m]."""
        target_T_camera = torch.linalg.inv(camera_T_target_44)
        rays = self._rays() @ target_T_camera[:3, :3].T
        centre = target_T_camera[:3, 3]
        normal = torch.tensor(self.normal, dtype=torch.float64)
        depth = (self.distance_m - centre @ normal) / (rays @ normal)
        assert depth.min() > 0, 'the plane must be in front of the camera'
        return depth, centre + depth[..., None] * rays


def motion(
    axis_angle: tuple[float, float, float], translation: tuple[float, float, float]
) -> Tensor:
    """Return a_T_b (4, 4) by the matrix exponential, an independent way to Rodrigues."""
    x, y, z = axis_angle
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    a_T_b = torch.eye(4, dtype=torch.float64)
    a_T_b[:3, :3] = torch.linalg.matrix_exp(skew)
    a_T_b[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return a_T_b


# Camera poses before and after the target frame: a car that drives on and turns a little.
PREVIOUS_T_TARGET = motion((0.004, 0.012, -0.002), (0.05, -0.02, 0.45))
NEXT_T_TARGET = motion((-0.003, -0.010, 0.001), (-0.04, 0.01, -0.5))
