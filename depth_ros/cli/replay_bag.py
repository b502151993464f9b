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
Publish a bag over ROS 2 with /clock, in real time or in lock-step with a node.

Works without rosbag2. Images larger than a megabyte arrive because the Fast DDS shared-memory
profile of this package is loaded, unless you have set one.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_ros.bags.reader import BagReader
from depth_ros.cli.ros_arguments import explain_missing_ros, split_ros_arguments
from depth_ros.errors import ConfigError, DepthRosError
import numpy as np

if TYPE_CHECKING:
    from depth_ros.nodes.replay_node import ReplayOptions, ReplaySummary


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='replay_bag', description=__doc__)
    add = result.add_argument
    add('bag', type=Path, metavar='BAG', help='folder, or single .mcap or .db3 file')
    add('--rate', type=float, default=1.0, help='bag seconds per second (default 1.0)')
    add('--topics', nargs='+', metavar='TOPIC', help='publish these only')
    add('--remap', nargs='+', action='extend', default=[], metavar='FROM:=TO')
    add(
        '--clock',
        action=argparse.BooleanOptionalAction,
        default=True,
        help='publish /clock at 100 Hz and before each message (default: yes)',
    )
    add('--loop', action='store_true', help='start over at the end; stamps jump back')
    add(
        '--wait-for-subscribers',
        type=int,
        default=1,
        metavar='N',
        help='begin when an image topic has N subscribers (default 1; 0: at once)',
    )
    add(
        '--start-after',
        type=float,
        default=1.0,
        metavar='SECONDS',
        help='... and this long after, for the rest of the graph to connect (default 1.0)',
    )
    add(
        '--timeout',
        type=float,
        default=60.0,
        metavar='SECONDS',
        help='longest wait for subscribers, and for each answer in lock-step (default 60)',
    )
    add(
        '--lockstep',
        action='store_true',
        help='as fast as the node: the next image when it has answered the last one',
    )
    add(
        '--wait-for',
        metavar='TOPIC',
        help='in lock-step: what the node answers with, such as depth/image_rect',
    )
    add('--image-topic', metavar='TOPIC', help='in lock-step: the images that are answered')
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    own, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    try:
        return _replay(options, ros)
    except ImportError as error:
        print(explain_missing_ros(error), file=sys.stderr)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
    return 1


def _replay(options: argparse.Namespace, ros_arguments: Sequence[str]) -> int:
    from depth_ros.nodes.replay_node import BagReplay
    from depth_ros.ros.shutdown import ros_session

    replay_options = _options(options)
    with BagReader(options.bag) as reader, ros_session(ros_arguments) as stop:
        replay = BagReplay(reader, replay_options)
        for topic, reason in replay.summary.left_out.items():
            print(f'warning: {topic} is not played: {reason}', file=sys.stderr)
        try:
            replay.run(stop)
        finally:
            replay.close()
            print(_report(replay.summary), flush=True)
    return 0


def _options(options: argparse.Namespace) -> ReplayOptions:
    from depth_ros.nodes.replay_node import ReplayOptions

    if options.lockstep != (options.wait_for is not None):
        raise ConfigError('--lockstep and --wait-for TOPIC belong together: give both or none')
    if options.image_topic and not options.lockstep:
        raise ConfigError(f'--image-topic {options.image_topic}: is for --lockstep only')
    return ReplayOptions(
        rate=options.rate,
        topics=None if options.topics is None else tuple(options.topics),
        remaps=dict(_remap(text) for text in options.remap),
        has_clock=options.clock,
        is_looped=options.loop,
        subscribers=options.wait_for_subscribers,
        start_after_s=options.start_after,
        timeout_s=options.timeout,
        answer_topic=options.wait_for,
        image_topic=options.image_topic,
    )


def _remap(text: str) -> tuple[str, str]:
    source, separator, target = text.partition(':=')
    if not (source and separator and target):
        raise ConfigError(f"--remap '{text}': must look like /camera/image:=/image")
    return source, target


def _report(summary: ReplaySummary) -> str:
    lines = [f'{sum(summary.published.values())} messages published']
    lines += [f'  {topic}: {count}' for topic, count in sorted(summary.published.items())]
    if summary.lateness_ms:
        p50, p95, largest = np.percentile(list(summary.lateness_ms), (50, 95, 100))
        lines.append(f'lateness ms: p50 {p50:.2f}, p95 {p95:.2f}, max {largest:.2f}')
    if summary.answered:
        lines.append(f'{summary.answered} images answered')
    if not summary.is_complete:
        lines.append('stopped before the end of the bag')
    return '\n'.join(lines)


if __name__ == '__main__':
    sys.exit(main())
