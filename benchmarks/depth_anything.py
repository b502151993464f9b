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
Compare teacher and students of the recipe depth_anything, with the same data and budget.

For each seed: train the teacher on frames with LiDAR, export it, label the frames without by
``training.pseudo_label``, and train the students; all by the programs themselves, in processes of
their own. Runs, resumes and names folders as benchmarks.ablation does. Scores are those of the
last step on the validation drives, each frame brought to its LiDAR's scale and shift in inverse
depth. docs/depth_anything.md holds what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import os
from pathlib import Path
import subprocess
import sys
from typing import Any

from benchmarks.ablation import (
    AblationError,
    CONFIG,
    finished,
    make,
    parser_of,
    require_data,
    Run,
    tell,
    told,
)
from benchmarks.ablation_scores import validation_batches
from benchmarks.ablation_table import ABSENT, is_beyond, spread, table_text
from benchmarks.ablation_variants import steps_per_epoch
from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import ConfigError
from training.checkpoint import load_recipe
from training.checkpoint_file import LAST
from training.settings import read_yaml
from training.train_config import config_from
from training.validation import score
import yaml

PROGRAM = 'python -m benchmarks.depth_anything'
STEPS, BATCH = 192, 6
TEACHER = 'teacher'
ALIGNMENT = 'scale_shift_inverse'
# Title -> column, digits.
COLUMNS = {'AbsRel': ('abs_rel', 3), 'a1': ('a1', 3)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """
    One row of the table.

    Fields:
        options: of the recipe.
        has_labels: it learns from pseudo-labels.
        batch_size: of all frames; those with LiDAR are a third of it where there are labels.
        batch_norm: None: as the config has it.

    """

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    has_labels: bool = True
    batch_size: int = BATCH
    batch_norm: str | None = None


ALIGNED = {'alignment': {'encoder': 'efficientnet_lite0'}}
VARIANTS: dict[str, Variant] = {
    TEACHER: Variant(label='teacher: LiDAR alone', has_labels=False),
    'few_lidar': Variant(
        label="LiDAR alone, as many frames with it as the students'",
        has_labels=False,
        batch_size=BATCH // 3,
    ),
    'naive': Variant(
        label='student, nothing perturbed', options={'perturbation': 'off', 'cutmix': False}
    ),
    'perturbed': Variant(label='student, strong colours and CutMix'),
    'aligned': Variant(label='and feature alignment', options=ALIGNED),
    # With statistics of each batch the same encoder gives other features than the frozen one.
    'frozen': Variant(label='student, colours and CutMix, batch_norm frozen', batch_norm='frozen'),
    'frozen_aligned': Variant(
        label='and feature alignment, batch_norm frozen', options=ALIGNED, batch_norm='frozen'
    ),
}


def plan(variant: Variant, given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """
    Return the whole config of one run.

    :raises DepthRosError: the dataset, its pseudo-labels, or the config.
    """
    recipe: dict[str, Any] = {'name': 'depth_anything', **variant.options}
    if variant.has_labels:
        recipe['teacher'] = {'labels': str(labels_folder(given.out, seed))}
    content = {
        **read_yaml(given.config),
        'name': f'depth_anything {variant.label}',
        'seed': seed,
        'batch_size': variant.batch_size,
        'validation': {'alignment': ALIGNMENT},
        'recipe': recipe,
    }
    if variant.batch_norm is not None:
        content['batch_norm'] = variant.batch_norm
    per_epoch = steps_per_epoch(config_from(content), given.data)
    content['epochs'] = max(1, round(given.steps / per_epoch))
    return content


def run_of(name: str, given: argparse.Namespace, seed: int) -> Run:
    """Return one run; raises as ``plan`` does."""
    text = yaml.safe_dump(plan(VARIANTS[name], given, seed), sort_keys=False)
    return Run(variant=name, seed=seed, folder=given.out / name / f'seed_{seed}', plan=text)


def labels_folder(out: Path, seed: int) -> Path:
    """Return where the pseudo-labels of a seed are."""
    return out / 'labels' / f'seed_{seed}'


def make_labels(given: argparse.Namespace, seed: int) -> None:
    """
    Export the teacher and let it label; what is finished is not made again.

    :raises DepthRosError: a program failed.
    """
    folder = given.out / TEACHER / f'seed_{seed}'
    model = folder / 'teacher.onnx'
    if not model.exists():
        words = ['--licence', 'of the drives', '--training-data', 'see the plan beside the file']
        checkpoint = str(folder / 'run' / LAST)
        _call('training.export', '--checkpoint', checkpoint, '--out', str(model), *words)
    named = ['--model', str(model), '--data', str(given.data), '--engine', 'onnxruntime']
    _call('training.pseudo_label', *named, '--out', str(labels_folder(given.out, seed)))


def _call(module: str, *arguments: str) -> None:
    environment = {'OMP_WAIT_POLICY': 'passive', **os.environ}
    command = [sys.executable, '-m', module, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise AblationError(f'{module} ended with status {done.returncode}; it said why above')


def make_all(given: argparse.Namespace) -> int:
    """
    Make what is missing, seed after seed; return the exit status.

    :raises DepthRosError: a run failed.
    """
    for seed in range(given.seeds):
        for name in given.variants:
            if VARIANTS[name].has_labels:
                make_labels(given, seed)
            status = make([run_of(name, given, seed)], given, affine_scores)
            if status:
                return status
    return 0


def affine_scores(checkpoint: Path, data: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """
    Return scores by branch, then by alignment, as ``benchmarks.ablation_scores.scores_of``.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    recipe, config = load_recipe(checkpoint)
    rules = ScoreRules(alignment=ALIGNMENT)
    scores = score(recipe, validation_batches(config, data), rules)
    # Sigma means nothing here, and JSON has no NaN.
    columns = ('abs_rel', 'a1', 'rmse', 'frames', 'pixels')
    rows = {branch: own.row() for branch, own in scores.items()}
    return {
        branch: {ALIGNMENT: {name: row[name] for name in columns}} for branch, row in rows.items()
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the scores of every variant, mean and standard deviation over the seeds."""
    groups = {
        name: [run for run in results if run['variant'] == name]
        for name in VARIANTS
        if any(run['variant'] == name for run in results)
    }
    rows = []
    for name, runs in groups.items():
        steps = '/'.join(map(str, sorted({run['steps'] for run in runs})))
        cells = [VARIANTS[name].label, str(len(runs)), steps]
        for column, digits in COLUMNS.values():
            value = spread(runs, 0, ALIGNMENT, column)
            cells.append(ABSENT if value is None else value.text(digits))
        rows.append([*cells, _against(name, groups)])
    return table_text(['', 'seeds', 'steps', *COLUMNS, 'AbsRel against the teacher'], rows)


def _against(name: str, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    if name == TEACHER or TEACHER not in groups:
        return ABSENT
    own, other = (spread(groups[key], 0, ALIGNMENT, 'abs_rel') for key in (name, TEACHER))
    if own is None or other is None or min(own.count, other.count) == 1:
        return ABSENT
    verdict = 'beyond' if is_beyond(own, other) else 'within'
    return f'{own.mean - other.mean:+.3f}, {verdict} the spread'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = parser_of(PROGRAM, __doc__, CONFIG, VARIANTS, STEPS).parse_args(argv)

    def work() -> int:
        if not given.table:
            _check(given)
            status = make_all(given)
            if status:
                return status
        tell(given.out, table(finished(given.out, VARIANTS)))
        return 0

    return told(given, work)


def _check(given: argparse.Namespace) -> None:
    require_data(given)
    unknown = [name for name in given.variants if name not in VARIANTS]
    if unknown:
        raise ConfigError(f'--variants {unknown[0]}: must be of {", ".join(VARIANTS)}')


if __name__ == '__main__':
    sys.exit(main())
