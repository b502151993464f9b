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

from depth_ros.core.lidar import OcclusionFilter
from depth_ros.core.metrics import CROPS, ScoreRules
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.config import EvaluationConfig, Topics
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
RULES = ScoreRules()
DEFAULTS = EvaluationConfig()
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
    topics = Topics(
        image=options.image_topic,
        camera_info=options.camera_info_topic,
        lidar=options.lidar_topic,
        odometry=options.odometry_topic,
    )
    config = _config(options)
    common = {'topics': topics, 'config': config, 'command': command, 'on_frame': on_frame}
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


def _config(options: argparse.Namespace) -> EvaluationConfig:
    rules = ScoreRules(
        crop=options.crop,
        cap_m=options.cap,
        min_depth_m=options.min_depth,
        alignment=options.alignment,
    )
    return EvaluationConfig(
        rules=rules,
        max_sync_ms=options.max_sync_ms,
        lidar_depth='kitti_export' if options.points_from_lidar_forward else 'camera_z',
        occlusion=OcclusionFilter() if options.occlusion_filter else None,
        motion_compensation=options.motion_compensation,
        rectify=not options.image_is_rectified,
        frames=options.frames,
        pictures=options.pictures,
    )


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(given)
    is_recorded = options.predictions is not None
    # Option, its value, whether this run uses it: nothing that is given is ignored.
    conditions = (
        ('--engine', options.engine, not is_recorded),
        ('--threads', options.threads, not is_recorded),
        ('--depth-topic', options.depth_topic, is_recorded),
        ('--odometry-topic', options.odometry_topic, options.motion_compensation),
    )
    for option, value, is_used in conditions:
        if value is not None and not is_used:
            parser.error(f'{option} {value} has no effect in this run: leave it out')
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Score metric depth against the LiDAR of a bag.'
    )
    parser.add_argument('bag', type=Path, help='bag folder, .mcap or .db3 file')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    _add_model_options(parser)
    _add_input_options(parser)
    _add_protocol_options(parser)
    return parser


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument('--model', help="shipped name or ONNX file (default 'default')")
    source.add_argument(
        '--predictions',
        type=Path,
        metavar='RECORDING',
        help='score depth that a node has published, from the bag where it was recorded',
    )
    parser.add_argument('--depth-topic', help='of the recording (default: */depth/image_rect)')
    parser.add_argument('--engine', help="back end of the model (default 'auto')")
    parser.add_argument('--threads', type=int, help='of the engine (default 0: physical cores)')


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    for kind in ('image', 'camera-info', 'lidar', 'odometry'):
        parser.add_argument(f'--{kind}-topic', help='default: the only one of its type')
    parser.add_argument(
        '--image-is-rectified',
        action='store_true',
        help='the images are rectified already, whatever camera_info says of distortion',
    )
    parser.add_argument(
        '--frames', type=int, default=DEFAULTS.frames, help='score the first N (0: all)'
    )
    parser.add_argument(
        '--pictures', type=int, default=DEFAULTS.pictures, help='frames to draw (%(default)s)'
    )


def _add_protocol_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--crop', choices=sorted(CROPS), default=RULES.crop, help='%(default)s')
    parser.add_argument('--cap', type=float, default=RULES.cap_m, help='largest truth [m]')
    parser.add_argument('--min-depth', type=float, default=RULES.min_depth_m, help='least [m]')
    parser.add_argument(
        '--alignment',
        choices=('none', 'median'),
        default=RULES.alignment,
        help='median: scale each frame to the LiDAR (not metric any more)',
    )
    parser.add_argument(
        '--max-sync-ms',
        type=float,
        default=DEFAULTS.max_sync_ms,
        help='largest gap between the stamps of image and sweep (%(default)s)',
    )
    parser.add_argument(
        '--points-from-lidar-forward',
        action='store_true',
        help='truth as in the published KITTI rows: forward distance in the LiDAR frame',
    )
    parser.add_argument(
        '--occlusion-filter',
        action='store_true',
        help='drop LiDAR points that the camera cannot see',
    )
    parser.add_argument(
        '--motion-compensation',
        action='store_true',
        help='move LiDAR points to the time of the image by odometry',
    )


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
