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

"""
The journal of a run: a line for each frame, from which all totals are made.

A run that was killed goes on after its last whole line, and runs over several bags are put
together from their journals. The first line says which run it is.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from depth_ros.errors import ReportError
from depth_ros.evaluation.files import PARTIAL_SUFFIX
from depth_ros.evaluation.scoring import Record

JOURNAL_FILE = 'frames.jsonl'
# A frame that was scored but not yet on disk when the power went is scored again.
FLUSH_EVERY = 8


class Journal:
    """
    The growing journal of a run.

    A disk that fills up does not stop the scoring: the error is kept for ``close``.

    :param head: what identifies the run.
    :param resume: go on with the unfinished journal of the folder, if there is one.
    :raises ReportError: there is one, of another run.
    """

    def __init__(self, folder: Path, head: dict[str, Any], *, resume: bool) -> None:
        head = json.loads(json.dumps(head))
        self.path = folder / JOURNAL_FILE
        self._partial = self.path.with_name(JOURNAL_FILE + PARTIAL_SUFFIX)
        self._error: OSError | None = None
        self._stream: BinaryIO | None = None
        self._count = 0
        self.resumed = self._whole_lines(head) if resume else 0
        try:
            self._stream = self._partial.open('ab' if self.resumed else 'wb')
        except OSError as error:
            self._error = error
        if not self.resumed:
            self._write(head)

    def past(self) -> Iterator[Record]:
        """Yield the records of the run that was killed."""
        if self.resumed:
            yield from _lines(self._partial)

    def add(self, record: Record) -> None:
        """Append one record."""
        self._write(record)
        self._count += 1
        if self._count % FLUSH_EVERY == 0 and self._stream is not None and self._error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._error = error

    def pause(self) -> None:
        """Leave the journal as it is, to be resumed or finished."""
        if self._stream is None or self._stream.closed:
            return
        try:
            self._stream.close()
        except OSError as error:
            self._error = self._error or error

    def finish(self) -> OSError | None:
        """Put the file in its place; return why that was impossible, if it was."""
        self.pause()
        if self._error is None and self._partial.exists():
            try:
                with self._partial.open('rb') as stream:
                    os.fsync(stream.fileno())
                self._partial.replace(self.path)
            except OSError as error:
                self._error = error
        return self._error

    def _write(self, value: Record) -> None:
        if self._error is not None or self._stream is None:
            return
        text = json.dumps(value, separators=(',', ':'), allow_nan=False)
        try:
            self._stream.write(text.encode() + b'\n')
        except OSError as error:
            self._error = error

    def _whole_lines(self, head: dict[str, Any]) -> int:
        """Return how many records there are, after cutting off a broken end."""
        if not self._partial.is_file():
            return 0
        end, count = 0, 0
        with self._partial.open('rb') as stream:
            for line in stream:
                value = _parsed(line)
                if value is None:
                    break
                if count == 0:
                    _check_same(self._partial, head, value)
                end, count = end + len(line), count + 1
        os.truncate(self._partial, end)
        return max(count - 1, 0)


def is_finished(folder: Path, head: dict[str, Any]) -> bool:
    """
    Tell whether a folder holds the finished journal of this very run, and no unfinished one.

    :raises ReportError: it holds the finished journal of another run.
    """
    path = folder / JOURNAL_FILE
    if is_unfinished(folder) or not path.is_file():
        return False
    with path.open('rb') as stream:
        found = _parsed(stream.readline()) or {}
    _check_same(path, json.loads(json.dumps(head)), found)
    return True


def is_unfinished(folder: Path) -> bool:
    """Tell whether a folder holds the journal of a run that was stopped."""
    return (folder / (JOURNAL_FILE + PARTIAL_SUFFIX)).is_file()


def _check_same(path: Path, wanted: dict[str, Any], found: dict[str, Any]) -> None:
    if found != wanted:
        raise ReportError(
            f"'{path}' is of another run ({_difference(wanted, found)}): give another output "
            'folder, or leave out --resume to begin anew'
        )


def read_journal(folder: Path) -> Iterator[Record]:
    """
    Yield the records of a finished run.

    :raises ReportError: there is no journal, or it is damaged.
    """
    path = folder / JOURNAL_FILE
    if not path.is_file():
        raise ReportError(f"'{path}' does not exist: run the evaluation again")
    yield from _lines(path)


def _lines(path: Path) -> Iterator[Record]:
    with path.open('rb') as stream:
        next(stream, b'')
        for number, line in enumerate(stream, start=2):
            value = _parsed(line)
            if value is None:
                raise ReportError(f"'{path}', line {number} is damaged: run the evaluation again")
            yield value


def _parsed(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b'\n'):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _difference(wanted: dict[str, Any], found: dict[str, Any]) -> str:
    keys = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    return ', '.join(f'{key} {found.get(key)!r} instead of {wanted.get(key)!r}' for key in keys)
