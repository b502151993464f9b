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
LiDAR points -> sparse depth in a camera: projection, z-buffer, motion, occlusion.

Shape letters: N points or hits, H W image, 3 xyz. Integer pixel = pixel centre.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, get_args, Literal

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import invert, log_se3, Matrix
from depth_ros.errors import ConfigError, FrameError
import numpy as np
from numpy.typing import NDArray

# camera_z: z along the optical axis, what this package publishes. kitti_export: the truth of the
# published KITTI rows: the forward coordinate of the hit in the LiDAR's own frame,
# and pixels at round(u) - 1, as the exporter of the raw data writes them.
DepthConvention = Literal['camera_z', 'kitti_export']
KITTI_PIXEL_SHIFT = -1

# Nearer hits are the vehicle itself or dust on the lens, and z -> 0 would divide by zero [m].
MIN_CAMERA_Z_M = 0.1
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseDepth:
    """
    LiDAR depth at pixels, each pixel at most once (the nearest point wins).

    Fields:
        rows_N, cols_N: pixel of each hit, int64.
        depth_N: metres, float32, in the convention that was asked for.
        width, height: of the image.
        points: how many points came in.
        invalid: of these, NaN, infinite or at the sensor's origin (no return).

    """

    rows_N: NDArray[np.int64]
    cols_N: NDArray[np.int64]
    depth_N: NDArray[np.float32]
    width: int
    height: int
    points: int
    invalid: int

    def __len__(self) -> int:
        return len(self.depth_N)

    def image_HW(self) -> NDArray[np.float32]:
        """Return the depth image [m], NaN where there is no hit."""
        image = np.full((self.height, self.width), np.nan, np.float32)
        image[self.rows_N, self.cols_N] = self.depth_N
        return image

    def where(self, keep_N: NDArray[np.bool_]) -> SparseDepth:
        """Return only the hits where ``keep_N`` is True."""
        return SparseDepth(
            rows_N=self.rows_N[keep_N],
            cols_N=self.cols_N[keep_N],
            depth_N=self.depth_N[keep_N],
            width=self.width,
            height=self.height,
            points=self.points,
            invalid=self.invalid,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OcclusionFilter:
    """
    Drop hits that shine through a nearer surface.

    The scanner sees past edges that hide the background from the camera, so far points land
    among near ones. A hit is dropped when a hit within the window is nearer by more than the
    margin: depth > nearest * (1 + relative) + absolute.

    Fields:
        rows, cols: half size of the window [px]. A surface is recognised when at least one of
            its scan lines falls into the window: 64 lines over 26.9 degrees are 5 px apart at
            f = 720 px, columns at 10 Hz 2 px.
        relative: depth changes along one surface within the window. On a road seen from
            1.65 m, z^2 / (f h) per row makes 0.10 over 5 rows at 24 m, 0.20 at 48 m.
        absolute_m: width of thin objects and noise of the scanner near the camera [m].

    """

    rows: int = 5
    cols: int = 3
    relative: float = 0.2
    absolute_m: float = 0.3

    def __post_init__(self) -> None:
        for key in ('rows', 'cols'):
            if not 0 <= getattr(self, key) <= 64:
                raise ConfigError(f'occlusion.{key} = {getattr(self, key)}: must be 0 to 64 px')
        for key in ('relative', 'absolute_m'):
            if not 0 <= getattr(self, key) < math.inf:
                raise ConfigError(f'occlusion.{key} = {getattr(self, key)}: must be zero or more')

    def __call__(self, sparse: SparseDepth) -> SparseDepth:
        """Return the hits that the camera can see."""
        if not sparse.depth_N.size:
            return sparse
        # A scanner looks at a band of the image: above and below there is nothing to do.
        top, bottom = int(sparse.rows_N.min()), int(sparse.rows_N.max())
        index = (sparse.rows_N - top) * sparse.width + sparse.cols_N
        image = np.full((bottom - top + 1, sparse.width), np.inf, np.float32)
        image.ravel()[index] = sparse.depth_N
        kernel = np.ones((2 * self.rows + 1, 2 * self.cols + 1), np.uint8)
        nearest: Any = cv2.erode(image, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=np.inf)
        limit = nearest.ravel()[index] * (1 + self.relative) + self.absolute_m
        return sparse.where(sparse.depth_N <= limit)


def project(
    xyz_lidar_N3: NDArray[np.floating[Any]],
    cam_T_lidar: Matrix,
    intrinsics: Intrinsics,
    *,
    convention: DepthConvention = 'camera_z',
) -> SparseDepth:
    """
    Return the depth of the nearest LiDAR point in each pixel that was hit.

    :param xyz_lidar_N3: metres in the LiDAR's frame; NaN and (0, 0, 0) mean no return.
    :raises FrameError: the points are not (N, 3).
    :raises ConfigError: the convention is unknown.
    """
    _check(xyz_lidar_N3, convention)
    xyz = np.asarray(xyz_lidar_N3, np.float32)
    matrix_34 = intrinsics.K_33 @ cam_T_lidar[:3]
    offset_3 = matrix_34[:, 3].astype(np.float32)
    with np.errstate(invalid='ignore'):
        uvw_3N = matrix_34[:, :3].astype(np.float32) @ xyz.T
        uvw_3N += offset_3[:, None]
    is_front = uvw_3N[2] > MIN_CAMERA_Z_M  # False for NaN.
    if convention == 'kitti_export':
        is_front &= xyz[:, 0] >= 0
    front = np.flatnonzero(is_front)
    z = uvw_3N[2, front]
    shift = KITTI_PIXEL_SHIFT if convention == 'kitti_export' else 0
    with np.errstate(over='ignore', invalid='ignore'):
        u, v = np.rint(uvw_3N[0, front] / z) + shift, np.rint(uvw_3N[1, front] / z) + shift
    is_inside = (u >= 0) & (u < intrinsics.width) & (v >= 0) & (v < intrinsics.height)
    is_inside &= np.isfinite(z)
    depth = xyz[front, 0] if convention == 'kitti_export' else z
    origin = _at_origin(xyz, uvw_3N[2], offset_3[2])
    if origin.size:
        is_inside &= ~np.isin(front, origin)
    index = v[is_inside].astype(np.int64) * intrinsics.width + u[is_inside].astype(np.int64)
    index, depth = _nearest_per_pixel(index, depth[is_inside], intrinsics)
    return SparseDepth(
        rows_N=index // intrinsics.width,
        cols_N=index % intrinsics.width,
        depth_N=depth,
        width=intrinsics.width,
        height=intrinsics.height,
        points=len(xyz),
        invalid=int(len(xyz) - np.count_nonzero(np.isfinite(uvw_3N[2])) + origin.size),
    )


def _check(xyz_N3: NDArray[np.floating[Any]], convention: str) -> None:
    if xyz_N3.ndim != 2 or xyz_N3.shape[1] != 3:
        raise FrameError(f'LiDAR points have shape {xyz_N3.shape}: must be (N, 3)')
    if convention not in get_args(DepthConvention):
        raise ConfigError(
            f'LiDAR depth convention {convention!r}: must be one of {get_args(DepthConvention)}'
        )


def _at_origin(
    xyz: NDArray[np.float32], z: NDArray[np.float32], offset_z: np.float32
) -> NDArray[np.intp]:
    # Only points that project like the origin can be it: testing all rows costs ten times more.
    candidates = np.flatnonzero(z == offset_z)
    return candidates[~xyz[candidates].any(axis=1)]


def _nearest_per_pixel(
    index: NDArray[np.int64], depth: NDArray[np.float32], size: Intrinsics
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each pixel once with its smallest depth, in the order of the points."""
    # Infinity is written at the hits only: filling the whole image costs as much as the rest.
    buffer = np.empty(size.width * size.height, np.float32)
    buffer[index] = np.inf
    np.minimum.at(buffer, index, depth)
    # Two points of one pixel can be equally near: the last one written owns the pixel. The same
    # memory notes the owner: fresh pages cost more than the rest of this function.
    nearest = np.flatnonzero(buffer[index] == depth).astype(np.int32)
    owner = buffer.view(np.int32)
    owner[index[nearest]] = nearest
    nearest = nearest[owner[index[nearest]] == nearest]
    return index[nearest], depth[nearest]


def twist_between(world_T_a: Matrix, world_T_b: Matrix, duration_ns: int) -> Matrix:
    """
    Return the constant twist v, omega [m/s, rad/s] of a body that moves from pose a to pose b.

    :raises FrameError: the duration is not positive.
    """
    if duration_ns <= 0:
        raise FrameError(f'poses are {duration_ns} ns apart: must be positive')
    return log_se3(invert(world_T_a) @ world_T_b) * (NS_PER_S / duration_ns)


def compensate_motion(
    xyz_N3: NDArray[np.floating[Any]],
    time_offset_ns_N: NDArray[np.integer[Any]],
    twist_6: Matrix,
) -> NDArray[np.float32]:
    """
    Return the points as the LiDAR would have measured them all at one instant.

    The world is taken to stand still while the LiDAR moves at a constant twist:
    p(0) = exp(dt * twist) p(dt), for each point with its own dt.

    :param xyz_N3: each point in the LiDAR's frame at its own time [m].
    :param time_offset_ns_N: time of each point minus the instant wanted [ns].
    :param twist_6: v, omega of the LiDAR in its own frame [m/s, rad/s].
    """
    xyz = np.asarray(xyz_N3, np.float64)
    seconds = np.asarray(time_offset_ns_N, np.float64)[:, None] / NS_PER_S
    velocity, omega = twist_6[:3], twist_6[3:]
    rate = float(np.linalg.norm(omega))
    if rate == 0.0:
        return (xyz + seconds * velocity).astype(np.float32)
    axis = omega / rate
    angle = rate * seconds
    turned = np.cross(axis, xyz)
    along = np.cross(axis, turned)
    xyz = xyz + np.sin(angle) * turned + (1.0 - np.cos(angle)) * along
    # Integral of the rotated velocity: v t + (1 - cos)/rate k x v + (t - sin/rate) k x (k x v).
    side = np.cross(axis, velocity)
    back = np.cross(axis, side)
    shift = (1.0 - np.cos(angle)) / rate * side + (seconds - np.sin(angle) / rate) * back
    return (xyz + seconds * velocity + shift).astype(np.float32)
