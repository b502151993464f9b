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
Train every variant of the ablation with every seed, and compare them.

Runs one training after the other, in processes of their own; a second call goes on where the
first was stopped, and what is finished is not made again. Scores are those of the last step:
the validation drives choose nothing. docs/ablation.md holds what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
import csv
from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

from benchmarks.ablation_scores import scores_of
from benchmarks.ablation_table import csv_text, markdown
from benchmarks.ablation_variants import Variant, variant_config, VARIANTS
from depth_ros.errors import ConfigError, DepthRosError
import torch
from training.checkpoint_file import LAST
from training.dataset_format import write_whole
from training.settings import read_yaml
from training.train_log import STEPS_FILE
import yaml

PROGRAM = 'python -m benchmarks.ablation'
CONFIG = Path(__file__).parents[1] / 'training' / 'configs' / 'ablation.yaml'
PLAN_FILE, SCORES_FILE = 'plan.yaml', 'scores.json'
RESULTS_JSON, RESULTS_CSV, TABLE_FILE = 'results.json', 'results.csv', 'table.md'
STEPS, SEEDS = 140, 3
EXIT_ERROR = 1
# What training.train returns after Ctrl-C, and this program too.
EXIT_INTERRUPTED = 130


# Scores of a checkpoint on a dataset: by branch, then by kind, then by name.
ScoresOf = Callable[[Path, Path], dict[str, dict[str, dict[str, float | None]]]]


class AblationError(DepthRosError):
    """A run of the ablation cannot be made, or is not what was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One variant with one seed, in its folder."""

    variant: str
    seed: int
    folder: Path
    plan: str

    @property
    def is_scored(self) -> bool:
        """Return whether nothing is left to do."""
        return (self.folder / SCORES_FILE).exists()


def planned_runs(
    given: argparse.Namespace, variants: Mapping[str, Variant] = VARIANTS
) -> list[Run]:
    """
    Return all runs, seed after seed, so that whatever is finished can be compared.

    :raises DepthRosError: a name, the config, or the dataset.
    """
    unknown = [name for name in given.variants if name not in variants]
    if unknown:
        raise ConfigError(f'--variants {unknown[0]}: must be of {", ".join(variants)}')
    base = read_yaml(given.config)
    runs = []
    for seed in range(given.seeds):
        for name in given.variants:
            content = variant_config(
                variants[name], base, given.data, steps=given.steps, seed=seed
            )
            plan = yaml.safe_dump(content, sort_keys=False)
            folder = given.out / name / f'seed_{seed}'
            runs.append(Run(variant=name, seed=seed, folder=folder, plan=plan))
    return runs


def claim(run: Run) -> None:
    """
    Write down what the run is, or see that its folder holds the same.

    :raises DepthRosError: the folder holds another run, or cannot be written.
    """
    path = run.folder / PLAN_FILE
    run.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_whole(path, run.plan.encode())
    elif path.read_text(encoding='utf-8') != run.plan:
        raise AblationError(
            f"'{path}' holds another config than this call would train: give another --out, or "
            'the options of the call that made it'
        )


def train(run: Run, given: argparse.Namespace) -> int:
    """Train to the end in a process of its own; return its exit status."""
    command = [sys.executable, '-m', 'training.train', '--no-validation']
    command += ['--config', str(run.folder / PLAN_FILE), '--data', str(given.data)]
    command += ['--out', str(run.folder / 'run'), '--accelerator', given.accelerator]
    if (run.folder / 'run' / LAST).exists():
        command.append('--resume')
    # Threads that wait busily slow down whatever else runs.
    environment = {'OMP_WAIT_POLICY': 'passive', **os.environ}
    if given.threads:
        environment['OMP_NUM_THREADS'] = str(given.threads)
    with (run.folder / 'train.log').open('ab') as log:
        return subprocess.run(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        ).returncode


def finish(run: Run, data: Path, wall_s: float, scores: ScoresOf = scores_of) -> None:
    """
    Score the last checkpoint and write what the table needs.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    folder = run.folder / 'run'
    with (folder / STEPS_FILE).open(encoding='utf-8', newline='') as stream:
        steps = sum(1 for _ in csv.DictReader(stream))
    content = {
        'variant': run.variant,
        'seed': run.seed,
        'steps': steps,
        'wall_s': round(wall_s, 1),
        'threads': torch.get_num_threads(),
        'scores': scores(folder / LAST, data),
    }
    write_whole(run.folder / SCORES_FILE, _json(content))


def _json(content: dict[str, Any]) -> bytes:
    # The order of the branches means something: the deployed one comes first.
    return (json.dumps(content, indent=1, allow_nan=False) + '\n').encode()


def make(runs: Sequence[Run], given: argparse.Namespace, scores: ScoresOf = scores_of) -> int:
    """
    Make what is missing; return the exit status.

    :raises DepthRosError: a run failed.
    """
    for number, run in enumerate(runs, 1):
        claim(run)
        if run.is_scored:
            continue
        begin = time.monotonic()
        status = train(run, given)
        if status == EXIT_INTERRUPTED:
            return status
        if status:
            raise AblationError(
                f'{run.variant}, seed {run.seed}: training ended with status {status}; '
                f"'{run.folder / 'train.log'}' says why"
            )
        wall_s = time.monotonic() - begin
        finish(run, given.data, wall_s, scores)
        print(f'{number}/{len(runs)} {run.variant} seed {run.seed}: {wall_s:.0f} s', flush=True)
    return 0


def tabulate(out: Path) -> str:
    """
    Write results.json, results.csv and table.md of the runs that are finished.

    :returns: the tables.
    :raises DepthRosError: there is none, or a file cannot be read or written.
    """
    results = finished(out, VARIANTS)
    text = markdown(results)
    write_whole(out / RESULTS_JSON, _json({'runs': results}))
    write_whole(out / RESULTS_CSV, csv_text(results).encode())
    write_whole(out / TABLE_FILE, text.encode())
    return text


def finished(out: Path, variants: Mapping[str, Variant]) -> list[dict[str, Any]]:
    """
    Return what ``finish`` wrote of all runs.

    :raises DepthRosError: there is none, or a file cannot be read.
    """
    paths = [path for name in variants for path in out.glob(f'{name}/seed_*/{SCORES_FILE}')]
    if not paths:
        raise AblationError(f"'{out}' has no finished run ({SCORES_FILE}): call without --table")
    return [_read(path) for path in sorted(paths)]


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise AblationError(
            f"'{path}' cannot be read ({error}): remove it, and it is made again"
        ) from error
    return content


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)

    def work() -> int:
        status = 0 if given.table else trained(given, VARIANTS, scores_of)
        if not status:
            print(tabulate(given.out))
        return status

    return told(given, work)


def compare(
    given: argparse.Namespace,
    variants: Mapping[str, Variant],
    scores: ScoresOf,
    table: Callable[[Sequence[Mapping[str, Any]]], str],
) -> int:
    """
    Train and score what is missing, unless ``--table``; write and print the table.

    :returns: the exit status; errors are told.
    """

    def work() -> int:
        status = 0 if given.table else trained(given, variants, scores)
        if not status:
            tell(given.out, table(finished(given.out, variants)))
        return status

    return told(given, work)


def trained(given: argparse.Namespace, variants: Mapping[str, Variant], scores: ScoresOf) -> int:
    """
    Train and score what is missing; return the exit status.

    :raises DepthRosError: what was given cannot be used, or a run failed.
    """
    require_data(given)
    return make(planned_runs(given, variants), given, scores)


def tell(out: Path, table: str) -> None:
    """Write and print a table."""
    write_whole(out / TABLE_FILE, table.encode())
    print(table)


def told(given: argparse.Namespace, work: Callable[[], int]) -> int:
    """Work with the threads that were asked for; return the exit status, errors being told."""
    if given.threads:
        torch.set_num_threads(given.threads)
    try:
        return work()
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def require_data(given: argparse.Namespace) -> None:
    if given.data is None:
        raise ConfigError('--data is missing: give a folder of training.prepare, or --table')
    for key in ('seeds', 'steps'):
        if getattr(given, key) < 1:
            raise ConfigError(f'--{key} {getattr(given, key)}: must be at least 1')


def _parser() -> argparse.ArgumentParser:
    return parser_of(PROGRAM, __doc__, CONFIG, VARIANTS, STEPS)


def parser_of(
    program: str,
    description: str | None,
    config: Path,
    variants: Mapping[str, Variant],
    steps: int,
) -> argparse.ArgumentParser:
    """Return the command line of a comparison of variants."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    parser.add_argument('--data', type=Path, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='folder of all runs')
    parser.add_argument(
        '--table', action='store_true', help='train nothing: compare what is finished'
    )
    parser.add_argument('--config', type=Path, default=config, help='what all runs share')
    parser.add_argument('--variants', nargs='+', default=list(variants), metavar='NAME')
    parser.add_argument('--seeds', type=int, default=SEEDS, help='0 to this minus 1')
    parser.add_argument('--steps', type=int, default=steps, help='optimiser steps, about')
    parser.add_argument('--threads', type=int, default=0, help="0: torch's own choice")
    parser.add_argument('--accelerator', choices=('auto', 'cpu', 'cuda'), default='cpu')
    return parser


if __name__ == '__main__':
    sys.exit(main())
