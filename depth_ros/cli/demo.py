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
Play a real clip through the live node, record what it publishes, score it against LiDAR.

Node, replay and recorder are processes of their own; images go over DDS in real time. Nothing
leaves this machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import shutil
import sys
import time

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import COMPRESSED_IMAGE
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.evaluation.demo_summary import (
    DemoSummary,
    print_summary,
    RECORDED_TOPICS,
    summarize,
)
from depth_ros.evaluation.processes import local_graph, Program
from depth_ros.ros.launch_choices import image_arguments, remappings

CLIP = Path(__file__).resolve().parents[2] / 'demo' / 'kitti_0005'
# The node loads a model and an engine; the recorder finds the publishers.
START_SECONDS = 60.0
SCORE_SECONDS = 180.0
# For the last frame to come out, and for one more message on /diagnostics (1 Hz).
LAST_FRAME_SECONDS = 2.0
NS_PER_S = 1_000_000_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status: 0 when every part did what it should."""
    arguments = _parser().parse_args(argv)
    try:
        summary = run(arguments)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print_summary(summary)
    for problem in summary.problems():
        print(f'error: {problem}', file=sys.stderr)
    return 1 if summary.problems() else 0


def run(arguments: argparse.Namespace) -> DemoSummary:
    """
    Do all of it and return what came out.

    :raises DepthRosError: a program failed; the message ends with its last lines.
    """
    output = _fresh_folder(arguments.output)
    recorded = output / 'recorded'
    print(f'1/2  playing {arguments.bag} through the live node ...', flush=True)
    play(arguments, recorded, output)
    print('2/2  scoring what was recorded against the LiDAR of the clip ...', flush=True)
    score = output / 'evaluation'
    options = [str(arguments.bag), '--predictions', str(recorded), '--output', str(score)]
    with Program('depth_ros.cli.evaluate', options, output / 'evaluate.log', {}) as evaluate:
        evaluate.wait(SCORE_SECONDS)
    return summarize(arguments.bag, recorded, score)


def play(arguments: argparse.Namespace, recorded: Path, logs: Path) -> None:
    """
    Play the clip through the node and record its outputs.

    :raises DepthRosError: one of the three programs failed.
    """
    graph, rate = local_graph(), arguments.rate
    with BagReader(arguments.bag) as reader:
        seconds = (reader.stop_ns - reader.start_ns) / NS_PER_S / rate
        ros_arguments = _ros_arguments(reader, arguments)

    def start(module: str, *options: str) -> Program:
        return Program(module, options, logs / f'{module.rsplit(".")[-1]}.log', graph)

    with (
        start('depth_ros.nodes.mono_depth_node', *ros_arguments) as node,
        start('depth_ros.cli.record_topics', str(recorded), *RECORDED_TOPICS) as recorder,
    ):
        for topic in RECORDED_TOPICS:
            recorder.wait_for_text(f'recording {topic} ', START_SECONDS, others=[node])
        with start('depth_ros.cli.replay_bag', str(arguments.bag), f'--rate={rate}') as replay:
            replay.wait(START_SECONDS + seconds, others=[node, recorder])
        time.sleep(LAST_FRAME_SECONDS)
        recorder.stop()
        node.stop()


def _ros_arguments(reader: BagReader, arguments: argparse.Namespace) -> list[str]:
    """Return what makes the node read the clip, on the clip's clock."""
    image = resolve_topic(reader, 'image')
    is_compressed = reader.topic(image).msgtype == COMPRESSED_IMAGE
    stream = image_arguments(image, is_compressed=is_compressed)
    stream['camera_info_topic'] = resolve_topic(reader, 'camera_info')
    parameters = {
        'model': arguments.model,
        'engine': arguments.engine,
        'image_transport': stream['image_transport'],
        'use_sim_time': 'true',
    }
    remaps = [word for source, to in remappings(stream) for word in ('-r', f'{source}:={to}')]
    settings = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    return ['--ros-args', *remaps, *settings]


def _fresh_folder(path: Path) -> Path:
    """Return the folder without what an earlier run left there."""
    for name in ('recorded', 'evaluation'):
        shutil.rmtree(path / name, ignore_errors=True)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'--output {path}: cannot be made: {error.strerror}') from error
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='demo', description=__doc__)
    parser.add_argument('--bag', type=Path, default=CLIP, help='clip with camera and LiDAR')
    parser.add_argument('--output', type=Path, default=Path('out/demo'), help='folder of results')
    parser.add_argument('--model', default='default', help='shipped model, or an ONNX file')
    parser.add_argument('--engine', default='auto', help='engine that runs the model')
    parser.add_argument('--rate', type=float, default=1.0, help='of the replay; 1 = real time')
    return parser


if __name__ == '__main__':
    sys.exit(main())
