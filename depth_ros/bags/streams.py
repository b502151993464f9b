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
Typed streams of a bag: camera frames, LiDAR sweeps, odometry, depth images, static frames.

Each holds a handful of messages at a time, however long the bag is. A message that cannot be
used goes to ``on_skip`` with its stamp and the reason; without ``on_skip`` it ends the stream
with a BagError.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.bags.depth_fields import decode_depth, point_time_offsets
from depth_ros.bags.reader import BagReader, report_skip, resolve_topic
from depth_ros.bags.records import (
    COMPRESSED_IMAGE,
    DepthImage,
    IMAGE,
    LidarSweep,
    OdometrySample,
    OnSkip,
    RawMessage,
    TF_MESSAGE,
)
from depth_ros.core.camera import CameraModel
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.geometry import Matrix, transform_from, TransformTree
from depth_ros.core.message_fields import (
    camera_from_info,
    decode_compressed_image,
    decode_image,
    edge_of,
    read_xyz,
    shared_frame_id,
    stamp_ns,
)
from depth_ros.errors import BagError, FrameError
import numpy as np

IMAGE_DECODERS: dict[str, Callable[[Any], ImageU8]] = {
    IMAGE: decode_image,
    COMPRESSED_IMAGE: decode_compressed_image,
}
STATIC_TRANSFORMS = 'tf_static'
# A camera_info of the same moment may be recorded after its image, by less than this [ns].
PAIRING_WAIT_NS = 200_000_000
# ... and so many images at most wait for theirs in memory.
MAX_WAITING_IMAGES = 16
KEPT_CAMERAS = 64

Record = TypeVar('Record')


def frames(
    reader: BagReader,
    image_topic: str,
    camera_info_topic: str,
    *,
    rectify: bool,
    on_skip: OnSkip | None = None,
) -> Iterator[Frame]:
    """
    Yield every image with its calibration, in the order of recording.

    An image takes the newest camera_info stamped at or before it, and the first one of the bag
    when all are later.

    :param rectify: False when the topic carries rectified images already.
    :raises BagError: there is no readable camera_info, or an image cannot be used and nobody
        listens.
    """
    resolve_topic(reader, 'image', image_topic)
    resolve_topic(reader, 'camera_info', camera_info_topic)
    cameras = _CameraHistory(reader, camera_info_topic, rectify=rectify, on_skip=on_skip)
    waiting: deque[RawMessage] = deque()
    for raw in reader.raw_messages([image_topic, camera_info_topic]):
        if raw.topic == camera_info_topic:
            cameras.add(raw)
        else:
            waiting.append(raw)
        while waiting and _need_not_wait(waiting, cameras, raw.log_ns):
            yield from _paired(reader, waiting.popleft(), cameras, on_skip)
    while waiting:
        yield from _paired(reader, waiting.popleft(), cameras, on_skip)


def _need_not_wait(waiting: deque[RawMessage], cameras: _CameraHistory, now_ns: int) -> bool:
    is_overdue = now_ns - waiting[0].log_ns > PAIRING_WAIT_NS
    if is_overdue or len(waiting) > MAX_WAITING_IMAGES:
        return True
    stamp = header_stamp_ns(waiting[0].data)
    return stamp is None or cameras.newest_ns >= stamp


def _paired(
    reader: BagReader, raw: RawMessage, cameras: _CameraHistory, on_skip: OnSkip | None
) -> Iterator[Frame]:
    def make(message: Any) -> Frame:
        stamp = stamp_ns(message.header)
        known = cameras.at(stamp)
        return _frame(message, IMAGE_DECODERS[raw.msgtype](message), stamp, known, cameras.topic)

    return _made(reader, raw, make, on_skip)


def _frame(message: Any, image_HW3: ImageU8, stamp: int, known: _KnownCamera, topic: str) -> Frame:
    height, width = image_HW3.shape[:2]
    if (width, height) != known.camera.image_size:
        w, h = known.camera.image_size
        raise FrameError(
            f"image has size {width}x{height}: camera_info of '{topic}' is for {w}x{h}"
        )
    return Frame(
        image_HW3=image_HW3,
        stamp_ns=stamp,
        frame_id=shared_frame_id(str(message.header.frame_id), known.frame_id, topic),
        camera=known.camera,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnownCamera:
    stamp_ns: int
    frame_id: str
    camera: CameraModel


class _CameraHistory:
    """The last calibrations of a camera_info topic, to be asked by stamp."""

    def __init__(
        self, reader: BagReader, topic: str, *, rectify: bool, on_skip: OnSkip | None
    ) -> None:
        self.topic = topic
        self._reader, self._rectify, self._on_skip = reader, rectify, on_skip
        self._known: deque[_KnownCamera] = deque([self._first()], maxlen=KEPT_CAMERAS)

    @property
    def newest_ns(self) -> int:
        return max(known.stamp_ns for known in self._known)

    def add(self, raw: RawMessage) -> None:
        for known in _made(self._reader, raw, self._make, self._on_skip):
            self._known.append(known)

    def at(self, stamp: int) -> _KnownCamera:
        """Return the newest calibration stamped at or before; the first one if all are later."""
        earlier = [known for known in self._known if known.stamp_ns <= stamp]
        if earlier:
            return max(earlier, key=lambda known: known.stamp_ns)
        return min(self._known, key=lambda known: known.stamp_ns)

    def _first(self) -> _KnownCamera:
        reasons: list[str] = []
        for raw in self._reader.raw_messages([self.topic]):
            # What is skipped here is met again, and told, when the stream comes to it.
            for known in _made(
                self._reader, raw, self._make, lambda skipped: reasons.append(skipped.reason)
            ):
                return known
        why = reasons[0] if reasons else 'it has no messages'
        raise BagError(
            f"bag '{self._reader.path}': topic '{self.topic}' has no usable camera_info: {why}"
        )

    def _make(self, message: Any) -> _KnownCamera:
        return _KnownCamera(
            stamp_ns=stamp_ns(message.header),
            frame_id=str(message.header.frame_id),
            camera=camera_from_info(message, is_rectified_image=not self._rectify),
        )


def sweeps(
    reader: BagReader, lidar_topic: str, *, on_skip: OnSkip | None = None
) -> Iterator[LidarSweep]:
    """Yield every point cloud of a LiDAR in the order of recording."""

    def make(message: Any) -> LidarSweep:
        stamp = stamp_ns(message.header)
        return LidarSweep(
            stamp_ns=stamp,
            frame_id=str(message.header.frame_id),
            xyz_N3=read_xyz(message),
            time_offset_ns_N=point_time_offsets(message, stamp),
        )

    return _stream(reader, lidar_topic, make, on_skip)


def odometry(
    reader: BagReader, topic: str, *, on_skip: OnSkip | None = None
) -> Iterator[OdometrySample]:
    """Yield every odometry message in the order of recording."""
    return _stream(reader, topic, _odometry_sample, on_skip)


def depth_images(
    reader: BagReader, topic: str, *, on_skip: OnSkip | None = None
) -> Iterator[DepthImage]:
    """Yield recorded depth or uncertainty images (32FC1 metres, 16UC1 millimetres)."""

    def make(message: Any) -> DepthImage:
        return DepthImage(
            stamp_ns=stamp_ns(message.header),
            frame_id=str(message.header.frame_id),
            depth_HW=decode_depth(message),
        )

    return _stream(reader, topic, make, on_skip)


def static_transforms(reader: BagReader) -> TransformTree:
    """
    Return the static frames of a bag, from every TFMessage topic named tf_static.

    :raises BagError: there is no such topic or message, or transforms contradict each other.
    """
    topics = [
        info.name
        for info in reader.topics
        if info.msgtype == TF_MESSAGE and info.name.endswith(STATIC_TRANSFORMS) and info.count
    ]
    if not topics:
        raise BagError(
            f"bag '{reader.path}' has no /tf_static: record it together with the sensors"
        )
    tree = TransformTree()
    for item in reader.messages(topics):
        for stamped in item.message.transforms:
            _add_edge(tree, stamped, item.topic)
    return tree


def _add_edge(tree: TransformTree, stamped: Any, topic: str) -> None:
    try:
        tree.add(*edge_of(stamped))
    except FrameError as error:
        raise BagError(f"topic '{topic}': {error}") from error


def _odometry_sample(message: Any) -> OdometrySample:
    pose, twist = message.pose.pose, message.twist.twist
    values = [getattr(v, axis) for v in (twist.linear, twist.angular) for axis in 'xyz']
    return OdometrySample(
        stamp_ns=stamp_ns(message.header),
        frame_id=str(message.header.frame_id),
        child_frame_id=str(message.child_frame_id),
        world_T_body_44=_pose_44(pose.position, pose.orientation),
        twist=np.array(values, np.float64),
    )


def _pose_44(position: Any, orientation: Any) -> Matrix:
    quaternion = [orientation.x, orientation.y, orientation.z, orientation.w]
    return transform_from(quaternion, [position.x, position.y, position.z])


def _stream(
    reader: BagReader, topic: str, make: Callable[[Any], Record], on_skip: OnSkip | None
) -> Iterator[Record]:
    for raw in reader.raw_messages([topic]):
        yield from _made(reader, raw, make, on_skip)


def _made(
    reader: BagReader, raw: RawMessage, make: Callable[[Any], Record], on_skip: OnSkip | None
) -> Iterator[Record]:
    """Yield the record of one message, or nothing after telling why."""
    stamp = header_stamp_ns(raw.data)
    try:
        record = make(reader.decode(raw))
    except FrameError as error:
        report_skip(on_skip, raw.topic, raw.log_ns if stamp is None else stamp, error)
        return
    yield record
