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
Depth of the frame before, moved with the camera and mixed into the new one.

Ours. TC-Depth (Ruhkamp et al., 3DV 2021, arXiv:2110.08192) lets features of past frames in; here
the depth that was answered comes back too, so that what is steady in the world stays steady in
the answer. Only the coarse part of depth is mixed: edges are those of the new frame.

Shapes: B batch, C channels, H x W grid of the answer, h x w grid of the memory, N = h w cells.
"""

from __future__ import annotations

from functools import partial
import math
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.ego_motion import (
    depth_after,
    find_motion,
    Matcher,
    NEAREST_M,
    places_before,
    Rays,
    rays_of,
)
from training.models.layers import at_least_float32

KEY_WIDTH = 32
HIDDEN = 32
# Where old and new depth differ by more than this, in ln, one of them is wrong: then the new one
# counts more (a Cauchy weight), for what moves by itself is not where the camera's motion says.
APART = 0.3
# No more than half of an answer is of the past, so that what was wrong is gone in a few frames:
# windows of a training are too short to teach that.
MOST_PAST = 0.5
TRUST_LOGIT = 2.0
# Beside features: ln depth, its difference to the moved one, what the motion leaves in x and y.
TOLD = 4
# Keeps the contrast of a plain picture finite.
CONTRAST_FLOOR = 1e-3
# Of the last state: forward, pitch, yaw, whether they are known, whether there is a past at all.
MOTION, KNOWN, EXISTS = slice(0, 3), slice(3, 4), slice(4, 5)
FACTS = 5


class Remembered(NamedTuple):
    """What a frame is to the next: keys, ln depth, and facts (B, 5). Zeros are no past."""

    keys_BChw: Tensor
    log_depth_B1hw: Tensor
    facts_B5: Tensor


class DepthMemory(nn.Module):
    """Mixes ln depth of the newest frame with that of the one before."""

    def __init__(self, feature_channels: int, key_channels: int, stride: int) -> None:
        """Take features to decide by, and others to match by, both on the memory's grid."""
        super().__init__()
        self.stride = stride
        self.key = nn.Conv2d(key_channels, KEY_WIDTH, 1, bias=False)
        nn.init.orthogonal_(self.key.weight)
        self.match = Matcher()
        self.log_apart = nn.Parameter(torch.tensor(math.log(APART)))
        last = nn.Conv2d(HIDDEN, 1, 1)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, TRUST_LOGIT)
        told = feature_channels + TOLD
        self.decide = nn.Sequential(nn.Conv2d(told, HIDDEN, 1), nn.ReLU(), last)

    def keys(self, features_BChw: Tensor) -> Tensor:
        """Return by what a cell is found, of length 1; in float32, as ``forward``."""
        with torch.autocast(features_BChw.device.type, enabled=False):
            features = at_least_float32(features_BChw)
            features = features - features.mean((2, 3), keepdim=True)
            contrast = (features * features).mean((2, 3), keepdim=True).sqrt()
            return functional.normalize(self.key(features / (contrast + CONTRAST_FLOOR)), dim=1)

    def empty(self, batch: int, height: int, width: int) -> Remembered:
        """Return no past, for a grid of h x w."""
        new = self.key.weight.new_zeros
        return Remembered(
            new(batch, KEY_WIDTH, height, width), new(batch, 1, height, width), new(batch, FACTS)
        )

    def forward(
        self,
        log_depth_B1HW: Tensor,
        features_BChw: Tensor,
        keys_BChw: Tensor,
        camera_B4: Tensor,
        past: Remembered,
    ) -> tuple[Tensor, Remembered]:
        """
        Return ln depth with the past in it, and what the next frame is to remember.

        H and W are the same whole multiple of h and w. In float32, whatever precision is on:
        the equations of the motion have no room in 8 bits.
        """
        with torch.autocast(log_depth_B1HW.device.type, enabled=False):
            factor = int(log_depth_B1HW.shape[2]) // int(features_BChw.shape[2])
            own = functional.avg_pool2d(log_depth_B1HW, factor)
            features = at_least_float32(features_BChw)
            rays = rays_of(camera_B4, self.stride, *map(int, own.shape[2:]))
            change, motion = self._change(own, features, keys_BChw, rays, past)
            exists = past.facts_B5[:, EXISTS]
            change = change * exists[:, :, None, None]
            mixed = log_depth_B1HW + functional.interpolate(
                change, scale_factor=float(factor), mode='bilinear', align_corners=False
            )
            facts = torch.cat((motion * exists, exists, torch.ones_like(exists)), dim=1)
            return mixed, Remembered(keys_BChw, functional.avg_pool2d(mixed, factor), facts)

    def _change(
        self, own: Tensor, features: Tensor, keys: Tensor, rays: Rays, past: Remembered
    ) -> tuple[Tensor, Tensor]:
        """Return what is added to ln depth on the grid, and the motion."""
        depth = torch.exp(own).flatten(1)
        before, known = past.facts_B5[:, MOTION], past.facts_B5[:, KNOWN]
        search = partial(self.match, keys, past.keys_BChw)
        motion, left = find_motion(search, rays, depth, before, known)
        places = places_before(motion, rays, depth)
        old, inside = _sampled(past.log_depth_B1hw, places, rays)
        moved = depth_after(motion, rays, torch.exp(old).flatten(1)).view_as(old)
        apart = torch.log(moved.clamp(min=NEAREST_M)) - own
        misses = left.abs().unflatten(2, tuple(map(int, own.shape[2:])))
        told = torch.cat((features, own, apart, misses), dim=1)
        trust = MOST_PAST * torch.sigmoid(self.decide(told)) * inside
        return trust * apart / (1 + (apart * torch.exp(-self.log_apart)) ** 2), motion


def _sampled(maps_BChw: Tensor, rays_B2N: Tensor, rays: Rays) -> tuple[Tensor, Tensor]:
    """
    Return the maps at the places of these rays, and 1 where they are inside.

    Outside it falls to 0 within a cell: of a camera that stands, the first and last cells lie on
    the border, and rounding must not say on which side.
    """
    height, width = map(int, maps_BChw.shape[2:])
    # The first cell's ray tells where the grid begins.
    first = rays.xy_B2N[:, :, :1]
    cells = (rays_B2N - first) * rays.focal_B2[:, :, None]
    last = cells.new_tensor([width - 1.0, height - 1.0])[None, :, None]
    nearest = torch.minimum(cells.clamp(min=0.0), last)
    inside = (1 - (cells - nearest).abs().amax(dim=1, keepdim=True)).clamp(min=0.0)
    grid = (2 * cells / last - 1).transpose(1, 2).unflatten(1, (height, width))
    values = functional.grid_sample(maps_BChw, grid, padding_mode='border', align_corners=True)
    return values, inside.to(values.dtype).unflatten(2, (height, width))
