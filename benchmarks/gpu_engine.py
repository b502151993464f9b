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
One row of docs/tensorrt.md for this machine: python -m benchmarks.gpu_engine.

A latency is that of ``infer``: from an image tensor in main memory to depth in main memory, the
copies included, so nothing asynchronous can hide. Engines take turns in one process, one
inference each per round. torch runs the network with random weights, which do not change its
speed, in FP32 without TF32, eager and compiled. Clocks, power mode and heat are the machine's: say
them beside the row.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
import resource
import sys
import time

from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import image_inputs, Preprocessor, usual_camera
from depth_ros.engines.cuda_memory import Cuda, MIB
from depth_ros.engines.factory import BACKENDS, load_model, LoadedModel
from depth_ros.engines.model_card import read_card
from depth_ros.engines.model_files import resolve_model
from depth_ros.engines.probe import draw_street, no_past
from depth_ros.errors import ConfigError, DepthRosError, ModelError
import numpy as np

GPU_ENGINES = ('onnxruntime_cuda', 'tensorrt', 'tensorrt_rtx')
TORCH = ('torch_eager', 'torch_compile')
TORCH_MODEL = 'meter_xxs_kitti'
CAMERA_WH = (1242, 375)
EXIT_ERROR = 1
NS_PER_MS = 1e6
HEAD = (
    '| model | engine | precision | device | batch | p50 ms | p95 ms | p99 ms | frames/s | CPU ms '
    '| GPU MiB |\n|---|---|---|---|---|---|---|---|---|---|---|'
)


@dataclass(kw_only=True)
class Candidate:
    """One engine with one batch size; ``gpu_mib`` is what loading it took, None if unknown."""

    model: str
    name: str
    precision: str
    device: str
    batch: int
    gpu_mib: float | None
    call: Callable[[], object]
    times_ns: list[int] = field(default_factory=list)
    cpu_s: float = 0.0

    def row(self) -> str:
        """Return a row of the table."""
        p50, p95, p99 = (float(np.percentile(self.times_ns, q)) / NS_PER_MS for q in (50, 95, 99))
        rate = 1e9 * len(self.times_ns) / sum(self.times_ns)
        cpu_ms = 1e3 * self.cpu_s / len(self.times_ns)
        memory = 'unknown' if self.gpu_mib is None else f'{self.gpu_mib:.0f}'
        return (
            f'| {self.model} | {self.name} | {self.precision} | {self.device} | {self.batch} '
            f'| {p50:.2f} | {p95:.2f} | {p99:.2f} | {rate:.1f} | {cpu_ms:.2f} | {memory} |'
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        candidates = list(_candidates(arguments))
        if not candidates:
            raise ModelError('none of these engines runs here')
        measure(candidates, rounds=arguments.rounds, warmup=arguments.warmup)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(HEAD)
    for candidate in candidates:
        print(candidate.row())
    return 0


def measure(candidates: Sequence[Candidate], *, rounds: int, warmup: int) -> None:
    """Let every candidate run once per round, and keep its times after the first rounds."""
    for number in range(warmup + rounds):
        for candidate in candidates:
            cpu, start = _cpu_s(), time.perf_counter_ns()
            candidate.call()
            elapsed = time.perf_counter_ns() - start
            if number >= warmup:
                candidate.times_ns.append(elapsed)
                candidate.cpu_s += _cpu_s() - cpu


def _cpu_s() -> float:
    """Return the CPU time of this process, all threads, waiting left out [s]."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _candidates(arguments: argparse.Namespace) -> Iterator[Candidate]:
    for name in arguments.engines:
        make = _torch if name in TORCH else _engine
        try:
            yield from make(name, arguments)
        except ModelError as error:
            # Told, so that a missing row is no riddle.
            print(f'{name}: not measured: {error}', file=sys.stderr)


def _engine(name: str, arguments: argparse.Namespace) -> Iterator[Candidate]:
    if name not in BACKENDS:
        raise ConfigError(f"engine = '{name}': must be one of {sorted([*BACKENDS, *TORCH])}")
    before = _gpu_used_mib()
    loaded = load_model(arguments.model, engine=name, progress=_tell)
    after, spec = _gpu_used_mib(), loaded.engine.spec
    for batch in _batches(arguments.batch, loaded.card):
        yield Candidate(
            model=loaded.card.name,
            name=f'{spec.backend} {spec.version}',
            precision=spec.precision,
            device=spec.device,
            batch=batch,
            gpu_mib=None if before is None or after is None else after - before,
            call=_Stream(loaded, batch),
        )


def _batches(given: Sequence[int] | None, card: ModelSpec) -> Sequence[int]:
    """Return what the pipeline feeds: two images where the second is the mirror image."""
    possible = (1, 2) if card.uncertainty.kind == 'flip' else (1,)
    wrong = sorted(set(given or ()) - set(possible))
    if wrong:
        raise ConfigError(f'batch {wrong[0]}: {card.name} is fed with one image at a time')
    return given or possible


class _Stream:
    """Inference after inference on one image, each with the states of the one before."""

    def __init__(self, loaded: LoadedModel, batch: int) -> None:
        card = loaded.card
        tensor, _ = Preprocessor(card.input, mirrored=batch > 1)(
            draw_street(*CAMERA_WH), with_mirror=batch > 1
        )
        self._inputs = image_inputs(card.input, tensor, usual_camera(card))
        self._states = no_past(card)
        self._copies_states = not loaded.engine.spec.gives_new_arrays
        self._loaded = loaded

    def __call__(self) -> None:
        """Run one; a state that an engine keeps on its device goes back as it is."""
        outputs = self._loaded.engine.infer({**self._inputs, **self._states})
        for state in self._loaded.card.temporal.states:
            value = outputs[state.output]
            is_copied = self._copies_states and isinstance(value, np.ndarray)
            self._states[state.input] = value.copy() if is_copied else value


def _torch(name: str, arguments: argparse.Namespace) -> Iterator[Candidate]:
    card = read_card(resolve_model(arguments.model))
    try:
        import torch
        from training.models.meter import MeterXxs
    except ImportError as error:
        raise ModelError(f'{error}: pip install torch') from None
    if card.name != TORCH_MODEL:
        raise ModelError(f'torch has the network of {TORCH_MODEL} only')
    if not torch.cuda.is_available():
        raise ModelError(f'torch {torch.__version__} sees no CUDA device')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    before = _gpu_used_mib()
    network = MeterXxs().eval().cuda()
    called = torch.compile(network) if name == 'torch_compile' else network

    def call(image: torch.Tensor) -> object:
        with torch.inference_mode():
            return called(image.cuda(non_blocking=True)).cpu()

    for batch in _batches(arguments.batch, card):
        image = torch.rand(batch, 3, card.input.height, card.input.width).pin_memory()
        call(image)
        after = _gpu_used_mib()
        yield Candidate(
            model=card.name,
            name=f'{name} {torch.__version__}',
            precision='fp32',
            device=torch.cuda.get_device_name(),
            batch=batch,
            gpu_mib=None if before is None or after is None else after - before,
            call=lambda image=image: call(image),
        )


def _gpu_used_mib() -> float | None:
    with suppress(ImportError, ModelError):
        cuda = Cuda()
        cuda.gpu()
        free, total = cuda.call('cudaMemGetInfo')
        return float(total - free) / MIB
    return None


def _tell(sentence: str) -> bool:
    print(sentence, file=sys.stderr)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.gpu_engine', description=__doc__)
    parser.add_argument('--model', default='default', help='shipped name or ONNX file')
    parser.add_argument(
        '--engines', nargs='+', default=[*GPU_ENGINES, *TORCH, 'onnxruntime'], metavar='ENGINE'
    )
    parser.add_argument(
        '--batch', nargs='+', type=int, choices=(1, 2), help='default: what the model is fed with'
    )
    parser.add_argument('--rounds', type=int, default=300)
    parser.add_argument('--warmup', type=int, default=30)
    return parser


if __name__ == '__main__':
    sys.exit(main())
