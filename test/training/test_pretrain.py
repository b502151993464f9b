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

"""The program that pre-trains: stops, goes on, shares the work, and leaves a file for recipes."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
from test.project import ROOT
from test.training import runs
from typing import Any

import cv2
import pytest
import torch
from training.checkpoint import build_recipe, load_recipe
from training.models.encoder_file import write_encoder
from training.models.encoders import make_encoder
from training.pretrain import ENCODER_FILE, main
from training.recipes.registry import recipe_classes, RECIPES
from training.settings import read_yaml
from training.train_config import config_from, read_config
import yaml

CONFIGS = ROOT / 'training' / 'configs'
# A recipe whose config has another name.
FILES = {'gradient_field': 'pretrain'}
LITE = 'efficientnet_lite0'
# The edge of the pictures is weak, and cut away from some of them.
RECIPE = {
    'name': 'gradient_field',
    'queue_size': 6,
    'momentum': 0.9,
    'low_threshold': 10.0,
    'high_threshold': 40.0,
}
CONFIG: dict[str, Any] = {
    **runs.CONFIG,
    'batch_norm': 'train',
    'data': {**runs.CONFIG['data'], 'min_share': 0.4},
    'optimiser': {'name': 'sgd', 'learning_rate': 1e-3, 'momentum': 0.9},
    'recipe': RECIPE,
    'network': {'kind': 'encoder', 'encoder': LITE, 'weights': 'random', 'dimensions': 8},
}


def config_file(folder: Path, **changes: Any) -> Path:
    path = folder / 'pretrain.yaml'
    path.write_text(yaml.safe_dump({**CONFIG, **changes}), encoding='utf-8')
    return path


def arguments(config: Path, data: Path, out: Path, *options: str) -> list[str]:
    named = ['--config', str(config), '--data', str(data), '--out', str(out)]
    return [*named, '--accelerator', 'cpu', *options]


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return ' '.join(capsys.readouterr().err.split())


@pytest.fixture(scope='module')
def finished(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp('pretrain')
    out = folder / 'run'
    assert main(arguments(config_file(folder, epochs=3), tiny_dataset, out)) == 0
    return out


def test_run_leaves_table_pictures_checkpoint_and_encoder(finished: Path) -> None:
    steps = runs.rows(finished / 'log.csv')
    assert len(steps) == 3 * runs.STEPS_PER_EPOCH
    assert {'term_contrast', 'term_matched'} < set(steps[0])
    assert cv2.imread(str(finished / 'pictures' / 'epoch_0002.jpg')) is not None
    assert list((finished / 'tensorboard').iterdir())
    recipe, _ = load_recipe(finished / 'last.ckpt')
    used, dropped = int(recipe.used), int(recipe.dropped)
    assert used + dropped == len(steps) * CONFIG['batch_size']
    assert used > 0 < dropped
    assert len(recipe.queue) == 6
    state = torch.load(finished / ENCODER_FILE, weights_only=True)['state']
    runs.assert_equal_states(dict(recipe.network.encoder.state_dict()), state)


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_begins_with_the_encoder(name: str, finished: Path, tmp_path: Path) -> None:
    content = read_yaml(CONFIGS / f'{FILES.get(name, name)}.yaml')
    if 'pose_weights' in content['recipe']:
        content['recipe']['pose_weights'] = 'random'
    path, encoder = finished / ENCODER_FILE, content['network']['encoder']
    if encoder != LITE:
        path = tmp_path / ENCODER_FILE
        write_encoder(path, encoder, make_encoder(encoder, 'random'))
    content['network']['weights'] = str(path)
    state = build_recipe(config_from(content)).state_dict()
    for key, tensor in torch.load(path, weights_only=True)['state'].items():
        found = [own for name, own in state.items() if name.endswith(f'encoder.{key}')]
        assert any(own.shape == tensor.shape and torch.equal(own, tensor) for own in found), key


def test_resumed_run_is_equal_to_the_bit(
    finished: Path, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, out = config_file(tmp_path, epochs=3), tmp_path / 'run'
    given = arguments(config, tiny_dataset, out)
    runs.signal_when(lambda: runs.has_rows(out / 'log.csv', 2), signal.SIGINT, os.getpid())
    assert main(given) == 130
    step = runs.last(out).position.step
    assert f'pretrain: stopped after step {step}; go on with the same' in said(capsys)
    assert 0 < step < 6
    assert not (out / ENCODER_FILE).exists()
    assert main([*given, '--resume']) == 0
    assert 'the encoder' in said(capsys)
    runs.assert_equal_checkpoints(runs.last(finished), runs.last(out))
    assert runs.rows(finished / 'log.csv') == runs.rows(out / 'log.csv')


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_processes_give_the_queue_and_the_encoder_of_one(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    # Statistics of half a batch are others: kept ones make the rest comparable.
    config = config_file(tmp_path, batch_norm='frozen', workers=0)
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
    for devices in ('1', '2'):
        given = arguments(config, tiny_dataset, tmp_path / devices, '--devices', devices)
        command = [sys.executable, '-m', 'training.pretrain', *given]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=180)
    one, two = (runs.last(tmp_path / devices).recipe for devices in ('1', '2'))
    assert one.keys() == two.keys()
    for key in ('queue.pictures_N', 'queue.place', 'queue.filled', 'used', 'dropped'):
        assert torch.equal(one[key], two[key]), key
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-4, atol=1e-5, msg=key)
    assert (tmp_path / '2' / ENCODER_FILE).is_file()


def test_batches_of_one_learn_from_the_queue(tiny_dataset: Path, tmp_path: Path) -> None:
    config, out = config_file(tmp_path, epochs=1, batch_size=1), tmp_path / 'run'
    assert main(arguments(config, tiny_dataset, out)) == 0
    steps = runs.rows(out / 'log.csv')
    assert len(steps) == runs.TRAIN_FRAMES
    recipe, _ = load_recipe(out / 'last.ckpt')
    # A picture without edges has no loss; the first one has nothing to be told apart from.
    losses = [float(row['loss']) for row in steps if row['loss']]
    assert len(losses) == int(recipe.used) == runs.TRAIN_FRAMES - int(recipe.dropped)
    assert losses[0] == 0
    assert max(losses[1:]) > 0


def test_pictures_without_edges_teach_nothing_and_leave_no_encoder(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {**RECIPE, 'low_threshold': 2000.0, 'high_threshold': 4000.0}
    config, out = config_file(tmp_path, epochs=1, recipe=recipe), tmp_path / 'run'
    assert main(arguments(config, tiny_dataset, out)) == 1
    told = said(capsys)
    assert 'pretrain: none of 8 pictures has edges, so that nothing was learned' in told
    assert 'lower recipe.low_threshold and recipe.high_threshold' in told
    assert not (out / ENCODER_FILE).exists()
    assert [row['loss'] for row in runs.rows(out / 'log.csv')] == ['', '']


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        (
            {'recipe': {'name': 'supervised'}, 'network': runs.CONFIG['network']},
            "pretrain: recipe.name = 'supervised': training.pretrain takes gradient_field",
        ),
        (
            {'network': runs.CONFIG['network']},
            "network.kind = 'unet': recipe 'gradient_field' trains one of encoder",
        ),
        ({'recipe': {**RECIPE, 'tau': 1}}, 'pretrain: recipe.tau = 1: there is no such key'),
        (
            {'network': {**CONFIG['network'], 'width': 3}},
            'pretrain: network.width = 3: there is no such key',
        ),
        (
            {'optimiser': {'name': 'sgd', 'learning_rate': 0.1}},
            'pretrain: optimiser.momentum = None: sgd needs one; 0: none',
        ),
        (
            {'optimiser': {'learning_rate': 0.1, 'momentum': 0.9}},
            'pretrain: optimiser.momentum = 0.9: is for sgd alone',
        ),
        (
            {'network': {**CONFIG['network'], 'weights': 'absent.pt'}},
            'pretrain: absent.pt: there is no such weights file',
        ),
    ],
)
def test_wrong_config_is_refused(
    changes: dict[str, Any],
    sentence: str,
    tiny_dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = config_file(tmp_path, **changes)
    assert main(arguments(config, tiny_dataset, tmp_path / 'run')) == 1
    assert sentence in said(capsys)


def test_shipped_config_is_that_of_the_paper() -> None:
    config = read_config(CONFIGS / 'pretrain.yaml')
    assert (config.network.encoder, config.network.dimensions) == ('resnet50', 256)
    assert (config.optimiser.name, config.optimiser.momentum) == ('sgd', 0.9)
    assert config.recipe.options == recipe_classes('gradient_field')[0]()
