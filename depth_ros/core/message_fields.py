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
Read ROS messages by their field names, whoever made the classes.

rclpy's messages and those that ``rosbags`` reads from a bag have the same attributes, so the
live node and the offline programs decode through the very same functions.
"""

from __future__ import annotations

from typing import Any

import cv2
from depth_ros.core.camera import CameraModel, Roi
from depth_ros.core.geometry import Matrix, transform_from
from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]
NS_PER_S = 1_000_000_000

# sensor_msgs/PointField datatype numbers -> numpy kinds.
POINT_FIELD_KINDS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 8: 'f8'}

# Encoding -> (bytes per pixel, OpenCV conversion to bgr or None). OpenCV names a Bayer pattern
# by its second row and column, ROS by the first pixels: rggb is OpenCV's BayerBG.
ENCODINGS: dict[str, tuple[int, int | None]] = {
    'bgr8': (3, None),
    'rgb8': (3, cv2.COLOR_RGB2BGR),
    'bgra8': (4, cv2.COLOR_BGRA2BGR),
    'rgba8': (4, cv2.COLOR_RGBA2BGR),
    'mono8': (1, cv2.COLOR_GRAY2BGR),
    '8UC3': (3, None),
    '8UC1': (1, cv2.COLOR_GRAY2BGR),
    'yuv422': (2, cv2.COLOR_YUV2BGR_UYVY),
    'uyvy': (2, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': (2, cv2.COLOR_YUV2BGR_YUY2),
    'yuyv': (2, cv2.COLOR_YUV2BGR_YUY2),
    'bayer_rggb8': (1, cv2.COLOR_BayerBG2BGR),
    'bayer_bggr8': (1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': (1, cv2.COLOR_BayerGR2BGR),
    'bayer_grbg8': (1, cv2.COLOR_BayerGB2BGR),
}


def stamp_ns(header_or_stamp: Any) -> int:
    """Return the stamp of a header, or a builtin_interfaces/Time itself [ns]."""
    stamp = getattr(header_or_stamp, 'stamp', header_or_stamp)
    return int(stamp.sec) * NS_PER_S + int(stamp.nanosec)


def edge_of(stamped: Any) -> tuple[str, str, Matrix]:
    """
    Return parent, child and parent_T_child of a geometry_msgs/TransformStamped.

    :raises FrameError: a value is not finite, or the rotation is none.
    """
    moved, turned = stamped.transform.translation, stamped.transform.rotation
    matrix = transform_from([turned.x, turned.y, turned.z, turned.w], [moved.x, moved.y, moved.z])
    return str(stamped.header.frame_id), str(stamped.child_frame_id), matrix


def camera_from_info(info: Any, *, is_rectified_image: bool) -> CameraModel:
    """
    Return the checked calibration of a sensor_msgs/CameraInfo.

    :param is_rectified_image: the image that comes with it has been rectified already.
    :raises FrameError: naming the field and its value.
    """
    roi = info.roi
    return CameraModel(
        width=int(info.width),
        height=int(info.height),
        distortion_model=str(info.distortion_model),
        d=tuple(float(value) for value in info.d),
        k=tuple(float(value) for value in info.k),
        r=_rotation_or_identity(info.r),
        p=tuple(float(value) for value in info.p),
        binning_x=max(int(info.binning_x), 1),
        binning_y=max(int(info.binning_y), 1),
        roi=Roi(
            x=int(roi.x_offset), y=int(roi.y_offset), width=int(roi.width), height=int(roi.height)
        ),
        is_rectified_image=is_rectified_image,
    )


def _rotation_or_identity(values: Any) -> tuple[float, ...]:
    # Drivers of single cameras often leave R at all zeros; the message then has no rotation.
    rotation = tuple(float(value) for value in values)
    return rotation if any(rotation) else (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def shared_frame_id(image_frame: str, info_frame: str, info_topic: str) -> str:
    """
    Return the frame of a camera; one of image and camera_info may leave it empty.

    :param info_topic: for the sentence of the error.
    :raises FrameError: they name two frames: the calibration is probably of another camera.
    """
    if image_frame and info_frame and image_frame != info_frame:
        raise FrameError(
            f"image has frame '{image_frame}': camera_info of '{info_topic}' is for '{info_frame}'"
        )
    return image_frame or info_frame


def decode_image(message: Any) -> ImageU8:
    """
    Return the bgr image, (H, W, 3) uint8, of a sensor_msgs/Image.

    ``bgr8`` without row padding is a view of the message's bytes, everything else a new array.

    :raises FrameError: unknown encoding, zero size, or fewer bytes than ``step`` promises.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in ENCODINGS:
        raise FrameError(
            f"image encoding '{encoding}' is not supported: publish one of {sorted(ENCODINGS)}"
        )
    pixel_bytes, conversion = ENCODINGS[encoding]
    rows = _image_rows(message, height, width, pixel_bytes)
    if encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv') and width % 2:
        raise FrameError(f"image has width {width}: encoding '{encoding}' needs an even width")
    pixels = rows.reshape(height, width, pixel_bytes)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), conversion), np.uint8)


def _image_rows(message: Any, height: int, width: int, pixel_bytes: int) -> ImageU8:
    step = int(message.step)
    if height == 0 or width == 0:
        raise FrameError(f'image has size {width}x{height}: the camera sends no pixels')
    if step < width * pixel_bytes:
        raise FrameError(
            f"image step {step} is smaller than {width} pixels of '{message.encoding}' "
            f'({width * pixel_bytes} bytes)'
        )
    data = np.frombuffer(message.data, np.uint8)
    # The last row may lack its padding.
    needed = step * (height - 1) + width * pixel_bytes
    if data.size < needed:
        raise FrameError(
            f'image data has {data.size} bytes: step {step} x height {height} needs {needed}'
        )
    strides = (step, 1)
    return np.lib.stride_tricks.as_strided(
        data, (height, width * pixel_bytes), strides, writeable=False
    )


def decode_compressed_image(message: Any) -> ImageU8:
    """
    Return the bgr image, (H, W, 3) uint8, of a sensor_msgs/CompressedImage (JPEG or PNG).

    :raises FrameError: the bytes are no image that OpenCV can decode.
    """
    data = np.frombuffer(message.data, np.uint8)
    image: Any = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise FrameError(
            f"compressed image of {data.size} bytes, format '{message.format}', cannot be decoded"
        )
    return np.asarray(image, np.uint8)


def read_xyz(cloud: Any) -> NDArray[np.float32]:
    """
    Return the points of a sensor_msgs/PointCloud2, (N, 3) float32 [m], NaN rows kept.

    Any field order, padding and byte order is read; x, y and z are float32 or float64.

    :raises FrameError: a field is missing or has another type, or data are too short.
    """
    fields = {str(field.name): field for field in cloud.fields}
    for name in ('x', 'y', 'z'):
        if name not in fields:
            raise FrameError(f"point cloud has fields {sorted(fields)}: '{name}' is missing")
        if int(fields[name].datatype) not in (7, 8):
            raise FrameError(
                f"point cloud field '{name}' has datatype {fields[name].datatype}: "
                'must be FLOAT32 (7) or FLOAT64 (8)'
            )
    points = _structured(cloud)
    xyz_N3 = np.empty((points.size, 3), np.float32)
    for column, name in enumerate(('x', 'y', 'z')):
        xyz_N3[:, column] = points[name].reshape(-1)
    return xyz_N3


def read_field(cloud: Any, name: str) -> NDArray[Any] | None:
    """
    Return one field of a PointCloud2 as (N,) in native byte order; None when it has none.

    :raises FrameError: data are too short, or the field has an unknown datatype.
    """
    if name not in {str(field.name) for field in cloud.fields}:
        return None
    values = _structured(cloud)[name].reshape(-1)
    return values.astype(values.dtype.newbyteorder('='))


def _structured(cloud: Any) -> NDArray[Any]:
    width, height = int(cloud.width), int(cloud.height)
    point_step, row_step = int(cloud.point_step), int(cloud.row_step)
    data = np.frombuffer(cloud.data, np.uint8)
    if width * height == 0:
        return np.empty((0, 0), _point_dtype(cloud, max(point_step, 1)))
    dtype = _point_dtype(cloud, point_step)
    row_step = row_step or width * point_step
    needed = row_step * (height - 1) + width * point_step
    if data.size < needed or row_step < width * point_step:
        raise FrameError(
            f'point cloud data have {data.size} bytes: {width}x{height} points of {point_step} '
            f'bytes with row_step {row_step} need {needed}'
        )
    return np.ndarray((height, width), dtype, data, strides=(row_step, point_step))


def _point_dtype(cloud: Any, point_step: int) -> np.dtype[Any]:
    order = '>' if cloud.is_bigendian else '<'
    fields = [field for field in cloud.fields if int(field.count) <= 1]
    kinds = [_field_kind(field) for field in fields]
    end = max((int(f.offset) + int(k[1]) for f, k in zip(fields, kinds, strict=True)), default=0)
    if end > point_step:
        raise FrameError(f'point cloud fields end at byte {end}: point_step is {point_step}')
    return np.dtype(
        {
            'names': [str(field.name) for field in fields],
            'formats': [order + kind for kind in kinds],
            'offsets': [int(field.offset) for field in fields],
            'itemsize': point_step,
        }
    )


def _field_kind(field: Any) -> str:
    kind = POINT_FIELD_KINDS.get(int(field.datatype))
    if kind is None:
        raise FrameError(f"point cloud field '{field.name}' has unknown datatype {field.datatype}")
    return kind
