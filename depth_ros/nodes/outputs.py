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

"""The node's publishers: each output is made only while somebody subscribes to it."""

from __future__ import annotations

from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.core.config import NodeConfig
from depth_ros.core.datatypes import DepthEstimate, OutputBuffers
from depth_ros.ros.convert import (
    camera_info_of,
    CloudBuffer,
    color_message,
    colorize,
    header_of,
    ImageBuffer,
    to_millimetres,
)
from depth_ros.ros.qos import output_qos, qos_overrides
import numpy as np
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

DEPTH = 'depth/image_rect'
DEPTH_INFO = 'depth/camera_info'
UNCERTAINTY = 'depth/uncertainty'
POINTS = 'points'
COLOR = 'depth/image_color'
TYPES: dict[str, type] = {
    DEPTH: Image,
    DEPTH_INFO: CameraInfo,
    UNCERTAINTY: Image,
    POINTS: PointCloud2,
    COLOR: Image,
}


class Outputs:
    """
    Make and publish the messages of each estimate; used by one thread at a time.

    The messages are reused: they belong to this class until ``publish`` has returned.
    """

    def __init__(self, node: Any, config: NodeConfig) -> None:
        self._node = node
        self._publishers = {
            topic: node.create_publisher(
                kind,
                topic,
                output_qos(config.queue_size),
                qos_overriding_options=qos_overrides(),
            )
            for topic, kind in TYPES.items()
        }
        self.configure(config)

    def configure(self, config: NodeConfig) -> None:
        """Take live settings into use, from the next frame on."""
        self._config = config
        self._depth = ImageBuffer(config.depth.encoding)
        self._metres = self._depth if config.depth.encoding == '32FC1' else ImageBuffer('32FC1')
        self._uncertainty = ImageBuffer('32FC1')
        self._color = ImageBuffer('bgr8')
        self._cloud = CloudBuffer(config.points)

    @property
    def config(self) -> NodeConfig:
        """Return the settings in use."""
        return self._config

    def destroy(self) -> None:
        """Take the topics back."""
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        self._publishers = {}

    def listeners(self) -> tuple[str, ...]:
        """Return the topics that somebody subscribes to."""
        pairs = self._publishers.items()
        return tuple(topic for topic, publisher in pairs if publisher.get_subscription_count())

    def buffers(self, intrinsics: Intrinsics, *, with_uncertainty: bool) -> OutputBuffers:
        """Return the memory of the messages of the next estimate."""
        sigma_HW = self._uncertainty.pixels(intrinsics) if with_uncertainty else None
        return OutputBuffers(depth_HW=self._metres.pixels(intrinsics), uncertainty_HW=sigma_HW)

    def publish(self, estimate: DepthEstimate, wanted: tuple[str, ...]) -> None:
        """Publish what is wanted; the estimate has been written into ``buffers``."""
        header = header_of(estimate)
        make = {
            DEPTH: self._depth_message,
            DEPTH_INFO: lambda e: camera_info_of(header, e.intrinsics),
            UNCERTAINTY: self._uncertainty_message,
            POINTS: lambda e: self._cloud.fill(header, e),
            COLOR: self._color_message,
        }
        for topic in wanted:
            message = make[topic](estimate)
            if message is not None:
                self._publishers[topic].publish(message)

    def _depth_message(self, estimate: DepthEstimate) -> Image:
        pixels = self._depth.pixels(estimate.intrinsics)
        if self._depth is not self._metres:
            to_millimetres(estimate.depth_HW, pixels)
        return _stamped(self._depth.message, estimate)

    def _uncertainty_message(self, estimate: DepthEstimate) -> Image | None:
        # A model without uncertainty publishes none, rather than an invented one.
        if estimate.uncertainty_HW is None:
            return None
        return _stamped(self._uncertainty.message, estimate)

    def _color_message(self, estimate: DepthEstimate) -> Image:
        depth = self._config.depth
        picture = colorize(estimate.depth_HW, min_m=depth.color_min_m, max_m=depth.color_max_m)
        return color_message(header_of(estimate), np.ascontiguousarray(picture), self._color)


def _stamped(message: Image, estimate: DepthEstimate) -> Image:
    message.header = header_of(estimate)
    return message
