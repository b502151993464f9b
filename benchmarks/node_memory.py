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
Memory of the live node over time: python -m benchmarks.node_memory [--minutes N].

The node runs as its own process with every output subscribed, and gets the demo's clip in a loop
over real DDS. Its resident memory is told every quarter of a minute, as private memory (RssAnon)
too: shared memory of the transport counts as resident once its pages have been touched.

Each output queue keeps up to ``queue_size`` + 1 serialised messages, allocated when a slow
listener first makes it that long (13 MB for a set of the clip's outputs). A second listener that
freezes for a while before the clock starts takes the queues to that size.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import signal
import sys
import tempfile
import time

from benchmarks.live_node import CLIP, clip_frames, live_node, Rig
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.processes import Program
from depth_ros.nodes.outputs import TYPES

KB_PER_MB = 1024.0
SAMPLE_S = 15.0
SETTLING_S = 60.0
# A second listener needs the first time to start; the freeze spans many frames.
LISTEN_S, FREEZE_S = 8.0, 3.0
TARGET_GROWTH_MB = 5.0
EXIT_MISSED, EXIT_ERROR = 2, 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--engine', default='onnxruntime')
    parser.add_argument('--rate', type=float, default=10.0, help='images per second')
    parser.add_argument('--bag', type=Path, default=CLIP)
    parser.add_argument('--check', action='store_true', help='exit status 2 on a missed target')
    options = parser.parse_args()
    try:
        growth_mb = _growth_mb(options)
    except (DepthRosError, TimeoutError) as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    is_met = growth_mb < TARGET_GROWTH_MB
    print(
        f'growth after the first minute: {growth_mb:+.2f} MB; '
        f'under {TARGET_GROWTH_MB:g} MB: {"yes" if is_met else "NO"}'
    )
    return EXIT_MISSED if options.check and not is_met else 0


def _growth_mb(options: argparse.Namespace) -> float:
    """Return how much the resident memory grew from the end of the first minute to the end."""
    clip = clip_frames(options.bag)
    settled_mb = resident_mb = 0.0
    with live_node({'engine': options.engine}, clip, list(TYPES)) as (node, rig):
        _fill_queues(rig, options.rate)
        begin = time.monotonic()
        print(f'{"time [s]":>10}{"resident [MB]":>15}{"private [MB]":>15}')
        while (elapsed_s := time.monotonic() - begin) < 60 * options.minutes:
            rig.run(options.rate, SAMPLE_S)
            resident_mb, private_mb = (_memory_mb(node.pid, key) for key in ('VmRSS', 'RssAnon'))
            print(f'{elapsed_s:10.0f}{resident_mb:15.2f}{private_mb:15.2f}', flush=True)
            if elapsed_s < SETTLING_S:
                settled_mb = resident_mb
    return resident_mb - settled_mb


def _fill_queues(rig: Rig, rate_hz: float) -> None:
    """Freeze a second listener until the node's output queues are as long as they get."""
    with tempfile.TemporaryDirectory() as folder:
        log, bag = Path(folder, 'listener.log'), str(Path(folder, 'bag'))
        with Program('depth_ros.cli.record_topics', [bag, *TYPES], log, {}) as listener:
            rig.run(rate_hz, LISTEN_S)
            os.kill(listener.pid, signal.SIGSTOP)
            rig.run(rate_hz, FREEZE_S)
            os.kill(listener.pid, signal.SIGCONT)
            rig.run(rate_hz, LISTEN_S)
            listener.stop()


def _memory_mb(pid: int, key: str) -> float:
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    value = next(line for line in lines if line.startswith(f'{key}:'))
    return int(value.split()[1]) / KB_PER_MB


if __name__ == '__main__':
    sys.exit(main())
