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

"""What a relative model needs besides the camera: LiDAR sweeps, and where the LiDAR sits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from depth_ros.bags.records import TF_MESSAGE
from depth_ros.core.config import AlignmentConfig
from depth_ros.core.message_fields import read_xyz, stamp_ns
from depth_ros.core.scale_alignment import Aligner, LidarAligner, make_aligner, Sweep
from depth_ros.errors import ConfigError
from depth_ros.nodes.message_classes import message_class
from depth_ros.ros.qos import camera_qos, latched_qos
from depth_ros.ros.static_transforms import StaticTransforms
from rclpy.qos import QoSProfile
from sensor_msgs.msg import PointCloud2

LIDAR, TF_STATIC = 'lidar', '/tf_static'


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One subscription."""

    kind: type
    topic: str
    callback: Callable[[Any], None]
    qos: QoSProfile


class AlignmentInput:
    """
    The aligner that the settings ask for, and the subscriptions that feed it.

    :param on_problem: takes the sentence of what could not be used.
    :raises ConfigError: /tf_static is needed and cannot be received here.
    """

    def __init__(self, config: AlignmentConfig, on_problem: Callable[[str], None]) -> None:
        self._config = config
        self._on_problem = on_problem
        self._transforms = StaticTransforms()
        self.aligner: Aligner | None = make_aligner(config, self._transforms.lookup)
        self._tf_class = self._needed_tf_class()

    def inputs(self) -> Iterator[Input]:
        """Yield what is to be subscribed to; the LiDAR first."""
        if not isinstance(self.aligner, LidarAligner):
            return
        yield Input(kind=PointCloud2, topic=LIDAR, callback=self._on_cloud, qos=camera_qos())
        if self._tf_class is not None:
            yield Input(
                kind=self._tf_class, topic=TF_STATIC, callback=self._on_tf, qos=latched_qos()
            )

    def _needed_tf_class(self) -> type | None:
        if self._config.method != 'lidar' or self._config.lidar_pose:
            return None
        found: type | None = message_class(TF_MESSAGE)
        if found is None:
            raise ConfigError(
                "alignment.lidar_pose = '': /tf_static cannot be received, because tf2_msgs is "
                "not installed: state the pose of the LiDAR, 'x y z qx qy qz qw' in the optical "
                'frame of the camera'
            )
        return found

    def _on_cloud(self, message: Any) -> None:
        assert isinstance(self.aligner, LidarAligner)
        self.aligner.add(
            Sweep(
                stamp_ns=stamp_ns(message.header),
                frame_id=str(message.header.frame_id),
                read=partial(read_xyz, message),
            )
        )

    def _on_tf(self, message: Any) -> None:
        for problem in self._transforms.add(message):
            self._on_problem(problem)
