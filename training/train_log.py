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
What a training run tells: CSV tables, TensorBoard, and a line or a bar for who watches.

The tables are exact: one row for each step, written out at once, and a resumed run goes on after
the step of its checkpoint, whatever the stopped one wrote beyond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
import csv
import io
from pathlib import Path
import time
from typing import Any

import cv2
from depth_ros.core.datatypes import ImageU8
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter
from training.dataset_format import write_whole
from training.ranks import TrainingError

# Columns of a step that TensorBoard draws.
BOARD = ('loss', 'learning_rate', 'gradient_norm', 'images_per_s')
STEPS_FILE, EPOCHS_FILE = 'log.csv', 'validation.csv'
# Without a terminal: seconds between lines.
LINE_EVERY_S = 30.0


class Table:
    """
    A CSV file with the column 'step' that grows by whole rows.

    A row may have new columns: then the file is written anew, empty in the older rows.
    """

    def __init__(self, path: Path, last_step: int) -> None:
        """
        Begin after ``last_step``: later rows are removed.

        :raises DepthRosError: the file cannot be read or written.
        """
        self.path = path
        self._columns: list[str] = []
        kept = [row for row in self._read() if int(row['step']) <= last_step]
        self._columns = list(kept[0]) if kept else []
        self._rewrite(kept)

    def add(self, row: Mapping[str, Any]) -> None:
        """
        Append a row and write it out.

        :raises DepthRosError: the disk refuses it.
        """
        new = [column for column in row if column not in self._columns]
        if new:
            rows = self._read()
            self._columns += new
            self._rewrite([*rows, row])
            return
        with _told(self.path), self.path.open('a', encoding='utf-8', newline='') as stream:
            stream.write(self._text([row]))

    def _read(self) -> list[dict[str, Any]]:
        try:
            text = self.path.read_text(encoding='utf-8')
        except FileNotFoundError:
            return []
        except OSError as error:
            raise TrainingError(f"'{self.path}' cannot be read: {error.strerror}") from error
        # A row that was cut off has no value in its last columns.
        return [row for row in csv.DictReader(io.StringIO(text)) if None not in row.values()]

    def _rewrite(self, rows: list[Any]) -> None:
        header = [{column: column for column in self._columns}] if self._columns else []
        write_whole(self.path, self._text([*header, *rows]).encode())

    def _text(self, rows: list[Any]) -> str:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, self._columns, restval='', lineterminator='\n')
        writer.writerows(rows)
        return stream.getvalue()


class TrainLog:
    """Everything that the first process writes beside checkpoints."""

    def __init__(self, out: Path, last_step: int, total_steps: int, console: Console) -> None:
        self._pictures = out / 'pictures'
        with _told(self._pictures):
            self._pictures.mkdir(exist_ok=True)
        self._steps = Table(out / STEPS_FILE, last_step)
        self._epochs = Table(out / EPOCHS_FILE, last_step)
        self._folder = out / 'tensorboard'
        with _told(self._folder):
            self._board = SummaryWriter(str(self._folder), purge_step=last_step + 1)
        self._console, self._total = console, total_steps
        self._line_s = time.monotonic()
        self._done_at_line = last_step
        self._bar = Progress(
            TextColumn('epoch {task.fields[epoch]}'),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[text]}'),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(
            'train', total=total_steps, completed=last_step, epoch=0, text=''
        )
        self._bar.start()

    def step(self, row: Mapping[str, Any], terms: Mapping[str, float]) -> None:
        """Write one step: its row, and its terms beside."""
        step = int(row['step'])
        self._steps.add({**row, **{f'term_{name}': value for name, value in terms.items()}})
        shown = {f'train/{name}': row[name] for name in BOARD} | {
            f'terms/{name}': value for name, value in terms.items()
        }
        self._draw({name: value for name, value in shown.items() if value is not None}, step)
        text = _listed({**({} if row['loss'] is None else {'loss': row['loss']}), **terms})
        text = f'{text or "nothing to learn from"} | {row["images_per_s"]:.1f} images/s'
        self._bar.update(self._task, completed=step, epoch=row['epoch'], text=text)
        self._line(step, int(row['epoch']), text)

    def _line(self, step: int, epoch: int, text: str) -> None:
        waited = time.monotonic() - self._line_s
        if self._console.is_terminal or waited < LINE_EVERY_S:
            return
        rate = (step - self._done_at_line) / waited
        left_min = (self._total - step) / rate / 60
        self.say(f'epoch {epoch} step {step}/{self._total} {text} | {left_min:.0f} min left')
        self._line_s, self._done_at_line = time.monotonic(), step

    def epoch(self, step: int, epoch: int, branch: str, scores: Mapping[str, float]) -> None:
        """Write the validation of one branch."""
        self._epochs.add({'step': step, 'epoch': epoch, 'branch': branch, **scores})
        self._draw({f'validation_{branch}/{name}': v for name, v in scores.items()}, step)
        self.say(f'epoch {epoch} validation {branch}: {_listed(scores)}')

    def picture(self, step: int, epoch: int, image_HW3: ImageU8) -> None:
        """
        Keep the examples of an epoch as a file and in TensorBoard.

        :param image_HW3: bgr.
        :raises DepthRosError: the disk refuses it.
        """
        path = self._pictures / f'epoch_{epoch:04d}.jpg'
        write_whole(path, cv2.imencode('.jpg', image_HW3)[1].tobytes())
        # TensorBoard keeps every one without loss in one file.
        height, width = image_HW3.shape[:2]
        size = (max(1, width // 2), max(1, height // 2))
        half: Any = cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA)
        rgb_HW3 = np.ascontiguousarray(half[:, :, ::-1])
        with _told(self._folder):
            self._board.add_image('examples', rgb_HW3, step, dataformats='HWC')

    def _draw(self, values: Mapping[str, float], step: int) -> None:
        with _told(self._folder):
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """
        Write out what is buffered and end the bar.

        :raises TrainingError: the disk refuses it.
        """
        self._bar.stop()
        with _told(self._folder):
            self._board.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into one sentence."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"'{path}' cannot be written: {error.strerror or error}") from error


def _listed(values: Mapping[str, float]) -> str:
    return ' '.join(f'{name} {value:.4g}' for name, value in values.items())
