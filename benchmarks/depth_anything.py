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
their own. A second call goes on where the first was stopped. Scores are those of the last step on
the validation drives, each frame brought to its LiDAR's scale and shift in inverse depth.
docs/depth_anything.md holds what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from benchmarks.ablation import AblationError, claim, EXIT_ERROR, EXIT_INTERRUPTED, Run, train
from benchmarks.ablation_scores import validation_batches
from benchmarks.ablation_table import is_beyond, Spread, table_text
from benchmarks.ablation_variants import steps_per_epoch
from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import ConfigError, DepthRosError
from training.checkpoint import LAST, load_recipe
from training.dataset_format import json_bytes, write_whole
from training.settings import read_yaml
from training.train_config import config_from
from training.validation import score
import yaml

PROGRAM = 'python -m benchmarks.depth_anything'
CONFIG = Path(__file__).parents[1] / 'training' / 'configs' / 'ablation.yaml'
SCORES_FILE, TABLE_FILE = 'scores.json', 'table.md'
STEPS, SEEDS, BATCH = 192, 3, 6
TEACHER = 'teacher'
ALIGNMENT = 'scale_shift_inverse'
COLUMNS = {'AbsRel': ('abs_rel', 3), 'a1': ('a1', 3)}
ABSENT = '-'


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """
    One row of the table.

    Fields:
        options: of the recipe.
        has_labels: it learns from pseudo-labels.
        batch_size: of all frames; those with LiDAR are a third of it where there are labels.

    """

    label: str
    options: Mapping[str, Any] = field(default_factory=dict)
    has_labels: bool = True
    batch_size: int = BATCH


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
    'aligned': Variant(
        label='and feature alignment', options={'alignment': {'encoder': 'efficientnet_lite0'}}
    ),
}


def plan(variant: Variant, given: argparse.Namespace, seed: int, labels: Path) -> dict[str, Any]:
    """
    Return the whole config of one run.

    :param labels: folder of the pseudo-labels of this seed; read where the variant has some.
    :raises DepthRosError: the dataset or the config.
    """
    recipe = {'name': 'depth_anything', **variant.options}
    if variant.has_labels:
        recipe['teacher'] = {'labels': str(labels)}
    content = {
        **read_yaml(given.config),
        'name': f'depth_anything {variant.label}',
        'seed': seed,
        'batch_size': variant.batch_size,
        'validation': {'alignment': ALIGNMENT},
        'recipe': recipe,
    }
    per_epoch = steps_per_epoch(config_from(content), given.data)
    content['epochs'] = max(1, round(given.steps / per_epoch))
    return content


def run_of(name: str, given: argparse.Namespace, seed: int) -> Run:
    """
    Return one run, its plan made from what is there already.

    :raises DepthRosError: see ``plan``.
    """
    folder = given.out / name / f'seed_{seed}'
    labels = labels_folder(given, seed)
    content = plan(VARIANTS[name], given, seed, labels)
    return Run(
        variant=name, seed=seed, folder=folder, plan=yaml.safe_dump(content, sort_keys=False)
    )


def labels_folder(given: argparse.Namespace, seed: int) -> Path:
    """Return where the pseudo-labels of a seed are."""
    folder: Path = given.out / 'labels' / f'seed_{seed}'
    return folder


def make_labels(given: argparse.Namespace, seed: int) -> None:
    """
    Export the teacher and let it label; what is finished is not made again.

    :raises DepthRosError: a program failed.
    """
    run = run_of(TEACHER, given, seed)
    model = run.folder / 'teacher.onnx'
    if not model.exists():
        words = ['--licence', 'CC-BY-NC-SA-3.0', '--training-data', 'KITTI drives']
        checkpoint = str(run.folder / 'run' / LAST)
        _call('training.export', '--checkpoint', checkpoint, '--out', str(model), *words)
    named = ['--model', str(model), '--data', str(given.data), '--engine', 'onnxruntime']
    _call('training.pseudo_label', *named, '--out', str(labels_folder(given, seed)))


def _call(module: str, *arguments: str) -> None:
    environment = {'OMP_WAIT_POLICY': 'passive', **os.environ}
    command = [sys.executable, '-m', module, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise AblationError(f'{module} ended with status {done.returncode}; it said why above')


def make(given: argparse.Namespace) -> int:
    """
    Make what is missing; return the exit status.

    :raises DepthRosError: a run failed.
    """
    for seed in range(given.seeds):
        for name in given.variants:
            if VARIANTS[name].has_labels:
                make_labels(given, seed)
            run = run_of(name, given, seed)
            claim(run)
            if run.is_scored:
                continue
            began = time.monotonic()
            status = train(run, given)
            if status == EXIT_INTERRUPTED:
                return status
            if status:
                raise AblationError(
                    f'{name}, seed {seed}: training ended with status {status}; '
                    f"'{run.folder / 'train.log'}' says why"
                )
            finish(run, given.data)
            print(f'{name} seed {seed}: {time.monotonic() - began:.0f} s', flush=True)
    return 0


def finish(run: Run, data: Path) -> None:
    """
    Score the last checkpoint.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    recipe, config = load_recipe(run.folder / 'run' / LAST)
    rules = ScoreRules(alignment=ALIGNMENT)
    (scores,) = score(recipe, validation_batches(config, data), rules).values()
    row = scores.row()
    content = {
        'variant': run.variant,
        'seed': run.seed,
        'steps': config.epochs * steps_per_epoch(config, data),
        **{key: row[key] for key in ('abs_rel', 'a1', 'rmse', 'frames')},
    }
    write_whole(run.folder / SCORES_FILE, json_bytes(content))


def tabulate(out: Path) -> str:
    """
    Write table.md of the runs that are finished, and return it.

    :raises DepthRosError: there is none.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name in VARIANTS:
        for path in sorted((out / name).glob(f'*/{SCORES_FILE}')):
            found.setdefault(name, []).append(json.loads(path.read_text(encoding='utf-8')))
    if not found:
        raise AblationError(f"'{out}' has no finished run: call without --table")
    rows = [_row(name, found) for name in found]
    text = table_text(['', 'seeds', 'steps', *COLUMNS, 'AbsRel against teacher'], rows)
    write_whole(out / TABLE_FILE, text.encode())
    return text


def _row(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    runs = found[name]
    steps = sorted({run['steps'] for run in runs})
    cells = [VARIANTS[name].label, str(len(runs)), '/'.join(map(str, steps))]
    for column, digits in COLUMNS.values():
        spread = Spread.of(run[column] for run in runs)
        cells.append(ABSENT if spread is None else spread.text(digits))
    return [*cells, _against(name, found)]


def _against(name: str, found: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    own, other = (
        Spread.of(run['abs_rel'] for run in found.get(key, ())) for key in (name, TEACHER)
    )
    if name == TEACHER or own is None or other is None or min(own.count, other.count) == 1:
        return ABSENT
    verdict = 'beyond' if is_beyond(own, other) else 'within'
    return f'{own.mean - other.mean:+.3f}, {verdict} the spread'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        if not given.table:
            _check(given)
            status = make(given)
            if status:
                return status
        print(tabulate(given.out))
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _check(given: argparse.Namespace) -> None:
    if given.data is None:
        raise ConfigError('--data is missing: give a folder of training.prepare, or --table')
    unknown = [name for name in given.variants if name not in VARIANTS]
    if unknown:
        raise ConfigError(f'--variants {unknown[0]}: must be of {", ".join(VARIANTS)}')
    for key in ('seeds', 'steps'):
        if getattr(given, key) < 1:
            raise ConfigError(f'--{key} {getattr(given, key)}: must be at least 1')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument('--data', type=Path, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='folder of all runs')
    parser.add_argument(
        '--table', action='store_true', help='train nothing: compare what is finished'
    )
    parser.add_argument('--config', type=Path, default=CONFIG, help='what all runs share')
    parser.add_argument('--variants', nargs='+', default=list(VARIANTS), metavar='NAME')
    parser.add_argument('--seeds', type=int, default=SEEDS, help='0 to this minus 1')
    parser.add_argument('--steps', type=int, default=STEPS, help='optimiser steps, about')
    parser.add_argument('--threads', type=int, default=0, help="0: torch's own choice")
    parser.add_argument('--accelerator', choices=('auto', 'cpu', 'cuda'), default='cpu')
    return parser


if __name__ == '__main__':
    sys.exit(main())
