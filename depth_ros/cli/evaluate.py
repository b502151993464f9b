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
Score a model on a bag with LiDAR: ``evaluate BAG --model MODEL --output DIR``.

Exit status: 0 scored; 1 nothing scored, bad input or incomplete results; 2 wrong usage;
130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
import shlex
import sys
from typing import Any

from depth_ros.cli.evaluate_options import add_options, check_effects, config_of, topics_of
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.report import METRIC_TITLES, METRICS_FILE, number
from depth_ros.evaluation.run import evaluate, evaluate_recorded, Evaluation
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

PROGRAM = 'python -m depth_ros.cli.evaluate'
# What shells report for a program that SIGINT has ended.
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parsed(given)
    console, errors = Console(), Console(stderr=True)
    try:
        with _progress(errors) as on_frame:
            evaluation = _evaluation(options, shlex.join([*PROGRAM.split(), *given]), on_frame)
        # Before anything is written: a full disk must not cost the numbers.
        _print_summary(console, evaluation.result)
        evaluation.write()
    except DepthRosError as error:
        errors.print(f'evaluate: {error}', style='red', markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print(f"evaluate: stopped; the frames so far are in '{options.output}'")
        return INTERRUPTED
    console.print(
        f'Report: {evaluation.folder / "report.html"}  numbers: '
        f'{evaluation.folder / METRICS_FILE}',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def _evaluation(options: argparse.Namespace, command: str, on_frame: Any) -> Evaluation:
    common: dict[str, Any] = {
        'topics': topics_of(options),
        'config': config_of(options),
        'command': command,
        'on_frame': on_frame,
        'resume': options.resume,
    }
    if options.predictions is not None:
        return evaluate_recorded(
            options.bag,
            options.predictions,
            options.output,
            depth_topic=options.depth_topic,
            **common,
        )
    return evaluate(
        options.bag,
        options.output,
        model=options.model or 'default',
        engine=options.engine or 'auto',
        threads=options.threads or 0,
        **common,
    )


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Score metric depth against the LiDAR of a bag.'
    )
    parser.add_argument('bag', type=Path, help='bag folder, .mcap or .db3 file')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    add_options(parser)
    options = parser.parse_args(given)
    check_effects(parser, options)
    return options


@contextmanager
def _progress(console: Console) -> Any:
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task('scoring', total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _print_summary(console: Console, result: dict[str, Any]) -> None:
    frames, protocol = result['frames'], result['protocol']
    columns = {'all': result['depth'], **result['by_range']}
    table = Table(title=f'{result["model"]["name"]} on {result["bag"]["name"]}')
    table.add_column('range \\[m]')
    for name in columns:
        table.add_column(name, justify='right', style='bold' if name == 'all' else '')
    for key, (title, unit, digits) in METRIC_TITLES.items():
        cells = (_cell(column[key], digits) for column in columns.values())
        table.add_row(f'{title} \\[{unit}]' if unit else title, *cells)
    console.print(table)
    console.print(
        f'{frames["scored"]} of {frames["processed"]} frames, crop {protocol["crop"]}, '
        f'{protocol["min_depth_m"]:g} to {protocol["cap_m"]:g} m, alignment '
        f'{protocol["alignment"]}, {100 * result["truth"]["missing_share"]:.2f} % of the LiDAR '
        'pixels without prediction',
        highlight=False,
    )
    if result['accuracy'] != 'measured':
        console.print(f'Accuracy: {result["accuracy"]}', markup=False, highlight=False)
    for reason, number_of in frames['skipped'].items():
        console.print(f'not scored: {number_of} x {reason}', markup=False, highlight=False)
    _print_uncertainty(console, result['uncertainty'])
    if result['latency']:
        total = result['latency']['total']
        console.print(
            f'latency p50 {total["p50"]:.1f}, p95 {total["p95"]:.1f}, p99 {total["p99"]:.1f} ms '
            f'({result["model"]["selection"]})',
            markup=False,
            highlight=False,
        )


def _cell(value: float, digits: int) -> str:
    return number(None if value != value else value, digits)


def _print_uncertainty(console: Console, scores: dict[str, Any] | None) -> None:
    if scores is None:
        console.print('no uncertainty to score')
        return
    console.print(
        f'within 1 sigma {scores["coverage_1_sigma"]:.3f} '
        f'(expected {scores["expected_1_sigma"]:.3f}), within 2 sigma '
        f'{scores["coverage_2_sigma"]:.3f} ({scores["expected_2_sigma"]:.3f}), '
        f'AUSE AbsRel {scores["ause_abs_rel"]:.4f}, AURG AbsRel {scores["aurg_abs_rel"]:.4f}',
        highlight=False,
    )


if __name__ == '__main__':
    sys.exit(main())
