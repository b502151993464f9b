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
ONNX Runtime on an NVIDIA GPU: for machines with CUDA but without TensorRT.

Inputs and outputs are bound, so that nothing is copied but what the CPU gives and takes; states
stay on the GPU. ONNX Runtime itself falls back to the CPU without a word when it cannot load
CUDA: here that is an error.
"""

from __future__ import annotations

from typing import Any

from depth_ros.core.engine_api import EngineSpec, Tensors
from depth_ros.core.model_spec import StateSpec
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.engines.onnxruntime_engine import (
    LIBRARY_ERRORS,
    session_options,
    tensor_spec,
)
from depth_ros.engines.precision import precision_of
from depth_ros.engines.tensors import check_inputs, check_outputs, one_line
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray
import onnxruntime as ort

BACKEND = 'onnxruntime_cuda'
DEVICE_ID = 0
PROVIDERS = {'cuda': 'CUDAExecutionProvider', 'cpu': 'CPUExecutionProvider'}
PROVIDER_OPTIONS: dict[str, dict[str, str]] = {
    'cuda': {
        'device_id': str(DEVICE_ID),
        # FP32 shall be FP32: TF32 keeps 10 bits of the products, and is on by default.
        'use_tf32': '0',
        # Sizes are fixed, so that the search is done once.
        'cudnn_conv_algo_search': 'EXHAUSTIVE',
    },
    'cpu': {},
}


class DeviceState:
    """A state that stays on the device; ``np.array`` copies its numbers to the host."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.shape = tuple(value.shape())
        self.dtype = np.dtype(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.value.numpy(), dtype)


class OnnxRuntimeCudaEngine:
    """
    One session with bound inputs and outputs. The returned arrays are new ones each time.

    :param states: fed back without leaving the device.
    :param threads: for the few operators that CUDA lacks.
    :param device: 'cuda'; 'cpu' binds in main memory, to try the same code without a GPU.
    :raises ModelError: this ONNX Runtime has no CUDA, cannot load it, or cannot load the file.
    """

    def __init__(
        self,
        file: OnnxFile,
        *,
        states: tuple[StateSpec, ...],
        threads: int,
        device: str = 'cuda',
    ) -> None:
        _check_provider(device)
        provider = (PROVIDERS[device], PROVIDER_OPTIONS[device])
        try:
            self._session: Any = ort.InferenceSession(
                str(file.path), session_options(threads), providers=[provider]
            )
        except LIBRARY_ERRORS as error:
            raise ModelError(
                f'{file.path}: {BACKEND} cannot load it: {one_line(error)}'
            ) from error
        _check_loaded(self._session, device)
        self._path = file.path
        self._device = device
        self._states = {state.output for state in states}
        self._spec = EngineSpec(
            backend=BACKEND,
            version=ort.__version__,
            device=f'{device}:{DEVICE_ID}',
            precision=precision_of(file.path),
            inputs=tuple(tensor_spec(node, file) for node in self._session.get_inputs()),
            outputs=tuple(tensor_spec(node, file) for node in self._session.get_outputs()),
            gives_new_arrays=True,
        )

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once.

        :raises ModelError: an input is not what the graph takes.
        :raises DeviceError: the run itself failed; the process should end.
        """
        if self._session is None:
            raise ModelError(f'{BACKEND}: the engine is closed')
        check_inputs(self._spec, inputs)
        try:
            values = self._run(inputs)
            outputs: dict[str, Any] = {
                name: DeviceState(value) if name in self._states else value.numpy()
                for name, value in values.items()
            }
        except LIBRARY_ERRORS as error:
            raise DeviceError(
                f'{self._path}: {BACKEND} failed to run: {one_line(error)}'
            ) from error
        check_outputs(self._spec, outputs)
        return outputs

    def close(self) -> None:
        """Free the session; the engine cannot be used afterwards."""
        self._session = None

    def _run(self, inputs: Tensors) -> dict[str, Any]:
        binding = self._session.io_binding()
        # Bound values live as long as the run needs them.
        values = {name: self._on_device(array) for name, array in inputs.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        names = [tensor.name for tensor in self._spec.outputs]
        for name in names:
            binding.bind_output(name, self._device, DEVICE_ID)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(zip(names, binding.get_outputs(), strict=True))

    def _on_device(self, value: Any) -> Any:
        if isinstance(value, DeviceState):
            return value.value
        array = np.ascontiguousarray(value)
        return ort.OrtValue.ortvalue_from_numpy(array, self._device, DEVICE_ID)


def _check_provider(device: str) -> None:
    if hasattr(ort, 'preload_dlls') and device == 'cuda':
        # Finds the CUDA libraries that pip has installed.
        ort.preload_dlls()
    present = ort.get_available_providers()
    if PROVIDERS[device] not in present:
        raise ModelError(
            f"engine '{BACKEND}': this onnxruntime {ort.__version__} has no CUDA (it has "
            f'{present}): pip uninstall onnxruntime, then pip install onnxruntime-gpu'
        )


def _check_loaded(session: Any, device: str) -> None:
    loaded = session.get_providers()
    if loaded[0] != PROVIDERS[device]:
        raise ModelError(
            f"engine '{BACKEND}': onnxruntime {ort.__version__} could not load CUDA and would run "
            f'on {loaded}: install the NVIDIA driver and the CUDA and cuDNN versions that it was '
            "built for (pip install 'onnxruntime-gpu[cuda,cudnn]')"
        )
