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
A GPU in main memory, for the bookkeeping of an engine where there is none.

Nothing in a stream happens before somebody waits for it, as on a GPU that is slow: who forgets to
wait reads old numbers. The "kernels" are ONNX Runtime. What it cannot show is whether the real
libraries take these calls: that is what the tests marked ``gpu`` are for.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort

PREFIX = b'simulated plan of '


class Status(Enum):
    """The statuses that occur."""

    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorNoDevice = 100
    cudaErrorIllegalAddress = 700
    cudaErrorStreamCaptureUnsupported = 900


class SimulatedRuntime:
    """The functions of ``cuda.bindings.runtime`` that are used."""

    cudaError_t = Status
    cudaMemcpyKind = SimpleNamespace(
        cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2, cudaMemcpyDeviceToDevice=3
    )
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.free_bytes = 1 << 30
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.capturing: set[int] = set()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launches = 0
        self.copies: list[int] = []
        self.failing: dict[str, Status] = {}

    def __getattribute__(self, name: str) -> Any:
        found = object.__getattribute__(self, name)
        failing = object.__getattribute__(self, 'failing') if name != 'failing' else {}
        if name in failing:
            return lambda *arguments: (failing[name], None)
        return found

    def cudaGetDeviceCount(self) -> Any:
        return Status.cudaSuccess, 1

    def cudaGetDeviceProperties(self, device: int) -> Any:
        facts = SimpleNamespace(name=b'Simulated GPU\0', major=8, minor=7, totalGlobalMem=1 << 33)
        return Status.cudaSuccess, facts

    def cudaDriverGetVersion(self) -> Any:
        return Status.cudaSuccess, 12060

    def cudaGetErrorString(self, status: Status) -> Any:
        return Status.cudaSuccess, f'words about {status.value}'.encode()

    def cudaMalloc(self, size: int) -> Any:
        if size > self.free_bytes:
            return Status.cudaErrorMemoryAllocation, None
        self.free_bytes -= size
        return Status.cudaSuccess, self._new(size)

    def cudaHostAlloc(self, size: int, flags: int) -> Any:
        return Status.cudaSuccess, self._new(size)

    def _new(self, size: int) -> int:
        # Never zeros: what is read before it was written shall be seen.
        buffer = ctypes.create_string_buffer(b'\xff' * size, size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return ctypes.addressof(buffer)

    def cudaFree(self, address: int) -> Any:
        self.free_bytes += len(self.memory.pop(address))
        return (Status.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> Any:
        del self.memory[address]
        return (Status.cudaSuccess,)

    def cudaStreamCreate(self) -> Any:
        self.streams[1] = []
        return Status.cudaSuccess, 1

    def cudaStreamDestroy(self, stream: int) -> Any:
        del self.streams[stream]
        return (Status.cudaSuccess,)

    def cudaStreamSynchronize(self, stream: int) -> Any:
        assert stream not in self.capturing, 'waiting while recording'
        while self.streams[stream]:
            self.streams[stream].pop(0)()
        return (Status.cudaSuccess,)

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: int, stream: int) -> Any:
        assert size <= min(len(self.memory[target]), len(self.memory[source]))
        self.copies.append(kind)
        self.streams[stream].append(lambda: void(ctypes.memmove(target, source, size)))
        return (Status.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> Any:
        assert not self.streams[stream]
        self.capturing.add(stream)
        return (Status.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> Any:
        self.capturing.discard(stream)
        recorded, self.streams[stream] = self.streams[stream], []
        return Status.cudaSuccess, recorded

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:
        number = len(self.graphs) + 1
        self.graphs[number] = graph
        return Status.cudaSuccess, number

    def cudaGraphDestroy(self, graph: Any) -> Any:
        return (Status.cudaSuccess,)

    def cudaGraphExecDestroy(self, number: int) -> Any:
        del self.graphs[number]
        return (Status.cudaSuccess,)

    def cudaGraphLaunch(self, number: int, stream: int) -> Any:
        self.launches += 1
        self.streams[stream].extend(self.graphs[number])
        return (Status.cudaSuccess,)


def void(result: object) -> None:
    """Forget a result."""


class SimulatedContext:
    """The calls of IExecutionContext that are used."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self.runs = True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        stated = self._engine.session_input(name).shape
        fits = len(stated) == len(shape) and all(
            not isinstance(a, int) or a == b for a, b in zip(stated, shape, strict=True)
        )
        if fits and shape[0] <= self._engine.largest_batch:
            self._shapes[name] = tuple(shape)
            return True
        return False

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {n: np.zeros(shape, np.float32) for n, shape in self._shapes.items()}
        return tuple(self._engine.session.run([name], zeros)[0].shape)

    def execute_async_v3(self, stream: int) -> bool:
        if not self._engine.runs:
            return False
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        self._engine.runtime.streams[stream].append(lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: dict[str, Any], addresses: dict[str, int]) -> None:
        feed = {n: self._array(addresses[n], shape).copy() for n, shape in shapes.items()}
        names = [each.name for each in self._engine.session.get_outputs()]
        for name, array in zip(names, self._engine.session.run(names, feed), strict=True):
            self._array(addresses[name], array.shape)[...] = array

    def _array(self, address: int, shape: tuple[int, ...]) -> Any:
        data = self._engine.runtime.memory[address]
        return np.frombuffer(data, np.float32)[: int(np.prod(shape))].reshape(shape)


class SimulatedEngine:
    """The calls of ICudaEngine that are used."""

    largest_batch = 2

    def __init__(self, runtime: SimulatedRuntime, plan: bytes) -> None:
        self.runtime = runtime
        self.runs = True
        self.session = ort.InferenceSession(
            plan.removeprefix(PREFIX).decode(), providers=['CPUExecutionProvider']
        )
        self._tensors = {each.name: each for each in self.session.get_inputs()}
        self._outputs = {each.name: each for each in self.session.get_outputs()}
        self.num_io_tensors = len(self._tensors) + len(self._outputs)

    def session_input(self, name: str) -> Any:
        return self._tensors[name]

    def get_tensor_name(self, index: int) -> str:
        return [*self._tensors, *self._outputs][index]

    def get_tensor_mode(self, name: str) -> str:
        return 'in' if name in self._tensors else 'out'

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = {**self._tensors, **self._outputs}[name].shape
        return tuple(size if isinstance(size, int) else -1 for size in shape)

    def get_tensor_dtype(self, name: str) -> str:
        return 'DataType.FLOAT'

    def create_execution_context(self) -> SimulatedContext:
        return SimulatedContext(self)


class SimulatedTensorRt:
    """The module ``tensorrt``; ``plan`` gives what its builder would have made of a file."""

    __version__ = '10.3.0.30'
    TensorIOMode = SimpleNamespace(INPUT='in', OUTPUT='out')

    class ILogger:
        """The base class of loggers."""

        Severity = SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2)

        def __init__(self) -> None:
            """Do what the base class has to be asked for."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self.runtime = runtime
        self.engines: list[SimulatedEngine] = []

    def Runtime(self, logger: Any) -> Any:
        def deserialize(plan: bytes) -> Any:
            if not plan.startswith(PREFIX):
                logger.log(1, 'Serialization assertion magicTag failed')
                return None
            self.engines.append(SimulatedEngine(self.runtime, plan))
            return self.engines[-1]

        return SimpleNamespace(deserialize_cuda_engine=deserialize)

    @staticmethod
    def plan(path: Path) -> bytes:
        return PREFIX + str(path).encode()
