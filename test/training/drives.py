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

"""Miniature drives with exact geometry, for the tests of everything that makes datasets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import json
from pathlib import Path
from typing import Any

import cv2
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.records import OdometrySample
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.geometry import exp_se3, invert, Matrix, transform_from
import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress
from training.prepare import main, prepare, Source
from training.prepare_options import PrepareOptions

MAKE = MessageFactory()
WIDTH, HEIGHT, FOCAL = 64, 48, 50.0
CAMERA, LIDAR, BASE = 'camera_optical', 'lidar', 'base_link'
IMAGE_TOPIC, INFO_TOPIC = '/camera/image', '/camera/camera_info'
JPEG_TOPIC = '/camera/image/compressed'
CLOUD_TOPIC, ODOMETRY_TOPIC, STATIC_TOPIC = '/points', '/odom', '/tf_static'
START_NS, PERIOD_NS = 1_000_000_000_000_000_000, 100_000_000
# Camera axes (right, down, forward) in those of the vehicle (forward, left, up).
BASE_R_CAMERA = ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
BASE_T_CAMERA = transform_from(BASE_R_CAMERA, (1.5, 0.0, 1.2))
BASE_T_LIDAR = transform_from(np.eye(3), (0.5, 0.1, 1.9))
LIDAR_T_CAMERA = invert(BASE_T_LIDAR) @ BASE_T_CAMERA

Message = tuple[str, int, Any]


def stamp(index: float) -> int:
    """Return the stamp of the n-th moment [ns]."""
    return START_NS + round(index * PERIOD_NS)


def intrinsics(focal: float = FOCAL) -> Intrinsics:
    return Intrinsics(width=WIDTH, height=HEIGHT, fx=focal, fy=focal, cx=31.5, cy=23.5)


def pixels(index: int) -> NDArray[np.uint8]:
    """Return a picture with an edge that moves with its number."""
    image = np.full((HEIGHT, WIDTH, 3), (30, 60, 90), np.uint8)
    image[:, : 8 + index % 40] = (200, 120, 40)
    return image


def jpeg(index: int) -> bytes:
    return bytes(cv2.imencode('.jpg', pixels(index))[1])


def info(index: int, focal: float = FOCAL) -> Message:
    camera = CameraModel.pinhole(intrinsics(focal))
    return INFO_TOPIC, stamp(index), MAKE.camera_info(stamp(index), CAMERA, camera)


def image(index: int) -> Message:
    return IMAGE_TOPIC, stamp(index), MAKE.image(stamp(index), CAMERA, pixels(index))


def compressed(index: int, data: bytes | None = None) -> Message:
    data = jpeg(index) if data is None else data
    message = MAKE.compressed_image(stamp(index), CAMERA, data, 'bgr8; jpeg compressed bgr8')
    return JPEG_TOPIC, stamp(index), message


def camera_point(u: float, v: float, depth: float) -> tuple[float, float, float]:
    """Return the point of the camera's frame that is seen at (u, v) with this depth [m]."""
    return (u - 31.5) / FOCAL * depth, (v - 23.5) / FOCAL * depth, depth


def lidar_points(points: Sequence[tuple[float, float, float]]) -> NDArray[np.float32]:
    """Return (u, v, depth) as points of the LiDAR."""
    xyz = np.array([[*camera_point(*p), 1.0] for p in points]).reshape(-1, 4)
    return (xyz @ LIDAR_T_CAMERA.T)[:, :3].astype(np.float32)


# A wall 10 m away, below the horizon, where no filter doubts it.
WALL = [(float(u), float(v), 10.0) for u in range(4, 60, 7) for v in range(26, 46, 4)]


def cloud(
    index: float, xyz_N3: NDArray[np.float32] | None = None, frame: str = LIDAR, **fields: Any
) -> Message:
    xyz = lidar_points(WALL) if xyz_N3 is None else xyz_N3
    columns = {**dict(zip('xyz', xyz.T, strict=True)), **fields}
    return CLOUD_TOPIC, stamp(index), MAKE.point_cloud(stamp(index), frame, columns)


def static(edges: Sequence[tuple[str, str, Matrix]] | None = None) -> Message:
    given = [(BASE, CAMERA, BASE_T_CAMERA), (BASE, LIDAR, BASE_T_LIDAR)]
    edges = given if edges is None else list(edges)
    return STATIC_TOPIC, stamp(0), MAKE.transforms(stamp(0), edges)


def world_T_base(index: float, twist_6: Sequence[float]) -> Matrix:
    """Return the pose of a vehicle that keeps its twist [m/s, rad/s]."""
    return exp_se3(np.array(twist_6) * index * PERIOD_NS / 1e9)


def odometry(index: float, twist_6: Sequence[float]) -> Message:
    sample = OdometrySample(
        stamp_ns=stamp(index),
        frame_id='odom',
        child_frame_id=BASE,
        world_T_body_44=world_T_base(index, twist_6),
        twist=np.array(twist_6, np.float64),
    )
    return ODOMETRY_TOPIC, stamp(index), MAKE.odometry(sample, 0.1)


def write(path: Path, messages: Sequence[Message], storage: Any = 'mcap') -> Path:
    """Write the messages in the order given."""
    with BagWriter(path, storage) as writer:
        for topic, log_ns, message in messages:
            writer.write(topic, log_ns, message)
    return path


def drive(
    path: Path,
    count: int = 4,
    picture: Callable[[int], Message] = image,
    storage: str = 'mcap',
) -> Path:
    """Write a drive straight on at 10 m/s past a wall that keeps its distance."""
    twist = (10.0, 0, 0, 0, 0, 0)
    messages = [static(), odometry(-1, twist)]
    for index in range(count):
        messages += [odometry(index, twist), info(index), cloud(index), picture(index)]
    return write(path, [*messages, odometry(count, twist)], storage)


def made(out: Path, *bags: Path, val: Sequence[str] = (), **options: Any) -> Path:
    """Make a dataset of the bags, each named by its folder."""
    sources = [
        Source(name=bag.name, bag=bag, split='val' if bag.name in val else 'train') for bag in bags
    ]
    prepare(sources, out, PrepareOptions(**options), Progress(disable=True))
    return out


def run(*arguments: object) -> int:
    """Run the program with a command line."""
    return main([str(argument) for argument in arguments])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def manifest(dataset: Path) -> list[dict[str, Any]]:
    return lines(dataset / 'manifest.jsonl')


def dropped(dataset: Path) -> list[dict[str, Any]]:
    return lines(dataset / 'dropped.jsonl')


def depth(dataset: Path, line: dict[str, Any]) -> NDArray[np.float64]:
    """Return the stored depth [m], by the documented rule."""
    raw = cv2.imread(str(dataset / line['depth']), cv2.IMREAD_UNCHANGED)
    return raw / 256.0


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def with_and_without_lidar(root: Path) -> Path:
    """Make a dataset of a labelled drive, one for validation, and one without LiDAR."""
    labelled = drive(root / 'labelled', 4)
    held_out = drive(root / 'held_out', 2, compressed)
    messages = [message for i in (0, 1, 9) for message in (info(i), image(i))]
    blind = write(root / 'blind', messages)
    return made(root / 'out', labelled, held_out, blind, val=['held_out'])
