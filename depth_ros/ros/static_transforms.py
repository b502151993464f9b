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

"""The static frames that /tf_static has told so far; safe to use from several threads."""

from __future__ import annotations

from collections.abc import Iterator
import threading
from typing import Any

from depth_ros.core.geometry import Matrix, TransformTree
from depth_ros.core.message_fields import edge_of
from depth_ros.errors import FrameError


class StaticTransforms:
    """A tree that grows with every tf2_msgs/TFMessage."""

    def __init__(self) -> None:
        self._tree = TransformTree()
        self._lock = threading.Lock()

    def add(self, message: Any) -> Iterator[str]:
        """
        Take every edge of a message; yield why one cannot be taken.

        An edge that contradicts an earlier one is left out: what was measured with the first
        would not fit the second.
        """
        for stamped in message.transforms:
            try:
                with self._lock:
                    self._tree.add(*edge_of(stamped))
            except FrameError as error:
                yield f'/tf_static: {error}'

    def lookup(self, target: str, source: str) -> Matrix:
        """
        Return target_T_source.

        :raises FrameError: naming both frames when nothing connects them.
        """
        with self._lock:
            return self._tree.lookup(target, source)
