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
The few CUDA calls that an engine needs, by ``cuda-python``: memory, one stream, a graph.

Every failure becomes a DeviceError that names the call. Whoever makes something here frees it.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from importlib import import_module
import math
from typing import Any

from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray

# cuda-python 12.6 and later, and before.
MODULES = ('cuda.bindings.runtime', 'cuda.cudart')
PACKAGE = 'cuda-python'
NO_DRIVER_CODES = {'cudaErrorInsufficientDriver', 'cudaErrorNoDevice', 'cudaErrorStubLibrary'}
OUT_OF_MEMORY = 'cudaErrorMemoryAllocation'
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The device of this process; versions as CUDA counts them (12060 is 12.6)."""

    name: str
    compute_capability: str
    memory_mib: int
    driver: int


class Cuda:
    """
    The CUDA runtime.

    :raises ImportError: cuda-python is not installed.
    """

    def __init__(self) -> None:
        self._api = _import()

    def call(self, function: str, *arguments: Any) -> Any:
        """
        Call a function of the CUDA runtime; return its result, a tuple of several.

        :raises DeviceError: it failed.
        """
        status, *results = getattr(self._api, function)(*arguments)
        if status != self._api.cudaError_t.cudaSuccess:
            raise DeviceError(self._sentence(function, status))
        return results[0] if len(results) == 1 else tuple(results)

    def gpu(self) -> Gpu:
        """
        Return what the first visible GPU is.

        :raises ModelError: there is no driver, or no GPU.
        """
        status, count = self._api.cudaGetDeviceCount()
        if status.name in NO_DRIVER_CODES or not count:
            raise ModelError(
                f'no NVIDIA GPU can be used ({self._words(status)}): install its driver, in a '
                'container start with --gpus all (Jetson: --runtime nvidia), or use engine '
                "'onnxruntime'"
            )
        facts = self.call('cudaGetDeviceProperties', 0)
        return Gpu(
            name=facts.name.decode().strip('\0'),
            compute_capability=f'{facts.major}.{facts.minor}',
            memory_mib=facts.totalGlobalMem // MIB,
            driver=self.call('cudaDriverGetVersion'),
        )

    def constant(self, group: str, name: str) -> Any:
        """Return a constant of the CUDA runtime, such as cudaMemcpyKind."""
        return getattr(getattr(self._api, group), name)

    def _sentence(self, function: str, status: Any) -> str:
        advice = ''
        if status.name == OUT_OF_MEMORY:
            advice = ': too little GPU memory, close other programs or use a smaller model'
        return f'{function} failed: {self._words(status)}{advice}'

    def _words(self, status: Any) -> str:
        _, text = self._api.cudaGetErrorString(status)
        return f'{text.decode()} ({status.name})'


def _import() -> Any:
    for name in MODULES:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise ImportError(f'none of the modules {MODULES} is installed')


class Stream:
    """One queue of GPU work; what is put into it runs in order."""

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self.handle = cuda.call('cudaStreamCreate')

    def wait(self) -> None:
        """Wait until everything in the stream is done."""
        self._cuda.call('cudaStreamSynchronize', self.handle)

    def copy(self, target: int, source: int, size: int, kind: str) -> None:
        """Put a copy of ``size`` bytes into the stream; kind: HostToDevice, DeviceToHost, ..."""
        direction = self._cuda.constant('cudaMemcpyKind', f'cudaMemcpy{kind}')
        self._cuda.call('cudaMemcpyAsync', target, source, size, direction, self.handle)

    def begin_capture(self) -> None:
        """Record what follows instead of running it."""
        mode = self._cuda.constant('cudaStreamCaptureMode', 'cudaStreamCaptureModeThreadLocal')
        self._cuda.call('cudaStreamBeginCapture', self.handle, mode)

    def end_capture(self) -> Any:
        """Return what was recorded, ready to be launched."""
        graph = self._cuda.call('cudaStreamEndCapture', self.handle)
        try:
            return self._cuda.call('cudaGraphInstantiate', graph, 0)
        finally:
            self._cuda.call('cudaGraphDestroy', graph)

    def launch(self, graph: Any) -> None:
        """Put a recorded graph into the stream."""
        self._cuda.call('cudaGraphLaunch', graph, self.handle)

    def free(self) -> None:
        """Give the stream back."""
        if self.handle is not None:
            handle, self.handle = self.handle, None
            self._cuda.call('cudaStreamDestroy', handle)


class Buffer:
    """
    Memory of one tensor on the GPU, and page-locked on the host, where copies need no staging.

    ``host`` is a numpy view; it must not be used after ``free``.
    """

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: str) -> None:
        self._cuda = cuda
        self.size = math.prod(shape) * np.dtype(dtype).itemsize
        self._host_address: int | None = None
        self.device: int | None = cuda.call('cudaMalloc', self.size)
        try:
            self._host_address = cuda.call('cudaHostAlloc', self.size, 0)
        except DeviceError:
            self.free()
            raise
        self.host: NDArray[Any] = _view(self._host_address, self.size, shape, dtype)

    def upload(self, stream: Stream, size: int) -> None:
        """Put a copy of the first ``size`` bytes to the GPU into the stream."""
        stream.copy(_address(self.device), _address(self._host_address), size, 'HostToDevice')

    def download(self, stream: Stream, size: int) -> None:
        """Put a copy of the first ``size`` bytes to the host into the stream."""
        stream.copy(_address(self._host_address), _address(self.device), size, 'DeviceToHost')

    def free(self) -> None:
        """Give both sides back."""
        device, self.device = self.device, None
        host, self._host_address = self._host_address, None
        if device is not None:
            self._cuda.call('cudaFree', device)
        if host is not None:
            self._cuda.call('cudaFreeHost', host)


def copy_on_gpu(stream: Stream, source: Buffer, target: Buffer) -> None:
    """Put a copy of a whole tensor to another one of its size into the stream."""
    stream.copy(_address(target.device), _address(source.device), source.size, 'DeviceToDevice')


def _view(address: Any, size: int, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    raw: Any = (ctypes.c_byte * size).from_address(int(address))
    array: NDArray[Any] = np.frombuffer(raw, np.dtype(dtype))
    return array.reshape(shape)


def _address(value: int | None) -> int:
    if value is None:
        raise ModelError('the buffer is freed')
    return value
