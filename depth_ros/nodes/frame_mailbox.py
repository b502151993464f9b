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

"""A place for one item between two threads: the newest wins."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

Item = TypeVar('Item')


class Mailbox(Generic[Item]):
    """Hand the newest item from one thread to another; older ones are given back."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._item: Item | None = None
        self._is_closed = False

    def put(self, item: Item) -> Item | None:
        """Leave an item; return the one that it displaces, or the item itself when closed."""
        with self._condition:
            if self._is_closed:
                return item
            displaced, self._item = self._item, item
            self._condition.notify()
            return displaced

    def take(self) -> Item | None:
        """Wait for an item and return it; None once the mailbox is closed."""
        with self._condition:
            self._condition.wait_for(lambda: self._is_closed or self._item is not None)
            if self._is_closed:
                return None
            item, self._item = self._item, None
            return item

    def close(self) -> Item | None:
        """End every wait, and return the item that nobody took."""
        with self._condition:
            self._is_closed = True
            item, self._item = self._item, None
            self._condition.notify_all()
            return item
