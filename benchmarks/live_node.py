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
A real node in its own process, a camera and a listener beside it: for the node's benchmarks.

The listener takes serialised messages (their stamp is in the first bytes), because a subscriber
that unpacks clouds in Python would take the processor time that it is to measure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import struct
import tempfile
import time
from typing import Any

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.streams import frames
from depth_ros.core.camera import CameraModel
from depth_ros.core.datatypes import Frame
from depth_ros.evaluation.processes import Program
from depth_ros.nodes.outputs import TYPES
from depth_ros.ros.convert import camera_info_of
from depth_ros.ros.qos import camera_qos, load_fastdds_profile, output_qos
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / 'demo/kitti_0005'
NS_PER_S = 1_000_000_000
# Encapsulation, then the stamp as the first field of the header.
STAMP_LAYOUT, STAMP_OFFSET = '<iI', 4
NODE = 'depth_ros.nodes.mono_depth_node'
START_S = 60.0
DOMAINS = 100


def clip_frames(bag: Path) -> list[Frame]:
    """Return the frames of a bag, decoded."""
    with BagReader(bag) as reader:
        image = resolve_topic(reader, 'image', None)
        info = resolve_topic(reader, 'camera_info', None)
        return list(frames(reader, image, info, rectify=True))


class Rig:
    """Camera and listener of one node."""

    def __init__(self, clip: Sequence[Frame], topics: Sequence[str]) -> None:
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('benchmark_camera')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._images = self._node.create_publisher(Image, 'image', camera_qos())
        self._infos = self._node.create_publisher(CameraInfo, 'camera_info', camera_qos())
        self._messages = [_message(frame) for frame in clip]
        self._cameras: list[CameraModel] = [frame.camera for frame in clip]
        self.received: dict[str, dict[int, int]] = {topic: {} for topic in topics}
        self.node_values: dict[str, str] = {}
        for topic in topics:
            self._node.create_subscription(
                TYPES[topic],
                topic,
                lambda data, seen=self.received[topic]: _note(data, seen),
                output_qos(5),
                raw=True,
            )
        self._node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 5)

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown()

    def warm_up(self) -> None:
        """Send frames until every output has come."""
        stop_at = time.monotonic() + START_S
        while not all(self.received.values()):
            if time.monotonic() > stop_at:
                raise TimeoutError(
                    f'no answer on {[t for t, s in self.received.items() if not s]}'
                )
            self.send(0)
            self.spin_until(time.monotonic() + 0.2)

    def run(self, rate_hz: float, seconds: float) -> list[int]:
        """Loop the clip at a rate; return the stamps [ns]."""
        stamps: list[int] = []
        begin = time.monotonic()
        for number in range(round(rate_hz * seconds)):
            self.spin_until(begin + number / rate_hz)
            stamps.append(self.send(number))
        self.spin_until(time.monotonic() + 1.0)
        return stamps

    def send(self, number: int) -> int:
        """Publish one frame of the clip, stamped with the time of publishing."""
        message = self._messages[number % len(self._messages)]
        now_ns = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, NS_PER_S)
        camera = self._cameras[number % len(self._cameras)]
        self._infos.publish(camera_info_of(message.header, camera.intrinsics))
        self._images.publish(message)
        return now_ns

    def spin_until(self, stop_at: float) -> None:
        """Take messages until a moment of the monotonic clock."""
        while (left := stop_at - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.node_values = {
            pair.key: pair.value for status in message.status for pair in status.values
        }


def _note(data: bytes, seen: dict[int, int]) -> None:
    now_ns = time.time_ns()
    seconds, nanoseconds = struct.unpack_from(STAMP_LAYOUT, data, STAMP_OFFSET)
    seen[seconds * NS_PER_S + nanoseconds] = now_ns


def _message(frame: Frame) -> Image:
    height, width = frame.image_HW3.shape[:2]
    message = Image(height=height, width=width, step=3 * width, encoding='bgr8')
    message.header = Header(frame_id=frame.frame_id)
    data = array('B')
    data.frombytes(np.ascontiguousarray(frame.image_HW3).tobytes())
    message.data = data
    return message


@contextmanager
def live_node(
    parameters: dict[str, Any], clip: Sequence[Frame], topics: Sequence[str]
) -> Iterator[tuple[Program, Rig]]:
    """Yield a node that answers on these topics, and its camera."""
    os.environ['ROS_DOMAIN_ID'] = str(1 + os.getpid() % DOMAINS)
    pairs = [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, 'node.log')
        with Program(NODE, ['--ros-args', *pairs], log, {}) as node:
            load_fastdds_profile()
            rig = Rig(clip, topics)
            try:
                rig.warm_up()
                yield node, rig
                node.check_running()
            finally:
                rig.close()
            node.stop()
