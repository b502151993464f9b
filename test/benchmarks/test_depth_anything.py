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

"""The comparison of teacher and students, small: every stage, going on, and its table."""

from __future__ import annotations

from argparse import Namespace
import json
from pathlib import Path
from test.training import drives, runs
from typing import Any

from benchmarks.ablation import CONFIG
from benchmarks.depth_anything import main, plan, table, VARIANTS
from benchmarks.depth_anything_pictures import label_picture
from benchmarks.depth_anything_pictures import main as draw
import cv2
import numpy as np
import pytest
from training.settings import read_yaml
from training.train_config import config_from

LIDAR_FRAMES, OTHER_FRAMES = 6, 8


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return drives with and without LiDAR, and one to validate on."""
    folder = tmp_path_factory.mktemp('compared')
    bags = [drives.drive(folder / name, n) for name, n in (('town', LIDAR_FRAMES), ('farm', 2))]
    messages = []
    for index in range(OTHER_FRAMES):
        messages += [drives.info(index), drives.image(index)]
    bags.append(drives.write(folder / 'village', messages))
    return drives.made(folder / 'dataset', *bags, val=['farm'])


@pytest.fixture(scope='module')
def compared(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished comparison of two variants; nobody may change it."""
    out = tmp_path_factory.mktemp('runs')
    assert compare(dataset, out, '--variants', 'teacher', 'perturbed') == 0
    return out


def compare(dataset: Path, out: Path, *options: str) -> int:
    config = out.parent / 'base.yaml'
    config.write_text(runs.config_file(out.parent).read_text())
    named = ['--config', str(config), '--data', str(dataset), '--out', str(out), '--seeds', '1']
    return main([*named, '--steps', '2', '--threads', '1', *options])


def test_student_learns_from_the_labels_of_its_teacher(compared: Path) -> None:
    plan = read_yaml(compared / 'perturbed' / 'seed_0' / 'plan.yaml')
    config = config_from(plan)
    labels = compared / 'labels' / 'seed_0'
    assert config.recipe.options.teacher.labels == str(labels)
    assert len(list(labels.glob('sequences/village/*.png'))) == OTHER_FRAMES
    facts = read_labels(labels)
    assert facts['model']['card']['output']['kind'] == 'affine_inverse_depth'
    scores = json.loads((compared / 'perturbed' / 'seed_0' / 'scores.json').read_text())
    # Two batches of six an epoch, four of them without LiDAR.
    assert scores['steps'] == 2
    assert scores['scores']['depth']['scale_shift_inverse']['frames'] == 2


def read_labels(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / 'labels.json').read_text())
    return facts


def test_finished_runs_are_not_made_again(
    dataset: Path, compared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in compared.rglob('scores.json')}
    assert compare(dataset, compared, '--variants', 'teacher', 'perturbed') == 0
    assert {path: path.stat().st_mtime_ns for path in compared.rglob('scores.json')} == before
    text = (compared / 'table.md').read_text()
    assert text in capsys.readouterr().out
    assert '| student, strong colours and CutMix | 1 | 2 |' in text


def test_variants_differ_by_what_their_names_say(dataset: Path, compared: Path) -> None:
    given = Namespace(config=CONFIG, data=dataset, out=compared, steps=4)
    plans = {name: config_from(plan(VARIANTS[name], given, 0)) for name in VARIANTS}
    assert {name for name, one in plans.items() if one.batch_norm == 'frozen'} == {
        'frozen',
        'frozen_aligned',
    }
    options = {name: one.recipe.options for name, one in plans.items()}
    assert {name for name, one in options.items() if one.alignment} == {
        'aligned',
        'frozen_aligned',
    }
    assert {name for name, one in options.items() if one.teacher is None} == {
        'teacher',
        'few_lidar',
    }
    assert (options['naive'].perturbation, options['naive'].cutmix) == ('off', False)
    assert (options['perturbed'].perturbation, options['perturbed'].cutmix) == ('strong', True)
    # As many frames with LiDAR in a batch as the students have.
    assert (plans['few_lidar'].batch_size, plans['naive'].batch_size) == (2, 6)


def result(variant: str, seed: int, abs_rel: float) -> dict[str, Any]:
    row = {'abs_rel': abs_rel, 'a1': 0.5}
    scores = {'depth': {'scale_shift_inverse': row}}
    return {'variant': variant, 'seed': seed, 'steps': 7, 'scores': scores}


def test_table_compares_means_with_both_deviations() -> None:
    results = [result('teacher', seed, 0.2 + 0.01 * seed) for seed in range(3)]
    results += [result('naive', seed, 0.22 + 0.01 * seed) for seed in range(3)]
    results += [result('perturbed', seed, 0.1) for seed in range(3)]
    lines = table(results).splitlines()
    assert lines[2].endswith('| 3 | 7 | 0.210 ± 0.010 | 0.500 ± 0.000 | - |')
    assert lines[3].endswith('| +0.020, within the spread |')
    assert lines[4].endswith('| -0.110, beyond the spread |')


def test_bad_option_is_named(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'runs').mkdir()
    assert compare(dataset, tmp_path / 'runs', '--variants', 'sepia') == 1
    assert f'--variants sepia: must be of {", ".join(VARIANTS)}' in capsys.readouterr().err
    assert main(['--out', str(tmp_path / 'nothing'), '--table']) == 1
    assert 'has no finished run' in capsys.readouterr().err


def test_picture_shows_frames_that_got_a_box(
    dataset: Path, compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, out = compared / 'labels' / 'seed_0', tmp_path / 'picture.jpg'
    named = ['--data', str(dataset), '--labels', str(labels), '--out', str(out)]
    assert draw([*named, '--frames', '2']) == 0
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape[1] == 4 * 448
    assert draw([*named, '--frames', '0']) == 1
    assert '--frames 0: must be 1 or more' in capsys.readouterr().err
    assert draw([*named[:2], '--labels', str(tmp_path), *named[4:]]) == 1
    assert 'holds no pseudo-labels' in capsys.readouterr().err


def test_picture_shows_what_each_checkpoint_says(
    dataset: Path, compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'picture.jpg'
    files = [f'{name}={compared / name}/seed_0/run/last.ckpt' for name in ('teacher', 'perturbed')]
    named = ['--data', str(dataset), '--out', str(out)]
    assert draw([*files, *named, '--frames', '2']) == 0
    picture = cv2.imread(str(out))
    assert picture is not None
    assert picture.shape[1] == 2 * 448
    _, teacher, student = np.split(picture.astype(int), 3)
    assert np.abs(teacher - student).max() > 50
    assert draw(named) == 1
    assert 'give either --labels or LABEL=CHECKPOINT' in capsys.readouterr().err


def test_each_part_of_a_label_is_shown_in_its_own_scale() -> None:
    ramp = np.tile(np.linspace(0.0, 1.0, 50, dtype=np.float32), (4, 1))
    label = np.concatenate([ramp, 100.0 * ramp + 7.0], axis=1)
    pasted = np.zeros(label.shape, bool)
    pasted[:, 50:] = True
    shown = label_picture(label, pasted)
    assert np.abs(shown[:, :50].astype(int) - shown[:, 50:]).max() <= 4
    label[0, 0] = np.nan
    assert (label_picture(label, pasted)[0, 0] == 0).all()
