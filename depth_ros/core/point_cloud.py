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
Depth, colour and uncertainty to points, laid out as PointCloud2 wants its bytes.

Shape letters: H, W depth image; h, w after the stride.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.config import PointsConfig
from depth_ros.core.datatypes import DepthEstimate
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]

# Optical frame, metres; rgb is 0x00RRGGBB (PCL, RViz). With 0xFF on top every bright red would
# be a NaN, and readers that skip NaN in any field would lose those points.
POINT_DTYPE = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'rgb', 'uncertainty')])
FLOATS_PER_POINT = POINT_DTYPE.itemsize // 4
# Rows handled at once: few enough for the planes of a tile to stay in a cache of a megabyte or
# two, many enough to bear the cost of a dozen calls; the fastest of 8 to 180 at 1280 columns.
TILE_ROWS = 48
COLOR_BITS = np.uint32(0x00FFFFFF)
LARGEST_F32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cloud:
    """
    Points of one frame.

    Fields:
        points: POINT_DTYPE, (h, w) with NaN coordinates where there is no point when
            organised, else (N,) and finite. ``uncertainty`` is +Inf when it was not estimated.
        is_dense: every coordinate is finite.
    """

    points: NDArray[Any]
    is_dense: bool


class CloudBuilder:
    """
    Make clouds from the depth of one camera.

    NaN, +Inf and -Inf depth and everything outside the configured limits give no point.
    """

    def __init__(self, config: PointsConfig) -> None:
        self._config = config
        limits = (config.min_depth_m, config.max_depth_m)
        sigma_limits = (config.max_uncertainty_m, config.max_relative_uncertainty)
        self._has_limits = limits != (0.0, math.inf) or sigma_limits != (math.inf, math.inf)
        self._intrinsics: Intrinsics | None = None
        self._ray_x = self._ray_y = np.empty(0, np.float32)
        self._planes = np.empty((FLOATS_PER_POINT, 0, 0), np.float32)

    def max_bytes(self, intrinsics: Intrinsics) -> int:
        """Return the size of a cloud that keeps every pixel [bytes]."""
        rows, columns = self._grid(intrinsics)
        return rows * columns * POINT_DTYPE.itemsize

    def build(self, estimate: DepthEstimate, out: NDArray[np.uint8] | None = None) -> Cloud:
        """
        Return the points of one estimate.

        :param out: at least ``max_bytes`` bytes to write into; the cloud is then a view of it.
        """
        self._prepare(estimate.intrinsics)
        rows, columns = self._grid(estimate.intrinsics)
        size = rows * columns * POINT_DTYPE.itemsize
        buffer = np.empty(size, np.uint8) if out is None else out[:size]
        floats_hw5 = buffer.view(np.float32).reshape(rows, columns, FLOATS_PER_POINT)
        kept = sum(self._fill_tile(estimate, floats_hw5, row) for row in range(0, rows, TILE_ROWS))
        points = floats_hw5.view(POINT_DTYPE)[..., 0]
        is_dense = kept == rows * columns
        if self._config.organized:
            return Cloud(points=points, is_dense=is_dense)
        return Cloud(points=_compacted(points, is_dense=is_dense), is_dense=True)

    def _grid(self, intrinsics: Intrinsics) -> tuple[int, int]:
        stride = self._config.stride
        return math.ceil(intrinsics.height / stride), math.ceil(intrinsics.width / stride)

    def _prepare(self, intrinsics: Intrinsics) -> None:
        if intrinsics == self._intrinsics:
            return
        stride = self._config.stride
        ray_x, ray_y = intrinsics.rays()
        self._ray_x, self._ray_y = ray_x[::stride], ray_y[::stride, np.newaxis]
        shape = (FLOATS_PER_POINT, TILE_ROWS, self._ray_x.size)
        self._planes = np.full(shape, np.inf, np.float32)
        self._intrinsics = intrinsics

    def _fill_tile(self, estimate: DepthEstimate, floats_hw5: Any, row: int) -> int:
        """Write one band of rows; return how many of its pixels are points."""
        stride, count = self._config.stride, min(TILE_ROWS, floats_hw5.shape[0] - row)
        stop = row + count
        source = slice(row * stride, (stop - 1) * stride + 1, stride)
        x, y, z, rgb, no_sigma = self._planes[:, :count]
        sigma_HW = estimate.uncertainty_HW
        sigma = None if sigma_HW is None else np.ascontiguousarray(sigma_HW[source, ::stride])
        depth = np.ascontiguousarray(estimate.depth_HW[source, ::stride])
        dropped = self._dropped(depth, sigma) if self._must_look(estimate) else None
        count_dropped = 0 if dropped is None else cv2.countNonZero(dropped)
        if dropped is not None and count_dropped:
            # 0xFF widened to 32 one bits is a NaN, whatever it is or-ed with.
            np.bitwise_or(depth.view(np.int32), dropped.view(np.int8), out=z.view(np.int32))
            depth = z
        np.multiply(depth, self._ray_x, out=x)
        np.multiply(depth, self._ray_y[row:stop], out=y)
        color = np.ascontiguousarray(estimate.image_HW3[source, ::stride])
        cv2.cvtColor(color, cv2.COLOR_BGR2BGRA, dst=rgb.view(np.uint8).reshape(*rgb.shape, 4))
        rgb.view(np.uint32)[...] &= COLOR_BITS
        planes = [x, y, depth, rgb, no_sigma if sigma is None else sigma]
        cv2.merge(planes, dst=floats_hw5[row:stop])
        return int(x.size - count_dropped)

    def _must_look(self, estimate: DepthEstimate) -> bool:
        return self._has_limits or not estimate.is_complete

    def _dropped(self, depth: F32, sigma: F32 | None) -> NDArray[np.uint8]:
        """Return 255 where a pixel gives no point, else 0."""
        config = self._config
        # inRange is False for NaN; the largest float excludes +Inf, zero excludes -Inf.
        kept: Any = cv2.inRange(depth, config.min_depth_m, min(config.max_depth_m, LARGEST_F32))
        if sigma is not None and math.isfinite(config.max_uncertainty_m):
            kept &= cv2.inRange(sigma, 0.0, config.max_uncertainty_m)
        if sigma is not None and math.isfinite(config.max_relative_uncertainty):
            kept &= cv2.compare(sigma, depth * config.max_relative_uncertainty, cv2.CMP_LE)
        return np.asarray(cv2.bitwise_not(kept, dst=kept), np.uint8)


def _compacted(points: NDArray[Any], *, is_dense: bool) -> NDArray[Any]:
    flat = points.reshape(-1)
    return flat if is_dense else flat[~np.isnan(flat['z'])]
