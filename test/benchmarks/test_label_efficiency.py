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

"""The comparison of encoders: its runs differ in weights and labels alone, and are drawn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from test.training import runs
from typing import Any
from xml.etree import ElementTree

from benchmarks.ablation import CONFIG, PLAN_FILE, SCORES_FILE
from benchmarks.label_efficiency import (
    CELLS,
    curve,
    CURVE_FILE,
    main,
    parser,
    PERCENTS,
    planned_runs,
    tables,
)
import pytest
from training.checkpoint import load_recipe
from training.models.encoder_file import write_encoder
from training.models.encoders import make_encoder
from training.settings import read_yaml
import yaml

LITE = 'efficientnet_lite0'


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_dataset(tmp_path_factory.mktemp('efficiency'))


@pytest.fixture(scope='module')
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('encoder') / 'encoder.pt'
    write_encoder(path, LITE, make_encoder(LITE, 'random'))
    return path


def compare(folder: Path, data: Path, encoder: Path, *options: str) -> int:
    recipe = read_yaml(CONFIG)['recipe']
    config = runs.config_file(folder, recipe=recipe)
    named = ['--config', str(config), '--data', str(data), '--out', str(folder / 'out')]
    named += ['--encoder', str(encoder), '--seeds', '1', '--steps', '3', '--threads', '1']
    return main([*named, *options])


def result(name: str, seed: int, abs_rel: float) -> dict[str, Any]:
    row = {'abs_rel': abs_rel, 'a1': 1 - abs_rel}
    scores = {'depth': {'none': row, 'median': {'abs_rel': abs_rel / 2}}}
    return {'variant': name, 'seed': seed, 'steps': 3, 'scores': scores}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_runs_train_on_their_share_from_their_weights_and_are_compared(
    dataset: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(tmp_path, dataset, encoder, '--variants', 'gradient_field_100') == 0
    folder = tmp_path / 'out' / 'gradient_field_100' / 'seed_0'
    _, config = load_recipe(folder / 'run' / 'last.ckpt')
    assert (config.data.label_share, config.batch_size) == (1.0, 2)
    facts = json.loads((folder / 'run' / 'run.json').read_text())
    assert facts['data']['frames'] == runs.TRAIN_FRAMES
    assert '| 100 % | 9 | - |' in capsys.readouterr().out
    assert (folder / SCORES_FILE).is_file()


def test_plans_differ_in_weights_and_share_alone(
    dataset: Path, encoder: Path, tmp_path: Path
) -> None:
    words = ['--data', str(dataset), '--out', str(tmp_path), '--encoder', str(encoder)]
    words += ['--seeds', '2', '--steps', '8', '--variants']
    words += [name for name, cell in CELLS.items() if cell.percent == 100]
    given = parser().parse_args(words)
    plans = [yaml.safe_load(run.plan) for run in planned_runs(given)]
    assert [plan['seed'] for plan in plans] == [0, 0, 0, 1, 1, 1]
    weights = [plan['network'].pop('weights') for plan in plans[:3]]
    assert weights == ['random', str(encoder), 'imagenet']
    shown = [{k: v for k, v in plan.items() if k != 'name'} for plan in plans[:3]]
    assert shown[0] == shown[1] == shown[2]
    assert shown[0]['epochs'] * (runs.TRAIN_FRAMES // 2) == 8


def test_tables_have_mean_and_spread_of_each_cell() -> None:
    results = [
        *(result('random_1', seed, value) for seed, value in enumerate((0.4, 0.6))),
        result('imagenet_1', 0, 0.3),
        result('gradient_field_10', 0, 0.2),
    ]
    text = tables(results, 194)
    lines = text.splitlines()
    assert lines[0] == '| AbsRel | frames | random | gradient field | ImageNet | seeds |'
    assert lines[2] == '| 1 % | 2 | 0.500 ± 0.141 | - | 0.300 | 1/2 |'
    assert lines[3] == '| 10 % | 19 | - | 0.200 | - | 1 |'
    assert '| 1 % | 2 | 0.250 ± 0.071 | - | 0.150 | 1/2 |' in lines


def test_curve_is_a_picture_with_a_line_for_each_encoder() -> None:
    results = [
        result(f'{encoder}_{percent}', seed, 0.5 / (1 + math.log10(percent)) + 0.01 * seed)
        for encoder in ('random', 'gradient_field', 'imagenet')
        for percent in PERCENTS
        for seed in range(2)
    ]
    svg = ElementTree.fromstring(curve(results, 'AbsRel'))
    space = '{http://www.w3.org/2000/svg}'
    lines = svg.findall(f'{space}polyline')
    assert [len(line.attrib['points'].split()) for line in lines] == [4 * len(PERCENTS)] * 3
    words = {text.text for text in svg.findall(f'{space}text')}
    assert {'random', 'gradient field', 'ImageNet', 'AbsRel'} < words
    assert {str(percent) for percent in PERCENTS} < words


def test_finished_runs_are_not_made_again(dataset: Path, encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'out' / 'random_1' / 'seed_0'
    folder.mkdir(parents=True)
    (folder / SCORES_FILE).write_text(json.dumps(result('random_1', 0, 0.4)))
    assert compare(tmp_path, dataset, encoder, '--table') == 0
    assert (tmp_path / 'out' / CURVE_FILE).is_file()
    assert not (folder / PLAN_FILE).exists()


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        (('--variants', 'random_7'), 'error: --variants random_7: must be of random_1,'),
        (('--seeds', '0'), 'error: --seeds 0: must be at least 1'),
        (('--variants', 'random_1'), 'error: batch_size = 2: the dataset has only 1 frames'),
        (('--table',), 'has no finished run'),
    ],
)
def test_wrong_call_is_refused(
    options: tuple[str, ...],
    sentence: str,
    dataset: Path,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert compare(tmp_path, dataset, encoder, *options) == 1
    assert sentence in capsys.readouterr().err


def test_missing_encoder_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['--data', str(dataset), '--out', str(tmp_path)]) == 1
    assert '--encoder is missing: give the file that training.pretrain' in capsys.readouterr().err
