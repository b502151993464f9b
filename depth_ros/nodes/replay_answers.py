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

"""Wait until a node has answered an image: for the lock-step replay."""

from __future__ import annotations

import time
from typing import Any

from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.nodes.message_classes import begins_with_header, message_class, topic_type
from depth_ros.nodes.replay_qos import matching_qos
from depth_ros.ros.shutdown import SPIN_TIMEOUT_S, StopRequest
from rclpy.executors import SingleThreadedExecutor


class Answers:
    """Listens to a topic and remembers the stamp of its last message."""

    def __init__(self, node: Any, topic: str) -> None:
        self._node = node
        self.topic = node.resolve_topic_name(topic)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        self._subscription: Any | None = None
        self._newest_ns: int | None = None
        self._last_ns: int | None = None

    def connect(self) -> bool:
        """
        Subscribe as soon as somebody publishes the topic; True once that is done.

        :raises ConfigError: its messages carry no stamp, or their type is not installed.
        """
        if self._subscription is not None:
            return True
        msgtype = topic_type(self._node, self.topic)
        if msgtype is None:
            return False
        message_type = message_class(msgtype)
        if message_type is None or not begins_with_header(message_type):
            raise ConfigError(
                f"--wait-for '{self.topic}' is of type '{msgtype}': must be an installed type "
                'that begins with a header'
            )
        self._subscription = self._node.create_subscription(
            message_type,
            self.topic,
            self._on_message,
            matching_qos(self._node, self.topic),
            raw=True,
        )
        return True

    def wait_for(self, stamp_ns: int, timeout_s: float, stop: StopRequest) -> bool:
        """
        Wait until a message with this stamp has come; False after a stop.

        :raises DepthRosError: none came within the timeout.
        """
        deadline = time.monotonic() + timeout_s
        # In a looped replay the same stamps come again.
        self._newest_ns = None
        while self._newest_ns != stamp_ns:
            if stop.is_set:
                return False
            if time.monotonic() > deadline:
                last = 'none' if self._last_ns is None else f'{self._last_ns} ns'
                raise DepthRosError(
                    f"no message with stamp {stamp_ns} ns on '{self.topic}' within "
                    f'{timeout_s:g} s (last stamp there: {last}): does the node drop frames?'
                )
            self._executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
        return True

    def close(self) -> None:
        """Stop listening."""
        self._executor.shutdown()

    def _on_message(self, data: bytes) -> None:
        self._newest_ns = self._last_ns = header_stamp_ns(data)
