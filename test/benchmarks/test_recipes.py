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

"""What recipes cost: all of them at one size, by steps that really train."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from benchmarks import recipes as benchmark
from benchmarks.recipes import CASES, config_of, main, report, Taken, Trained
from benchmarks.train_scaling import make_dataset
from depth_ros.errors import DepthRosError
import pytest
import torch
from training.recipes.registry import RECIPES

SMALL = ['--width', '64', '--height', '64', '--batch', '3', '--rounds', '1']


@pytest.fixture(scope='module')
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of the demo clip."""
    return make_dataset(tmp_path_factory.mktemp('recipes'))


@pytest.fixture
def given(tmp_path: Path) -> argparse.Namespace:
    return benchmark._parser().parse_args(SMALL)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_recipe_is_measured_in_processes_and_told(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        assert main([*SMALL, '--cases', 'supervised']) == 0
    finally:
        torch.set_num_threads(threads)
    head, _, header, _, row = capsys.readouterr().out.strip().splitlines()
    assert head.startswith('batch 3 of 64x64, efficientnet_lite0 where a recipe lets one choose')
    assert header == '| recipe | trained, millions | step, ms | processor, ms | ratio | peak, MB |'
    name, millions, *figures = (cell.strip() for cell in row.strip('|').split('|'))
    assert name == '`supervised`'
    assert float(millions) > 3.0
    step_ms, processor_ms, ratio, peak_mb = map(float, figures)
    assert min(step_ms, processor_ms) > 0
    assert ratio == 1.0
    # Weights, gradients and both moments of Adam at least, in float32.
    assert peak_mb > 4 * 4 * float(millions)


def test_every_recipe_has_a_row() -> None:
    assert set(RECIPES) < set(CASES)
    assert next(iter(CASES)) == benchmark.FIRST


@pytest.mark.parametrize('name', CASES)
def test_case_is_its_shipped_config_at_the_common_size(
    name: str, given: argparse.Namespace, tmp_path: Path
) -> None:
    config = config_of(CASES[name], given, tmp_path)
    assert (config.data.width, config.data.height, config.batch_size) == (64, 64, 3)
    assert config.network.weights == 'random'
    assert config.network.encoder.startswith('efficientnet_lite0')
    if name in RECIPES:
        assert config.recipe.name == name


@pytest.mark.parametrize('name', ['gradient_field', 'low_texture'])
def test_step_trains_and_takes_time(name: str, data: Path, given: argparse.Namespace) -> None:
    trained = Trained(CASES[name], given, data)
    before = [p.detach().clone() for p in trained.recipe.parameters() if p.requires_grad]
    assert trained.parameters() == sum(p.numel() for p in before)
    # A queue without keys has nothing to teach yet.
    taken = [trained.step() for _ in range(2)]
    assert min(min(one.clock, one.processor) for one in taken) > 0
    after = [p for p in trained.recipe.parameters() if p.requires_grad]
    assert not all(torch.equal(a, b) for a, b in zip(after, before, strict=True))


def test_report_compares_medians_with_the_first_recipe() -> None:
    times = {
        'supervised': [Taken(100.0, 50.0), Taken(900.0, 60.0), Taken(110.0, 55.0)],
        'low_texture': [Taken(200.0, 165.0), Taken(220.0, 165.0), Taken(1000.0, 165.0)],
    }
    parameters, memory = (
        {'supervised': 1_000_000, 'low_texture': 2_500_000},
        dict.fromkeys(times, 7.0),
    )
    lines = report(times, parameters, memory, by_processor=True).splitlines()
    assert lines[2] == '| `supervised` | 1.0 | 110 | 55 | 1.00 | 7 |'
    assert lines[3].startswith('| low_texture (self_supervised with features')
    assert lines[3].endswith('| 2.5 | 220 | 165 | 3.00 | 7 |')
    assert (
        report(times, parameters, memory, by_processor=False)
        .splitlines()[3]
        .endswith('| 2.00 | 7 |')
    )
    alone = report({'low_texture': times['low_texture']}, parameters, memory, by_processor=True)
    assert alone.splitlines()[2].endswith('| 165 | - | 7 |')


def test_batch_that_cannot_be_shared_is_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL, '--memory-of', 'depth_anything student', '--dataset', str(data)]
    assert main([*words, '--batch', '4']) == 1
    assert 'error: batch_size = 4: 1 frames with LiDAR and 2 without' in capsys.readouterr().err


def test_process_that_fails_is_named(
    tmp_path: Path, given: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, 'executable', 'false')
    with pytest.raises(DepthRosError, match='measurement of supervised ended with status 1'):
        benchmark.measured_memory('supervised', given, tmp_path)
