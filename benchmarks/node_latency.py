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
Latency and losses of the live node: python -m benchmarks.node_latency [--engine E] [--rate HZ].

The node runs as its own process with every output subscribed, and gets the demo's clip (KITTI,
1242x375) in a loop over real DDS. Publish: from the stamp until the node has published the last
output, by its own diagnostics. Receive: until a topic's message is here, in another process.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import time

from benchmarks.live_node import CLIP, clip_frames, live_node, Rig
from depth_ros.errors import DepthRosError
from depth_ros.nodes.outputs import TYPES
import numpy as np

NS_PER_MS = 1e6
WARMUP_S = 3.0
TARGET_P95_MS = 100.0
# What the stream must hold without a lost frame, by engine.
TARGET_RATES_HZ = {'onnxruntime': 10.0, 'openvino': 20.0, 'auto': 20.0}
EXIT_MISSED, EXIT_ERROR = 2, 1
STAMP_TO_PUBLISH = 'stamp to publish p50 / p95 / p99 [ms]'
QUANTILES = (50, 95, 99)


def main() -> int:
    options = _options()
    engines = [options.engine] if options.engine else ['onnxruntime', 'openvino']
    try:
        missed = [each for each in engines if not _measure(each, options)]
    except (DepthRosError, TimeoutError) as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    return EXIT_MISSED if missed and options.check else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--engine', help='default: onnxruntime, then openvino')
    parser.add_argument('--rate', type=float, help='images per second; default: the target')
    parser.add_argument('--seconds', type=float, default=25.0, help='after the warm-up')
    parser.add_argument('--model', default='default')
    parser.add_argument('--bag', type=Path, default=CLIP)
    parser.add_argument('--check', action='store_true', help='exit status 2 on a missed target')
    return parser.parse_args()


def _measure(engine: str, options: argparse.Namespace) -> bool:
    rate_hz = options.rate or TARGET_RATES_HZ.get(engine, 10.0)
    clip = clip_frames(options.bag)
    parameters = {'engine': engine, 'model': options.model}
    with live_node(parameters, clip, list(TYPES)) as (_, rig):
        rig.run(rate_hz, WARMUP_S)
        begin = time.process_time()
        stamps = rig.run(rate_hz, options.seconds)
        share = (time.process_time() - begin) / options.seconds
    height, width = clip[0].image_HW3.shape[:2]
    print(f'\n{engine}: {width}x{height} at {rate_hz:g} Hz, {len(stamps)} frames, all outputs')
    print(f'camera and listener took {share:.2f} of a core')
    return _report(rig, stamps)


def _report(rig: Rig, stamps: list[int]) -> bool:
    print(f'{"[ms]":24}{"p50":>8}{"p95":>8}{"p99":>8}{"lost":>8}')
    lost = 0
    for topic, seen in rig.received.items():
        latencies: list[float] = [seen[stamp] - stamp for stamp in stamps if stamp in seen]
        missing = len(stamps) - len(latencies)
        lost = max(lost, missing)
        p50, p95, p99 = np.percentile(np.array(latencies or [np.nan]), QUANTILES) / NS_PER_MS
        print(f'receive {topic:16}{p50:8.1f}{p95:8.1f}{p99:8.1f}{missing:8}')
    told = rig.node_values[STAMP_TO_PUBLISH]
    p50, p95, p99 = (float(text) for text in told.split(' / '))
    print(f'{"publish":24}{p50:8.1f}{p95:8.1f}{p99:8.1f}{lost:8}')
    for key, value in rig.node_values.items():
        if key.startswith('dropped') and value != '0':
            print(f'{key}: {value} (with warm-up)')
    is_met = p95 < TARGET_P95_MS and lost == 0
    print(f'p95 under {TARGET_P95_MS:g} ms and no frame lost: {"yes" if is_met else "NO"}')
    return is_met


if __name__ == '__main__':
    sys.exit(main())
