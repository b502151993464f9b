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
Score a model on bags with LiDAR: ``evaluate BAG [BAG ...] --model MODEL --output DIR``.

Exit status: 0 scored; 1 nothing scored, bad input, a bag of several that failed, or incomplete
results; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
import shlex
import sys
from typing import Any

from depth_ros.bags.mcap_salvage import salvage_bag
from depth_ros.cli.evaluate_options import (
    add_fleet_options,
    add_options,
    check_effects,
    config_of,
    is_fleet,
    topics_of,
)
from depth_ros.cli.evaluate_summary import print_bags, print_summary
from depth_ros.cli.progress_rows import progress_rows
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.files import make_folder
from depth_ros.evaluation.fleet import evaluate_many, find_bags, Plan
from depth_ros.evaluation.observers import Recordings
from depth_ros.evaluation.report import METRICS_FILE
from depth_ros.evaluation.run import evaluate, evaluate_recorded, Evaluation
from depth_ros.evaluation.runners import runner_of
from depth_ros.evaluation.tasks import OnProgress
from rich.console import Console

PROGRAM = 'python -m depth_ros.cli.evaluate'
# What shells report for a program that SIGINT has ended.
INTERRUPTED = 130

RECORDED_FOLDER = 'recorded'
RECOVERED_FOLDER = 'recovered'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parsed(given)
    command = shlex.join([*PROGRAM.split(), *given])
    console, errors = Console(), Console(stderr=True)
    try:
        if is_fleet(options):
            status = _many(options, command, console, errors)
        else:
            status = _one(options, command, console, errors)
    except DepthRosError as error:
        errors.print(f'evaluate: {error}', style='red', markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print(
            f"evaluate: stopped; the frames so far are in '{options.output}': --resume goes on"
        )
        return INTERRUPTED
    console.print(
        f'Report: {options.output / "report.html"}  numbers: {options.output / METRICS_FILE}',
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return status


def _one(options: argparse.Namespace, command: str, console: Console, errors: Console) -> int:
    bag, recovered = Path(options.bag[0]), None
    if options.recover:
        bag, found = salvage_bag(bag, make_folder(options.output) / RECOVERED_FOLDER)
        recovered = {**asdict(found), 'from': options.bag[0], 'sentence': found.sentence()}
        console.print(f'Recovered: {found.sentence()}', markup=False, highlight=False)
    with progress_rows(errors) as on_progress:
        evaluation = _evaluation(options, bag, command, on_progress)
    evaluation.result['recovered'] = recovered
    # Before anything is written: a full disk must not cost the numbers.
    print_summary(console, evaluation.result)
    evaluation.write()
    return 0


def _many(options: argparse.Namespace, command: str, console: Console, errors: Console) -> int:
    bags = find_bags(options.bag, options.manifest)
    plan = Plan(
        model=options.model or 'default',
        engine=options.engine or 'auto',
        threads=options.threads or 0,
        topics=topics_of(options),
        config=config_of(options),
        resume=options.resume,
        command=command,
    )
    runs = runner_of(options.workers, options.ray, options.retries)
    with runs as runner, progress_rows(errors) as on_progress:
        result = evaluate_many(bags, options.output, runner, plan, on_progress=on_progress)
    print_summary(console, result)
    print_bags(console, result)
    failed = [bag for bag in result['bags'] if bag['error'] is not None]
    for bag in failed:
        errors.print(
            f'evaluate: bag {bag["name"]} failed: {bag["error"]}',
            style='red',
            markup=False,
            highlight=False,
        )
    return 1 if failed else 0


def _evaluation(
    options: argparse.Namespace, bag: Path, command: str, on_progress: OnProgress
) -> Evaluation:
    common: dict[str, Any] = {
        'topics': topics_of(options),
        'config': config_of(options),
        'command': command,
        'on_frame': lambda done, total: on_progress('scoring', done, total),
        'resume': options.resume,
        'recordings': Recordings(bag_out=options.bag_out, rerun=options.rerun),
    }
    recording = _played(options, bag) if options.realtime else options.predictions
    if recording is not None:
        return evaluate_recorded(
            bag, recording, options.output, depth_topic=options.depth_topic, **common
        )

    def say(sentence: str) -> bool:
        on_progress('loading', 0, 0, sentence)
        return True

    return evaluate(
        bag,
        options.output,
        say=say,
        model=options.model or 'default',
        engine=options.engine or 'auto',
        threads=options.threads or 0,
        **common,
    )


def _played(options: argparse.Namespace, bag: Path) -> Path:
    """
    Play the bag through the live node; return the recording of what it has published.

    :raises DepthRosError: a recording of an earlier run is there, or a program failed.
    """
    # Only this way of running needs ROS.
    from depth_ros.cli.demo import play

    recorded = make_folder(options.output) / RECORDED_FOLDER
    live = argparse.Namespace(
        bag=bag,
        model=options.model or 'default',
        engine=options.engine or 'auto',
        rate=options.rate or 1.0,
    )
    play(live, recorded, options.output)
    return recorded


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Score metric depth against the LiDAR of bags.'
    )
    parser.add_argument('bag', nargs='*', help='bag folders, .mcap or .db3 files, or globs')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    add_options(parser)
    add_fleet_options(parser)
    options = parser.parse_args(given)
    check_effects(parser, options)
    return options


if __name__ == '__main__':
    sys.exit(main())
