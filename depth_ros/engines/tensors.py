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
"""What every back end checks of the tensors that go in and come out."""

from __future__ import annotations

from typing import Any

from depth_ros.core.engine_api import EngineSpec, Tensors, TensorSpec
from depth_ros.errors import ModelError
import numpy as np
from numpy.typing import NDArray


def one_line(error: Exception) -> str:
    """Return a library's message, often many lines, as one."""
    return ' '.join(str(error).split())


def check_inputs(spec: EngineSpec, inputs: Tensors) -> None:
    """
    Refuse missing and superfluous inputs, and wrong shapes and dtypes.

    :raises ModelError: naming the input, what it is and what the graph takes.
    """
    if len(inputs) != len(spec.inputs):
        names = [tensor.name for tensor in spec.inputs]
        raise ModelError(f'{spec.backend}: inputs {sorted(inputs)}: the graph takes {names}')
    for tensor in spec.inputs:
        array = inputs.get(tensor.name)
        if array is None:
            raise ModelError(
                f"{spec.backend}: input '{tensor.name}' is missing, there is {sorted(inputs)}"
            )
        _check(spec.backend, 'input', tensor, array)


def check_outputs(spec: EngineSpec, outputs: Tensors) -> None:
    """Refuse outputs that are not what the graph promised; raises ModelError."""
    for tensor in spec.outputs:
        _check(spec.backend, 'output', tensor, outputs[tensor.name])


def _check(backend: str, side: str, tensor: TensorSpec, array: NDArray[Any]) -> None:
    fits = len(array.shape) == len(tensor.shape) and all(
        wanted is None or size == wanted
        for size, wanted in zip(array.shape, tensor.shape, strict=True)
    )
    if not fits or array.dtype != np.dtype(tensor.dtype):
        shape = ' x '.join('?' if size is None else str(size) for size in tensor.shape)
        raise ModelError(
            f"{backend}: {side} '{tensor.name}' is {array.dtype} "
            f'{" x ".join(map(str, array.shape))}: the graph states {tensor.dtype} {shape}'
        )
