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
Memory of the attention against the same attention with whole maps: benchmarks.temporal_memory.

The attention of one layer, in space within the newest frame and in time to two past ones, on
tokens at 1/8 of the image; both forms give the same numbers. Each is measured in a process of its
own: how far the resident memory rises above what it was before the first call, when the runtime
has run on a smaller grid and what that left has been given back. Inputs are not counted, results
are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import ctypes
import multiprocessing
from pathlib import Path
import subprocess
import sys
import tempfile
import warnings

from benchmarks.temporal import materialised_look_up, materialised_weights, SIZES
from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import read_onnx_file
import torch
from torch import nn, Tensor
from training.export import OPSET
from training.models.attention import KEY_WIDTH, look_up, nearby_mean, SIGMA_M
from training.models.attention_stack import StackOptions
from training.models.tc_depth import MEMORY

STRIDE = 8
MAX_SHARE = 0.05
# Large enough for the kernels of large matrices, whose code becomes resident too.
SMALL = (12, 40)
KIB = 1024
MIB = 1024 * 1024
# Writing this into clear_refs sets the peak of the resident memory back.
RESET_PEAK = '5'


class Pieces(nn.Module):
    """The attention as the network has it."""

    def forward(
        self, values: Tensor, points: Tensor, queries: Tensor, keys: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        return nearby_mean(values, points, SIGMA_M), look_up(queries, keys, past)


class Maps(nn.Module):
    """The same, all weights at once."""

    def forward(
        self, values: Tensor, points: Tensor, queries: Tensor, keys: Tensor, past: Tensor
    ) -> tuple[Tensor, Tensor]:
        weights = materialised_weights(points, SIGMA_M)
        mean = weights @ values / weights.sum(-1, keepdim=True)
        return mean, materialised_look_up(queries, keys, past)


FORMS: dict[str, type[nn.Module]] = {'pieces': Pieces, 'maps': Maps}


def make_inputs(height: int, width: int) -> tuple[Tensor, ...]:
    """Return tokens of a grid: values, points [m], queries, past keys and values."""
    torch.manual_seed(0)
    count = height * width
    wide = StackOptions().value_width
    assert wide is not None
    states = (1, MEMORY, count, KEY_WIDTH)
    return (
        torch.rand(1, count, wide),
        3 * torch.rand(1, count, 3),
        torch.randn(1, count, KEY_WIDTH),
        torch.randn(states),
        torch.randn(states),
    )


def in_torch(form: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """Return a call of torch."""

    def call() -> object:
        with torch.inference_mode():
            return form(*inputs)

    return call


def in_onnxruntime(form: nn.Module, inputs: tuple[Tensor, ...]) -> Callable[[], object]:
    """Return a call of ONNX Runtime on the form, exported by another process."""
    names = [f'in_{number}' for number in range(len(inputs))]
    count = int(inputs[0].shape[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'form.onnx'
        context = multiprocessing.get_context('spawn')
        process = context.Process(target=write_form, args=(type(form), count, names, path))
        process.start()
        process.join()
        engine = BACKENDS['onnxruntime'].open(read_onnx_file(path), 1)
    arrays = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return lambda: engine.infer(arrays)


def write_form(form: type[nn.Module], count: int, names: list[str], path: Path) -> None:
    """Export a form for so many tokens."""
    warnings.simplefilter('ignore')
    inputs = make_inputs(1, count)
    torch.onnx.export(
        form(), inputs, str(path), input_names=names, opset_version=OPSET, dynamo=False
    )


RUNTIMES = {'torch': in_torch, 'onnxruntime': in_onnxruntime}


def peak_bytes(call: Callable[[], object]) -> int:
    """Return how far the resident memory rises during one call."""
    Path('/proc/self/clear_refs').write_text(RESET_PEAK, encoding='ascii')
    before = _status('VmRSS')
    call()
    return _status('VmHWM') - before


def _status(key: str) -> int:
    for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
        if line.startswith(f'{key}:'):
            return int(line.split()[1]) * KIB
    raise KeyError(key)


def measure_here(form: str, runtime: str, height: int, width: int) -> int:
    """Return the peak of a first call in this process, which must be fresh."""
    torch.set_num_threads(1)
    call = RUNTIMES[runtime](FORMS[form](), make_inputs(height, width))
    RUNTIMES[runtime](FORMS[form](), make_inputs(*SMALL))()
    ctypes.CDLL(None).malloc_trim(0)
    return peak_bytes(call)


def measure(form: str, runtime: str, height: int, width: int) -> int:
    """Return the same from a process of its own."""
    command = [sys.executable, '-m', 'benchmarks.temporal_memory', '--here', form, runtime]
    done = subprocess.run(
        [*command, str(height), str(width)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns 0 when no share is above its limit."""
    arguments = _parser().parse_args(argv)
    if arguments.here:
        form, runtime, height, width = arguments.here
        print(measure_here(form, runtime, int(height), int(width)))
        return 0
    worst = 0.0
    for runtime in RUNTIMES:
        for width, height in SIZES:
            sizes = (height // STRIDE, width // STRIDE)
            pieces, maps = (measure(form, runtime, *sizes) for form in FORMS)
            worst = max(worst, pieces / maps)
            print(
                f'{runtime:12} {width}x{height}: {pieces / MIB:6.1f} of {maps / MIB:7.1f} MiB, '
                f'{pieces / maps:.1%} (at most {MAX_SHARE:.0%})',
                flush=True,
            )
    return 0 if worst <= MAX_SHARE else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.temporal_memory', description=__doc__)
    parser.add_argument('--here', nargs=4, help=argparse.SUPPRESS)
    return parser


if __name__ == '__main__':
    sys.exit(main())
