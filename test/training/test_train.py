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

"""The training program: what it writes, how it resumes, and every wrong input."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
from test.project import ROOT
from test.training import drives, runs

import cv2
import pytest
import torch
from training.checkpoint import load_recipe
from training.checkpoint_file import BEST, LAST
from training.train_config import read_config
import yaml


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return runs.config_file(tmp_path)


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what the program said on stderr, as one line."""
    return ' '.join(capsys.readouterr().err.split())


def test_train_to_the_end_writes_everything(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out) == 0
    steps = runs.rows(out / 'log.csv')
    assert [int(row['step']) for row in steps] == [*range(1, runs.STEPS + 1)]
    assert all(math.isfinite(float(row['loss'])) for row in steps)
    epochs = runs.rows(out / 'validation.csv')
    assert [(row['epoch'], row['frames']) for row in epochs] == [('0', '3'), ('1', '3')]
    assert read_config(out / 'config.yaml') == read_config(config)
    facts = json.loads((out / 'run.json').read_text())
    assert facts['versions']['torch'] == torch.__version__
    assert facts['data']['frames'] == runs.TRAIN_FRAMES
    assert cv2.imread(str(out / 'pictures' / 'epoch_0001.jpg')).shape[1] == 4 * 480
    best = min(float(row['abs_rel']) for row in epochs)
    assert runs.last(out).best == best
    assert load_recipe(out / BEST)[1] == read_config(config)
    assert 'supervised: 9 frames, 3 for validation, 2 epochs of 2 steps' in refusal(capsys)


def test_training_learns_the_distance_of_a_wall(tiny_dataset: Path, tmp_path: Path) -> None:
    # A network begins at 10 m of its own camera, here 20 m of this one: twice the truth.
    config = runs.config_file(
        tmp_path,
        focal_px=25.0,
        data={**runs.CONFIG['data'], 'min_share': 1.0},
        optimiser={'learning_rate': 3e-3},
        epochs=10,
    )
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 0
    epochs = runs.rows(tmp_path / 'run' / 'validation.csv')
    assert float(epochs[0]['abs_rel']) > 0.5
    assert runs.last(tmp_path / 'run').best < 0.2
    assert float(epochs[-1]['nll']) < float(epochs[0]['nll'])


def resumed(
    config: Path, data: Path, out: Path, capsys: pytest.CaptureFixture[str], *, stop_after: int
) -> None:
    """Train until a signal after some steps, then to the end."""
    runs.signal_when(
        lambda: runs.has_rows(out / 'log.csv', stop_after), signal.SIGINT, os.getpid()
    )
    assert runs.train(config, data, out) == 130
    step = runs.last(out).position.step
    assert stop_after <= step < 3 * runs.STEPS_PER_EPOCH
    assert f'stopped after step {step}; go on with the same command and --resume' in refusal(
        capsys
    )
    assert runs.train(config, data, out, '--resume') == 0


# Everything that has a state of its own.
STATEFUL = {'batch_norm': 'train', 'ema_decay': 0.9, 'precision': 'bf16-mixed', 'workers': 1}


@pytest.mark.parametrize(
    ('changes', 'stop_after'),
    [({}, 1), ({}, 2), ({}, 3), (STATEFUL, 1)],
    ids=['in-epoch', 'at-its-end', 'in-the-next', 'stateful'],
)
def test_resume_in_and_between_epochs_is_equal_to_the_bit(
    changes: dict[str, object],
    stop_after: int,
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = runs.config_file(tmp_path, epochs=3, **changes)
    straight, parted = tmp_path / 'straight', tmp_path / 'parted'
    assert runs.train(config, tiny_dataset, straight) == 0
    resumed(config, tiny_dataset, parted, capsys, stop_after=stop_after)
    runs.assert_equal_checkpoints(runs.last(straight), runs.last(parted))
    for table in ('log.csv', 'validation.csv'):
        assert runs.rows(straight / table) == runs.rows(parted / table)


def test_resume_without_config_goes_on_longer(
    config: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out, '--set', 'schedule.name=constant') == 0
    paths = ['--data', str(tiny_dataset), '--out', str(out)]
    assert runs.main([*paths, '--resume', '--set', 'epochs=3']) == 0
    assert runs.last(out).position.epoch == 3
    assert len(runs.rows(out / 'log.csv')) == 3 * runs.STEPS_PER_EPOCH
    assert yaml.safe_load((out / 'config.yaml').read_text())['schedule']['name'] == 'constant'


def test_rows_beyond_the_checkpoint_are_written_again(
    config: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    """A run that was killed hard has logged steps that its checkpoint has not seen."""
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out, '--set', 'epochs=1') == 0
    wanted = runs.rows(out / 'log.csv')
    with (out / 'log.csv').open('a') as stream:
        stream.write('3,1,0.1,9.9,9.9,9.9,9.9\n4,1,0.1')
    assert runs.train(config, tiny_dataset, out, '--resume', '--set', 'epochs=1') == 0
    assert runs.rows(out / 'log.csv') == wanted


def test_sigterm_ends_with_143(config: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / 'run'
    runs.signal_when(lambda: runs.has_rows(out / 'log.csv', 1), signal.SIGTERM, os.getpid())
    assert runs.train(config, tiny_dataset, out) == 143
    assert runs.last(out).position.step >= 1


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ('optimiser.learning_rat=1e-3', 'optimiser.learning_rat = 0.001: there is no such key'),
        ('optimiser.learning_rate=fast', "optimiser.learning_rate = 'fast': must be a number"),
        ('batch_size=2.5', 'batch_size = 2.5: must be a whole number'),
        ('recipe.name=semi', "recipe.name = 'semi': must be one of supervised, self_supervised"),
        ('recipe.max_lidar_m=-1', 'recipe.max_lidar_m = -1.0: must be a positive number'),
        ('network.encoder=vgg', "encoder 'vgg': must be one of"),
        ('network.parametrisation=cubic', "parametrisation 'cubic': must be one of"),
        ('data.width=100', 'data.width = 100: must be a multiple of 32 px'),
        ('batch_size=10', 'batch_size = 10: the dataset has only 9 frames'),
        ('precision=16-mixed', 'torch has no such training on the CPU; use bf16-mixed'),
        ('epochs', "--set epochs: must be KEY=VALUE, such as 'data.width=320'"),
    ],
)
def test_wrong_config_stops_with_the_path_of_the_key(
    change: str,
    sentence: str,
    config: Path,
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert runs.train(config, tiny_dataset, tmp_path / 'run', '--set', change) == 1
    assert sentence in refusal(capsys)
    assert not (tmp_path / 'run' / LAST).exists()


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (['--devices', '3'], 'batch_size = 4: 3 processes cannot share it equally'),
        (['--devices', '0'], '--devices 0: must be at least 1'),
        (['--resume'], f'has no {LAST}; begin without --resume'),
    ],
)
def test_wrong_command_line_is_refused(
    options: list[str],
    sentence: str,
    config: Path,
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert runs.train(config, tiny_dataset, tmp_path / 'run', *options) == 1
    assert sentence in refusal(capsys)


def test_other_number_of_processes_than_torchrun_started_is_refused(
    config: Path,
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each of them would train alone, and all would write into the same folder."""
    monkeypatch.setenv('WORLD_SIZE', '2')
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 1
    told = refusal(capsys)
    assert '--devices 1 --nodes 1: 2 processes were started; give the numbers that' in told


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a GPU')
def test_missing_gpu_is_refused(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['--accelerator', 'cuda']
    assert runs.train(config, tiny_dataset, tmp_path / 'run', *options) == 1
    assert '--accelerator cuda: torch finds no such device; use cpu' in refusal(capsys)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='torch finds no GPU')
@pytest.mark.parametrize('precision', ['32-true', 'bf16-mixed', '16-mixed'])
def test_gpu_trains_resumes_and_leaves_a_checkpoint_for_the_cpu(
    precision: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    out, gpu = tmp_path / 'run', ['--accelerator', 'cuda']
    config = runs.config_file(tmp_path, precision=precision, ema_decay=0.9, batch_norm='train')
    assert runs.train(config, tiny_dataset, out, *gpu, '--set', 'epochs=1') == 0
    assert runs.train(config, tiny_dataset, out, *gpu, '--resume') == 0
    assert len(runs.rows(out / 'log.csv')) == runs.STEPS
    recipe, _ = load_recipe(out / LAST)
    assert {parameter.device.type for parameter in recipe.parameters()} == {'cpu'}
    assert all(bool(parameter.isfinite().all()) for parameter in recipe.parameters())


def test_missing_config_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert runs.main(['--data', str(tmp_path), '--out', str(tmp_path)]) == 1
    assert '--config is missing' in refusal(capsys)
    options = ['--config', str(tmp_path / 'none.yaml'), '--data', 'x', '--out', 'y']
    assert runs.main(options) == 1
    assert re.search(r"config '.*none.yaml' cannot be read", refusal(capsys))


def test_folder_with_a_training_is_not_overwritten(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out, '--set', 'epochs=1') == 0
    before = (out / LAST).read_bytes()
    assert runs.train(config, tiny_dataset, out) == 1
    assert 'holds a training already: go on with --resume' in refusal(capsys)
    change = ['--set', 'optimiser.weight_decay=0.5', '--set', 'network.min_depth_m=0.2']
    assert runs.train(config, tiny_dataset, out, '--resume', *change) == 1
    told = refusal(capsys)
    assert 'optimiser.weight_decay: 0.01, now 0.5' in told
    assert 'network.min_depth_m: 0.1, now 0.2' in told
    assert 'only epochs, name, save_every_minutes, workers may change' in told
    paths = ['--data', str(tiny_dataset), '--out', str(out)]
    assert runs.main([*paths, '--resume', *change]) == 1
    assert 'optimiser.weight_decay: 0.01, now 0.5' in refusal(capsys)
    assert (out / LAST).read_bytes() == before


def test_other_dataset_is_refused_when_resuming(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out, '--set', 'epochs=1') == 0
    other = drives.made(tmp_path / 'other', drives.drive(tmp_path / 'lane', 6))
    assert runs.train(config, other, out, '--resume', '--no-validation') == 1
    assert 'was trained on another dataset' in refusal(capsys)


def test_half_written_dataset_is_refused(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = shutil.copytree(tiny_dataset, tmp_path / 'data')
    facts = json.loads((data / 'dataset.json').read_text())
    (data / 'dataset.json').write_text(json.dumps({**facts, 'complete': False}))
    assert runs.train(config, data, tmp_path / 'run') == 1
    assert 'is half written: run the same training.prepare command again' in refusal(capsys)


def test_dataset_without_lidar_is_refused_by_the_supervised_recipe(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = [drives.static()]
    for index in range(5):
        messages += [drives.info(index), drives.image(index)]
    bag = drives.write(tmp_path / 'blind', messages)
    data = drives.made(tmp_path / 'data', bag, use_lidar=False)
    assert runs.train(config, data, tmp_path / 'run') == 1
    assert 'supervised training needs bags with LiDAR' in refusal(capsys)


def test_missing_validation_drive_is_told_and_can_be_done_without(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = drives.made(tmp_path / 'data', drives.drive(tmp_path / 'lane', 5))
    assert runs.train(config, data, tmp_path / 'run') == 1
    told = refusal(capsys)
    assert "has no sequence in split 'val'" in told
    assert '--val of training.prepare; or train with --no-validation' in told
    assert runs.train(config, data, tmp_path / 'run', '--no-validation') == 0
    assert runs.rows(tmp_path / 'run' / 'validation.csv') == []
    assert not (tmp_path / 'run' / BEST).exists()
    assert (tmp_path / 'run' / 'pictures' / 'epoch_0001.jpg').exists()


@pytest.mark.parametrize('workers', [0, 2])
def test_damaged_image_stops_and_is_named(
    workers: int,
    config: Path,
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = shutil.copytree(tiny_dataset, tmp_path / 'data')
    for image in (data / 'sequences' / 'town' / 'image').iterdir():
        image.write_bytes(image.read_bytes()[:200])
    options = ['--set', f'workers={workers}']
    assert runs.train(config, data, tmp_path / 'run', *options) == 1
    told = refusal(capsys)
    assert re.search(r"train: image '\S+/town/image/\S+' of 200 bytes is damaged", told)
    assert 'Traceback' not in told


def test_folder_that_cannot_be_made_is_refused(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_text('')
    assert runs.train(config, tiny_dataset, tmp_path / 'file' / 'run') == 1
    assert 'cannot be made: Not a directory' in refusal(capsys)


def test_full_disk_at_a_checkpoint_keeps_the_previous_one(
    config: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'run'
    assert runs.train(config, tiny_dataset, out, '--set', 'epochs=1') == 0
    before = (out / LAST).read_bytes()
    # What is written here goes to a device that is always full.
    (out / f'{LAST}.partial').symlink_to('/dev/full')
    assert runs.train(config, tiny_dataset, out, '--resume') == 1
    told = refusal(capsys)
    assert f"{LAST}' cannot be written: No space left on device; the previous" in told
    assert (out / LAST).read_bytes() == before
    assert runs.train(config, tiny_dataset, out, '--resume') == 0


def test_program_needs_no_torchvision() -> None:
    """There is no build of it for the CPU: nothing may even try."""
    program = (
        'import sys\n'
        'class Refuse:\n'
        '    def find_spec(self, name, path=None, target=None):\n'
        '        if name.split(".")[0] in ("torchvision", "timm"):\n'
        '            raise AssertionError(name)\n'
        'sys.meta_path.insert(0, Refuse())\n'
        'import training.train, training.recipes.registry as r\n'
        'for name in r.RECIPES: r.recipe_classes(name)\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
