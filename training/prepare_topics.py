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

"""Which topics of a bag a sequence is made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import IMAGE, ODOMETRY, POINT_CLOUD
from depth_ros.errors import BagError
from training.prepare_options import PrepareOptions

TWIST_TYPES = (
    'geometry_msgs/msg/TwistStamped',
    'geometry_msgs/msg/TwistWithCovarianceStamped',
)
OBJECT_TYPES = {'mask': IMAGE, 'boxes': 'vision_msgs/msg/Detection2DArray'}


@dataclass(frozen=True, kw_only=True)
class SequenceTopics:
    """What a bag is read from; None: it has none, or it is not wanted."""

    image: str
    camera_info: str
    lidar: str | None
    odometry: str | None
    twist: str | None
    objects: str | None
    right: str | None
    right_camera_info: str | None

    def stored(self) -> dict[str, str | None]:
        """Return the topics as they stand in dataset.json."""
        return asdict(self)


def topics_of(reader: BagReader, options: PrepareOptions) -> SequenceTopics:
    """
    Return the topics to use.

    :raises BagError: there is no image, or several candidates and none was chosen.
    """
    objects = _objects_topic(reader, options)
    right = _right_topic(reader, options)
    known = [topic for topic in (objects, right) if topic is not None]
    image = resolve_topic(reader, 'image', options.image_topic, other_than=known)
    if image == right:
        raise BagError(f"--right-topic '{right}' is the left image too: name two topics")
    is_moving = options.motion == 'on' or options.odometry_topic is not None
    has_odometry = is_moving or _has(reader, ODOMETRY)
    has_lidar = options.lidar_topic is not None or _has(reader, POINT_CLOUD)
    info = resolve_topic(reader, 'camera_info', options.camera_info_topic, near=image)
    lidar, poses = None, None
    if has_lidar and options.use_lidar:
        lidar = resolve_topic(reader, 'lidar', options.lidar_topic)
    if has_odometry:
        poses = resolve_topic(reader, 'odometry', options.odometry_topic)
    elif options.scanner is not None and lidar is not None:
        raise BagError(
            f"bag '{reader.path}' has no odometry: --sweep-time-ms would have no effect, leave "
            'it out'
        )
    twist = twist_topic(reader, options.twist_topic)
    right_info = None
    if right is not None:
        given = options.right_camera_info_topic
        right_info = resolve_topic(reader, 'camera_info', given, near=right)
        if right_info == info:
            raise BagError(
                f"camera_info '{info}' is that of both cameras of the pair: name the right one's "
                'with --right-camera-info-topic'
            )
    return SequenceTopics(
        image=image,
        camera_info=info,
        lidar=lidar,
        odometry=poses,
        twist=twist,
        objects=objects,
        right=right,
        right_camera_info=right_info,
    )


def _right_topic(reader: BagReader, options: PrepareOptions) -> str | None:
    """Return the right image's topic where this bag has it: of several bags some may lack it."""
    given = options.right_topic
    if given is None or all(info.name != given for info in reader.topics):
        return None
    return resolve_topic(reader, 'image', given)


def _objects_topic(reader: BagReader, options: PrepareOptions) -> str | None:
    """Return the topic of objects where this bag has it: of several bags some may lack it."""
    source = options.objects
    if source is None or all(info.name != source.topic for info in reader.topics):
        return None
    found, wanted = reader.topic(source.topic).msgtype, OBJECT_TYPES[source.kind]
    if found != wanted:
        raise BagError(
            f"--{source.kind}-topic '{source.topic}' is of type '{found}', not '{wanted}'"
        )
    return source.topic


def _has(reader: BagReader, msgtype: str) -> bool:
    return any(info.msgtype == msgtype and info.count for info in reader.topics)


def twist_topic(reader: BagReader, given: str | None) -> str | None:
    """
    Return the topic of stamped twists; None: the bag has none.

    :raises BagError: there are several, or the given one is absent or of another type.
    """
    if given is not None and reader.topic(given).msgtype not in TWIST_TYPES:
        raise BagError(
            f"--twist-topic '{given}' is of type '{reader.topic(given).msgtype}': must be "
            f'{" or ".join(TWIST_TYPES)}'
        )
    if given is not None:
        return given
    found = [i.name for i in reader.topics if i.msgtype in TWIST_TYPES and i.count]
    if len(found) > 1:
        raise BagError(
            f"bag '{reader.path}' has {len(found)} twist topics: {', '.join(found)}; choose one "
            'with --twist-topic'
        )
    return found[0] if found else None
