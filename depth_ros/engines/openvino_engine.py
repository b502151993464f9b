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
OpenVINO on the CPU: the faster engine where its wheel is installed.

The graph is compiled once for every set of input shapes that comes (at most two: with and
without the mirror image), so that its kernels are chosen for fixed shapes. The precision is
always stated: left alone, OpenVINO computes in bfloat16 on processors that have it.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from depth_ros.core.engine_api import EngineSpec, Tensors, TensorSpec
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.engines.tensors import check_inputs, check_outputs, one_line
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray
import openvino as ov

DEVICE = 'CPU'
BACKENDS = {'fp32': 'openvino', 'bf16': 'openvino_bf16'}
PRECISION_HINTS = {'fp32': ov.Type.f32, 'bf16': ov.Type.bf16}
CAPABILITIES = {'fp32': 'FP32', 'bf16': 'BF16'}

Shapes = tuple[tuple[int, ...], ...]


class OpenVinoEngine:
    """
    One model, compiled per set of input shapes.

    The returned arrays are OpenVINO's own buffers, overwritten by the next call.

    :param precision: 'fp32' or 'bf16'.
    :raises ModelError: OpenVINO cannot load the file, or the processor lacks the precision.
    """

    def __init__(self, file: OnnxFile, *, threads: int, precision: str) -> None:
        self._core = _shared_core()
        self._backend = BACKENDS[precision]
        self._path = file.path
        _check_capability(self._core, precision, self._backend)
        self._config = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_NUM_THREADS': threads,
            'INFERENCE_PRECISION_HINT': PRECISION_HINTS[precision],
            # Pinned, two processes choose the same cores: both take twice as long.
            'ENABLE_CPU_PINNING': False,
        }
        try:
            self._model: Any = self._core.read_model(str(file.path))
            self._spec = self._describe(file, precision)
        except RuntimeError as error:
            raise ModelError(self._sentence('cannot load it', error)) from error
        self._requests: dict[Shapes, Any] = {}
        self._last: dict[str, NDArray[Any]] = {}

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once; the first run with new shapes compiles it for them.

        :raises ModelError: an input is not what the graph takes.
        :raises DeviceError: the run itself failed, for example for want of memory.
        """
        if self._model is None:
            raise ModelError(f'{self._backend}: the engine is closed')
        check_inputs(self._spec, inputs)
        request = self._request(tuple(inputs[t.name].shape for t in self._spec.inputs))
        feed = {name: self._readable(array) for name, array in inputs.items()}
        try:
            for name, array in feed.items():
                request.set_tensor(name, ov.Tensor(array, shared_memory=True))
            request.infer()
            outputs = {t.name: request.get_tensor(t.name).data for t in self._spec.outputs}
        except RuntimeError as error:
            raise DeviceError(self._sentence('failed to run', error)) from error
        check_outputs(self._spec, outputs)
        self._last = outputs
        return dict(outputs)

    def close(self) -> None:
        """Free the compiled models; the engine cannot be used afterwards."""
        self._requests.clear()
        self._last = {}
        self._model = None

    def _describe(self, file: OnnxFile, precision: str) -> EngineSpec:
        return EngineSpec(
            backend=self._backend,
            version=str(ov.__version__).split('-')[0],
            device=DEVICE,
            precision=precision,
            inputs=tuple(_spec(t.name, self._model.input(t.name)) for t in file.inputs),
            outputs=tuple(_spec(t.name, self._model.output(t.name)) for t in file.outputs),
        )

    def _request(self, shapes: Shapes) -> Any:
        if shapes not in self._requests:
            try:
                self._requests[shapes] = self._compile(shapes)
            except RuntimeError as error:
                raise ModelError(self._sentence(f'cannot compile {shapes}', error)) from error
        return self._requests[shapes]

    def _compile(self, shapes: Shapes) -> Any:
        model = self._model.clone()
        names = [tensor.name for tensor in self._spec.inputs]
        model.reshape({name: list(s) for name, s in zip(names, shapes, strict=True)})
        compiled = self._core.compile_model(model, DEVICE, self._config)
        return compiled.create_infer_request()

    def _readable(self, array: NDArray[Any]) -> NDArray[Any]:
        """
        Return memory that OpenVINO may read while it writes its outputs.

        A state that comes straight back from the last call lies in the output's own buffer.
        """
        is_output = any(np.may_share_memory(array, last) for last in self._last.values())
        if is_output or not array.flags.writeable:
            return array.copy()
        return np.ascontiguousarray(array)

    def _sentence(self, what: str, error: Exception) -> str:
        return f'{self._path}: {self._backend} {what}: {one_line(error)}'


@cache
def _shared_core() -> Any:
    """
    Return the one core of this process, which is never freed.

    The CPU plugin replaces the signal stack of the thread that made it and puts the old one back
    when it is freed. With two of them, freed in the order in which they were made, that is a
    stack which is gone, and the next Python signal handler crashes the process.
    """
    return ov.Core()


def _check_capability(core: Any, precision: str, backend: str) -> None:
    capabilities = core.get_property(DEVICE, 'OPTIMIZATION_CAPABILITIES')
    if CAPABILITIES[precision] not in capabilities:
        raise ModelError(
            f"engine '{backend}': this processor has no {precision} arithmetic (it has "
            f"{sorted(capabilities)}); use engine '{BACKENDS['fp32']}'"
        )


def _spec(name: str, port: Any) -> TensorSpec:
    shape = port.get_partial_shape()
    if shape.rank.is_dynamic:
        raise RuntimeError(f"the number of axes of '{name}' is not known")
    sizes = tuple(None if size.is_dynamic else size.get_length() for size in shape)
    return TensorSpec(name=name, shape=sizes, dtype=port.get_element_type().to_dtype().name)
