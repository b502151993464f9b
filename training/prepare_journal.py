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

"""The journal of a sequence: one line for each frame made and each message dropped, in order."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from training.dataset_format import DatasetError, json_line, read_lines

JOURNAL_FILE = 'journal.jsonl'


class Journal:
    """The lines of a sequence: first those of earlier runs, to be met again, then new ones."""

    def __init__(self, path: Path) -> None:
        self._path = path
        whole = _cut_half_line(path)
        self._old = read_lines(path) if whole else iter(())
        self._stream = path.open('ab')

    def replay(self, kind: str, stamp_ns: int) -> dict[str, Any] | None:
        """
        Return the line that an earlier run wrote for the next event; None: it is new.

        :raises DatasetError: the earlier run has met another event here.
        """
        line = next(self._old, None)
        if line is None or (line['kind'], line['stamp_ns']) == (kind, stamp_ns):
            return line
        raise DatasetError(
            f"'{self._path}' has {line['kind']} {line['stamp_ns']} where the bag has {kind} "
            f'{stamp_ns}: remove its folder and run again'
        )

    def add(self, line: dict[str, Any]) -> None:
        """Append a line."""
        try:
            self._stream.write(json_line(line))
            self._stream.flush()
        except OSError as error:
            raise DatasetError(f"'{self._path}' cannot be written: {error.strerror}") from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # On a full disk closing fails as the writing did, which has been told.
        with suppress(OSError):
            self._stream.close()


def _cut_half_line(path: Path) -> bool:
    """Cut what was being written when an earlier run was killed; tell whether lines are left."""
    if not path.is_file():
        return False
    end = 0
    with path.open('r+b') as stream:
        for line in stream:
            end += len(line) if line.endswith(b'\n') else 0
        stream.truncate(end)
    return end > 0
