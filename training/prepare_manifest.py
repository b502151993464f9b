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

"""Join the journals of all sequences: manifest.jsonl, dropped.jsonl and the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from depth_ros.core.geometry import invert, Matrix
import numpy as np
from training.dataset_format import (
    DatasetError,
    DROPPED_FILE,
    json_line,
    MANIFEST_FILE,
    PARTIAL_SUFFIX,
    read_lines,
    SEQUENCES,
)
from training.prepare_journal import JOURNAL_FILE
from training.prepare_options import PrepareOptions
from training.prepare_streams import NS_PER_MS

Line = dict[str, Any]
# Reasons are counted without their numbers, or every frame would have a reason of its own.
DIGITS = str.maketrans('', '', '0123456789')
SHOWN_REASONS = 12


@dataclass(kw_only=True)
class Totals:
    """Counts over one sequence."""

    name: str
    split: str
    frames: int = 0
    labelled: int = 0
    with_objects: int = 0
    with_right: int = 0
    with_pose: int = 0
    with_speed: int = 0
    points: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    unlabelled: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, line: Line) -> None:
        """Count one frame."""
        self.frames += 1
        self.with_objects += line.get('objects') is not None
        self.with_right += line.get('right') is not None
        self.with_pose += line['world_T_camera'] is not None
        self.with_speed += line['speed_mps'] is not None
        if line['depth'] is None:
            self.unlabelled[self._reason(line['unlabelled'])] += 1
            return
        self.labelled += 1
        self.points.update(line['counts'])

    def drop(self, line: Line) -> None:
        """Count one message that was not used."""
        self.dropped[f'{line["what"]}: {self._reason(line["reason"])}'] += 1

    def stored(self) -> dict[str, Any]:
        """Return the counts as they stand in dataset.json."""
        return {
            'frames': self.frames,
            'labelled': self.labelled,
            'with_objects': self.with_objects,
            'with_right': self.with_right,
            'with_pose': self.with_pose,
            'with_speed': self.with_speed,
            'points': dict(self.points),
            'dropped': dict(self.dropped.most_common(SHOWN_REASONS)),
            'unlabelled': dict(self.unlabelled.most_common(SHOWN_REASONS)),
        }

    def line(self) -> str:
        """Return one line for the terminal."""
        parts = [f'{self.name} ({self.split}): {self.frames} frames, {self.labelled} with depth']
        if self.labelled:
            parts.append(f'{self.points["kept"] / self.labelled:.0f} depths a frame')
        parts.append(f'{self.with_pose} with pose')
        if self.with_objects:
            parts.append(f'{self.with_objects} with object mask')
        if self.with_right:
            parts.append(f'{self.with_right} with right image')
        parts += [f'{count} x unlabelled: {why}' for why, count in self.unlabelled.items()]
        parts += [f'{count} x dropped {why}' for why, count in self.dropped.items()]
        return '; '.join(parts)

    def _reason(self, text: str) -> str:
        """Return the first text that was told for this kind of reason."""
        return self.reasons.setdefault(text.translate(DIGITS), text)


def write_manifest(
    out: Path, sequences: Sequence[Mapping[str, Any]], options: PrepareOptions
) -> list[Totals]:
    """
    Write both files, a line at a time, and return the counts of each sequence.

    :raises DatasetError: a journal is damaged, or the disk is full.
    """
    totals = [Totals(name=s['name'], split=s['split']) for s in sequences]
    with _Whole(out / MANIFEST_FILE) as manifest, _Whole(out / DROPPED_FILE) as dropped:
        for total in totals:
            journal = out / SEQUENCES / total.name / JOURNAL_FILE
            for line in with_neighbours(_frames(journal, total, dropped), options.neighbour_ms):
                total.add(line)
                manifest.write({**line, 'sequence': total.name, 'split': total.split})
    return totals


class _Whole:
    """A file that grows line by line and is there only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(path.name + PARTIAL_SUFFIX)

    def write(self, line: Line) -> None:
        try:
            self._stream.write(json_line(line))
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> _Whole:
        try:
            self._stream: BinaryIO = self._partial.open('wb')
        except OSError as error:
            raise self._failed(error) from error
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            with suppress(OSError):
                self._stream.close()
            return
        try:
            self._stream.close()
            self._partial.replace(self._path)
        except OSError as failure:
            raise self._failed(failure) from failure

    def _failed(self, error: OSError) -> DatasetError:
        return DatasetError(f"'{self._path}' cannot be written: {error.strerror}")


def _frames(journal: Path, total: Totals, dropped: _Whole) -> Iterator[Line]:
    """Yield the frames of a journal; write the rest of its lines to ``dropped``."""
    for line in read_lines(journal):
        kind = line.pop('kind')
        if kind == 'frame':
            if line['unlabelled'] is not None:
                reason = {'what': 'depth', 'reason': line['unlabelled']}
                dropped.write({**reason, 'stamp_ns': line['stamp_ns'], 'sequence': total.name})
            for what in ('objects', 'right'):
                # Lines from before there were these have no such key.
                if line.get(f'{what}_missing') is not None:
                    told = {'what': what, 'reason': line[f'{what}_missing']}
                    told['stamp_ns'] = line['stamp_ns']
                    total.drop(told)
                    dropped.write({**told, 'sequence': total.name})
            yield line
        else:
            total.drop(line)
            dropped.write({**line, 'sequence': total.name})


def with_neighbours(lines: Iterator[Line], limit_ms: float) -> Iterator[Line]:
    """Yield every line with its neighbours in time, holding three of them."""
    before: Line | None = None
    line = next(lines, None)
    while line is not None:
        after = next(lines, None)
        neighbours = {'previous': before, 'next': after}
        found = {k: _neighbour(line, other, limit_ms) for k, other in neighbours.items()}
        yield {**line, 'neighbours': found}
        before, line = line, after


def _neighbour(line: Line, other: Line | None, limit_ms: float) -> Line | None:
    if other is None or other['calibration'] != line['calibration']:
        return None
    gap_ns = abs(other['stamp_ns'] - line['stamp_ns'])
    if gap_ns > limit_ms * NS_PER_MS:
        return None
    pose = None
    if line['world_T_camera'] is not None and other['world_T_camera'] is not None:
        relative = invert(_matrix(other['world_T_camera'])) @ _matrix(line['world_T_camera'])
        pose = relative[:3].tolist()
    return {'stamp_ns': other['stamp_ns'], 'image': other['image'], 'neighbour_T_this': pose}


def _matrix(rows_34: list[list[float]]) -> Matrix:
    return np.array([*rows_34, [0.0, 0.0, 0.0, 1.0]], np.float64)
