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

"""What is geometry in a graph, and that FP16 leaves it alone."""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import image_tensor, info, save_graph, weights, with_input
from test.synthetic import model_spec

from depth_ros.engines.geometry_nodes import geometry_nodes, name_nodes
from depth_ros.engines.model_card import write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from depth_ros.engines.precision import convert
from depth_ros.engines.rounding import write_rounding_twin
import numpy as np
import onnx
from onnx import helper
import pytest

CARD = with_input(model_spec(), camera='camera')
CAMERA = np.array([[369.486, 369.486, 317.5, 95.5]], np.float32)


def node(kind: str, inputs: list[str], output: str, **attributes) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)


def rays_file(path: Path) -> Path:
    """
    Write a graph that computes with features, then coordinates, then features.

    far = 1000 (camera - camera / 1.01) squares to more than FP16 holds; depth = small + w near.
    """
    offset = helper.make_tensor('offset_value', onnx.TensorProto.FLOAT, [1], [1.01])
    nodes = [
        node('Conv', ['image', 'w'], 'feature'),
        node('Constant', [], 'offset', value=offset),
        node('Gather', ['camera', 'centre'], 'cx', axis=1),
        node('Reshape', ['cx', 'shape'], 'cx4'),
        node('Div', ['cx4', 'offset'], 'shrunk'),
        node('Sub', ['cx4', 'shrunk'], 'difference'),
        node('Mul', ['difference', 'thousand'], 'far'),
        node('Mul', ['far', 'far'], 'square'),
        node('Mul', ['square', 'tiny'], 'near'),
        node('Add', ['feature', 'near'], 'mixed'),
        node('Conv', ['mixed', 'w1'], 'layer'),
        node('Sigmoid', ['layer'], 'after'),
        node('Sub', ['layer', 'layer'], 'nothing'),
        node('Mul', ['after', 'nothing'], 'zero'),
        node('Add', ['zero', 'layer'], 'depth'),
    ]
    constants = [
        weights('w', np.full((1, 3, 1, 1), 1 / 3)),
        weights('w1', np.ones((1, 1, 1, 1))),
        weights('thousand', 1000.0),
        weights('tiny', 1e-6),
        helper.make_tensor('centre', onnx.TensorProto.INT64, [1], [2]),
        helper.make_tensor('shape', onnx.TensorProto.INT64, [4], [1, 1, 1, 1]),
    ]
    save_graph(
        path,
        nodes,
        [info('image', [1, 3, 32, 64]), info('camera', [1, 4])],
        [info('depth', [1, 1, 32, 64])],
        constants,
    )
    write_card(path, CARD)
    return path


@pytest.fixture
def rays(tmp_path: Path) -> Path:
    return rays_file(tmp_path / 'rays.onnx')


def depth_of(path: Path) -> np.ndarray:
    engine = OnnxRuntimeEngine(read_onnx_file(path), threads=1)
    return engine.infer({'image': image_tensor(), 'camera': CAMERA})['depth']


def test_geometry_begins_at_the_camera_and_ends_at_a_layer(rays):
    found = set(geometry_nodes(onnx.load(rays).graph, 'camera'))
    coordinates = {'cx', 'cx4', 'shrunk', 'difference', 'far', 'square', 'near', 'mixed'}
    # The constant is read by coordinates alone, and is one of them.
    assert found == {*coordinates, 'offset'}


def test_geometry_of_a_graph_without_a_camera_is_empty(rays):
    assert geometry_nodes(onnx.load(rays).graph, None) == []


def test_product_of_two_coordinates_is_no_layer():
    nodes = [
        node('Transpose', ['camera'], 'turned', perm=[1, 0]),
        node('MatMul', ['turned', 'camera'], 'system'),
        node('MatMul', ['system', 'w'], 'feature'),
        node('Relu', ['feature'], 'depth'),
    ]
    graph = helper.make_graph(
        nodes,
        'g',
        [info('camera', [1, 4])],
        [info('depth', [4, 2])],
        [weights('w', np.ones((4, 2)))],
    )
    assert geometry_nodes(graph, 'camera') == ['system', 'turned']


def test_what_coordinates_are_compared_with_is_geometry_from_its_layer_on():
    nodes = [
        node('MatMul', ['given', 'w'], 'layer'),
        node('Relu', ['layer'], 'feature'),
        node('Exp', ['feature'], 'expected'),
        # A table of offsets: its product is a coordinate again, for it is compared with one.
        node('MatMul', ['camera', 'w'], 'place'),
        node('Sub', ['place', 'camera'], 'moved'),
        node('Sub', ['moved', 'expected'], 'miss'),
        node('Tanh', ['layer'], 'other'),
        node('MatMul', ['miss', 'w'], 'answer'),
        node('Add', ['answer', 'other'], 'depth'),
    ]
    learnt = weights('w', np.ones((4, 4)))
    given = [info(name, [1, 4]) for name in ('camera', 'given')]
    graph = helper.make_graph(nodes, 'g', given, [info('depth', [1, 4])], [learnt])
    assert geometry_nodes(graph, 'camera') == ['expected', 'feature', 'miss', 'moved', 'place']


def test_name_nodes_leaves_good_names_and_makes_the_others_unique():
    nodes = [
        helper.make_node('Relu', ['a'], ['b'], name='same'),
        helper.make_node('Relu', ['b'], ['c'], name='same'),
        helper.make_node('Relu', ['c'], ['d']),
    ]
    graph = helper.make_graph(nodes, 'g', [info('a', [1])], [info('d', [1])], [])
    name_nodes(graph)
    names = [each.name for each in graph.node]
    assert names[0] == 'same'
    assert len(set(names)) == 3
    assert all(names)


def test_fp16_leaves_no_cast_between_two_coordinates(rays, tmp_path):
    half = tmp_path / 'half.onnx'
    convert(rays, half, 'fp16', [])
    by_output = {output: n for n in onnx.load(half).graph.node for output in n.output}
    kinds, tensor = [], by_output['mixed']
    while tensor.op_type != 'Gather':
        kinds.append(tensor.op_type)
        # Of a sum of feature and coordinate, the coordinate.
        tensor = by_output[tensor.input[tensor.op_type == 'Add']]
    assert kinds == ['Cast', 'Add', 'Mul', 'Mul', 'Mul', 'Sub', 'Reshape']
    assert tensor.input[0] == 'camera'


def test_fp16_of_coordinates_neither_overflows_nor_cancels(rays, tmp_path):
    half, twin = tmp_path / 'half.onnx', tmp_path / 'twin.onnx'
    convert(rays, half, 'fp16', [])
    assert write_rounding_twin(half, twin) > 0
    exact = depth_of(rays)
    # 317.5 (1 - 1 / 1.01) = 3.1436, the square of a thousand times that 9.9e6: FP16 ends at 65504.
    far = image_tensor().mean(axis=1, keepdims=True) + 3.14356**2
    np.testing.assert_allclose(exact, far, rtol=1e-4)
    np.testing.assert_allclose(depth_of(twin), exact, rtol=2e-3)


def test_int8_does_not_quantise_the_product_of_two_coordinates(tmp_path):
    nodes = [
        node('Transpose', ['camera'], 'turned', perm=[1, 0]),
        node('MatMul', ['turned', 'camera'], 'system'),
        node('ReduceMax', ['system'], 'largest', keepdims=1),
        node('Reshape', ['largest', 'shape'], 'largest4'),
        node('Conv', ['image', 'w'], 'feature'),
        node('Mul', ['feature', 'largest4'], 'depth'),
    ]
    source = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, 32, 64]), info('camera', [1, 4])],
        [info('depth', [1, 1, 32, 64])],
        [
            weights('w', np.full((1, 3, 1, 1), 1 / 3)),
            helper.make_tensor('shape', onnx.TensorProto.INT64, [4], [1, 1, 1, 1]),
        ],
    )
    write_card(source, CARD)
    target = tmp_path / 'b.onnx'
    convert(source, target, 'int8', [{'image': image_tensor(), 'camera': CAMERA}])
    graph = onnx.load(target).graph
    read_by = {name: n.op_type for n in graph.node for name in n.input}
    dequantised = [n.output[0] for n in graph.node if n.op_type == 'DequantizeLinear']
    readers = {read_by[name] for name in dequantised}
    assert 'Conv' in readers
    assert 'MatMul' not in readers
