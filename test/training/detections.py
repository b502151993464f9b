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

"""Bags with boxes, as both layouts that vision_msgs has had write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from test.training import drives
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

BOXES_TOPIC = '/detections'
HYPOTHESES = {
    'new': 'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose',
    'old': 'string id\nfloat64 score\ngeometry_msgs/PoseWithCovariance pose',
}
CENTRES = {'new': 'vision_msgs/Pose2D', 'old': 'geometry_msgs/Pose2D'}
DEFINITIONS = {
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections',
    'Detection2D': 'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
    'vision_msgs/BoundingBox2D bbox\nstring id',
}


def vision_store(layout: str) -> Typestore:
    """Return message types with one of the two layouts that vision_msgs has had."""
    texts = {
        **DEFINITIONS,
        'ObjectHypothesisWithPose': HYPOTHESES[layout],
        'BoundingBox2D': f'{CENTRES[layout]} center\nfloat64 size_x\nfloat64 size_y',
    }
    store = get_typestore(Stores.ROS2_HUMBLE)
    for name, text in texts.items():
        store.register(get_types_from_msg(text, f'vision_msgs/msg/{name}'))
    return store


class Detections:
    """Makes and writes Detection2DArray messages of one layout."""

    def __init__(self, layout: str) -> None:
        self.layout, self.store = layout, vision_store(layout)

    def make(self, name: str, **values: Any) -> Any:
        return self.store.types[name if '/' in name else f'vision_msgs/msg/{name}'](**values)

    def _header(self, stamp_ns: int) -> Any:
        sec, nanosec = divmod(stamp_ns, 10**9)
        stamp = self.make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)
        return self.make('std_msgs/msg/Header', stamp=stamp, frame_id=drives.CAMERA)

    def _pose(self) -> Any:
        point = self.make('geometry_msgs/msg/Point', x=0.0, y=0.0, z=0.0)
        turn = self.make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
        pose = self.make('geometry_msgs/msg/Pose', position=point, orientation=turn)
        return self.make(
            'geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=np.zeros(36)
        )

    def _result(self, class_id: str, score: float) -> Any:
        if self.layout == 'old':
            known = {'id': class_id, 'score': score}
        else:
            known = {'hypothesis': self.make('ObjectHypothesis', class_id=class_id, score=score)}
        return self.make('ObjectHypothesisWithPose', pose=self._pose(), **known)

    def _centre(self, x: float, y: float, theta: float) -> Any:
        if self.layout == 'old':
            return self.make('geometry_msgs/msg/Pose2D', x=x, y=y, theta=theta)
        return self.make('Pose2D', position=self.make('Point2D', x=x, y=y), theta=theta)

    def array(self, index: float, *boxes: tuple[Sequence[float], dict[str, float]]) -> Any:
        """Return boxes of (x, y, width, height, theta) with scores by class."""
        header = self._header(drives.stamp(index))
        found = [
            self.make(
                'Detection2D',
                header=header,
                results=[self._result(*known) for known in classes.items()],
                bbox=self.make(
                    'BoundingBox2D',
                    center=self._centre(box[0], box[1], box[4]),
                    size_x=float(box[2]),
                    size_y=float(box[3]),
                ),
                id='',
            )
            for box, classes in boxes
        ]
        return self.make('Detection2DArray', header=header, detections=found)

    def write(self, path: Path, *arrays: Any) -> Path:
        """Write a bag of two frames that holds the definitions of its own messages."""
        messages = [drives.static(), *(m for i in (0, 1) for m in (drives.info(i),))]
        messages += [drives.image(i) for i in (0, 1)]
        messages += [
            (BOXES_TOPIC, a.header.stamp.sec * 10**9 + a.header.stamp.nanosec, a) for a in arrays
        ]
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            types = {topic: message.__msgtype__ for topic, _, message in messages}
            connections = {
                topic: writer.add_connection(topic, msgtype, typestore=self.store)
                for topic, msgtype in types.items()
            }
            for topic, at, message in sorted(messages, key=lambda m: m[1]):
                data = self.store.serialize_cdr(message, message.__msgtype__)
                writer.write(connections[topic], at, data)
        return path
