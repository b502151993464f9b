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
What models cost beside each other: python -m benchmarks.models_in_turns MODEL ... REFERENCE.

Each round asks every model about the next picture of a street that moves past, so that one with a
memory has a past; ratios to the last model are medians over the rounds. Wall time and processor
time: on a busy machine the second is the fairer one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
import statistics
import sys
import time

from depth_ros.core.preprocess import image_inputs, Preprocessor, usual_camera
from depth_ros.engines.factory import load_model, LoadedModel
from depth_ros.engines.probe import draw_street, no_past
from depth_ros.errors import DepthRosError

CAMERA_WH = (1242, 375)
STEP_PX = 4
WARMUP = 3
EXIT_ERROR = 1
MS_PER_S = 1e3
# Wall and processor time of one inference [s].
Times = tuple[float, float]


def frames(loaded: LoadedModel) -> Iterator[Times]:
    """Yield what each inference took, on one picture after the other, the past handed on."""
    card = loaded.card
    preprocess, camera = Preprocessor(card.input, mirrored=False), usual_camera(card)
    states, number = no_past(card), 0
    while True:
        picture = draw_street(*CAMERA_WH, shift_px=STEP_PX * number)
        tensor, _ = preprocess(picture, with_mirror=False)
        inputs = {**image_inputs(card.input, tensor, camera), **states}
        wall, processor = time.perf_counter(), time.process_time()
        outputs = loaded.engine.infer(inputs)
        yield time.perf_counter() - wall, time.process_time() - processor
        states = {state.input: outputs[state.output].copy() for state in card.temporal.states}
        number += 1


def measure(loaded: Mapping[str, LoadedModel], rounds: int) -> dict[str, list[Times]]:
    """Return the times of each model, one a round."""
    streams = {name: frames(model) for name, model in loaded.items()}
    taken: dict[str, list[Times]] = {name: [] for name in loaded}
    for number in range(WARMUP + rounds):
        for name, stream in streams.items():
            times = next(stream)
            if number >= WARMUP:
                taken[name].append(times)
    return taken


def report(taken: Mapping[str, Sequence[Times]]) -> list[str]:
    """Return a line for each model; the last one is what the others are compared with."""
    *_, reference = taken.values()
    lines = []
    for name, times in taken.items():
        cells = [f'  {name:28}']
        for kind, label in enumerate(('wall', 'processor')):
            middle = MS_PER_S * statistics.median(each[kind] for each in times)
            pairs = zip(times, reference, strict=True)
            ratio = statistics.median(own[kind] / other[kind] for own, other in pairs)
            cells.append(f'{label} {middle:7.1f} ms {ratio:5.2f}')
        lines.append('   '.join(cells))
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        for engine in given.engines:
            for threads in given.threads:
                with ExitStack() as stack:
                    models = {
                        name: stack.enter_context(load_model(name, engine=engine, threads=threads))
                        for name in given.models
                    }
                    print(f'{engine}, {threads} thread(s), {given.rounds} rounds')
                    print('\n'.join(report(measure(models, given.rounds))), flush=True)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.models_in_turns', description=__doc__)
    parser.add_argument(
        'models', nargs='*', default=['meter_tc_kitti', 'default'], help='the last: reference'
    )
    parser.add_argument('--engines', nargs='+', default=['onnxruntime', 'openvino'])
    parser.add_argument('--threads', nargs='+', type=int, default=[1, 2])
    parser.add_argument('--rounds', type=int, default=100)
    return parser


if __name__ == '__main__':
    sys.exit(main())
