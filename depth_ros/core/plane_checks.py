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
Checks of planes that need no LiDAR: the ground before the vehicle, a wall before the robot.

A plane n . X = h with X = D ray (ray of unit z) is linear in inverse depth: 1/D = (n / h) . ray.
So it is fitted by least squares there, and again to the best TRIM_SHARE of the pixels until
these stay. Shape letters: H W image, N pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from depth_ros.core.camera import Intrinsics
from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

# About so many pixels of a region are looked at, evenly spread.
TARGET_PIXELS = 2000
TRIM_SHARE = 0.7
ROUNDS = 5
MIN_PIXELS = 100
INLIER_SHARE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """
    A rectangle of the image in shares of its size, 0 to 1.

    :raises ConfigError: it is empty or leaves the image.
    """

    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ConfigError(
                f'region left {self.left}, top {self.top}, right {self.right}, bottom '
                f'{self.bottom}: must be 0 <= left < right <= 1 and 0 <= top < bottom <= 1'
            )

    def pixels(self, height: int, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and columns of an even spread of the pixels inside."""
        top, bottom = int(self.top * height), int(self.bottom * height)
        left, right = int(self.left * width), int(self.right * width)
        step = max(1, math.isqrt((bottom - top) * (right - left) // TARGET_PIXELS))
        rows, cols = np.arange(top, bottom, step), np.arange(left, right, step)
        return np.repeat(rows, len(cols)), np.tile(cols, len(rows))


# Where the road is for a camera that looks ahead over a bonnet or none.
GROUND_REGION = Region(left=0.35, top=0.72, right=0.65, bottom=0.98)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """
    A plane in the optical frame and how well the depth lies on it.

    Fields:
        normal_3: unit normal that points away from the camera.
        distance_m: of the camera from the plane.
        roughness: median of abs(D / D_plane - 1).
        inlier_share: of the pixels, within 5 % of the plane.
        bow: mean of D / D_plane - 1 in the inner half of the region (by area) minus that of the
            outer half: above 0 the middle bulges away from the camera.

    """

    normal_3: Vector
    distance_m: float
    roughness: float
    inlier_share: float
    bow: float


def ground_checks(depth_HW: NDArray[np.float32], k: Intrinsics) -> dict[str, float]:
    """
    Return what the ground says; empty when there is no depth.

    Height of the camera over it [m], tilt against the image's vertical [deg], roughness, and the
    share of flat pixels.
    """
    plane = fit_plane(depth_HW, k, GROUND_REGION)
    if plane is None:
        return {}
    down = float(np.clip(plane.normal_3[1], -1.0, 1.0))
    return {
        'ground_height_m': plane.distance_m,
        'ground_tilt_deg': math.degrees(math.acos(down)),
        'ground_roughness': plane.roughness,
        'ground_flat_share': plane.inlier_share,
    }


def wall_checks(depth_HW: NDArray[np.float32], k: Intrinsics, region: Region) -> dict[str, float]:
    """
    Return what a flat wall says; empty when there is no depth.

    Its distance [m], its angle to a wall straight ahead [deg], its roughness, the share of flat
    pixels, and its bow.
    """
    plane = fit_plane(depth_HW, k, region)
    if plane is None:
        return {}
    ahead = float(np.clip(plane.normal_3[2], -1.0, 1.0))
    return {
        'wall_distance_m': plane.distance_m,
        'wall_tilt_deg': math.degrees(math.acos(ahead)),
        'wall_roughness': plane.roughness,
        'wall_flat_share': plane.inlier_share,
        'wall_bow': plane.bow,
    }


def fit_plane(depth_HW: NDArray[np.float32], k: Intrinsics, region: Region) -> Plane | None:
    """Return the plane that most of a region lies on; None: too few pixels with depth."""
    rows, cols = region.pixels(*depth_HW.shape)
    depth = depth_HW[rows, cols].astype(np.float64)
    is_usable = np.isfinite(depth) & (depth > 0)
    if np.count_nonzero(is_usable) < MIN_PIXELS:
        return None
    rows, cols, depth = rows[is_usable], cols[is_usable], depth[is_usable]
    rays = np.stack([(cols - k.cx) / k.fx, (rows - k.cy) / k.fy, np.ones_like(depth)], axis=1)
    normal_over_h = _robust(rays, 1.0 / depth)
    length = float(np.linalg.norm(normal_over_h))
    inverse = rays @ normal_over_h
    if length == 0 or (inverse <= 0).mean() > 1 - TRIM_SHARE:
        return None
    off = depth * inverse - 1.0
    return Plane(
        normal_3=normal_over_h / length,
        distance_m=1.0 / length,
        roughness=float(np.median(np.abs(off))),
        inlier_share=float(np.mean(np.abs(off) < INLIER_SHARE)),
        bow=_bow(rows, cols, off),
    )


def _robust(rays_N3: Vector, inverse_N: Vector) -> Vector:
    """Return the least-squares solution of most pixels; the error is relative, D / D_plane - 1."""
    depth = 1.0 / inverse_N
    kept = np.ones(len(depth), np.bool_)
    solution: Vector = np.zeros(3)
    for _ in range(ROUNDS):
        weighted = rays_N3[kept] * depth[kept, None]
        # Least squares of rays * D against 1: minimises the relative error itself. Three unknowns
        # and metres on both sides, so that the normal equations are well conditioned.
        normal_33 = weighted.T @ weighted
        if np.linalg.matrix_rank(normal_33) < 3:
            return np.zeros(3)
        solution = np.asarray(np.linalg.solve(normal_33, weighted.sum(axis=0)), np.float64)
        error = np.abs(rays_N3 @ solution * depth - 1.0)
        kept = error <= np.quantile(error, TRIM_SHARE)
    return solution


def _bow(rows_N: NDArray[np.int64], cols_N: NDArray[np.int64], off_N: Vector) -> float:
    y, x = (np.abs(axis - (axis.min() + axis.max()) / 2.0) for axis in (rows_N, cols_N))
    reach = np.maximum(y / max(y.max(), 1.0), x / max(x.max(), 1.0))
    is_inner = reach < math.sqrt(0.5)
    if is_inner.all() or not is_inner.any():
        return math.nan
    return float(off_N[is_inner].mean() - off_N[~is_inner].mean())
