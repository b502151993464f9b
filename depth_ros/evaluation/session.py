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

"""What stays of the frames of one bag: journal, table, totals, and the frames to draw."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.evaluation.album import Album, Shelf
from depth_ros.evaluation.config import EvaluationConfig, NS_PER_MS
from depth_ros.evaluation.figures import Snapshot
from depth_ros.evaluation.files import FrameTable
from depth_ros.evaluation.journal import Journal
from depth_ros.evaluation.scoring import HELD_RESET, Record, SCORED
from depth_ros.evaluation.totals import Totals

SHOTS_FOLDER = 'unfinished'
# Steadiness is judged over three frames.
CONTEXT_FRAMES = 3


class Session:
    """Takes the records of a run in their order; one thread at a time may call it."""

    def __init__(
        self, config: EvaluationConfig, folder: Path, table: FrameTable, journal: Journal
    ) -> None:
        self.totals = Totals(config.rules)
        self.album = Album(config.pictures)
        self.shelf = Shelf(folder / SHOTS_FOLDER)
        self.journal = journal
        self.done = 0
        self._table = table
        # Places of frames that a resumed run has to look at again, to know what came before.
        self._context: deque[int] = deque(maxlen=max(CONTEXT_FRAMES, config.accumulated_sweeps))
        # Places where the model's memory began anew: the last one before the context, and later.
        self._resets: deque[int] = deque()
        self._restore()

    def resume_at(self, *, is_stateful: bool) -> int:
        """
        Return the place of the first frame that the model has to see.

        A model with a memory begins where that memory began, so that every prediction which is
        looked at again, also one before the last reset, is what it was.
        """
        first = self._context_start()
        return max((r for r in self._resets if r <= first), default=0) if is_stateful else first

    def _context_start(self) -> int:
        return self._context[0] if len(self._context) == self._context.maxlen else 0

    def _restore(self) -> None:
        """Take over what a run that was killed has done."""
        for record in self.journal.past():
            self._note_context(record)
            scores = self._count(record)
            if scores:
                self.album.offer(record['frame'], scores['abs_rel'])
        if self.journal.resumed:
            self.shelf.load(self.album.held())
        else:
            self.shelf.clear_disk()

    def _note_context(self, record: Record) -> None:
        if 'since_reset' in record:
            self._context.append(self.done)
        if record.get('since_reset') == 0 or HELD_RESET in record:
            self._resets.append(self.done)
        while len(self._resets) > 1 and self._resets[1] <= self._context_start():
            self._resets.popleft()

    def take(
        self, record: Record, shot: Snapshot | None, intrinsics: Intrinsics | None
    ) -> dict[str, float]:
        """Add one frame and return its scores; ``shot`` is there when it was scored."""
        scores = self._count(record)
        if shot is not None and intrinsics is not None:
            # Before the journal: a frame that the journal holds has its picture on disk.
            self._show(record['frame'], scores, shot, intrinsics)
        self.journal.add(record)
        return scores

    def _count(self, record: Record) -> dict[str, float]:
        scores = self.totals.add(record)
        self.done += 1
        self._table.add(table_row(record, scores))
        return scores

    def _show(
        self, index: int, scores: dict[str, float], shot: Snapshot, intrinsics: Intrinsics
    ) -> None:
        if not self.album.offer(index, scores['abs_rel']):
            return
        verdict = 'AbsRel {abs_rel:.3f}, RMSE {rmse:.2f} m, a1 {a1:.3f}'.format(**scores)
        self.shelf.put(index, replace(shot, verdict=verdict), intrinsics)
        self.shelf.keep_only(self.album.held())


def table_row(record: Record, scores: dict[str, float]) -> dict[str, Any]:
    """Return the line of per_frame.csv."""
    detail = record.get('detail')
    row: dict[str, Any] = {
        'frame': record['frame'],
        'stamp_ns': record['stamp_ns'],
        'status': f'{record["status"]}: {detail}' if detail else record['status'],
        **scores,
        **record.get('checks', {}),
    }
    if record['status'] == SCORED:
        depth = record['depth']
        row.update({key: depth[key] for key in ('truth_pixels', 'scale', 'shift')})
        row.update(missing_pixels=depth['missing'], infinite_pixels=depth['infinite'])
    if record.get('sweep_ns') is not None:
        row['lidar_stamp_ns'] = record['sweep_ns']
        row['gap_ms'] = (record['sweep_ns'] - record['stamp_ns']) / NS_PER_MS
    if record.get('times_ns') is not None:
        row['latency_ms'] = sum(record['times_ns']) / NS_PER_MS
    if 'position_m' in record:
        row['position_x_m'], row['position_y_m'] = record['position_m']
    return row
