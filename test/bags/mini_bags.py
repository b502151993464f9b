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

"""Bags of a few small messages with known content, for the tests of everything that reads bags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.records import OdometrySample
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.geometry import transform_from
import numpy as np
from numpy.typing import NDArray

IMAGE, INFO = '/camera/image', '/camera/camera_info'
LIDAR, ODOMETRY, STATIC = '/points', '/odom', '/tf_static'
CAMERA_FRAME, LIDAR_FRAME = 'camera_optical', 'lidar'
WIDTH, HEIGHT = 8, 6
START_NS = 1_000_000_000_000_000_000
PERIOD_NS = 100_000_000
MAKE = MessageFactory()


def stamp(index: int) -> int:
    """Return the stamp of the n-th moment [ns]."""
    return START_NS + index * PERIOD_NS


def camera(focal: float = 5.0, width: int = WIDTH, height: int = HEIGHT) -> CameraModel:
    return CameraModel.pinhole(
        Intrinsics(width=width, height=height, fx=focal, fy=focal, cx=3.5, cy=2.5)
    )


def pixels(index: int) -> NDArray[np.uint8]:
    """Return an image whose every value tells its number."""
    image = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    return image + np.uint8(index)


def image(index: int, frame_id: str = CAMERA_FRAME) -> Any:
    return MAKE.image(stamp(index), frame_id, pixels(index))


def png(index: int) -> Any:
    data = cv2.imencode('.png', pixels(index))[1].tobytes()
    return MAKE.compressed_image(stamp(index), CAMERA_FRAME, data, 'bgr8; png compressed bgr8')


def info(index: int, model: CameraModel | None = None, frame_id: str = CAMERA_FRAME) -> Any:
    return MAKE.camera_info(stamp(index), frame_id, model or camera())


def xyz(index: int) -> NDArray[np.float32]:
    return np.array([[1, 2, 3], [4, 5, 6], [np.nan, 0, index]], np.float32)


def cloud(index: int) -> Any:
    columns = dict(zip('xyz', xyz(index).T, strict=True))
    columns['intensity'] = np.array([0.25, 0.5, 1.0], np.float32)
    return MAKE.point_cloud(stamp(index), LIDAR_FRAME, columns)


def odometry(index: int) -> Any:
    pose = transform_from((0.0, 0.0, 0.0, 1.0), (float(index), 0.0, 0.0))
    sample = OdometrySample(
        stamp_ns=stamp(index),
        frame_id='odom',
        child_frame_id='base_link',
        world_T_body_44=pose,
        twist=np.array([10.0, 0, 0, 0, 0, 0.5]),
    )
    return MAKE.odometry(sample, 0.1)


def static_edges() -> list[tuple[str, str, NDArray[np.float64]]]:
    half = np.sqrt(0.5)
    return [
        ('base_link', LIDAR_FRAME, transform_from((0.0, 0.0, half, half), (1.0, 2.0, 3.0))),
        (LIDAR_FRAME, CAMERA_FRAME, transform_from((half, 0.0, 0.0, half), (0.0, 0.0, -0.5))),
    ]


def write(path: Path, messages: Sequence[tuple[str, int, Any]], **options: Any) -> Path:
    """Write (topic, moment, message), each recorded at its moment."""
    with BagWriter(path, **options) as writer:
        for topic, index, message in messages:
            writer.write(topic, stamp(index), message)
    return path


def full_bag(path: Path, count: int = 3, **options: Any) -> Path:
    """Write a bag with every kind of message that the package reads."""
    messages: list[tuple[str, int, Any]] = [(STATIC, 0, MAKE.transforms(stamp(0), static_edges()))]
    for index in range(count):
        messages += [
            (INFO, index, info(index)),
            (IMAGE, index, image(index)),
            (LIDAR, index, cloud(index)),
            (ODOMETRY, index, odometry(index)),
        ]
    return write(path, messages, **options)


def storage_file(bag: Path) -> Path:
    """Return the one storage file of a bag folder."""
    (found,) = (file for file in bag.iterdir() if file.suffix in ('.mcap', '.db3'))
    return found
