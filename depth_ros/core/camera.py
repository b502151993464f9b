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
Pinhole cameras: intrinsics that know their image size, rays, binning, ROI, rectification.

Integer pixel = pixel centre. Resizing by s maps c' = (c + 0.5) s - 0.5 and f' = f s.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
import math
from typing import Any

import cv2
from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray

PLUMB_BOB_LENGTHS = (4, 5)
RATIONAL_LENGTHS = (8, 12, 14)
FISHEYE_LENGTH = 4
FISHEYE_MODELS = ('equidistant', 'fisheye')
UNDISTORTED_MODELS = ('', 'none', 'pinhole')
IDENTITY_R = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrinsics:
    """fx, fy, cx, cy [px] of an undistorted image of exactly width x height pixels."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def K_33(self) -> NDArray[np.float64]:
        """Return the 3x3 camera matrix [px]."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    def resized(self, width: int, height: int) -> Intrinsics:
        """Return the intrinsics after the image is resized to width x height."""
        sx, sy = width / self.width, height / self.height
        return Intrinsics(
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> Intrinsics:
        """Return the intrinsics of the window that starts at pixel (x, y)."""
        return Intrinsics(
            width=width, height=height, fx=self.fx, fy=self.fy, cx=self.cx - x, cy=self.cy - y
        )

    def rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x/z of each column, (W,), and y/z of each row, (H,), float32."""
        u = (np.arange(self.width, dtype=np.float64) - self.cx) / self.fx
        v = (np.arange(self.height, dtype=np.float64) - self.cy) / self.fy
        return u.astype(np.float32), v.astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Roi:
    """Window of the full-resolution image that the camera delivered (REP 104); 0 size: all."""

    x: int = 0
    y: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True, kw_only=True)
class CameraModel:
    """
    Calibration as sensor_msgs/CameraInfo states it, checked.

    ``width`` x ``height`` is the full, unbinned calibration size; the delivered image has
    ``image_size``. ``k``, ``r`` are row-major 3x3 and ``p`` row-major 3x4, in full-resolution
    pixels. ``is_rectified_image`` says that the image has been rectified already: then K and D
    only tell history and the intrinsics are those of ``p``.

    :raises FrameError: naming the field and its value.

    """

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning_x: int = 1
    binning_y: int = 1
    roi: Roi = Roi()
    is_rectified_image: bool = False

    def __post_init__(self) -> None:
        _check_matrices(self)
        _check_distortion(self.distortion_model, self.d)
        _check_window(self)

    @classmethod
    def pinhole(cls, intrinsics: Intrinsics) -> CameraModel:
        """Return the model of an undistorted camera."""
        i = intrinsics
        return cls(
            width=i.width,
            height=i.height,
            distortion_model='plumb_bob',
            d=(),
            k=(i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0),
            r=IDENTITY_R,
            p=(i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0),
        )

    @cached_property
    def image_size(self) -> tuple[int, int]:
        """(width, height) of the delivered image, after ROI and binning [px]."""
        window = self.window
        return window.width // self.binning_x, window.height // self.binning_y

    @cached_property
    def window(self) -> Roi:
        """Return the delivered window in full-resolution pixels; never of zero size."""
        if self.roi.width == 0:
            return Roi(x=0, y=0, width=self.width, height=self.height)
        return self.roi

    @cached_property
    def needs_rectification(self) -> bool:
        """Tell whether the delivered image is not the rectified one."""
        if self.is_rectified_image:
            return False
        k, p = self.k, self._p_intrinsics()
        is_same_matrix = np.allclose((k[0], k[4], k[2], k[5]), p, rtol=1e-9, atol=1e-9)
        return any(self.d) or not np.allclose(self.r, IDENTITY_R) or not is_same_matrix

    @cached_property
    def intrinsics(self) -> Intrinsics:
        """Intrinsics of the rectified image, at the delivered window and size."""
        fx, fy, cx, cy = self._p_intrinsics()
        return self._delivered(fx, fy, cx, cy)

    @cached_property
    def raw_intrinsics(self) -> Intrinsics:
        """Intrinsics of the raw image, at the delivered window and size."""
        return self._delivered(self.k[0], self.k[4], self.k[2], self.k[5])

    def _p_intrinsics(self) -> tuple[float, float, float, float]:
        if self.p[0] == 0.0:
            return self.k[0], self.k[4], self.k[2], self.k[5]
        return self.p[0], self.p[5], self.p[2], self.p[6]

    def _delivered(self, fx: float, fy: float, cx: float, cy: float) -> Intrinsics:
        full = Intrinsics(width=self.width, height=self.height, fx=fx, fy=fy, cx=cx, cy=cy)
        window = self.window
        width, height = self.image_size
        used = full.cropped(window.x, window.y, width * self.binning_x, height * self.binning_y)
        return used.resized(width, height)


def _finite(values: tuple[float, ...]) -> bool:
    return all(math.isfinite(value) for value in values)


def _check_matrices(camera: CameraModel) -> None:
    if camera.width <= 0 or camera.height <= 0:
        raise FrameError(f'camera_info has size {camera.width}x{camera.height}: must be positive')
    for key, values, length in (('k', camera.k, 9), ('r', camera.r, 9), ('p', camera.p, 12)):
        if len(values) != length or not _finite(values):
            raise FrameError(
                f'camera_info.{key} = {list(values)}: must be {length} finite numbers'
            )
    if camera.k[0] <= 0 or camera.k[4] <= 0:
        raise FrameError(
            f'camera_info.k has fx = {camera.k[0]}, fy = {camera.k[4]}: the camera is '
            'uncalibrated; calibrate it, metres need the focal length'
        )
    if camera.p[0] < 0 or camera.p[5] < 0 or (camera.p[0] == 0) != (camera.p[5] == 0):
        raise FrameError(
            f'camera_info.p has fx = {camera.p[0]}, fy = {camera.p[5]}: must both be positive, '
            'or both zero for a camera without a rectified image'
        )


def _check_distortion(model: str, d: tuple[float, ...]) -> None:
    allowed: dict[str, tuple[int, ...]] = {
        'plumb_bob': (0, *PLUMB_BOB_LENGTHS),
        'rational_polynomial': (0, *RATIONAL_LENGTHS),
        **dict.fromkeys(FISHEYE_MODELS, (0, FISHEYE_LENGTH)),
    }
    if not _finite(d):
        raise FrameError(f'camera_info.d = {list(d)}: must be finite numbers')
    if model in UNDISTORTED_MODELS and not any(d):
        return
    if model not in allowed:
        raise FrameError(
            f"camera_info.distortion_model = '{model}': must be one of {sorted(allowed)}"
        )
    if len(d) not in allowed[model]:
        raise FrameError(
            f"camera_info.d has {len(d)} values: distortion_model '{model}' takes {allowed[model]}"
        )


def _check_window(camera: CameraModel) -> None:
    roi = camera.roi
    if camera.binning_x < 1 or camera.binning_y < 1:
        raise FrameError(
            f'camera_info has binning {camera.binning_x}x{camera.binning_y}: must be 1 or more'
        )
    if (roi.width == 0) != (roi.height == 0) or min(roi.x, roi.y, roi.width, roi.height) < 0:
        raise FrameError(f'camera_info.roi = {roi}: width and height: both zero or both positive')
    if roi.width and (roi.x + roi.width > camera.width or roi.y + roi.height > camera.height):
        raise FrameError(
            f'camera_info.roi = {roi}: reaches outside the {camera.width}x{camera.height} image'
        )
    if min(camera.image_size) < 1:
        raise FrameError(f'camera_info leaves an image of {camera.image_size} after binning')


class Rectifier:
    """
    Undistort delivered images of one camera (plumb_bob, rational, fisheye).

    The rectified image has the size of the delivered one and ``camera.intrinsics``. Pixels
    that the camera never saw are False in ``valid_HW`` (None when every pixel was seen).
    """

    def __init__(self, camera: CameraModel) -> None:
        self.camera = camera
        map_x, map_y = _rectification_maps(camera)
        width, height = camera.image_size
        valid = (
            (map_x >= -0.5) & (map_x <= width - 0.5) & (map_y >= -0.5) & (map_y <= height - 0.5)
        )
        self.valid_HW: NDArray[np.bool_] | None = None if valid.all() else valid
        self._maps = cv2.convertMaps(map_x, map_y, cv2.CV_16SC2)
        self._nearest_maps: Any = None

    def __call__(self, image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the rectified image, black where nothing was seen."""
        result: Any = cv2.remap(image_HW3, *self._maps, interpolation=cv2.INTER_LINEAR)
        return np.asarray(result, np.uint8)

    def nearest(self, labels_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return rectified labels: of the nearest pixel, never mixed; 0 where nothing was seen."""
        if self._nearest_maps is None:
            # Of the maps with fractions, OpenCV would take the pixel to the upper left.
            x, y = _rectification_maps(self.camera)
            self._nearest_maps = cv2.convertMaps(x, y, cv2.CV_16SC2, nninterpolation=True)
        first, second = self._nearest_maps
        result: Any = cv2.remap(labels_HW, first, second, interpolation=cv2.INTER_NEAREST)
        return np.asarray(result, np.uint8)


def _within(coordinate: NDArray[np.float32], size: int) -> NDArray[np.bool_]:
    return (coordinate >= -0.5) & (coordinate <= size - 0.5)


def _rectification_maps(camera: CameraModel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    k, r = camera.raw_intrinsics.K_33, np.array(camera.r, np.float64).reshape(3, 3)
    new_k, d = camera.intrinsics.K_33, np.array(camera.d, np.float64)
    if camera.distortion_model in FISHEYE_MODELS:
        d = d if d.size else np.zeros(FISHEYE_LENGTH)
        maps: Any = cv2.fisheye.initUndistortRectifyMap(
            k, d, r, new_k, camera.image_size, cv2.CV_32FC1
        )
    else:
        maps = cv2.initUndistortRectifyMap(k, d, r, new_k, camera.image_size, cv2.CV_32FC1)
    return maps[0], maps[1]
