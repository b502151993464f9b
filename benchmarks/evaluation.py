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
Speed of the deterministic evaluation: python -m benchmarks.evaluation.

The demo clip is repeated to a longer drive. In the same run, round by round, it is evaluated by a
plain loop (read, predict, score, one frame after another) and with reading and scoring beside
the engine, which has one thread: with all checks of the report, and with the depth and sigma
scores alone (``--checks``). Then two such drives with one and with two workers of plain loops.

The engine's share is bounded by what else there is to do: all checks take about as long on
one core as a network of 20 ms, so that on two cores a faster one waits for them. Numbers of a
machine that does other work say little: the load is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
import os
from pathlib import Path
from statistics import median
import sys
import tempfile
import time
from typing import Any

import cv2
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.reader import BagReader
from depth_ros.bags.writer import BagWriter
from depth_ros.core.message_fields import stamp_ns
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.fleet import evaluate_many, Plan
from depth_ros.evaluation.run import evaluate
from depth_ros.evaluation.worker_processes import ProcessRunner

CLIP = Path(__file__).resolve().parents[1] / 'demo' / 'kitti_0005'
STATIC = '/tf_static'
CONFIG = EvaluationConfig(pictures=0)
JUDGED = 'beside the engine, all checks'
# Name -> beside the engine or not, and what is scored.
WAYS = {
    'plain loop, all checks': (False, CONFIG),
    JUDGED: (True, CONFIG),
    'beside the engine, scores alone': (True, replace(CONFIG, checks=())),
}
# What must hold with --check on a quiet machine of two cores.
MIN_ENGINE_SHARE = 0.85
MIN_SPEEDUP_OF_TWO = 1.7


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 1 when --check finds a target missed."""
    arguments = _parser().parse_args(argv)
    # The engine has its thread; a second pool beside it costs more than it gives.
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _report(arguments, Path(folder))
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def repeated(clip: Path, path: Path, times: int) -> Path:
    """Write the messages of a clip several times in a row, each time later."""
    make = MessageFactory()
    with BagReader(clip) as reader, BagWriter(path) as writer:
        length_ns = reader.stop_ns - reader.start_ns + 100_000_000
        for number in range(times):
            for item in reader.messages():
                if item.topic == STATIC:
                    if number == 0:
                        writer.write(item.topic, item.log_ns, item.message)
                    continue
                header = item.message.header
                stamp = make.time(stamp_ns(header) + number * length_ns)
                message = replace(item.message, header=replace(header, stamp=stamp))
                writer.write(item.topic, item.log_ns + number * length_ns, message)
    return path


def _report(arguments: argparse.Namespace, folder: Path) -> int:
    with BagReader(CLIP) as reader:
        images = max(info.count for info in reader.topics if 'image' in info.name.lower())
    times = max(1, round(arguments.frames / images))
    bags = [repeated(CLIP, folder / name, times) for name in ('first', 'second')]
    print(f'{times * images} frames a bag, engine {arguments.engine}, one thread')
    shares = _one_bag(arguments, bags[0], folder)
    speedup = _two_bags(arguments, bags, folder)
    print(f'load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores')
    misses = []
    if shares < MIN_ENGINE_SHARE:
        misses.append(f'engine share {shares:.2f} is below {MIN_ENGINE_SHARE}')
    if speedup < MIN_SPEEDUP_OF_TWO:
        misses.append(f'two workers are {speedup:.2f} times one, below {MIN_SPEEDUP_OF_TWO}')
    for miss in misses if arguments.check else ():
        print(f'error: {miss}', file=sys.stderr)
    return 1 if misses and arguments.check else 0


def _one_bag(arguments: argparse.Namespace, bag: Path, folder: Path) -> float:
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in WAYS}
    for number in range(arguments.rounds):
        for place, (name, (is_overlapped, config)) in enumerate(WAYS.items()):
            result = evaluate(
                bag,
                folder / f'out_{number}_{place}',
                model=arguments.model,
                engine=arguments.engine,
                threads=1,
                config=config,
                is_overlapped=is_overlapped,
            ).result
            infer_ms = result['latency']['infer']['p50']
            rows[name].append({**result['throughput'], 'infer_ms': infer_ms})
    for name, found in rows.items():
        values = {key: median(row[key] for row in found) for key in found[0]}
        share = f'{100 * values["engine_share"]:3.0f} % in the engine'
        print(
            f'{name:32} {values["frames_per_s"]:6.1f} frames/s, {share}, inference p50 '
            f'{values["infer_ms"]:.1f} ms'
        )
    return median(row['engine_share'] for row in rows[JUDGED])


def _two_bags(arguments: argparse.Namespace, bags: Sequence[Path], folder: Path) -> float:
    plan = Plan(model=arguments.model, engine=arguments.engine, threads=1, config=CONFIG)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for number in range(arguments.rounds):
        for workers, found in seconds.items():
            started = time.monotonic()
            out = folder / f'fleet{number}_{workers}'
            evaluate_many(bags, out, ProcessRunner(workers), plan, is_overlapped=False)
            found.append(time.monotonic() - started)
    for workers, found in seconds.items():
        print(f'{workers} workers          {median(found):6.1f} s for both bags, start included')
    speedups = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    print(
        f'two workers are {median(speedups):.2f} times as fast as one '
        f'({min(speedups):.2f} to {max(speedups):.2f})'
    )
    return median(speedups)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.evaluation', description=__doc__)
    parser.add_argument('--frames', type=int, default=200, help='of each drive, about')
    parser.add_argument('--rounds', type=int, default=3, help='of each way')
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    parser.add_argument('--engine', default='onnxruntime', help='back end of the model')
    parser.add_argument('--check', action='store_true', help='fail when a target is missed')
    return parser


if __name__ == '__main__':
    sys.exit(main())
