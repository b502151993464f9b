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
A TensorRT plan at work: named tensors, one stream, page-locked buffers, states on the GPU.

``infer`` is ``submit`` and ``collect``. Between the two the CPU is free: the copies and the
kernels run meanwhile.

States stay on the GPU: what ``collect`` returns for them is a ``GpuState``, whose numbers are
copied to the host only when somebody looks at them. Given back with the next call it is used in
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
import math
from typing import Any, TYPE_CHECKING

from depth_ros.core.engine_api import EngineSpec, Tensors, TensorSpec
from depth_ros.core.model_spec import StateSpec
from depth_ros.engines.cuda_memory import Buffer, copy_on_gpu, Cuda, Stream
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.engines.tensorrt_builder import InputRange
from depth_ros.engines.tensorrt_library import Library, make_logger, Messages
from depth_ros.engines.tensors import check_inputs, check_outputs
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorrt as trt

Shapes = tuple[tuple[int, ...], ...]
DTYPES = {
    'FLOAT': 'float32',
    'HALF': 'float16',
    'INT8': 'int8',
    'INT32': 'int32',
    'INT64': 'int64',
    'UINT8': 'uint8',
    'BOOL': 'bool',
}


@dataclass(slots=True)
class _Context:
    """
    One execution context, for one set of input shapes.

    Fields:
        outputs: shape of each output.
        graph: what its second run recorded, None before and where recording is not possible.

    """

    context: Any
    outputs: dict[str, tuple[int, ...]]
    runs: int = 0
    graph: Any = None


class GpuState:
    """
    A state that lies on the GPU, until the inference after the next.

    It has a shape and a dtype as arrays have, and ``np.array`` copies its numbers to the host.
    """

    def __init__(self, engine: TensorRtEngine, name: str, spec: StateSpec, number: int) -> None:
        self.shape = spec.shape
        self.dtype = np.dtype(np.float32)
        self._engine = engine
        self._name = name
        self.number = number

    def is_last(self, engine: TensorRtEngine, number: int) -> bool:
        """Tell whether this is the newest state of that engine."""
        return self._engine is engine and self.number == number

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self._engine.download_state(self._name, self.number), dtype)


class TensorRtEngine:
    """
    One plan in one execution context. The returned arrays are overwritten by the next call.

    :param ranges: the shapes that the plan was built for.
    :param states: fed back without leaving the GPU.
    :raises ModelError: the plan is not for this GPU and version, or not of this graph.
    :raises DeviceError: there is too little GPU memory.
    """

    def __init__(
        self,
        library: Library,
        cuda: Cuda,
        plan: bytes,
        file: OnnxFile,
        *,
        precision: str,
        ranges: tuple[InputRange, ...],
        states: tuple[StateSpec, ...],
    ) -> None:
        self._name = f'{file.path}: {library.name} {library.version}'
        self._messages = Messages()
        self._states = {state.input: state for state in states}
        self._buffers: dict[str, Buffer] = {}
        self._contexts: dict[Shapes, _Context] = {}
        self._number = 0
        self._pending: _Context | None = None
        self._library = library
        self._cuda = cuda
        self._stream: Stream | None = None
        self._logger = make_logger(library.api, self._messages)
        self._runtime: Any = library.api.Runtime(self._logger)
        self._engine: Any = self._deserialized(plan)
        self._spec = EngineSpec(
            backend=library.name,
            version=library.version,
            device=cuda.gpu().name,
            precision=precision,
            inputs=self._tensors(library, [t.name for t in file.inputs], 'INPUT'),
            outputs=self._tensors(library, [t.name for t in file.outputs], 'OUTPUT'),
        )
        largest = {each.name: each.largest for each in ranges}
        try:
            self._stream = Stream(cuda)
            self._allocate(tuple(largest[t.name] for t in self._spec.inputs))
        except ModelError:
            self.close()
            raise

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once.

        :raises ModelError: an input is not what the graph takes.
        :raises DeviceError: the GPU failed; the process should end.
        """
        self.submit(inputs)
        return self.collect()

    def submit(self, inputs: Tensors) -> None:
        """
        Start an inference and return at once; ``inputs`` may be changed afterwards.

        :raises ModelError: an input is wrong, or the last inference was not collected.
        """
        stream = self._open_stream()
        if self._pending is not None:
            raise ModelError(f'{self._name}: collect the last inference before the next one')
        check_inputs(self._spec, inputs)
        shapes = tuple(tuple(inputs[t.name].shape) for t in self._spec.inputs)
        # Shapes beyond the plan's are refused here, before they meet the buffers.
        context = self._context(shapes)
        for tensor in self._spec.inputs:
            self._upload(stream, tensor.name, inputs[tensor.name])
        self._pending = self._run(stream, context)
        self._number += 1

    def collect(self) -> dict[str, NDArray[Any]]:
        """Wait for the inference that was started and return its outputs."""
        stream, done = self._open_stream(), self._pending
        if done is None:
            raise ModelError(f'{self._name}: there is no inference to collect')
        self._pending = None
        stream.wait()
        outputs: dict[str, Any] = {}
        for name, shape in done.outputs.items():
            count = math.prod(shape)
            outputs[name] = self._buffers[name].host.reshape(-1)[:count].reshape(shape)
        check_outputs(self._spec, outputs)
        for state in self._states.values():
            outputs[state.output] = GpuState(self, state.output, state, self._number)
        return outputs

    def download_state(self, name: str, number: int) -> NDArray[Any]:
        """
        Copy a state to the host.

        :raises ModelError: a later inference has overwritten it.
        """
        if number != self._number:
            raise ModelError(
                f"{self._name}: state '{name}' of inference {number} is gone, {self._number} ran"
            )
        stream, buffer = self._open_stream(), self._buffers[name]
        buffer.download(stream, buffer.size)
        stream.wait()
        return buffer.host.copy()

    def close(self) -> None:
        """Free the GPU; the engine cannot be used afterwards."""
        stream, self._stream = self._stream, None
        # A lost GPU refuses these too; what is left of it ends with the process.
        with suppress(DeviceError):
            if stream is not None:
                stream.wait()
        for each in self._contexts.values():
            with suppress(DeviceError):
                if each.graph is not None:
                    self._cuda.call('cudaGraphExecDestroy', each.graph)
        for buffer in self._buffers.values():
            with suppress(DeviceError):
                buffer.free()
        # In this order: each lives inside the next.
        self._pending = None
        self._contexts, self._buffers = {}, {}
        self._engine = None
        self._runtime = None
        with suppress(DeviceError):
            if stream is not None:
                stream.free()

    def _deserialized(self, plan: bytes) -> trt.ICudaEngine:
        # Version-compatible plans carry code of their own; every plan here was built here.
        self._runtime.engine_host_code_allowed = True
        engine: trt.ICudaEngine | None = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelError(
                f'{self._name} cannot load its plan: {self._messages.reason()}; remove it with '
                'build_engine --prune 0 and build it again on this machine'
            )
        return engine

    def _tensors(self, library: Library, names: list[str], side: str) -> tuple[TensorSpec, ...]:
        mode = getattr(library.api.TensorIOMode, side)
        engine = self._engine
        present = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        found = {name for name in present if engine.get_tensor_mode(name) == mode}
        if found != set(names):
            raise ModelError(
                f'{self._name}: the plan has {side.lower()}s {sorted(found)}, the graph '
                f'{sorted(names)}: it was built from another model'
            )
        return tuple(_spec(engine, name) for name in names)

    def _allocate(self, largest: Shapes) -> None:
        shapes = dict(zip((t.name for t in self._spec.inputs), largest, strict=True))
        made = self._new_context(shapes)
        for tensor in (*self._spec.inputs, *self._spec.outputs):
            shape = shapes.get(tensor.name) or made.outputs[tensor.name]
            self._buffers[tensor.name] = Buffer(self._cuda, shape, tensor.dtype)
        self._place(made)
        self._contexts[largest] = made

    def _context(self, shapes: Shapes) -> _Context:
        """Return the context for these shapes; a recorded graph belongs to one of its own."""
        if shapes not in self._contexts:
            names = (tensor.name for tensor in self._spec.inputs)
            made = self._new_context(dict(zip(names, shapes, strict=True)))
            self._place(made)
            self._contexts[shapes] = made
        return self._contexts[shapes]

    def _new_context(self, shapes: Mapping[str, tuple[int, ...]]) -> _Context:
        context = self._engine.create_execution_context()
        if context is None:
            raise DeviceError(f'{self._name} cannot run the plan: {self._messages.reason()}')
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise ModelError(
                    f"{self._name}: input '{name}' {shape} is not in the range of the plan: "
                    f'{self._messages.reason()}'
                )
        outputs = {t.name: tuple(context.get_tensor_shape(t.name)) for t in self._spec.outputs}
        for name, shape in outputs.items():
            if min(shape, default=0) < 0:
                raise ModelError(f"{self._name}: the size of output '{name}' depends on the data")
        return _Context(context=context, outputs=outputs)

    def _place(self, made: _Context) -> None:
        for name, buffer in self._buffers.items():
            made.context.set_tensor_address(name, buffer.device)

    def _upload(self, stream: Stream, name: str, value: Any) -> None:
        if isinstance(value, GpuState):
            if not value.is_last(self, self._number):
                raise ModelError(
                    f"{self._name}: input '{name}' is a state of inference {value.number}, the "
                    f'last one is {self._number}'
                )
            # The last inference has put it there.
            return
        buffer = self._buffers[name]
        np.copyto(buffer.host.reshape(-1)[: value.size].reshape(value.shape), value)
        buffer.upload(stream, value.nbytes)

    def _run(self, stream: Stream, made: _Context) -> _Context:
        """Start the kernels and the copies back; from the third run on by one call."""
        made.runs += 1
        # The first run prepares the kernels, which cannot be recorded. TensorRT for RTX goes on
        # exchanging them for better ones, so that a recording would keep the first.
        if made.runs == 2 and not self._library.is_rtx:
            made.graph = self._recorded(stream, made)
        if made.graph is None:
            self._enqueue(stream, made)
        else:
            stream.launch(made.graph)
        return made

    def _recorded(self, stream: Stream, made: _Context) -> Any:
        stream.wait()
        stream.begin_capture()
        try:
            self._enqueue(stream, made)
        except DeviceError:
            with suppress(DeviceError):
                stream.end_capture()
            return None
        try:
            return stream.end_capture()
        except DeviceError:
            # Some layers wait for the CPU. Without a graph they run as well.
            return None

    def _enqueue(self, stream: Stream, made: _Context) -> None:
        if not made.context.execute_async_v3(int(stream.handle)):
            raise DeviceError(f'{self._name} failed to run: {self._messages.reason()}')
        for state in self._states.values():
            copy_on_gpu(stream, self._buffers[state.output], self._buffers[state.input])
        fed_back = {state.output for state in self._states.values()}
        for name, shape in made.outputs.items():
            if name not in fed_back:
                buffer = self._buffers[name]
                buffer.download(stream, math.prod(shape) * buffer.host.itemsize)

    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise ModelError(f'{self._name}: the engine is closed')
        return self._stream


def _spec(engine: Any, name: str) -> TensorSpec:
    # -1 is a free size.
    shape = tuple(size if size >= 0 else None for size in engine.get_tensor_shape(name))
    dtype = str(engine.get_tensor_dtype(name)).split('.')[-1]
    if dtype not in DTYPES:
        raise ModelError(f"tensor '{name}' is {dtype}: must be one of {list(DTYPES)}")
    return TensorSpec(name=name, shape=shape, dtype=DTYPES[dtype])
