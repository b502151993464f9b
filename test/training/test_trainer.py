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

"""The loop over several processes and drives: the same result, the same end for all."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from test.project import ROOT
from test.training import drives, runs
import time

import pytest
import torch
from training.checkpoint_file import Checkpoint, LAST, write_checkpoint

LIMIT_S = 150
# Of several programs, on a machine that has other work to do.
pytestmark = pytest.mark.timeout(600)
# Adam divides by the size of gradients, which enlarges what float32 rounds differently.
SLOW = {'learning_rate': 1e-5, 'max_grad_norm': 5.0}


def command(config: Path, data: Path, out: Path, *options: str) -> list[str]:
    paths = ['--config', str(config), '--data', str(data), '--out', str(out)]
    return [sys.executable, '-m', 'training.train', *paths, '--accelerator', 'cpu', *options]


def environment() -> dict[str, str]:
    return {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),  # type: ignore[arg-type]
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return status and what was said on stderr; end the program if it takes too long."""
    try:
        _, told = process.communicate(timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        # With the processes that it has started.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, told


def drives_with_gaps(folder: Path) -> Path:
    """Return a dataset in which only every other frame has LiDAR: a process may get none."""
    messages = [drives.static()]
    for index in range(12):
        messages += [drives.info(index), drives.image(index)]
        if index % 2:
            messages.append(drives.cloud(index))
    bags = [drives.write(folder / 'gaps', messages), drives.drive(folder / 'village', 3)]
    return drives.made(folder / 'dataset', *bags, val=['village'], max_sync_ms=10.0)


def assert_same_curve(config: Path, data: Path, folder: Path) -> list[dict[str, str]]:
    """Train with one process and with two; return the steps of the first."""
    one, two = folder / 'one', folder / 'two'
    for out, options in ((one, ()), (two, ('--devices', '2'))):
        status, told = finish(start(config, data, out, *options))
        assert status == 0, told
    steps = runs.rows(one / 'log.csv')
    for alone, shared in zip(steps, runs.rows(two / 'log.csv'), strict=True):
        assert alone.keys() == shared.keys()
        for name, value in alone.items():
            expected = pytest.approx(float(value), rel=1e-5) if value else ''
            assert (float(shared[name]) if shared[name] else '') == expected, name
    scores = zip(runs.rows(one / 'validation.csv'), runs.rows(two / 'validation.csv'), strict=True)
    for alone, shared in scores:
        assert float(shared['abs_rel']) == pytest.approx(float(alone['abs_rel']), rel=1e-5)
        assert (shared['frames'], shared['pixels']) == (alone['frames'], alone['pixels'])
    states = runs.last(one).recipe, runs.last(two).recipe
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], rtol=1e-4, atol=1e-6), name
    assert runs.last(two).position == runs.last(one).position
    return steps


@pytest.mark.slow
def test_two_processes_give_the_curve_of_one(tiny_dataset: Path, tmp_path: Path) -> None:
    config = runs.config_file(tmp_path, optimiser=SLOW, ema_decay=0.9, workers=1)
    steps = assert_same_curve(config, tiny_dataset, tmp_path)
    assert len(steps) == runs.STEPS


@pytest.mark.slow
def test_process_with_nothing_to_learn_from_waits_for_the_others(tmp_path: Path) -> None:
    """One frame for each process, half of them blind: one process, or both, have no term."""
    recipe = {
        'name': 'naive_sum',
        'pose': 'odometry',
        'travel_weight': 0,
        'smoothness_weight': 0,
        'filtering': 'off',
    }
    config = runs.config_file(tmp_path, optimiser=SLOW, batch_size=2, epochs=1, recipe=recipe)
    steps = assert_same_curve(config, drives_with_gaps(tmp_path), tmp_path)
    assert {'' if row['loss'] == '' else 'learned' for row in steps} == {'', 'learned'}


@pytest.mark.slow
def test_error_of_one_process_ends_all_with_its_sentence(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(tiny_dataset, tmp_path / 'data')
    damaged = sorted((data / 'sequences' / 'town' / 'image').iterdir())[4]
    damaged.write_bytes(b'')
    config = runs.config_file(tmp_path, epochs=50)
    out = tmp_path / 'run'
    status, told = finish(start(config, data, out, '--devices', '2'))
    assert status == 1
    told = ' '.join(told.split())
    assert told.count(f"train: image '{damaged}' of 0 bytes is damaged") == 1
    assert 'Traceback' not in told
    step = runs.last(out).position.step if (out / LAST).exists() else 0
    if step:
        assert f'the state after step {step} is in {LAST}' in told


@pytest.mark.slow
def test_signal_to_the_first_of_two_processes_stops_both(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    config = runs.config_file(tmp_path, epochs=500)
    out = tmp_path / 'run'
    process = start(config, tiny_dataset, out, '--devices', '2')
    runs.signal_when(lambda: runs.has_rows(out / 'log.csv', 1), signal.SIGTERM, process.pid)
    status, told = finish(process)
    assert status == 143, told
    step = runs.last(out).position.step
    assert f'stopped after step {step}; go on with the same command and --resume' in told
    assert len(runs.rows(out / 'log.csv')) == step
    deadline = time.monotonic() + 30
    while children_of(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert children_of(out) == []


def children_of(out: Path) -> list[str]:
    """Return the processes whose command line names this run."""
    found = []
    for folder in Path('/proc').iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / 'cmdline').read_bytes().replace(b'\0', b' ').decode()
            except OSError:
                continue
            if str(out) in text:
                found.append(text)
    return found


def test_broken_weights_stop_with_the_frames_and_keep_the_checkpoint(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'run'
    config = runs.config_file(tmp_path)
    assert runs.train(config, tiny_dataset, out, '--set', 'epochs=1') == 0
    checkpoint = runs.last(out)
    kernels = (k for k, v in checkpoint.recipe.items() if '.decoder.' in k and v.dim() == 4)
    checkpoint.recipe[next(kernels)].fill_(float('nan'))
    write_checkpoint(out / LAST, checkpoint)
    assert runs.train(config, tiny_dataset, out, '--resume') == 1
    told = ' '.join(capsys.readouterr().err.split())
    sentence = r"train: loss term '\w+' is nan at step 3, epoch 1; its frames \(sequence and stamp"
    assert re.search(sentence, told)
    assert 'town 1000000000' in told
    assert 'the state after step 2 is in last.ckpt' in told
    assert runs.last(out).position == checkpoint.position


def test_periodic_checkpoint_is_written_inside_an_epoch(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    """A run that is killed hard loses what came after the last of them."""
    config = runs.config_file(tmp_path, save_every_minutes=1e-9, epochs=100)
    process = start(config, tiny_dataset, tmp_path / 'run')
    path = tmp_path / 'run' / LAST
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        if path.exists() and runs.last(tmp_path / 'run').position.batch == 1:
            break
    process.kill()
    process.communicate()
    kept = runs.last(tmp_path / 'run').position
    assert kept.step >= 1
    options = ['--set', f'epochs={kept.epoch + 1}', '--set', 'save_every_minutes=10']
    assert runs.train(config, tiny_dataset, tmp_path / 'run', '--resume', *options) == 0
    steps = [int(row['step']) for row in runs.rows(tmp_path / 'run' / 'log.csv')]
    assert steps == [*range(1, (kept.epoch + 1) * runs.STEPS_PER_EPOCH + 1)]


def test_validation_can_be_rarer_and_comes_at_the_end(tiny_dataset: Path, tmp_path: Path) -> None:
    config = runs.config_file(tmp_path, epochs=3, validation={'every_epochs': 2})
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 0
    found = runs.rows(tmp_path / 'run' / 'validation.csv')
    assert [row['epoch'] for row in found] == ['1', '2']


def test_checkpoint_comes_with_each_validation_unless_it_is_long_ago(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[tuple[str, int]] = []

    def note(path: Path, checkpoint: Checkpoint) -> None:
        saved.append((path.name, checkpoint.position.epoch))
        write_checkpoint(path, checkpoint)

    monkeypatch.setattr('training.trainer.write_checkpoint', note)
    config = runs.config_file(tmp_path, epochs=5, validation={'every_epochs': 2})
    assert runs.train(config, tiny_dataset, tmp_path / 'rare') == 0
    assert [epoch for name, epoch in saved if name == LAST] == [2, 4, 5]
    saved.clear()
    often = ('--set', 'save_every_minutes=1e-9')
    assert runs.train(config, tiny_dataset, tmp_path / 'often', *often) == 0
    assert {epoch for name, epoch in saved if name == LAST} == {0, 1, 2, 3, 4, 5}


def test_frozen_batch_norms_keep_their_statistics_and_train_their_scale(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    states = {}
    for kind in ('frozen', 'train'):
        config = runs.config_file(tmp_path, batch_norm=kind, epochs=1)
        assert runs.train(config, tiny_dataset, tmp_path / kind) == 0
        states[kind] = runs.last(tmp_path / kind).recipe
    means = [name for name in states['frozen'] if name.endswith('running_mean')]
    assert all(not states['frozen'][name].any() for name in means)
    assert any(bool(states['train'][name].any()) for name in means)
    scales = [name.replace('running_mean', 'weight') for name in means]
    assert any(bool((states['frozen'][name] != 1).any()) for name in scales)


def test_learning_rates_follow_the_schedule(tiny_dataset: Path, tmp_path: Path) -> None:
    config = runs.config_file(tmp_path)
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 0
    rates = [float(row['learning_rate']) for row in runs.rows(tmp_path / 'run' / 'log.csv')]
    # Half a cosine over four steps, the first of them at half of the warm-up.
    shares = [0.5, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]
    assert rates == pytest.approx([1e-4 * share for share in shares])
