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

"""From the nested phases of TensorRT's builder to one percentage, and back: 'stop'."""

from __future__ import annotations

from dataclasses import dataclass
import threading
import time
from typing import Any, cast, TYPE_CHECKING

from depth_ros.engines.engine_cache import Progress
from depth_ros.engines.tensorrt_library import Api

if TYPE_CHECKING:
    import tensorrt as trt

# Often enough to be seen moving, seldom enough to be read in a log.
TELL_PERIOD_S = 1.0


@dataclass(slots=True)
class _Phase:
    parent: str
    steps: int
    done: int = 0


class BuildProgress:
    """
    Follows one build. The builder calls it from several threads.

    :param progress: told 'LABEL: 42 % (phase)' about once a second; False cancels the build.
    """

    def __init__(self, label: str, progress: Progress) -> None:
        self._label = label
        self._progress = progress
        self._phases: dict[str, _Phase] = {}
        self._share = 0.0
        self._told_s = 0.0
        self._lock = threading.Lock()
        self.is_cancelled = False
        self.error: Exception | None = None

    @property
    def share(self) -> float:
        """Return how much is done, 0 to 1; it never goes back."""
        return self._share

    def cancel(self) -> None:
        """Stop building at the next step."""
        self.is_cancelled = True

    def start(self, name: str, parent: str, steps: int) -> None:
        """Note that a phase has begun inside another one (or inside none)."""
        with self._lock:
            self._phases[name] = _Phase(parent or '', max(1, steps))

    def finish(self, name: str) -> None:
        """Note that a phase has ended, whether or not all of its steps were taken."""
        with self._lock:
            self._phases.pop(name, None)

    def step(self, name: str, index: int) -> bool:
        """Note that step ``index`` of a phase is done; False: stop building."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = index + 1
            self._share = max(self._share, self._fraction())
            now_s = time.monotonic()
            if now_s - self._told_s >= TELL_PERIOD_S and not self.is_cancelled:
                self._told_s = now_s
                self.is_cancelled = not self._tell(name)
        return not self.is_cancelled

    def _tell(self, name: str) -> bool:
        try:
            return self._progress(f'{self._label}: {100 * self._share:.0f} % ({name})')
        except Exception as error:
            # It would have to pass through C++; the builder is stopped instead.
            self.error = error
            return False

    def _fraction(self) -> float:
        roots = [name for name, phase in self._phases.items() if phase.parent not in self._phases]
        return min((self._within(name) for name in roots), default=self._share)

    def _within(self, name: str) -> float:
        phase = self._phases[name]
        inner = [n for n, other in self._phases.items() if other.parent == name]
        begun = max((self._within(n) for n in inner), default=0.0)
        return min(1.0, (phase.done + begun) / phase.steps)


def make_monitor(api: Api, follow: BuildProgress) -> trt.IProgressMonitor:
    """Return the object that the builder reports to."""
    base: Any = api.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]
        """Hand everything on."""

        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            follow.start(phase_name, parent_phase, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            follow.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return follow.step(phase_name, step)

    return cast('trt.IProgressMonitor', Monitor())
