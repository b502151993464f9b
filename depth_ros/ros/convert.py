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
ROS messages to frames, and depth estimates to ROS messages.

Output messages live on: their bytes are written in place, frame after frame, through numpy views
of ``message.data``. That is safe once ``publish`` has returned, because rclpy serialises the
message inside that call. Assigning bytes or a numpy array instead costs up to 200 ms per image.

Shape letters: H, W published image; N points.
"""

from __future__ import annotations

from array import array
from typing import Any

from builtin_interfaces.msg import Time
import cv2
from depth_ros.core.camera import CameraModel, IDENTITY_R, Intrinsics
from depth_ros.core.config import PointsConfig
from depth_ros.core.datatypes import DepthEstimate, Frame, ImageF32, ImageU8
from depth_ros.core.message_fields import (
    decode_compressed_image,
    decode_image,
    NS_PER_S,
    stamp_ns,
)
from depth_ros.core.point_cloud import CloudBuilder, POINT_DTYPE
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

try:
    from sensor_msgs_py.point_cloud2 import create_cloud
except ImportError:
    create_cloud = None
try:
    from cv_bridge import CvBridge
except ImportError:
    CvBridge = None

# REP 118: 16UC1 is millimetres, 0 is unknown. What does not fit is unknown too.
MM_PER_M = 1000.0
MAX_MM = 65535
NO_DISTORTION = [0.0] * 5
POINT_FIELDS = [
    PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
    for index, name in enumerate(POINT_DTYPE.names or ())
]
# Encoding -> element type and channels.
LAYOUTS: dict[str, tuple[np.dtype[Any], int]] = {
    '32FC1': (np.dtype('<f4'), 1),
    '16UC1': (np.dtype('<u2'), 1),
    'bgr8': (np.dtype('u1'), 3),
}


def frame_from(message: Image | CompressedImage, camera: CameraModel, frame_id: str) -> Frame:
    """
    Return the frame of a raw or compressed image.

    :param frame_id: of the camera; drivers leave that of the image or of camera_info empty.
    :raises FrameError: the image cannot be decoded.
    """
    is_raw = isinstance(message, Image)
    return Frame(
        image_HW3=decode_image(message) if is_raw else decode_compressed_image(message),
        stamp_ns=stamp_ns(message.header),
        frame_id=frame_id,
        camera=camera,
    )


def header_of(estimate: DepthEstimate) -> Header:
    """Return a new header with the stamp and the frame of the camera image."""
    seconds, nanoseconds = divmod(estimate.stamp_ns, NS_PER_S)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=estimate.frame_id)


def camera_info_of(header: Header, intrinsics: Intrinsics) -> CameraInfo:
    """Return a new message for a rectified image: no distortion, R the identity."""
    i = intrinsics
    return CameraInfo(
        header=header,
        width=i.width,
        height=i.height,
        distortion_model='plumb_bob',
        d=NO_DISTORTION,
        k=[i.fx, 0.0, i.cx, 0.0, i.fy, i.cy, 0.0, 0.0, 1.0],
        r=list(IDENTITY_R),
        p=[i.fx, 0.0, i.cx, 0.0, 0.0, i.fy, i.cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


class ImageBuffer:
    """
    One Image message that is filled in place.

    :param encoding: one of ``LAYOUTS``.
    """

    def __init__(self, encoding: str) -> None:
        self.message = Image(encoding=encoding)
        self._dtype, self._channels = LAYOUTS[encoding]

    def pixels(self, intrinsics: Intrinsics) -> NDArray[Any]:
        """Return a writable view of the message's bytes, (H, W) or (H, W, 3)."""
        message, width, height = self.message, intrinsics.width, intrinsics.height
        if (message.width, message.height) != (width, height):
            message.width, message.height = width, height
            message.step = width * self._channels * self._dtype.itemsize
            message.data = array('B', bytes(message.step * height))
        # Not the array that was assigned: message classes without field checks copy it.
        flat = np.frombuffer(message.data, self._dtype)
        shape = (height, width) if self._channels == 1 else (height, width, self._channels)
        return flat.reshape(shape)


class CloudBuffer:
    """One PointCloud2 message; an organised cloud is written into it in place."""

    def __init__(self, config: PointsConfig) -> None:
        self._builder = CloudBuilder(config)
        self._is_organized = config.organized
        self._message = PointCloud2(fields=POINT_FIELDS, point_step=POINT_DTYPE.itemsize)
        self._scratch = np.empty(0, np.uint8)

    def fill(self, header: Header, estimate: DepthEstimate) -> PointCloud2:
        """Return the message of this estimate; it is valid until the next call."""
        size = self._builder.max_bytes(estimate.intrinsics)
        if self._is_organized:
            return self._organized(header, estimate, size)
        if self._scratch.size != size:
            self._scratch = np.empty(size, np.uint8)
        return flat_cloud(header, self._builder.build(estimate, self._scratch).points)

    def _organized(self, header: Header, estimate: DepthEstimate, size: int) -> PointCloud2:
        message = self._message
        if len(message.data) != size:
            message.data = array('B', bytes(size))
        cloud = self._builder.build(estimate, np.frombuffer(message.data, np.uint8))
        message.header = header
        message.height, message.width = cloud.points.shape
        message.row_step = message.width * message.point_step
        message.is_dense = cloud.is_dense
        return message


def flat_cloud(header: Header, points: NDArray[Any]) -> PointCloud2:
    """Return a new dense cloud, height 1, of finite points (N,) POINT_DTYPE."""
    if create_cloud is not None:
        message = create_cloud(header, POINT_FIELDS, points)
    else:
        message = _flat_cloud_of_our_own(header, points)
    message.is_dense = True
    return message


def _flat_cloud_of_our_own(header: Header, points: NDArray[Any]) -> PointCloud2:
    data = array('B')
    data.frombytes(np.ascontiguousarray(points).view(np.uint8).data)
    message = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=POINT_FIELDS,
        point_step=POINT_DTYPE.itemsize,
        row_step=len(points) * POINT_DTYPE.itemsize,
    )
    message.data = data
    return message


def to_millimetres(depth_HW: ImageF32, out_HW: NDArray[np.uint16]) -> None:
    """Write depth in whole millimetres; NaN, infinities and depth beyond 65.535 m become 0."""
    millimetres = depth_HW * np.float32(MM_PER_M) + np.float32(0.5)
    fits = (millimetres >= 0) & (millimetres < MAX_MM + 1)
    out_HW[...] = np.where(fits, millimetres, 0).astype(np.uint16)


def colorize(depth_HW: ImageF32, *, min_m: float, max_m: float) -> ImageU8:
    """
    Return a bgr picture, (H, W, 3): near red, far blue, linear in 1/depth; unknown black.

    +Inf has the farthest colour and -Inf the nearest.
    """
    with np.errstate(divide='ignore'):
        nearness = np.reciprocal(np.clip(depth_HW, min_m, max_m))
    low, high = 1.0 / max_m, 1.0 / min_m
    scale = 255.0 / (high - low)
    # Unknown depth is NaN here and saturates to some colour: it is blackened below.
    levels = cv2.convertScaleAbs(np.nan_to_num(nearness), alpha=scale, beta=-scale * low)
    picture = np.asarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO), np.uint8)
    picture[np.isnan(depth_HW)] = 0
    return picture


def color_message(header: Header, picture_HW3: ImageU8, buffer: ImageBuffer) -> Image:
    """Return the picture as a message: by cv_bridge where it is installed."""
    if CvBridge is not None:
        return CvBridge().cv2_to_imgmsg(picture_HW3, encoding='bgr8', header=header)
    height, width = picture_HW3.shape[:2]
    size = Intrinsics(width=width, height=height, fx=1.0, fy=1.0, cx=0.0, cy=0.0)
    buffer.pixels(size)[...] = picture_HW3
    buffer.message.header = header
    return buffer.message
