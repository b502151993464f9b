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

"""Tables that survive being cut off, TensorBoard, and lines for who has no terminal."""

from __future__ import annotations

import io
from pathlib import Path
import subprocess
import sys
from test.project import ROOT
from typing import Any

import cv2
from depth_ros.errors import DepthRosError
import numpy as np
import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training import train_log
from training.ranks import TrainingError
from training.train_log import Table, TrainLog

ROW = {
    'step': 1,
    'epoch': 0,
    'learning_rate': 0.1,
    'loss': 2.5,
    'gradient_norm': 1.0,
    'images_per_s': 8.0,
}


def test_rows_are_in_the_file_at_once(tmp_path: Path) -> None:
    table = Table(tmp_path / 'log.csv', 0)
    table.add({'step': 1, 'loss': 0.5})
    table.add({'step': 2, 'loss': None})
    assert (tmp_path / 'log.csv').read_text() == 'step,loss\n1,0.5\n2,\n'


def test_new_column_is_empty_in_older_rows(tmp_path: Path) -> None:
    table = Table(tmp_path / 'log.csv', 0)
    table.add({'step': 1, 'loss': 0.5})
    table.add({'step': 2, 'loss': 0.4, 'extra': 7})
    table.add({'step': 3, 'loss': 0.3})
    assert (tmp_path / 'log.csv').read_text() == 'step,loss,extra\n1,0.5,\n2,0.4,7\n3,0.3,\n'


@pytest.mark.parametrize('tail', ['', '3,0.3\n', '3,0.3\n4,0.', '3', '4,0.3,9,9\n'])
def test_resumed_table_goes_on_after_the_step_of_the_checkpoint(tail: str, tmp_path: Path) -> None:
    path = tmp_path / 'log.csv'
    path.write_text('step,loss\n1,0.5\n2,0.4\n' + tail)
    table = Table(path, 2)
    table.add({'step': 3, 'loss': 0.25})
    assert path.read_text() == 'step,loss\n1,0.5\n2,0.4\n3,0.25\n'


def test_table_of_a_run_that_begins_anew_is_empty(tmp_path: Path) -> None:
    path = tmp_path / 'log.csv'
    path.write_text('step,old\n1,0.5\n')
    Table(path, 0).add({'step': 1, 'new': 2})
    assert path.read_text() == 'step,new\n1,2\n'


def test_table_on_a_full_disk_says_so(tmp_path: Path) -> None:
    table = Table(tmp_path / 'log.csv', 0)
    table.add({'step': 1})
    (tmp_path / 'log.csv').unlink()
    (tmp_path / 'log.csv').symlink_to('/dev/full')
    with pytest.raises(TrainingError, match=r"log.csv' cannot be written: No space left"):
        table.add({'step': 2})


def test_table_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / 'log.csv').mkdir()
    with pytest.raises(DepthRosError, match=r"log.csv' cannot be read: Is a directory"):
        Table(tmp_path / 'log.csv', 0)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / 'tensorboard'), size_guidance={'images': 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()['scalars']
    }


def make_log(out: Path, last_step: int = 0) -> tuple[TrainLog, io.StringIO]:
    text = io.StringIO()
    return TrainLog(out, last_step, 10, Console(file=text, width=200)), text


def test_tensorboard_has_steps_terms_scores_and_pictures(tmp_path: Path) -> None:
    log, _ = make_log(tmp_path)
    log.step(ROW, {'l1': 0.75})
    log.epoch(1, 0, 'depth', {'abs_rel': 0.5})
    picture = np.zeros((8, 16, 3), np.uint8)
    picture[..., 2] = 200
    log.picture(1, 0, picture)
    log.close()
    assert scalars(tmp_path) == {
        'train/loss': [(1, 2.5)],
        'train/learning_rate': [(1, pytest.approx(0.1))],
        'train/gradient_norm': [(1, 1.0)],
        'train/images_per_s': [(1, 8.0)],
        'terms/l1': [(1, 0.75)],
        'validation_depth/abs_rel': [(1, 0.5)],
    }
    events = EventAccumulator(str(tmp_path / 'tensorboard'))
    events.Reload()
    (shown,) = events.Images('examples')
    data = np.frombuffer(shown.encoded_image_string, np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).tolist() == picture[::2, ::2].tolist()
    kept = cv2.imread(str(tmp_path / 'pictures' / 'epoch_0000.jpg'))
    assert np.abs(kept.astype(int) - picture).max() < 4
    assert (tmp_path / 'log.csv').read_text().splitlines()[0].endswith('images_per_s,term_l1')
    assert (tmp_path / 'validation.csv').read_text() == (
        'step,epoch,branch,abs_rel\n1,0,depth,0.5\n'
    )


def test_tensorboard_of_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    log, _ = make_log(tmp_path)
    for step in (1, 2, 3):
        log.step({**ROW, 'step': step}, {})
    log.close()
    log, _ = make_log(tmp_path, last_step=1)
    log.step({**ROW, 'step': 2, 'loss': 9.0}, {})
    log.close()
    assert scalars(tmp_path)['train/loss'] == [(1, 2.5), (2, 9.0)]


def test_step_without_anything_to_learn_from_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_log, 'LINE_EVERY_S', 0.0)
    log, text = make_log(tmp_path)
    log.step({**ROW, 'loss': None, 'gradient_norm': None}, {})
    log.close()
    assert 'epoch 0 step 1/10 nothing to learn from | 8.0 images/s' in text.getvalue()
    assert (tmp_path / 'log.csv').read_text().splitlines()[1] == '1,0,0.1,,,8.0'


def test_lines_come_at_most_every_so_often_without_a_terminal(tmp_path: Path) -> None:
    log, text = make_log(tmp_path)
    for step in (1, 2, 3):
        log.step({**ROW, 'step': step}, {'l1': 0.5})
    log.epoch(3, 0, 'depth', {'abs_rel': 0.25, 'rmse': 4.0})
    log.close()
    assert text.getvalue() == 'epoch 0 validation depth: abs_rel 0.25 rmse 4\n'


def test_terminal_shows_a_bar_with_steps_and_terms(tmp_path: Path) -> None:
    text = io.StringIO()
    console = Console(file=text, width=200, force_terminal=True)
    log = TrainLog(tmp_path, 0, 10, console)
    log.step({**ROW, 'step': 4}, {'l1': 0.5})
    log.close()
    shown = text.getvalue()
    assert '4/10' in shown
    assert 'loss 2.5 l1 0.5 | 8.0 images/s' in shown


@pytest.mark.parametrize('folder', ['pictures', 'tensorboard'])
def test_folder_that_cannot_be_made_is_told(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).write_text('')
    values: dict[str, Any] = {'last_step': 0, 'total_steps': 1, 'console': Console()}
    with pytest.raises(TrainingError, match=rf"{folder}' cannot be written: File exists"):
        TrainLog(tmp_path, **values)


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from rich.console import Console
from training.ranks import TrainingError
from training.train_log import TrainLog
log = TrainLog(Path(sys.argv[1]), 0, 10, Console())
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    for step in range(1, 200):
        log.picture(step, step, np.zeros((8, 16, 3), np.uint8))
    log.close()
except TrainingError as error:
    print(error)
"""


def test_disk_that_fills_up_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, '-c', FULL, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'cannot be written: File too large' in done.stdout, done.stderr
