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

"""The frames of a bag in a fixed order, each with its sweep, or with why it cannot be used."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import DepthImage, LidarSweep, SkippedMessage
from depth_ros.bags.streams import depth_images, frames, sweeps
from depth_ros.core.datatypes import Frame
from depth_ros.core.sync import increasing, pair_streams
from depth_ros.evaluation.config import EvaluationConfig

Truth = LidarSweep | DepthImage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Item:
    """
    One image of a bag.

    Fields:
        index: its place in the bag, images that cannot be used included.
        stamp_ns: of the image.
        frame: None when the image cannot be used.
        truth: what was measured at that time; None: nothing in time.
        dropped_sweeps: sweeps that could not be used, until now.
        reason, detail: why there is no frame.

    """

    index: int
    stamp_ns: int
    frame: Frame | None = None
    truth: Truth | None = None
    dropped_sweeps: int = 0
    reason: str = ''
    detail: str = ''


class FrameSource:
    """
    Reads one bag; the same items in the same order whenever it is iterated.

    It opens the bag itself, in the thread that iterates: SQLite wants that.
    """

    def __init__(self, bag: Path, topics: dict[str, str], config: EvaluationConfig) -> None:
        self._bag = bag
        self._topics = topics
        self._config = config

    def __iter__(self) -> Iterator[Item]:
        """Yield the frames, and between them those that cannot be used."""
        with BagReader(self._bag) as reader:
            yield from _Pass(reader, self._topics, self._config).items()


class _Pass:
    """One reading of the bag."""

    def __init__(
        self, reader: BagReader, topics: dict[str, str], config: EvaluationConfig
    ) -> None:
        self._reader = reader
        self._topics = topics
        self._config = config
        self._numbers = count()
        self._unusable: deque[Item] = deque()
        self._dropped_sweeps = 0

    def items(self) -> Iterator[Item]:
        stream = increasing(self._frames(), on_drop=self._note_late)
        truth = increasing(self._truth(), on_drop=self._drop_truth)
        for item, partner in pair_streams(stream, truth, max_gap_ns=self._config.max_sync_ns):
            yield from self._noted()
            yield replace(item, truth=partner, dropped_sweeps=self._dropped_sweeps)
        yield from self._noted()

    def _noted(self) -> Iterator[Item]:
        while self._unusable:
            yield self._unusable.popleft()

    def _frames(self) -> Iterator[Item]:
        stream = frames(
            self._reader,
            self._topics['image'],
            self._topics['camera_info'],
            rectify=self._config.rectify,
            on_skip=self._note_unusable,
        )
        for frame in stream:
            index = next(self._numbers)
            if self._config.frames and index >= self._config.frames:
                return
            yield Item(index=index, stamp_ns=frame.stamp_ns, frame=frame)

    def _truth(self) -> Iterator[Truth]:
        if 'truth' in self._topics:
            topic = self._topics['truth']
            yield from depth_images(self._reader, topic, on_skip=self._drop_truth)
        elif 'lidar' in self._topics:
            offset_ns = self._config.lidar_offset_ns
            for sweep in sweeps(self._reader, self._topics['lidar'], on_skip=self._drop_truth):
                yield replace(sweep, stamp_ns=sweep.stamp_ns + offset_ns) if offset_ns else sweep

    def _drop_truth(self, dropped: Truth | SkippedMessage) -> None:
        self._dropped_sweeps += 1

    def _note_unusable(self, skipped: SkippedMessage) -> None:
        self._unusable.append(
            Item(
                index=next(self._numbers),
                stamp_ns=skipped.stamp_ns,
                reason='image cannot be used',
                detail=skipped.reason,
            )
        )

    def _note_late(self, item: Item) -> None:
        reason = 'stamp not after that of the frame before'
        self._unusable.append(replace(item, frame=None, reason=reason))
