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

"""The course of a drive in a bounded number of points: time, error, latency, place."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from depth_ros.evaluation.config import NS_PER_MS

MAX_POINTS = 400
NS_PER_S = 1e9


@dataclass(slots=True, kw_only=True)
class _Point:
    """Some frames in a row."""

    frame: int
    stamp_ns: int
    position_m: list[float] | None
    frames: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, values: dict[str, float]) -> None:
        self.frames += 1
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def merge(self, other: _Point) -> None:
        self.frames += other.frames
        for name, value in other.sums.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + other.counts[name]


class TimeLine:
    """Means over runs of frames; the runs get twice as long whenever there are too many."""

    def __init__(self) -> None:
        self._points: list[_Point] = []
        self._stride = 1
        self._first_ns: int | None = None

    def add(
        self,
        frame: int,
        stamp_ns: int,
        values: dict[str, float],
        position_m: list[float] | None,
    ) -> None:
        """Add one frame in the order of time."""
        if self._first_ns is None:
            self._first_ns = stamp_ns
        if not self._points or self._points[-1].frames == self._stride:
            self._points.append(_Point(frame=frame, stamp_ns=stamp_ns, position_m=position_m))
        self._points[-1].add(values)
        if len(self._points) > MAX_POINTS:
            self._halve()

    def _halve(self) -> None:
        pairs = zip(self._points[::2], self._points[1::2], strict=False)
        odd = self._points[-1:] if len(self._points) % 2 else []
        merged = []
        for first, second in pairs:
            first.merge(second)
            merged.append(first)
        self._points = merged + odd
        self._stride *= 2

    def result(self) -> list[dict[str, Any]]:
        """Return the points: frame, time since the first [s], means, and place where known."""
        first_ns = self._first_ns or 0
        rows = []
        for point in self._points:
            row: dict[str, Any] = {
                'frame': point.frame,
                'frames': point.frames,
                'time_s': (point.stamp_ns - first_ns) / NS_PER_S,
            }
            row.update({name: point.sums[name] / point.counts[name] for name in point.sums})
            if point.position_m is not None:
                row['position_m'] = point.position_m
            rows.append(row)
        return rows


def latency_ms(times_ns: list[int] | None) -> dict[str, float]:
    """Return the latency of a frame as a value of the time line."""
    return {} if times_ns is None else {'latency_ms': sum(times_ns) / NS_PER_MS}
