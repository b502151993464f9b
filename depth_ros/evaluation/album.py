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

"""Choose the frames to draw while they pass: the best, the worst, one between, some spread."""

from __future__ import annotations

from dataclasses import dataclass

from depth_ros.core.camera import Intrinsics
from depth_ros.evaluation.figures import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """A frame that may be drawn, and the AbsRel that ranks it."""

    index: int
    abs_rel: float
    shot: Snapshot
    intrinsics: Intrinsics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """A frame to draw and why: 'best', 'worst', 'middle' or 'spread'."""

    role: str
    entry: Entry


class Album:
    """
    A bounded choice from any number of frames, the same every time.

    It holds the best, the worst, and every n-th frame, with n doubled whenever these are too
    many; so at most 2 * size + 2 frames are in memory.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._stride = 1
        self._seen = 0
        self._spread: list[tuple[int, Entry]] = []
        self._best: Entry | None = None
        self._worst: Entry | None = None

    def offer(self, index: int, abs_rel: float, shot: Snapshot, intrinsics: Intrinsics) -> None:
        """Look at one scored frame."""
        if self._size == 0:
            return
        entry = Entry(index=index, abs_rel=abs_rel, shot=shot, intrinsics=intrinsics)
        if self._best is None or abs_rel < self._best.abs_rel:
            self._best = entry
        if self._worst is None or abs_rel > self._worst.abs_rel:
            self._worst = entry
        if self._seen % self._stride == 0:
            self._spread.append((self._seen, entry))
        if len(self._spread) > 2 * self._size:
            self._stride *= 2
            self._spread = [item for item in self._spread if item[0] % self._stride == 0]
        self._seen += 1

    def chosen(self) -> list[Chosen]:
        """Return the frames to draw: best, middle, worst, then others in the order of time."""
        if self._best is None or self._worst is None:
            return []
        entries = [entry for _, entry in self._spread]
        ranked = sorted(entries, key=lambda entry: (entry.abs_rel, entry.index))
        first = [
            ('best', self._best),
            ('worst', self._worst),
            ('middle', ranked[len(ranked) // 2]),
        ]
        taken: dict[int, Chosen] = {}
        for role, entry in first[: self._size]:
            taken.setdefault(entry.index, Chosen(role=role, entry=entry))
        rest = [entry for entry in entries if entry.index not in taken]
        free = self._size - len(taken)
        for number in range(min(free, len(rest))):
            entry = rest[number * len(rest) // free if free < len(rest) else number]
            taken.setdefault(entry.index, Chosen(role='spread', entry=entry))
        order = ('best', 'middle', 'worst', 'spread')
        return sorted(taken.values(), key=lambda item: (order.index(item.role), item.entry.index))
