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

"""The ablation trains what it says, once, and its tables say what was scored."""

from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
import signal
from test.training import runs
from typing import Any

from benchmarks.ablation import CONFIG, main, PLAN_FILE, RESULTS_CSV, RESULTS_JSON, SCORES_FILE
from benchmarks.ablation_pictures import main as draw
from benchmarks.ablation_pictures import PANEL_WIDTH_PX
from benchmarks.ablation_scores import sigma_medians
from benchmarks.ablation_table import csv_text, is_beyond, main_table, markdown, Spread
from benchmarks.ablation_variants import RAMP_SHARE, variant_config, VARIANTS
import cv2
import numpy as np
import pytest
import torch
from training.checkpoint_file import LAST
from training.dataset import DepthDataset
from training.models.depth_net import Prediction
from training.recipes.recipe import Progress, Recipe, Term
from training.samples import Batch, collate
from training.settings import read_yaml
from training.train_config import config_from
import yaml

# Nine frames in batches of four: two steps an epoch, and only seven frames have both neighbours.
STEPS = 4


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.make_dataset(tmp_path_factory.mktemp('ablation'))


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny config with the recipe of the real one."""
    recipe = read_yaml(CONFIG)['recipe']
    return runs.config_file(tmp_path_factory.mktemp('base'), recipe=recipe)


def ablate(base: Path, data: Path, out: Path, *options: str) -> int:
    named = ['--config', str(base), '--data', str(data), '--out', str(out), '--seeds', '1']
    return main([*named, '--steps', str(STEPS), '--threads', '1', *options])


@pytest.fixture(scope='module')
def finished(base: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an ablation of one variant; nobody may change it."""
    out = tmp_path_factory.mktemp('finished')
    assert ablate(base, dataset, out, '--variants', 'supervised') == 0
    return out


def result(variant: str, seed: int, abs_rel: float, **other: Any) -> dict[str, Any]:
    row = {'abs_rel': abs_rel, 'rmse': 4.0, 'a1': 0.5, 'nll': 2.0}
    row |= {'coverage_1_sigma': 0.7, 'coverage_2_sigma': 0.9}
    row |= {'sigma_at_hits_m': 1.0, 'sigma_never_reached_m': 10.0, **other}
    scores = {'depth': {'none': row, 'median': {**row, 'abs_rel': abs_rel / 2}}}
    return {'variant': variant, 'seed': seed, 'steps': 7, 'scores': scores}


# Variants


@pytest.mark.parametrize('name', VARIANTS)
def test_variant_config_is_valid_and_has_the_budget(name: str, dataset: Path) -> None:
    content = variant_config(VARIANTS[name], read_yaml(CONFIG), dataset, steps=12, seed=2)
    config = config_from(content)
    assert config.seed == 2
    assert config.recipe.name == VARIANTS[name].recipe
    # Nine frames give two steps, the seven with both neighbours one.
    per_epoch = 1 if config.recipe.options.needs.neighbours else 2
    assert config.epochs * per_epoch == 12
    if config.recipe.name == 'mutual_distillation':
        options = config.recipe.options
        assert options.epochs_before == pytest.approx(config.epochs * VARIANTS[name].before_share)
        assert options.epochs_ramp == pytest.approx(config.epochs * RAMP_SHARE)


def test_variants_of_mutual_differ_in_what_they_are_named_after(dataset: Path) -> None:
    def options(name: str) -> dict[str, Any]:
        content = variant_config(VARIANTS[name], read_yaml(CONFIG), dataset, steps=12, seed=0)
        return content['recipe']

    reference = options('mutual')
    assert {**options('mutual_no_noise'), 'noise': reference['noise']} == reference
    assert options('mutual_no_noise')['noise'] == 'off'
    without = options('mutual_no_filtering')
    assert without.pop('filtering') == 'off'
    assert without == {k: v for k, v in reference.items() if k != 'filter_radius_px'}
    assert options('mutual_weak') == {**reference, 'distillation_weight': 0.1}
    assert options('side_by_side') == {**reference, 'distillation_weight': 0.0}
    late = options('mutual_late')
    assert late.pop('epochs_before') == 2 * reference['epochs_before']
    assert late == {k: v for k, v in reference.items() if k != 'epochs_before'}
    ratios = options('log')
    assert ratios == {**reference, 'lesson_space': 'log'}
    assert options('log_weak') == {**ratios, 'distillation_weight': 0.1}
    for scheme in ('UT', 'UWT', 'CT'):
        assert options(f'log_{scheme.lower()}') == {**ratios, 'weighting': scheme}


def test_everything_but_the_recipe_is_the_same_for_all(dataset: Path) -> None:
    base = read_yaml(CONFIG)
    own = {'name', 'seed', 'epochs', 'recipe'}
    shared = {key: value for key, value in base.items() if key not in own}
    for variant in VARIANTS.values():
        content = variant_config(variant, base, dataset, steps=12, seed=0)
        assert {key: content[key] for key in shared} == shared


# Runs


def test_scores_are_those_of_the_trainers_own_validation(
    finished: Path, dataset: Path, tmp_path: Path
) -> None:
    folder = finished / 'supervised' / 'seed_0'
    assert runs.train(folder / PLAN_FILE, dataset, tmp_path / 'run') == 0
    expected = runs.rows(tmp_path / 'run' / 'validation.csv')[-1]
    content = json.loads((folder / SCORES_FILE).read_text(encoding='utf-8'))
    assert content['steps'] == STEPS
    found = content['scores']['depth']['none']
    for column in ('abs_rel', 'rmse', 'a1', 'nll', 'coverage_1_sigma', 'pixels'):
        assert found[column] == pytest.approx(float(expected[column]), rel=1e-4)
    # The wall is flat, so one factor for each frame makes an almost flat answer much better.
    assert content['scores']['depth']['median']['abs_rel'] < found['abs_rel']


def test_tables_are_written(finished: Path) -> None:
    rows = runs.rows(finished / RESULTS_CSV)
    assert [row['alignment'] for row in rows] == ['none', 'median']
    runs_found = json.loads((finished / RESULTS_JSON).read_text(encoding='utf-8'))['runs']
    assert runs_found[0]['scores']['depth']['none']['abs_rel'] == float(rows[0]['abs_rel'])
    assert '| supervised | 1 | 4 |' in (finished / 'table.md').read_text(encoding='utf-8')


def test_finished_run_is_not_made_again(finished: Path, base: Path, dataset: Path) -> None:
    files = [path for path in (finished / 'supervised').rglob('*') if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert ablate(base, dataset, finished, '--variants', 'supervised') == 0
    assert {path: path.stat().st_mtime_ns for path in files} == before


def test_stopped_run_goes_on_to_the_same_weights(
    finished: Path, base: Path, dataset: Path, tmp_path: Path
) -> None:
    own = Path('supervised') / 'seed_0'
    (tmp_path / own).mkdir(parents=True)
    plan = (finished / own / PLAN_FILE).read_bytes()
    (tmp_path / own / PLAN_FILE).write_bytes(plan)
    log = tmp_path / own / 'run' / 'log.csv'
    runs.signal_when(lambda: runs.has_rows(log, 1), signal.SIGINT, os.getpid())
    stopped = runs.train(tmp_path / own / PLAN_FILE, dataset, log.parent, '--no-validation')
    assert stopped == 128 + signal.SIGINT
    assert runs.last(log.parent).position.step < STEPS
    assert ablate(base, dataset, tmp_path, '--variants', 'supervised') == 0
    one, other = (runs.last(folder / own / 'run') for folder in (finished, tmp_path))
    assert one.position == other.position
    for name, tensor in one.recipe.items():
        torch.testing.assert_close(other.recipe[name], tensor, msg=name)


def test_other_plan_in_the_folder_is_refused(
    finished: Path, base: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ['--variants', 'supervised', '--steps', '8']
    assert ablate(base, dataset, finished, *options) == 1
    assert 'holds another config than this call would train' in capsys.readouterr().err


def test_failed_training_names_run_and_log(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = runs.make_dataset(tmp_path / 'own')
    for image in (data / 'sequences' / 'town' / 'image').iterdir():
        image.write_bytes(b'')
    assert ablate(base, data, tmp_path / 'out', '--variants', 'supervised') == 1
    told = capsys.readouterr().err
    assert 'supervised, seed 0: training ended with status 1' in told
    log = (tmp_path / 'out' / 'supervised' / 'seed_0' / 'train.log').read_text(encoding='utf-8')
    assert 'damaged' in log


@pytest.mark.parametrize(
    ('options', 'told'),
    [
        (['--variants', 'mutal'], '--variants mutal: must be of supervised, '),
        (['--seeds', '0'], '--seeds 0: must be at least 1'),
        (['--steps', '0'], '--steps 0: must be at least 1'),
    ],
)
def test_wrong_option_is_refused(
    options: list[str],
    told: str,
    base: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ablate(base, dataset, tmp_path, *options) == 1
    assert told in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_table_without_runs_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--table', '--out', str(tmp_path)]) == 1
    assert 'has no finished run' in capsys.readouterr().err
    assert main(['--out', str(tmp_path)]) == 1
    assert '--data is missing' in capsys.readouterr().err


def test_damaged_scores_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'mutual' / 'seed_0'
    folder.mkdir(parents=True)
    (folder / SCORES_FILE).write_text('{"seed"', encoding='utf-8')
    assert main(['--table', '--out', str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert f"'{folder / SCORES_FILE}' cannot be read" in told


# Tables


def test_spread_is_mean_and_sample_deviation() -> None:
    spread = Spread.of([1.0, 2.0, 3.0])
    assert spread == Spread(2.0, 1.0, 3)
    assert spread is not None
    assert spread.text(2) == '2.00 ± 1.00'
    one = Spread.of([0.25])
    assert one is not None
    assert math.isnan(one.std)
    assert one.text(3) == '0.250'
    assert Spread.of([1.0, None]) is None
    assert Spread.of([]) is None


@pytest.mark.parametrize(('mean', 'expected'), [(1.29, False), (1.31, True), (0.69, True)])
def test_difference_is_beyond_both_deviations_together(mean: float, expected: bool) -> None:
    assert is_beyond(Spread(mean, 0.2, 3), Spread(1.0, 0.1, 3)) is expected
    assert is_beyond(None, Spread(1.0, 0.1, 3)) is False


def test_table_compares_with_the_reference_and_hides_sigma_without_metres() -> None:
    results = [result('supervised', seed, 0.2 + 0.01 * seed) for seed in range(3)]
    results += [result('mutual', seed, 0.3 + 0.01 * seed) for seed in range(3)]
    results += [result('self_supervised', seed, 0.21 + 0.06 * seed) for seed in range(3)]
    rows = {line.split('|')[1].strip(): line for line in main_table(results).splitlines()}
    cells = [cell.strip() for cell in rows['mutual distillation (S-U, UW)'].split('|')[2:-1]]
    assert cells[:3] == ['3', '7', '0.310 ± 0.010']
    assert cells[5:7] == ['0.155 ± 0.005', '+0.100 to supervised, beyond the spread']
    assert cells[7:] == ['2.00 ± 0.00', '0.70 ± 0.00', '0.90 ± 0.00']
    video = [cell.strip() for cell in rows['self-supervised'].split('|')[2:-1]]
    assert video[6] == '+0.060 to supervised, within the spread'
    assert video[7:] == ['-', '-', '-']
    assert rows['supervised'].split('|')[8].strip() == '-'


def test_table_shows_the_second_branch_and_medians_of_sigma() -> None:
    mutual = result('mutual', 0, 0.2)
    mutual['scores'] = {
        's': mutual['scores']['depth'],
        'u': result('mutual', 0, 0.4)['scores']['depth'],
    }
    text = markdown([mutual])
    assert '| mutual distillation (S-U, UW): u | 0.400 | 4.00 | 0.500 | 0.200 |' in text
    assert '| mutual distillation (S-U, UW) | 1.00 | 10.00 |' in text


def test_score_that_one_seed_lacks_is_left_out() -> None:
    results = [result('mutual', 0, 0.2), result('mutual', 1, 0.2, nll=None)]
    assert main_table(results).splitlines()[-1].split('|')[9].strip() == '-'


def test_csv_has_every_run_branch_and_alignment() -> None:
    rows = list(csv.DictReader(csv_text([result('mutual', 1, 0.3)]).splitlines()))
    assert [(row['seed'], row['alignment'], row['abs_rel']) for row in rows] == [
        ('1', 'none', '0.3'),
        ('1', 'median', '0.15'),
    ]


# Sigma


class TwoSigmas(Recipe):
    """Answers 10 m, surer at hits than elsewhere."""

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        raise NotImplementedError

    def deployed(self) -> torch.nn.Module:
        raise NotImplementedError

    def predictions(self, batch: Batch) -> dict[str, Prediction]:
        sigma = torch.where(batch.valid_B1HW, 2.0, 8.0)
        depth = torch.full_like(batch.depth_B1HW, 10.0)
        return {'depth': Prediction((depth,), (sigma.log(),))}


def test_sigma_medians_are_at_hits_and_beyond_their_reach(dataset: Path) -> None:
    batch = collate([DepthDataset(dataset, 'val', labelled=True, neighbours=False)[0]])
    batch.valid_B1HW[:, :, :16] = False
    batch.valid_B1HW[:, :, 16:] = True
    found = sigma_medians(TwoSigmas(), [batch], 'depth')
    # The standard deviation of a Laplace distribution is sqrt(2) times its scale.
    assert found['sigma_at_hits_m'] == pytest.approx(2.0 * math.sqrt(2.0), rel=1e-5)
    assert found['sigma_never_reached_m'] == pytest.approx(8.0 * math.sqrt(2.0), rel=1e-5)
    batch.valid_B1HW[:] = True
    assert sigma_medians(TwoSigmas(), [batch], 'depth')['sigma_never_reached_m'] is None


# Pictures


def test_picture_shows_image_depth_and_sigma_of_each_checkpoint(
    finished: Path, dataset: Path, tmp_path: Path
) -> None:
    checkpoint = finished / 'supervised' / 'seed_0' / 'run' / LAST
    out = tmp_path / 'sigma.jpg'
    named = ['--data', str(dataset), '--out', str(out), '--frames', '3']
    assert draw([*named, f'one={checkpoint}', f'two={checkpoint}']) == 0
    picture = cv2.imread(str(out))
    assert picture.shape[1] == 3 * PANEL_WIDTH_PX
    # Image, and depth and sigma of either.
    parts = np.split(picture.astype(int), 5)
    body = slice(len(parts[0]) // 4, None)
    assert abs(parts[1][body] - parts[3][body]).mean() < 2
    assert abs(parts[1][body] - parts[2][body]).mean() > 10


def test_wrong_checkpoints_of_pictures_are_refused(
    finished: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ['--data', str(dataset), '--out', str(tmp_path / 'sigma.jpg')]
    assert draw([*named, 'nothing']) == 1
    assert "'nothing': must be LABEL=CHECKPOINT" in capsys.readouterr().err
    plan = yaml.safe_load((finished / 'supervised' / 'seed_0' / PLAN_FILE).read_text('utf-8'))
    plan['data'] = {**plan['data'], 'width': 96}
    other = tmp_path / 'other.yaml'
    other.write_text(yaml.safe_dump(plan), encoding='utf-8')
    assert runs.train(other, dataset, tmp_path / 'run', '--no-validation') == 0
    checkpoint = finished / 'supervised' / 'seed_0' / 'run' / LAST
    assert draw([*named, f'one={checkpoint}', f'two={tmp_path / "run" / LAST}']) == 1
    assert 'inputs of the sizes [(64, 32), (96, 32)]' in capsys.readouterr().err
