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
Which part of a graph computes with coordinates, and what lies between two parts in FP32.

Rays, matches and motions are sums that cancel, squares that overflow and places that move by
whole pixels when they are rounded to 11 bits. They begin at the camera, an input of the graph,
and end where a layer of learnt weights makes features of them; what they are compared with begins
behind such a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

# With one input that is a constant: what they give is a feature, whatever they are given.
LAYERS = ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')


def name_nodes(graph: Any) -> None:
    """Give a name of its own to each node without one, and to those that share one."""
    seen: set[str] = set()
    for index, node in enumerate(graph.node):
        if not node.name or node.name in seen:
            node.name = f'{node.op_type}_{index}_{node.output[0]}'
        seen.add(node.name)


def geometry_nodes(graph: Any, camera: str | None) -> list[str]:
    """
    Return the names of the nodes that compute with coordinates; none without a camera.

    Nodes come in an order in which each follows its inputs, and each has a name.

    :param camera: the graph's input with fx, fy, cx, cy.
    """
    if camera is None:
        return []
    fixed = _constants(graph)
    found, tainted = set(), {camera}
    for node in graph.node:
        if not _is_layer(node, fixed) and not tainted.isdisjoint(node.input):
            tainted.update(node.output)
            found.add(node.name)
    found |= _read_by(graph, found, tainted, fixed)
    return sorted(found | set(_only_read_by(graph, found, fixed)))


def _is_layer(node: Any, fixed: set[str]) -> bool:
    return node.op_type in LAYERS and not fixed.isdisjoint(node.input[1:])


def _read_by(graph: Any, readers: set[str], tainted: set[str], fixed: set[str]) -> set[str]:
    """
    Return the nodes between the last layers and these readers: what is compared, and means.

    A product of coordinates with constants, a table of offsets, is no layer but one of them.
    """
    made = {name: node for node in graph.node for name in node.output}
    seen = set(readers)
    names = [name for node in graph.node if node.name in readers for name in node.input]
    while names:
        name = names.pop()
        node = made.get(name)
        if node is None or name in fixed or node.name in seen:
            continue
        is_table = node.op_type == 'MatMul' and not tainted.isdisjoint(node.input)
        if is_table or not _is_layer(node, fixed):
            seen.add(node.name)
            names.extend(node.input)
    return seen - readers


def _constants(graph: Any) -> set[str]:
    """Return the tensors that depend on no input."""
    known = {weight.name for weight in graph.initializer} | {''}
    for node in graph.node:
        if known.issuperset(node.input):
            known.update(node.output)
    return known


def _only_read_by(graph: Any, readers: set[str], fixed: set[str]) -> Iterator[str]:
    """Yield the nodes that make constants for these readers and nobody else."""
    wanted_by: dict[str, set[str]] = {}
    for node in graph.node:
        for name in node.input:
            wanted_by.setdefault(name, set()).add(node.name)
    inside = set(readers)
    for node in reversed(graph.node):
        users = set().union(*(wanted_by.get(name, set()) for name in node.output))
        if users and users <= inside and fixed.issuperset(node.output):
            inside.add(node.name)
            yield node.name


def drop_round_trips(graph: Any) -> None:
    """
    Let FP32 nodes read each other directly: FP32 to FP16 to FP32 rounds for nothing.

    Casts that nobody reads any more are removed.
    """
    from onnx import TensorProto

    values = (*graph.input, *graph.output, *graph.value_info)
    single = {v.name for v in values if v.type.tensor_type.elem_type == TensorProto.FLOAT}
    narrowed = {
        n.output[0]: n.input[0]
        for n in graph.node
        if _to(n) == TensorProto.FLOAT16 and n.input[0] in single
    }
    whole = {
        n.output[0]: narrowed[n.input[0]]
        for n in graph.node
        if _to(n) == TensorProto.FLOAT and n.input[0] in narrowed
    }
    outputs = {output.name for output in graph.output}
    for node in graph.node:
        if node.output[0] in whole and node.output[0] in outputs:
            # The name of an output stays.
            node.input[0] = whole[node.output[0]]
            node.op_type = 'Identity'
            del node.attribute[:]
            continue
        for index, name in enumerate(node.input):
            node.input[index] = whole.get(name, name)
    _drop_unread_casts(graph, outputs)


def _drop_unread_casts(graph: Any, outputs: set[str]) -> None:
    read = {name for node in graph.node for name in node.input} | outputs
    kept = [node for node in graph.node if node.op_type != 'Cast' or node.output[0] in read]
    if len(kept) < len(graph.node):
        del graph.node[:]
        graph.node.extend(kept)
        # Of two casts in a row the second one is gone only now.
        _drop_unread_casts(graph, outputs)


def _to(node: Any) -> int | None:
    """Return the type that a cast casts to; None of other nodes."""
    if node.op_type != 'Cast':
        return None
    return next(int(a.i) for a in node.attribute if a.name == 'to')
