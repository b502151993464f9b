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
Count messages that a publisher has sent and the middleware has not handed over.

A best-effort queue of one message forgets what is not taken in time, without a word. Publishers
number their messages, and rclpy of Kilted and later tells number and publisher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.subscription import Subscription

# A larger step is no loss but a publisher that has begun anew.
MAX_GAP = 1000

Callback = Callable[[Any, Mapping[str, Any]], None]


def with_info(callback: Callback) -> Callable[..., None]:
    """Return a subscription callback; rclpy of Humble tells nothing beside the message."""
    if hasattr(Subscription, 'CallbackType'):
        return callback
    return lambda message: callback(message, {})


class SequenceGaps:
    """Follows the numbers of each publisher of one topic."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}

    def missed(self, info: Mapping[str, Any]) -> int:
        """
        Return how many messages of this publisher are missing just before this one.

        :param info: what rclpy gives to a callback of two arguments. 0 where it does not tell
            number and publisher (Jazzy and older).
        """
        number, publisher = info.get('publication_sequence_number'), info.get('publisher_gid')
        if number is None or publisher is None:
            return 0
        identity = bytes(publisher['data'])
        last = self._last.get(identity)
        self._last[identity] = number
        if last is None or not last < number <= last + MAX_GAP:
            return 0
        return int(number) - last - 1
