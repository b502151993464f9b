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

"""The ablation of TC-Depth takes away what it says, and scores steadiness as it is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from test.training import drives, runs
from typing import Any

from benchmarks import tc_depth as benchmark
from benchmarks.ablation import parser_of, planned_runs, SCORES_FILE
from benchmarks.ablation_scores import validation_dataset
import numpy as np
import pytest
import torch
from training.dataset import DepthDataset
from training.models.network import Prediction
from training.samples import Batch
from training.settings import read_yaml
from training.train_config import config_from
import yaml

DEPTH_M = 5.0
# The drives go on by 1 m a frame.
STEP_M = 1.0


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_dataset(tmp_path_factory.mktemp('tc_depth'))


def config_in(folder: Path) -> Path:
    recipe = read_yaml(benchmark.CONFIG)['recipe']
    return runs.config_file(folder, recipe=recipe, network=runs.REMEMBERING)


class Flat:
    """A recipe that says the same distance everywhere."""

    def predictions(self, batch: Batch) -> dict[str, Prediction]:
        depth = torch.full_like(batch.depth_B1HW, DEPTH_M)
        return {'depth': Prediction((depth,), (torch.zeros_like(depth),))}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_run_is_trained_scored_and_told(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ['--config', str(config_in(tmp_path)), '--data', str(dataset), '--seeds', '1']
    named += ['--steps', '2', '--threads', '1', '--out', str(tmp_path / 'out')]
    assert benchmark.main([*named, '--variants', 'no_spatial']) == 0
    path = tmp_path / 'out' / 'no_spatial' / 'seed_0' / SCORES_FILE
    scores = json.loads(path.read_text())['scores']['depth']
    assert scores['none']['frames'] == runs.VAL_FRAMES
    assert scores['temporal']['flicker'] >= 0
    assert set(benchmark.CHECKS) <= set(scores['temporal'])
    row = capsys.readouterr().out.splitlines()[-2]
    assert row.startswith('| without spatial attention | 1 | 2 |')


def test_variants_change_what_they_say_alone(dataset: Path, tmp_path: Path) -> None:
    variants = benchmark.VARIANTS
    parser = parser_of('x', None, benchmark.CONFIG, variants, benchmark.STEPS)
    given = parser.parse_args(['--data', str(dataset), '--out', str(tmp_path), '--seeds', '1'])
    plans = {run.variant: yaml.safe_load(run.plan) for run in planned_runs(given, variants)}
    assert list(plans) == list(variants)
    full = plans['full']
    for name, plan in plans.items():
        config = config_from(plan)
        attention, options = config.network.attention, config.recipe.options
        assert attention.spatial == (name not in ('no_spatial', 'single')), name
        assert attention.temporal == (name not in ('no_temporal', 'single')), name
        assert attention.pool == (2 if name == 'coarse' else 1), name
        assert options.cycle_mask or name == 'no_cycle', name
        assert options.compares_depths == (name not in ('no_consistency', 'single')), name
        same = {key: value for key, value in plan.items() if key not in CHANGED}
        assert same == {key: value for key, value in full.items() if key not in CHANGED}


CHANGED = ('name', 'recipe', 'network')


def test_moment_holds_the_frame_as_the_network_sees_it(dataset: Path, tmp_path: Path) -> None:
    config = config_from(read_yaml(config_in(tmp_path)))
    data = validation_dataset(config, dataset)
    moment = benchmark.moment_of(Flat(), data, 1, 'depth')
    assert moment.depth_HW.shape == moment.image_HW3.shape[:2] == (runs.HEIGHT, runs.WIDTH)
    assert np.all(moment.depth_HW == DEPTH_M)
    rgb = data[1].image_3HW.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(moment.image_HW3[..., ::-1], rgb, atol=0.5)
    k = moment.intrinsics
    scale = (runs.WIDTH / drives.WIDTH, runs.HEIGHT / drives.HEIGHT)
    assert (k.fx, k.fy) == pytest.approx((scale[0] * drives.FOCAL, scale[1] * drives.FOCAL))
    assert moment.truth is not None
    assert len(moment.truth.depth_N) == int(data[1].valid_1HW.sum()) > 0
    assert moment.stamp_ns == drives.stamp(1)
    before = benchmark.moment_of(Flat(), data, 0, 'depth')
    assert moment.world_T_cam is not None
    assert before.world_T_cam is not None
    travelled = (np.linalg.inv(before.world_T_cam) @ moment.world_T_cam)[:3, 3]
    np.testing.assert_allclose(travelled, (0.0, 0.0, STEP_M), atol=1e-6)


def test_steadiness_of_a_wall_that_follows_is_what_the_motion_says(dataset: Path) -> None:
    data = DepthDataset(dataset, 'val', labelled=True)
    found = benchmark.steadiness(Flat(), data, 'depth')
    # A point at this depth is STEP_M nearer in the next frame, and the wall says it is not.
    expected = math.log(DEPTH_M / (DEPTH_M - STEP_M))
    assert found['consistency'] == pytest.approx(expected, rel=1e-5)
    assert found['scale_step'] == pytest.approx(expected, rel=1e-5)
    assert found['flicker'] == 0.0


def test_table_has_mean_and_spread_and_leaves_out_what_is_missing() -> None:
    def result(name: str, seed: int, **temporal: float) -> dict[str, Any]:
        scores: dict[str, Any] = {'none': {'abs_rel': 0.1 + 0.2 * seed, 'rmse': 4.0, 'a1': 0.5}}
        scores['temporal'] = dict.fromkeys(benchmark.CHECKS) | temporal
        return {'variant': name, 'seed': seed, 'steps': 7, 'scores': {'depth': scores}}

    results = [result('full', 0, flicker=0.1), result('full', 1, flicker=0.3)]
    lines = benchmark.table([*results, result('single', 0, consistency=0.2)]).splitlines()
    assert [line.count('|') for line in lines] == [10] * 4
    assert lines[2].startswith('| all of it | 2 | 7 | 0.200 ± 0.141 | 4.00 ± 0.00 |')
    assert lines[2].endswith('| - | - | 0.2000 ± 0.1414 |')
    assert '| 0.2000 | - | - |' in lines[3]
