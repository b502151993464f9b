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

"""Convert a KITTI drive to a bag: camera, camera_info, LiDAR, /tf_static and odometry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
from depth_ros.bags.kitti_drive import KittiDrive, LIDAR_FRAME
from depth_ros.bags.kitti_files import read_points
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.records import SkippedMessage
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.geometry import transform_points
from depth_ros.errors import BagError, ConfigError, FrameError
import numpy as np
from numpy.typing import NDArray

ImageStorage = Literal['raw', 'jpeg', 'png']
IMAGE_TOPICS = {
    'raw': '/camera/image_rect',
    'jpeg': '/camera/image_rect/compressed',
    'png': '/camera/image_rect/compressed',
}
CAMERA_INFO_TOPIC = '/camera/camera_info'
LIDAR_TOPIC = '/velodyne_points'
ODOMETRY_TOPIC = '/odometry'
STATIC_TRANSFORM_TOPIC = '/tf_static'
# How image_transport's compressed plugin names its formats.
COMPRESSED_FORMATS = {'jpeg': 'bgr8; jpeg compressed bgr8', 'png': 'bgr8; png compressed bgr8'}
# The drives' colours vary from pixel to pixel: halving their resolution, as JPEG usually does,
# costs 8 dB at quality 95. OpenCV before 4.7 knows no other way.
FULL_CHROMA = (
    (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    if hasattr(cv2, 'IMWRITE_JPEG_SAMPLING_FACTOR')
    else ()
)

Track = Callable[[list['PlannedMessage']], Iterable['PlannedMessage']]


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """
    What of a drive goes into the bag, and how.

    Fields:
        image: bgr8 pixels, JPEG without colour subsampling, or the PNG files of the drive as they
            are.
        jpeg_quality: 1 to 100.
        frames: frame numbers converted, first and one past the last; None: all.
        crop_margin: keep the LiDAR points that project into the image widened by this share of
            its size on every side; None: keep all.
        range_m: keep the LiDAR points between these distances from the LiDAR [m].

    """

    image: ImageStorage = 'raw'
    jpeg_quality: int = 95
    frames: tuple[int, int] | None = None
    crop_margin: float | None = None
    range_m: tuple[float, float] = (0.0, float('inf'))

    def __post_init__(self) -> None:
        _require(self.image in IMAGE_TOPICS, 'image', self.image, f'one of {list(IMAGE_TOPICS)}')
        _require(1 <= self.jpeg_quality <= 100, 'jpeg_quality', self.jpeg_quality, '1 to 100')
        frames, limits, margin = self.frames, self.range_m, self.crop_margin
        is_range = frames is None or 0 <= frames[0] < frames[1]
        _require(is_range, 'frames', frames, 'A:B with 0 <= A < B')
        _require(0 <= limits[0] < limits[1], 'points range', limits, '0 <= min < max, in metres')
        _require(margin is None or margin >= 0, 'points margin', margin, '0 or more')


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: must be {rule}')


@dataclass(frozen=True, kw_only=True)
class PlannedMessage:
    """One message of the bag to come; ``make`` reads its file, or raises FrameError."""

    stamp_ns: int
    topic: str
    make: Callable[[], Any]


@dataclass
class ConversionSummary:
    """
    What was written and what was not.

    ``missing`` counts the frames that the drive's time files list but whose data are absent or
    without a time, by topic; ``skipped`` are the files that are damaged.
    """

    written: dict[str, int] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    skipped: list[SkippedMessage] = field(default_factory=list)


class KittiConverter:
    """Plans the messages of a drive in the order of their stamps, then writes them."""

    def __init__(self, drive: KittiDrive, options: ConversionOptions, factory: MessageFactory):
        self._drive, self._options, self._factory = drive, options, factory
        self._image_topic = IMAGE_TOPICS[options.image]
        self.summary = ConversionSummary()
        self.plan = self._plan()

    def write_to(self, writer: BagWriter, track: Track = iter) -> ConversionSummary:
        """
        Write every planned message; damaged files are skipped and told in the summary.

        :param track: wraps the plan, for a progress display.
        :raises BagError: not one image could be written.

        """
        self._write_transforms(writer)
        for planned in track(self.plan):
            try:
                message = planned.make()
            except FrameError as error:
                self.summary.skipped.append(
                    SkippedMessage(
                        topic=planned.topic, stamp_ns=planned.stamp_ns, reason=str(error)
                    )
                )
                continue
            writer.write(planned.topic, planned.stamp_ns, message)
        self.summary.written = dict(writer.counts)
        if not writer.counts.get(self._image_topic):
            reasons = '; '.join(skipped.reason for skipped in self.summary.skipped[:3])
            raise BagError(f"no image of '{self._drive.path}' could be converted: {reasons}")
        return self.summary

    def _write_transforms(self, writer: BagWriter) -> None:
        stamp_ns = self.plan[0].stamp_ns
        message = self._factory.transforms(stamp_ns, self._drive.static_edges)
        writer.write(STATIC_TRANSFORM_TOPIC, stamp_ns, message)

    def _plan(self) -> list[PlannedMessage]:
        # The sort is stable: where stamps agree, a calibration comes before its image.
        plan = [*self._odometry(), *self._camera(), *self._lidar()]
        plan.sort(key=lambda planned: planned.stamp_ns)
        if not any(planned.topic == self._image_topic for planned in plan):
            raise BagError(
                f"no image of '{self._drive.path}' is within frames {self._options.frames}"
            )
        return plan

    def _camera(self) -> Iterator[PlannedMessage]:
        drive, camera = self._drive, CameraModel.pinhole(self._drive.intrinsics)
        frame = drive.camera_frame
        for stamp_ns, path in self._present(drive.image_stamps, drive.images, self._image_topic):

            def info(stamp_ns: int = stamp_ns) -> Any:
                return self._factory.camera_info(stamp_ns, frame, camera)

            def image(stamp_ns: int = stamp_ns, path: Path = path) -> Any:
                return self._image(stamp_ns, path)

            yield PlannedMessage(stamp_ns=stamp_ns, topic=CAMERA_INFO_TOPIC, make=info)
            yield PlannedMessage(stamp_ns=stamp_ns, topic=self._image_topic, make=image)

    def _lidar(self) -> Iterator[PlannedMessage]:
        drive = self._drive
        for stamp_ns, path in self._present(drive.sweep_stamps, drive.sweeps, LIDAR_TOPIC):

            def cloud(stamp_ns: int = stamp_ns, path: Path = path) -> Any:
                return self._cloud(stamp_ns, path)

            yield PlannedMessage(stamp_ns=stamp_ns, topic=LIDAR_TOPIC, make=cloud)

    def _odometry(self) -> Iterator[PlannedMessage]:
        source = self._drive.odometry
        # One frame more at either end, for interpolation at the stamps of the others.
        first, last = self._options.frames or (0, max(source.stamps, default=0))
        for index, stamp_ns in source.stamps.items():
            if first - 1 <= index <= last:

                def message(index: int = index) -> Any:
                    return self._factory.odometry(*source.read(index))

                yield PlannedMessage(stamp_ns=stamp_ns, topic=ODOMETRY_TOPIC, make=message)

    def _present(
        self, stamps: list[int | None], files: dict[int, Path], topic: str
    ) -> Iterator[tuple[int, Path]]:
        first, stop = self._options.frames or (0, len(stamps))
        for index in range(first, min(stop, len(stamps))):
            stamp_ns, path = stamps[index], files.get(index)
            if stamp_ns is None or path is None:
                self.summary.missing[topic] += 1
            else:
                yield stamp_ns, path

    def _image(self, stamp_ns: int, path: Path) -> Any:
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
        intrinsics, storage = self._drive.intrinsics, self._options.image
        if pixels is None:
            raise FrameError(f"'{path}' cannot be decoded")
        if pixels.shape[:2] != (intrinsics.height, intrinsics.width):
            raise FrameError(
                f"'{path}' has size {pixels.shape[1]}x{pixels.shape[0]}: the others have "
                f'{intrinsics.width}x{intrinsics.height}'
            )
        frame = self._drive.camera_frame
        if storage == 'raw':
            return self._factory.image(stamp_ns, frame, pixels)
        data = path.read_bytes() if storage == 'png' else self._jpeg(pixels)
        return self._factory.compressed_image(stamp_ns, frame, data, COMPRESSED_FORMATS[storage])

    def _jpeg(self, pixels: Any) -> bytes:
        settings = [cv2.IMWRITE_JPEG_QUALITY, self._options.jpeg_quality, *FULL_CHROMA]
        return bytes(cv2.imencode('.jpg', pixels, settings)[1])

    def _cloud(self, stamp_ns: int, path: Path) -> Any:
        points_N4 = read_points(path)
        kept = points_N4[self._is_kept(points_N4[:, :3])]
        columns = dict(zip(('x', 'y', 'z', 'intensity'), kept.T, strict=True))
        return self._factory.point_cloud(stamp_ns, LIDAR_FRAME, columns)

    def _is_kept(self, xyz_N3: NDArray[np.float32]) -> NDArray[np.bool_]:
        low, high = self._options.range_m
        distance = np.linalg.norm(xyz_N3, axis=1)
        kept: NDArray[np.bool_] = (distance >= low) & (distance <= high)
        if self._options.crop_margin is not None:
            kept &= self._is_visible(xyz_N3, self._options.crop_margin)
        return kept

    def _is_visible(self, xyz_N3: NDArray[np.float32], margin: float) -> NDArray[np.bool_]:
        i = self._drive.intrinsics
        x, y, z = transform_points(self._drive.camera_T_lidar, xyz_N3).T
        with np.errstate(divide='ignore', invalid='ignore'):
            u, v = i.fx * x / z + i.cx, i.fy * y / z + i.cy
        in_columns = (u >= -margin * i.width) & (u <= (1 + margin) * i.width)
        in_rows = (v >= -margin * i.height) & (v <= (1 + margin) * i.height)
        visible: NDArray[np.bool_] = (z > 0) & in_columns & in_rows
        return visible
