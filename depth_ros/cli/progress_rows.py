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

"""Rows of progress on a terminal; elsewhere, lines about what takes long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from depth_ros.evaluation.progress_lines import ProgressLines
from depth_ros.evaluation.tasks import OnProgress
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


@contextmanager
def progress_rows(console: Console) -> Iterator[OnProgress]:
    """Yield what shows a row for each task, until it is done."""
    columns = (
        TextColumn('{task.description}', markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    lines = ProgressLines(
        lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)
    )
    with Progress(*columns, console=console, transient=True) as progress:
        rows: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int, doing: str = '') -> None:
            if doing and not console.is_terminal:
                lines(f'{name}: {doing}')
            if name not in rows:
                rows[name] = progress.add_task(name, total=None)
            progress.update(
                rows[name],
                completed=done,
                total=total or None,
                description=f'{name}: {doing}' if doing else name,
                visible=bool(doing) or done < total,
            )

        yield show
