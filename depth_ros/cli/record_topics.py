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
Record topics to a ROS 2 bag, also where rosbag2 is not installed.

Topics may appear later. Ends with Ctrl-C or as the options say; what was recorded is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

from depth_ros.bags.typestores import DEFAULT_DISTRO, METADATA_VERSIONS
from depth_ros.bags.writer import BagWriter, STORAGE_PLUGINS
from depth_ros.cli.ros_arguments import explain_missing_ros, split_ros_arguments
from depth_ros.errors import ConfigError, DepthRosError

if TYPE_CHECKING:
    from depth_ros.nodes.recorder_node import RecorderOptions


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='record_topics', description=__doc__)
    add = result.add_argument
    add('bag', type=Path, metavar='BAG', help='folder to make')
    add('topics', nargs='+', metavar='TOPIC')
    add('--storage', choices=sorted(STORAGE_PLUGINS), default='mcap')
    add(
        '--distro',
        choices=sorted(METADATA_VERSIONS),
        default=DEFAULT_DISTRO,
        help='oldest ROS distribution that has to read the bag',
    )
    add(
        '--stop-after',
        nargs='+',
        default=[],
        metavar='TOPIC=N',
        help='end when each of these topics has N messages',
    )
    add(
        '--idle-timeout',
        type=float,
        metavar='SECONDS',
        help='end when nothing has come for so long after the first message',
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; its exit status is non-zero when nothing was recorded."""
    own, ros = split_ros_arguments(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(own)
    try:
        counts = _record(options, ros)
    except ImportError as error:
        print(explain_missing_ros(error), file=sys.stderr)
        return 1
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return _report(options.bag, counts)


def _record(options: argparse.Namespace, ros_arguments: Sequence[str]) -> dict[str, int]:
    from depth_ros.nodes.recorder_node import TopicRecorder
    from depth_ros.ros.shutdown import ros_session

    recorder_options = _options(options)
    with (
        ros_session(ros_arguments) as stop,
        BagWriter(options.bag, options.storage, options.distro) as writer,
    ):
        recorder = TopicRecorder(writer, recorder_options)
        try:
            recorder.run(stop)
        finally:
            recorder.close()
        return recorder.counts


def _options(options: argparse.Namespace) -> RecorderOptions:
    from depth_ros.nodes.recorder_node import RecorderOptions

    return RecorderOptions(
        topics=tuple(options.topics),
        stop_counts=dict(_limit(text) for text in options.stop_after),
        idle_s=options.idle_timeout,
    )


def _limit(text: str) -> tuple[str, int]:
    topic, _, count = text.rpartition('=')
    if not topic or not count.isdecimal():
        raise ConfigError(f"--stop-after '{text}': must look like depth/image_rect=20")
    return topic, int(count)


def _report(path: Path, counts: dict[str, int]) -> int:
    print(f'{path}: {sum(counts.values())} messages')
    for topic, count in counts.items():
        print(f'  {topic}: {count}')
        if count == 0:
            print(f'warning: nothing came on {topic}', file=sys.stderr)
    if not any(counts.values()):
        print(f"error: nothing was recorded to '{path}'", file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
