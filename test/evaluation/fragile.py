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

"""A task whose worker dies until it is told to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
import os
import signal
from typing import Any

from depth_ros.evaluation.tasks import OnProgress


@dataclass(frozen=True, kw_only=True)
class FragileTask:
    """Kills the process that does it, unless it goes on where an earlier one has died."""

    name: str
    is_resumed: bool = False

    @property
    def cores(self) -> int:
        return 1

    def on_one_core(self) -> FragileTask:
        return self

    def resumed(self) -> FragileTask:
        return replace(self, is_resumed=True)

    def run(self, on_progress: OnProgress) -> dict[str, Any]:
        if not self.is_resumed:
            os.kill(os.getpid(), signal.SIGKILL)
        on_progress(self.name, 1, 1)
        return {'was_resumed': True}
