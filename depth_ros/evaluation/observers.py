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

"""What looks on while a bag is evaluated, and writes recordings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from depth_ros.errors import ConfigError
from depth_ros.evaluation.bag_out import BagOut, Observer
from depth_ros.evaluation.passes import BagFacts
from depth_ros.evaluation.rerun_out import RerunOut
from depth_ros.evaluation.scoring import Measured, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Recordings:
    """Where to write a bag and a Rerun recording of the predictions; None: not wanted."""

    bag_out: Path | None = None
    rerun: Path | None = None

    def check(self, *, resume: bool) -> None:
        """
        Make sure that they can be whole.

        :raises ConfigError: the run goes on in the middle.
        """
        if resume and (self.bag_out is not None or self.rerun is not None):
            raise ConfigError(
                '--resume with --bag-out or --rerun: a recording begins with the first frame'
            )


class Observers:
    """All that look on, as one."""

    def __init__(self, recordings: Recordings, facts: BagFacts) -> None:
        found: list[Observer] = []
        # The one that may be impossible comes first: the other has written nothing then.
        if recordings.rerun is not None:
            found.append(RerunOut(recordings.rerun))
        if recordings.bag_out is not None:
            found.append(BagOut(recordings.bag_out, facts.tree, facts.config.rules.cap_m))
        self._all: Sequence[Observer] = found

    def add(
        self, index: int, prediction: Prediction, measured: Measured, scores: dict[str, float]
    ) -> None:
        """Show one frame to each."""
        for observer in self._all:
            observer.add(index, prediction, measured, scores)

    def close(self) -> None:
        """End what they have written."""
        for observer in self._all:
            observer.close()
