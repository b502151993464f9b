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

"""Write topics to a bag as they come: a recorder for installations without rosbag2."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import time
from typing import Any

from depth_ros.bags.writer import BagWriter
from depth_ros.errors import ConfigError
from depth_ros.nodes.message_classes import message_class, topic_type
from depth_ros.nodes.replay_qos import matching_qos
from depth_ros.ros.shutdown import SPIN_TIMEOUT_S, StopRequest
import rclpy
from rclpy.executors import SingleThreadedExecutor

# After a stop, messages that are still coming in are stored until none has come for this long.
DRAIN_QUIET_S = 0.2
DRAIN_LIMIT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecorderOptions:
    """
    What is recorded, and until when.

    Fields:
        topics: names, resolved as ROS does; each is subscribed to when somebody publishes it.
        stop_counts: end when each of these topics has so many messages; empty: no such end.
        idle_s: end when nothing has come for so many seconds after the first message; None: no
            such end.

    """

    topics: tuple[str, ...]
    stop_counts: Mapping[str, int] = field(default_factory=dict)
    idle_s: float | None = None

    def __post_init__(self) -> None:
        if not self.topics:
            raise ConfigError('no topic is given: name those to record')
        for topic, count in self.stop_counts.items():
            if topic not in self.topics or count < 1:
                raise ConfigError(
                    f'stop after {count} of {topic!r}: must be 1 or more of a recorded topic'
                )
        if self.idle_s is not None and self.idle_s <= 0:
            raise ConfigError(f'idle time {self.idle_s!r}: must be positive')


class TopicRecorder:
    """Subscribes to topics in a node of its own and writes what comes, as the bytes that came."""

    def __init__(self, writer: BagWriter, options: RecorderOptions) -> None:
        self._writer, self._options = writer, options
        self._node = rclpy.create_node('topic_recorder')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._waiting = {topic: self._node.resolve_topic_name(topic) for topic in options.topics}
        self._names = dict(self._waiting)
        self._last_message_s: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Messages stored of each topic that was asked for."""
        return {topic: self._writer.counts.get(name, 0) for topic, name in self._names.items()}

    def run(self, stop: StopRequest) -> None:
        """
        Record until the stop or the end that the options name.

        :raises BagError: the disk is full.
        :raises ConfigError: a message type is not installed.
        """
        while not stop.is_set and not self._is_finished():
            self._subscribe_to_new()
            self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
        self._drain()

    def close(self) -> None:
        """Take the node out of the graph."""
        self._executor.shutdown()
        self._node.destroy_node()

    def _subscribe_to_new(self) -> None:
        for topic, name in list(self._waiting.items()):
            msgtype = topic_type(self._node, name)
            # A topic that is known from a subscriber alone does not tell what it is offered with.
            if msgtype is None or not self._node.get_publishers_info_by_topic(name):
                continue
            message_type = message_class(msgtype)
            if message_type is None:
                raise ConfigError(f"topic '{name}': message type '{msgtype}' is not installed")
            self._writer.add_topic(name, msgtype)
            self._node.create_subscription(
                message_type,
                name,
                self._storing(name, msgtype),
                matching_qos(self._node, name),
                raw=True,
            )
            del self._waiting[topic]
            print(f'recording {name} ({msgtype})', flush=True)

    def _storing(self, name: str, msgtype: str) -> Any:
        def store(data: bytes) -> None:
            self._writer.write_raw(name, msgtype, time.time_ns(), data)
            self._last_message_s = time.monotonic()

        return store

    def _is_finished(self) -> bool:
        limits, idle_s = self._options.stop_counts, self._options.idle_s
        counts = self.counts
        if limits and all(counts[topic] >= limit for topic, limit in limits.items()):
            return True
        if idle_s is None or self._last_message_s is None:
            return False
        return time.monotonic() - self._last_message_s > idle_s

    def _drain(self) -> None:
        begun = quiet_since = time.monotonic()
        while time.monotonic() - begun < DRAIN_LIMIT_S:
            before = sum(self._writer.counts.values())
            self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
            if sum(self._writer.counts.values()) != before:
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > DRAIN_QUIET_S:
                return
