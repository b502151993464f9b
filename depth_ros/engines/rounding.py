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
What FP16 does to a model, on a CPU.

ONNX Runtime's CPU kernels compute FP16 graphs in FP32 and drop the casts between them, so that
running such a graph shows nothing of its rounding. Its twin here computes in FP32 and rounds the
result of every FP16 operator to FP16, as a GPU does that adds up in FP32.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depth_ros.errors import ModelError

# They only move or select values: what was rounded stays so.
EXACT = {
    'Concat',
    'Expand',
    'Flatten',
    'Gather',
    'Identity',
    'MaxPool',
    'Pad',
    'Relu',
    'Reshape',
    'Slice',
    'Split',
    'Squeeze',
    'Transpose',
    'Unsqueeze',
}


def write_rounding_twin(source: Path, target: Path) -> int:
    """
    Write the FP32 graph that rounds where the FP16 graph ``source`` does.

    :returns: how many results are rounded.
    :raises ModelError: the graph has branches or loops, which are not followed.
    """
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(source), strict_mode=True)
    graph = model.graph
    half = _half_names(graph)
    for weight in graph.initializer:
        _widen(weight)
    nodes: list[Any] = []
    rounded = 0
    for node in graph.node:
        produced = list(_twin(node, half, source))
        rounded += len(produced) // 2
        nodes.extend(produced)
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    return rounded


def _half_names(graph: Any) -> set[str]:
    from onnx import TensorProto

    values = [*graph.value_info, *graph.output, *graph.input]
    return {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT16}


def _twin(node: Any, half: set[str], source: Path) -> Iterator[Any]:
    """Yield the node with its FP16 constants widened, then two casts for each rounded result."""
    from onnx import helper, TensorProto

    for attribute in node.attribute:
        if attribute.HasField('g') or attribute.graphs:
            raise ModelError(
                f"{source}: node '{node.name}' ({node.op_type}) holds a graph of its own: its "
                'precision cannot be judged here'
            )
        if attribute.HasField('t'):
            _widen(attribute.t)
    if node.op_type == 'Cast':
        for attribute in node.attribute:
            if attribute.name == 'to' and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
    names = [name for name in node.output if name in half and node.op_type not in EXACT]
    casts = []
    for index, name in enumerate(node.output):
        if name in names:
            node.output[index] = f'{name}/exact'
            casts += [
                helper.make_node(
                    'Cast', [f'{name}/exact'], [f'{name}/half'], to=TensorProto.FLOAT16
                ),
                helper.make_node('Cast', [f'{name}/half'], [name], to=TensorProto.FLOAT),
            ]
    yield node
    yield from casts


def _widen(tensor: Any) -> None:
    from onnx import numpy_helper, TensorProto

    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype('float32')
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
