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
ONNX Runtime on the CPU: the reference that every other back end is compared with.

All graph optimisations are on, for the blocked layout of convolutions; nodes run one after the
other, because in parallel they compete for the same threads; and threads sleep instead of
spinning while they wait, because on a robot the other core has work.
"""

from __future__ import annotations

from typing import Any

from depth_ros.core.engine_api import EngineSpec, Tensors, TensorSpec
from depth_ros.engines.onnx_file import OnnxFile
from depth_ros.engines.tensors import check_inputs, check_outputs, one_line
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

BACKEND = 'onnxruntime'
# Stated, because the default list of a wheel changes with the wheel.
PROVIDERS = ('CPUExecutionProvider',)
# The library's own exceptions have no base in common but Exception.
LIBRARY_ERRORS: tuple[type[Exception], ...] = (
    *(v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception)),
    RuntimeError,
    ValueError,
    MemoryError,
)
LOG_NOTHING_BUT_FATAL = 4  # every error is raised as well
DTYPES = {
    'tensor(float)': 'float32',
    'tensor(float16)': 'float16',
    'tensor(double)': 'float64',
    'tensor(uint8)': 'uint8',
    'tensor(int8)': 'int8',
    'tensor(int32)': 'int32',
    'tensor(int64)': 'int64',
    'tensor(bool)': 'bool',
}


class OnnxRuntimeEngine:
    """
    One session. The returned arrays are new ones each time.

    :raises ModelError: ONNX Runtime cannot load the file.
    """

    def __init__(self, file: OnnxFile, *, threads: int) -> None:
        try:
            self._session: Any = ort.InferenceSession(
                str(file.path), session_options(threads), providers=list(PROVIDERS)
            )
        except LIBRARY_ERRORS as error:
            raise ModelError(
                f'{file.path}: {BACKEND} cannot load it: {one_line(error)}'
            ) from error
        self._path = file.path
        self._spec = EngineSpec(
            backend=BACKEND,
            version=ort.__version__,
            device='CPU',
            precision='fp32',
            inputs=tuple(tensor_spec(node, file) for node in self._session.get_inputs()),
            outputs=tuple(tensor_spec(node, file) for node in self._session.get_outputs()),
            gives_new_arrays=True,
        )
        self._output_names = [tensor.name for tensor in self._spec.outputs]

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        return self._spec

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once.

        :raises ModelError: an input is not what the graph takes.
        :raises DeviceError: the run itself failed, for example for want of memory.
        """
        if self._session is None:
            raise ModelError(f'{BACKEND}: the engine is closed')
        check_inputs(self._spec, inputs)
        feed = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        try:
            arrays = self._session.run(self._output_names, feed)
        except LIBRARY_ERRORS as error:
            raise DeviceError(
                f'{self._path}: {BACKEND} failed to run: {one_line(error)}'
            ) from error
        outputs = dict(zip(self._output_names, arrays, strict=True))
        check_outputs(self._spec, outputs)
        return outputs

    def close(self) -> None:
        """Free the session; the engine cannot be used afterwards."""
        self._session = None


def session_options(threads: int) -> Any:
    """Return the settings of a session, see the module's text."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = LOG_NOTHING_BUT_FATAL
    return options


def tensor_spec(node: Any, file: OnnxFile) -> TensorSpec:
    """Return one input or output of a session; ModelError for a type that nothing here has."""
    if node.type not in DTYPES:
        raise ModelError(
            f"{file.path}: '{node.name}' is {node.type}: must be one of {list(DTYPES)}"
        )
    # A free size has a name, or None.
    shape = tuple(size if isinstance(size, int) else None for size in node.shape)
    return TensorSpec(name=node.name, shape=shape, dtype=DTYPES[node.type])
