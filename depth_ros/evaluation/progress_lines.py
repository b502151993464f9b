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

"""What takes long, told in lines: for logs and pipes, where nothing can be overwritten."""

from __future__ import annotations

from collections.abc import Callable
import time

# As often as the node tells of an engine that is being built.
PERIOD_S = 5.0


class ProgressLines:
    """
    Writes the first sentence at once, and then one now and then.

    :param write: takes a line without its end.
    :param period_s: least time between two lines.
    """

    def __init__(self, write: Callable[[str], object], period_s: float = PERIOD_S) -> None:
        self._write = write
        self._period_s = period_s
        self._last: float | None = None

    def __call__(self, sentence: str) -> bool:
        """Take a sentence; True: go on."""
        now = time.monotonic()
        if self._last is None or now - self._last >= self._period_s:
            self._last = now
            self._write(sentence)
        return True
