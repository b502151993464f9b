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
Latency of a model on every engine: python -m benchmarks.engine.

Engines, thread counts and batch sizes take turns in one process, one inference each per round;
rounds in which other processes took more than 12 % of one core are dropped. The fp32 peak is that
of a dense 3x3 convolution of 256 channels on 48x160, the faster of the engines at that number of
threads. FLOP are 2 x multiply-adds of convolutions and matrix products in the exported graph;
torch eager, which runs the network before its fusion, is credited with the same.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import math
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import Any

from depth_ros.core.preprocess import image_inputs, Preprocessor, usual_camera
from depth_ros.engines.factory import available_backends, BACKENDS, load_model
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.probe import draw_street, no_past
from depth_ros.errors import ConfigError, DepthRosError
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

PEAK_CHANNELS, PEAK_HEIGHT, PEAK_WIDTH = 256, 48, 160
PEAK = 'conv 3x3'
# Share of one core that others may take in a round, as in every benchmark here.
MAX_OTHERS = 0.12
CAMERA_WH = (1242, 375)
EXIT_ERROR = 1
MAX_THREADS = 256
NS_PER_MS = 1e6
EAGER = 'torch eager'
EAGER_OF = 'meter_xxs_kitti'

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(kw_only=True)
class Candidate:
    """One thing to time, with the floating-point operations of one call."""

    name: str
    batch: int
    threads: int
    flop: float
    call: Callable[[], object]
    times_ns: list[int] = field(default_factory=list)

    def percentile_ms(self, share: float) -> float:
        """Return a percentile of the latency [ms]."""
        return float(np.percentile(self.times_ns, share)) / NS_PER_MS

    @property
    def gflops(self) -> float:
        """Return 1e9 operations per second at the median latency."""
        return self.flop / self.percentile_ms(50) / NS_PER_MS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        with tempfile.TemporaryDirectory() as folder:
            candidates = list(_candidates(arguments, Path(folder)))
            dropped = measure(candidates, rounds=arguments.rounds, warmup=arguments.warmup)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(table(candidates))
    print(f'{arguments.rounds} rounds after {arguments.warmup} for warm-up, {dropped} dropped')
    return 0


def measure(candidates: Sequence[Candidate], *, rounds: int, warmup: int) -> int:
    """
    Let every candidate run once per round until ``rounds`` undisturbed ones are had.

    Gives up after three times as many; returns how many rounds were dropped.

    :raises ConfigError: the machine was never quiet.
    """
    dropped = kept = 0
    for number in range(warmup + 3 * rounds):
        busy, own, start = busy_s(), sum(os.times()[:2]), time.perf_counter()
        times = [_timed(candidate.call) for candidate in candidates]
        others = busy_s() - busy - (sum(os.times()[:2]) - own)
        if number < warmup:
            continue
        if others > MAX_OTHERS * (time.perf_counter() - start):
            dropped += 1
            continue
        kept += 1
        for candidate, elapsed in zip(candidates, times, strict=True):
            candidate.times_ns.append(elapsed)
        if kept == rounds:
            return dropped
    if not kept:
        raise ConfigError(f'other processes were busy in all {dropped} rounds: stop them first')
    return dropped


def busy_s() -> float:
    """Return the time that all cores were busy or stolen since boot [s]."""
    fields = Path('/proc/stat').read_text(encoding='ascii').splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf('SC_CLK_TCK')


def _timed(call: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - start


def table(candidates: Sequence[Candidate]) -> str:
    """Return the results as text, one candidate a line."""
    peaks: dict[int, float] = {}
    for candidate in candidates:
        if candidate.name.startswith(PEAK):
            peaks[candidate.threads] = max(peaks.get(candidate.threads, 0.0), candidate.gflops)
    lines = [
        f'{"":26} batch threads     p50     p95     p99 ms   GFLOP  GFLOP/s  share of fp32 peak'
    ]
    for c in candidates:
        latency = ' '.join(f'{c.percentile_ms(share):7.2f}' for share in (50, 95, 99))
        share = f'{c.gflops / peaks[c.threads]:.0%}' if c.threads in peaks else 'not measured'
        lines.append(
            f'{c.name:26} {c.batch:5} {c.threads:7} {latency}    {c.flop / 1e9:7.3f} '
            f'{c.gflops:8.0f}  {share:>18}'
        )
    return '\n'.join(lines)


def _candidates(arguments: argparse.Namespace, folder: Path) -> Iterator[Candidate]:
    peak_path = folder / 'peak.onnx'
    write_peak_model(peak_path)
    usable = {n for n, version in available_backends().items() if 'not usable' not in version}
    for name in arguments.engines:
        if name not in BACKENDS:
            raise ConfigError(f"engine = '{name}': must be one of {sorted(BACKENDS)}")
        if name not in usable:
            print(f'{name}: {available_backends()[name]}')
            continue
        for threads in arguments.threads:
            yield _peak(name, threads, peak_path)
            for batch in arguments.batch:
                yield _model(arguments.model, name, threads, batch)
    yield from _eager(arguments)


def _peak(name: str, threads: int, path: Path) -> Candidate:
    engine = BACKENDS[name].open(read_onnx_file(path), threads)
    shape = (1, PEAK_CHANNELS, PEAK_HEIGHT, PEAK_WIDTH)
    inputs = {'x': np.random.default_rng(0).random(shape, np.float32)}
    return Candidate(
        name=f'{PEAK} {name}',
        batch=1,
        threads=threads,
        flop=count_flop(onnx.load(path), batch=1),
        call=lambda: engine.infer(inputs),
    )


def _model(model: str, name: str, threads: int, batch: int) -> Candidate:
    loaded = load_model(model, engine=name, threads=threads)
    preprocess = Preprocessor(loaded.card.input, mirrored=batch > 1)
    tensor, _ = preprocess(draw_street(*CAMERA_WH), with_mirror=batch > 1)
    camera = usual_camera(loaded.card)
    # With a memory: each time the first frame after a reset, which costs what every frame costs.
    inputs = {**image_inputs(loaded.card.input, tensor, camera), **no_past(loaded.card)}
    return Candidate(
        name=name,
        batch=batch,
        threads=threads,
        flop=count_flop(onnx.load(loaded.path), batch=batch),
        call=lambda: loaded.engine.infer(inputs),
    )


def _eager(arguments: argparse.Namespace) -> Iterator[Candidate]:
    """Yield the unfused network in torch, with random weights: they do not change its speed."""
    with load_model(arguments.model, engine='onnxruntime', threads=1) as loaded:
        card, path = loaded.card, loaded.path
    if card.name != EAGER_OF:
        return
    try:
        import torch
        from training.models.meter import MeterXxs
    except ImportError as error:
        print(f'{EAGER}: not measured ({error})')
        return
    network = MeterXxs().eval()

    def call(image: Any, threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            network(image)

    for threads in arguments.threads:
        for batch in arguments.batch:
            image = torch.rand(batch, 3, card.input.height, card.input.width)
            yield Candidate(
                name=EAGER,
                batch=batch,
                threads=threads,
                flop=count_flop(onnx.load(path), batch=batch),
                call=lambda image=image, threads=threads: call(image, threads),
            )


def write_peak_model(path: Path) -> None:
    """Write a graph of one dense 3x3 convolution."""
    shape = [1, PEAK_CHANNELS, PEAK_HEIGHT, PEAK_WIDTH]
    generator = np.random.default_rng(1)
    weight = generator.standard_normal((PEAK_CHANNELS, PEAK_CHANNELS, 3, 3), np.float32)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['y'], kernel_shape=[3, 3], pads=[1] * 4)],
        'peak',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, 'w')],
    )
    opset = [helper.make_opsetid('', 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def count_flop(model: onnx.ModelProto, *, batch: int) -> float:
    """
    Return 2 x multiply-adds of the convolutions and matrix products.

    Taps on the zero padding count. A free batch size is taken as ``batch``.

    :raises ConfigError: the shape of a tensor does not follow from the graph.
    """
    for tensor in model.graph.input:
        first = tensor.type.tensor_type.shape.dim[0]
        if not first.dim_value:
            first.dim_value = batch
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = _shapes(inferred.graph)
    return 2.0 * sum(
        MACS[node.op_type](node, shapes) for node in inferred.graph.node if node.op_type in MACS
    )


def _shapes(graph: onnx.GraphProto) -> Shapes:
    shapes = {
        info.name: tuple(d.dim_value for d in info.type.tensor_type.shape.dim)
        for info in (*graph.input, *graph.output, *graph.value_info)
    }
    return {**shapes, **{w.name: tuple(w.dims) for w in graph.initializer}}


def _shape(shapes: Shapes, name: str) -> tuple[int, ...]:
    shape = shapes.get(name, ())
    if not shape or 0 in shape:
        raise ConfigError(f"tensor '{name}': its shape {shape} is not known: cannot count FLOP")
    return shape


def _conv(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(_shape(shapes, node.output[0])) * math.prod(_shape(shapes, node.input[1])[1:])


def _conv_transpose(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(_shape(shapes, node.input[0])) * math.prod(_shape(shapes, node.input[1])[1:])


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> int:
    return math.prod(_shape(shapes, node.output[0])) * _shape(shapes, node.input[0])[-1]


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> int:
    is_transposed = any(a.name == 'transA' and a.i for a in node.attribute)
    inner = _shape(shapes, node.input[0])[0 if is_transposed else 1]
    return math.prod(_shape(shapes, node.output[0])) * inner


# Operator -> multiply-adds of one node.
MACS: dict[str, Callable[[onnx.NodeProto, Shapes], int]] = {
    'Conv': _conv,
    'ConvTranspose': _conv_transpose,
    'MatMul': _matmul,
    'Gemm': _gemm,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.engine', description=__doc__)
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    parser.add_argument('--engines', nargs='+', default=['onnxruntime', 'openvino'])
    parser.add_argument(
        '--threads',
        nargs='+',
        type=int,
        choices=range(1, MAX_THREADS + 1),
        metavar='N',
        default=[1, 2],
    )
    parser.add_argument('--batch', nargs='+', type=int, choices=(1, 2), default=[1, 2])
    parser.add_argument('--rounds', type=int, default=100)
    parser.add_argument('--warmup', type=int, default=5)
    return parser


if __name__ == '__main__':
    sys.exit(main())
