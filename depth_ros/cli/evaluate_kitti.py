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
Score a model by the protocol of the published KITTI tables, on KITTI's own files.

    evaluate_kitti KITTI_RAW --list LIST --output DIR
    evaluate_kitti KITTI_RAW --list LIST --annotated DEPTH_ANNOTATIONS --output DIR

Exit status: 0 scored; 1 bad input, or frames of the list are missing; 2 wrong usage;
130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import shlex
import sys
from typing import Any, get_args

from depth_ros.cli.evaluate_summary import print_summary
from depth_ros.cli.progress_rows import progress_rows
from depth_ros.core.alignment import Alignment
from depth_ros.core.metrics import Crop, CROPS, ScoreRules
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.kitti_protocol import (
    evaluate_kitti,
    KittiFolders,
    KittiTruth,
    MISSING,
    read_list,
)
from depth_ros.evaluation.run import Evaluation
from rich.console import Console

PROGRAM = 'python -m depth_ros.cli.evaluate_kitti'
# What shells report for a program that SIGINT has ended.
INTERRUPTED = 130
DEFAULTS = EvaluationConfig()
# The columns of the published tables, in their order.
COLUMNS = ('abs_rel', 'sq_rel', 'rmse', 'rmse_log', 'a1', 'a2', 'a3')
# One scale for a sequence means nothing on a list of single frames.
ALIGNMENTS = [name for name in get_args(Alignment) if name != 'median_sequence']


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    console, errors = Console(), Console(stderr=True)
    try:
        evaluation = _evaluation(options, shlex.join([*PROGRAM.split(), *given]), errors)
        print_summary(console, evaluation.result)
        evaluation.write()
    except DepthRosError as error:
        errors.print(f'evaluate_kitti: {error}', style='red', markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print(f"evaluate_kitti: stopped; '{options.output}' holds the frames so far")
        return INTERRUPTED
    console.print(table_row(evaluation.result), markup=False, highlight=False, soft_wrap=True)
    missing = evaluation.result['frames']['skipped'].get(MISSING, 0)
    if missing and not options.allow_missing:
        errors.print(
            f'evaluate_kitti: {missing} frames of the list are not on disk (per_frame.csv says '
            'which): the row does not compare with published ones; --allow-missing accepts that',
            style='red',
            markup=False,
            highlight=False,
        )
        return 1
    return 0


def table_row(result: dict[str, Any]) -> str:
    """Return the row of a published table, in Markdown, with what makes it comparable."""
    protocol, frames = result['protocol'], result['frames']
    names = ' | '.join(COLUMNS)
    values = ' | '.join(f'{result["depth"][name]:.3f}' for name in COLUMNS)
    return (
        f'| model | {names} |\n|---|{"---:|" * len(COLUMNS)}\n'
        f'| {result["model"]["name"]} | {values} |\n\n'
        f'{frames["scored"]} of {frames["processed"]} frames of {result["bag"]["name"]}; '
        f'{protocol["truth"]}; crop {protocol["crop"]}; {protocol["min_depth_m"]:g} to '
        f'{protocol["cap_m"]:g} m; alignment {protocol["alignment"]}; mean over images'
    )


def _evaluation(options: argparse.Namespace, command: str, errors: Console) -> Evaluation:
    truth: KittiTruth = 'raw' if options.annotated is None else 'improved'
    crop: Crop = options.crop or ('garg' if truth == 'raw' else 'none')
    config = EvaluationConfig(
        rules=ScoreRules(crop=crop, cap_m=options.cap, alignment=options.alignment),
        truth='image',
        checks=('cloud', 'boundary'),
        pictures=options.pictures,
    )
    with progress_rows(errors) as on_progress:

        def say(sentence: str) -> bool:
            on_progress('loading', 0, 0, sentence)
            return True

        return evaluate_kitti(
            KittiFolders(options.raw, options.annotated, truth),
            read_list(options.list),
            options.output,
            list_name=options.list.name,
            truth=truth,
            model=options.model,
            engine=options.engine,
            threads=options.threads,
            config=config,
            command=command,
            on_frame=lambda done, total: on_progress('scoring', done, total),
            say=say,
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Score a model by the protocol of the published KITTI tables.'
    )
    parser.add_argument('raw', type=Path, help='folder of KITTI raw, with the folders of dates')
    parser.add_argument(
        '--list', type=Path, required=True, help='frames: 697 (raw truth) or 652 (improved truth)'
    )
    parser.add_argument(
        '--annotated', type=Path, help='folder of the depth annotations: takes the improved truth'
    )
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    parser.add_argument('--engine', default='auto', help='back end of the model')
    parser.add_argument('--threads', type=int, default=0, help='of the engine')
    parser.add_argument(
        '--crop', choices=sorted(CROPS), help='default: garg for raw truth, none for improved'
    )
    parser.add_argument('--cap', type=float, default=DEFAULTS.rules.cap_m, help='[m]')
    parser.add_argument(
        '--alignment',
        choices=ALIGNMENTS,
        default='none',
        help="published rows of models trained on video alone take 'median'",
    )
    parser.add_argument('--pictures', type=int, default=DEFAULTS.pictures, help='frames to draw')
    parser.add_argument(
        '--allow-missing', action='store_true', help='status 0 although frames are missing'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
