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
How the camera moved between two frames, in closed form from attention and depth.

Ours. Attention says where each cell of the new frame was in the one before; depth is known; then
the flow of a still world is linear in a small motion (Longuet-Higgins and Prazdny, "The
interpretation of a moving retinal image", Proc. R. Soc. B 208, 1980), and a few weighted least
squares find it. Of a vehicle three numbers matter: the way forward, pitch and yaw.

Shapes: B batch, C channels, h x w grid, N = h w cells, rows first. The motion (B, 3) maps points
of the new camera to the one before: z' = z (1 + pitch y - yaw x) + forward, with rays x, y.
"""

from __future__ import annotations

from collections.abc import Callable
import math
from typing import NamedTuple

import torch
from torch import nn, Tensor

ROWS = 3
REACH_CELLS = 2.0
SHARPNESS = 60.0
# Matches are looked for around where the motion says; the second time by a better motion.
SEARCHES = 2
# Added to the variance of a match [cells^2]: about half a cell is the best it can be.
MATCH_FLOOR = 0.25
# Sharp matches lead: weight = precision^3, times a Cauchy weight of this width [cells].
PRECISION_POWER = 3
RESIDUAL_CELLS = 0.5
ROUNDS = 4
# Stiffness towards the motion before: forward [1/m^2], pitch and yaw [1/rad^2].
STIFFNESS = (1.0, 100.0, 100.0)
# The same without a motion before: only what keeps the equations solvable.
FLOOR = (1e-2, 1.0, 1.0)
# No point comes nearer than this when it is moved [m].
NEAREST_M = 0.3


class Matches(NamedTuple):
    """``flow_B2N``: x, y [cells] to where a cell was; ``precision_B2N`` [1 / cells^2]."""

    flow_B2N: Tensor
    precision_B2N: Tensor


class Rays(NamedTuple):
    """``xy_B2N`` at z = 1, and the focal lengths ``focal_B2`` [cells] that made them."""

    xy_B2N: Tensor
    focal_B2: Tensor


class Matcher(nn.Module):
    """Soft matches of each cell among the rows near it of the frame before."""

    def __init__(self) -> None:
        super().__init__()
        self.log_sharpness = nn.Parameter(torch.tensor(math.log(SHARPNESS)))
        self.log_reach = nn.Parameter(torch.tensor(math.log(REACH_CELLS)))

    def forward(self, queries_BChw: Tensor, keys_BChw: Tensor, expected_B2N: Tensor) -> Matches:
        """
        Return the mean and precision of the offset, looked for around the expected one.

        Features have length 1 (or 0). The likeness is s q.k - |there - expected|^2 r, of which
        |expected|^2 is the same for all there and left out; so everything is one product.
        """
        height, width = map(int, queries_BChw.shape[2:])
        here, there_K2 = _places(height, width, like=queries_BChw)
        reach = torch.exp(-2 * self.log_reach) / 2
        aims = (here + expected_B2N).unflatten(2, (height, width)) * (2 * reach)
        one = torch.ones_like(aims[:, :1])
        queries = torch.cat((queries_BChw * torch.exp(self.log_sharpness), aims, one), dim=1)
        far_K1 = -reach * (there_K2 * there_K2).sum(1, keepdim=True)
        sides = torch.cat((there_K2, far_K1), dim=1).transpose(0, 1)
        near = _near_rows(keys_BChw)
        sides = sides.expand(*map(int, near.shape[:2]), -1, -1)
        likeness = queries.permute(0, 2, 3, 1) @ torch.cat((near, sides), dim=2)
        moments = torch.cat((there_K2, there_K2 * there_K2), dim=1)
        found = torch.softmax(likeness, dim=-1) @ moments
        means, squares = found.flatten(1, 2).transpose(1, 2).split(2, dim=1)
        variance = (squares - means * means).clamp(min=0)
        return Matches(means - here, 1 / (variance + MATCH_FLOOR))


def _near_rows(keys_BChw: Tensor) -> Tensor:
    """Return (B, h, C, (2 ROWS + 1) w): of each row the rows around it; the border repeats."""
    height = int(keys_BChw.shape[2])
    rows = torch.arange(height, device=keys_BChw.device)
    around = [
        keys_BChw.index_select(2, (rows + step).clamp(0, height - 1))
        for step in range(-ROWS, ROWS + 1)
    ]
    return torch.cat(around, dim=3).permute(0, 2, 1, 3)


def _places(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return x and y [cells] of the N cells, (2, N), and of those in the rows around, (K, 2).

    From the middle of each row, so that squares stay small.
    """
    new = {'dtype': like.dtype, 'device': like.device}
    columns = torch.arange(width, **new) - (width - 1) / 2
    here = torch.stack((columns.repeat(height), torch.zeros(height * width, **new)))
    steps = torch.arange(-ROWS, ROWS + 1, **new).repeat_interleave(width)
    return here, torch.stack((columns.repeat(2 * ROWS + 1), steps), dim=1)


def rays_of(camera_B4: Tensor, stride: int, height: int, width: int) -> Rays:
    """
    Return the rays of the cells of a grid, ``stride`` pixels apart.

    :param camera_B4: fx, fy, cx, cy [px] of the image; integer pixel = pixel centre.
    """
    focal, centre = camera_B4.split(2, dim=1)
    # The middle of cell u is at pixel stride (u + 0.5) - 0.5.
    places = torch.stack(
        torch.meshgrid(
            *(torch.arange(n, device=focal.device, dtype=focal.dtype) for n in (height, width)),
            indexing='ij',
        )[::-1]
    ).flatten(1)
    pixels = stride * (places + 0.5) - 0.5
    return Rays((pixels[None] - centre[:, :, None]) / focal[:, :, None], focal / stride)


def find_motion(
    search: Callable[[Tensor], Matches],
    rays: Rays,
    depth_BN: Tensor,
    before_B3: Tensor,
    known_B1: Tensor,
) -> tuple[Tensor, Tensor]:
    """
    Return the motion (B, 3): forward [m], pitch and yaw [rad], and what it leaves (B, 2, N).

    :param search: looks for matches around an expected flow (B, 2, N).
    :param depth_BN: [m]; gets no gradient.
    :param before_B3: the motion one frame ago, around which it is looked for; it stays near
        that only where ``known_B1`` is 1.
    """
    depth, motion = depth_BN.detach(), before_B3
    for _ in range(SEARCHES):
        system = flow_equations(rays, depth, motion.detach())
        matches = search(_flow(system, motion))
        motion = solve_motion(matches, system, before_B3, known_B1)
    return motion, _flow(system, motion) - matches.flow_B2N


def solve_motion(matches: Matches, system: Tensor, before_B3: Tensor, known_B1: Tensor) -> Tensor:
    """Return the motion (B, 3) that explains the matches, outliers counting ever less."""
    flow = matches.flow_B2N.flatten(1)
    sharp = matches.precision_B2N.flatten(1) ** PRECISION_POWER
    known = known_B1 * sharp.new_tensor(STIFFNESS)
    diagonal = known + (1 - known_B1) * sharp.new_tensor(FLOOR)
    stiffness = diagonal[:, :, None] * torch.eye(3, dtype=sharp.dtype, device=sharp.device)
    weight, motion = sharp, before_B3
    for _ in range(ROUNDS):
        weighted = (system * weight[:, :, None]).transpose(1, 2)
        normal = weighted @ system + stiffness
        right = (weighted @ flow[:, :, None])[:, :, 0] + known * before_B3
        motion = solve_symmetric(normal, right)
        left = (system @ motion[:, :, None])[:, :, 0] - flow
        weight = sharp / (1 + (left.detach() / RESIDUAL_CELLS) ** 2)
    return motion


def _flow(system: Tensor, motion_B3: Tensor) -> Tensor:
    """Return the flow of a still world, (B, 2, N) [cells]."""
    return (system @ motion_B3[:, :, None])[:, :, 0].unflatten(1, (2, -1))


def flow_equations(rays: Rays, depth_BN: Tensor, motion_B3: Tensor) -> Tensor:
    """
    Return (B, 2N, 3): flow [cells] per metre forward, per radian of pitch and of yaw.

    The flow is linear in the motion once the depth before is known: that of a motion that is
    nearly right, and exact when it is right.
    """
    x, y = rays.xy_B2N.unbind(1)
    before = _moved(motion_B3, rays, depth_BN)
    inverse, nearer = 1 / before, depth_BN / before
    rows = (
        (-x * inverse, -x * y * nearer, (1 + x * x) * nearer),
        (-y * inverse, (-1 - y * y) * nearer, x * y * nearer),
    )
    stacked = [torch.stack(row, dim=2) for row in rows]
    focals = rays.focal_B2[:, :, None, None].unbind(1)
    return torch.cat([row * focal for row, focal in zip(stacked, focals, strict=True)], dim=1)


def solve_symmetric(matrix_B33: Tensor, right_B3: Tensor) -> Tensor:
    """Solve 3 x 3 systems by Cramer's rule, for exporters and engines without a solver."""
    (a, b, c), (_, d, e), (_, _, f) = (row.unbind(1) for row in matrix_B33.unbind(1))
    first = (d * f - e * e, c * e - b * f, b * e - c * d)
    second = (first[1], a * f - c * c, b * c - a * e)
    third = (first[2], second[2], a * d - b * b)
    determinant = a * first[0] + b * first[1] + c * first[2]
    adjugate = torch.stack([torch.stack(row, dim=1) for row in (first, second, third)], dim=1)
    return (adjugate @ right_B3[:, :, None])[:, :, 0] / determinant[:, None]


def places_before(motion_B3: Tensor, rays: Rays, depth_BN: Tensor) -> Tensor:
    """Return the rays (B, 2, N) at which the points of the new frame were seen before."""
    _, pitch, yaw = motion_B3[:, :, None].unbind(1)
    x, y = rays.xy_B2N.unbind(1)
    nearer = depth_BN / _moved(motion_B3, rays, depth_BN)
    return torch.stack(((x + yaw) * nearer, (y - pitch) * nearer), dim=1)


def _moved(motion_B3: Tensor, rays: Rays, depth_BN: Tensor) -> Tensor:
    """Return the depth before of points with this depth now, at least ``NEAREST_M``."""
    forward, pitch, yaw = motion_B3[:, :, None].unbind(1)
    x, y = rays.xy_B2N.unbind(1)
    return (depth_BN * (1 + pitch * y - yaw * x) + forward).clamp(min=NEAREST_M)


def depth_after(motion_B3: Tensor, rays: Rays, depth_BN: Tensor) -> Tensor:
    """Return the depth now, (B, N), of points with this depth then, at least ``NEAREST_M``."""
    forward, pitch, yaw = motion_B3[:, :, None].unbind(1)
    x, y = rays.xy_B2N.unbind(1)
    return ((depth_BN - forward) / (1 + pitch * y - yaw * x)).clamp(min=NEAREST_M)
