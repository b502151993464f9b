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

"""Conversion by ONNX Runtime's tools, and what is left in FP32."""

from __future__ import annotations

import json
from pathlib import Path
import sys
from test.engines.graphs import (
    image_tensor,
    info,
    memory_card,
    memory_file,
    network_card,
    network_file,
    save_graph,
    steady_card,
    steady_depths,
    steady_file,
    weights,
    with_input,
    with_layer,
)
from test.synthetic import model_spec

from depth_ros.core.model_spec import StateSpec, TemporalSpec
from depth_ros.core.preprocess import usual_camera
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.engines.model_files import resolve_model, shipped_names
from depth_ros.engines.onnx_file import model_sha256, read_onnx_file, write_metadata
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from depth_ros.engines.parity import compare_engines, FP16_TOLERANCE
from depth_ros.engines.precision import (
    convert,
    precision_of,
    PrecisionRecord,
    read_record,
    RECORD_KEY,
    source_record,
    write_record,
)
from depth_ros.engines.probe import probe_images, run_sequence
from depth_ros.engines.rounding import write_rounding_twin
from depth_ros.errors import ConfigError, ModelError
import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = network_file(tmp_path / 'net.onnx')
    write_card(path, network_card())
    return path


def run(path: Path, images) -> dict[str, np.ndarray]:
    engine = OnnxRuntimeEngine(read_onnx_file(path), threads=1)
    return engine.infer({'image': images})


def attention_file(path: Path) -> Path:
    """Write a graph with a softmax over columns between two convolutions."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node('Conv', ['image', 'w1'], ['a'], pads=[1, 1, 1, 1]),
        helper.make_node('Softmax', ['a'], ['b'], axis=3, name='attention'),
        helper.make_node('Exp', ['b'], ['c'], name='exponential'),
        helper.make_node('Conv', ['c', 'w2'], ['depth'], pads=[1, 1, 1, 1]),
    ]
    constants = [
        weights('w1', random.normal(0, 0.3, (8, 3, 3, 3))),
        weights('w2', random.normal(0, 0.3, (1, 8, 3, 3))),
    ]
    image = [info('image', ['batch', 3, 32, 64])]
    return save_graph(path, nodes, image, [info('depth', ['batch', 1, 32, 64])], constants)


def test_convert_fp16_keeps_inputs_outputs_and_card(network, tmp_path):
    target = tmp_path / 'half.onnx'
    tool = convert(network, target, 'fp16', [])
    assert tool.startswith('onnxruntime.transformers.float16 1.')
    before, after = read_onnx_file(network), read_onnx_file(target)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    assert read_card(target) == read_card(network)
    assert (precision_of(network), precision_of(target)) == ('fp32', 'fp16')
    assert target.stat().st_size < network.stat().st_size + 3000


def test_convert_fp16_leaves_softmax_and_exp_in_fp32(tmp_path):
    source, target = attention_file(tmp_path / 'a.onnx'), tmp_path / 'b.onnx'
    write_card(source, model_spec())
    convert(source, target, 'fp16', [])
    graph = onnx.shape_inference.infer_shapes(onnx.load(target)).graph
    types = {v.name: v.type.tensor_type.elem_type for v in graph.value_info}
    outputs = {node.name: node.output[0] for node in graph.node}
    assert types[outputs['attention']] == TensorProto.FLOAT
    assert types[outputs['exponential']] == TensorProto.FLOAT
    half = [v for v in types.values() if v == TensorProto.FLOAT16]
    assert half


def test_convert_fp16_rounding_twin_shows_what_the_cpu_hides(network, tmp_path):
    half, twin = tmp_path / 'half.onnx', tmp_path / 'twin.onnx'
    convert(network, half, 'fp16', [])
    assert write_rounding_twin(half, twin) >= 4
    images = image_tensor(batch=2)
    exact, rounded = run(network, images)['log_scale'], run(twin, images)['log_scale']
    error = np.abs(rounded - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 5e-3
    # The results are FP16 numbers, which those of the FP16 graph on a CPU are not.
    np.testing.assert_array_equal(rounded, rounded.astype(np.float16).astype(np.float32))


def test_rounding_twin_of_two_sums_loses_what_fp16_loses(tmp_path):
    nodes = [
        helper.make_node('Cast', ['x'], ['a'], to=TensorProto.FLOAT16),
        helper.make_node('Add', ['a', 'one'], ['b']),
        helper.make_node('Add', ['b', 'less'], ['c']),
        helper.make_node('Cast', ['c'], ['y'], to=TensorProto.FLOAT),
    ]
    constants = [
        helper.make_tensor('one', TensorProto.FLOAT16, [1], [1.0]),
        helper.make_tensor('less', TensorProto.FLOAT16, [1], [-2048.0]),
    ]
    path = save_graph(tmp_path / 'a.onnx', nodes, [info('x', [1])], [info('y', [1])], constants)
    twin = tmp_path / 'twin.onnx'
    assert write_rounding_twin(path, twin) == 3
    x = {'x': np.array([2048.0], np.float32)}
    # 2049 is no FP16 number: a GPU gives 0, the CPU provider on the FP16 graph gives 1.
    assert OnnxRuntimeEngine(read_onnx_file(path), threads=1).infer(x)['y'] == 1.0
    assert OnnxRuntimeEngine(read_onnx_file(twin), threads=1).infer(x)['y'] == 0.0


def test_rounding_twin_overflow_becomes_infinite(tmp_path):
    source = network_file(tmp_path / 'a.onnx', gain=1e5)
    write_card(source, network_card())
    half, twin = tmp_path / 'half.onnx', tmp_path / 'twin.onnx'
    convert(source, half, 'fp16', [])
    write_rounding_twin(half, twin)
    assert not np.isfinite(run(twin, image_tensor())['log_scale']).all()


def test_rounding_twin_of_a_branch_is_refused(tmp_path):
    inner = helper.make_graph(
        [helper.make_node('Identity', ['a'], ['z'])], 'inner', [], [info('z', None, 10)]
    )
    nodes = [
        helper.make_node('Cast', ['x'], ['a'], to=TensorProto.FLOAT16),
        helper.make_node('If', ['yes'], ['b'], then_branch=inner, else_branch=inner, name='fork'),
        helper.make_node('Cast', ['b'], ['y'], to=TensorProto.FLOAT),
    ]
    yes = helper.make_tensor('yes', TensorProto.BOOL, [], [True])
    path = save_graph(tmp_path / 'a.onnx', nodes, [info('x', [1])], [info('y', [1])], [yes])
    with pytest.raises(ModelError, match=r"node 'fork' \(If\) holds a graph of its own"):
        write_rounding_twin(path, tmp_path / 'b.onnx')


def test_convert_int8_writes_quantisation_nodes_and_stays_close(network, tmp_path):
    target = tmp_path / 'int8.onnx'
    pictures = [{'image': image_tensor(seed=seed)} for seed in range(4)]
    tool = convert(network, target, 'int8', pictures)
    assert 'Percentile' in tool
    assert precision_of(target) == 'int8'
    assert read_onnx_file(target).inputs == read_onnx_file(network).inputs
    graph = onnx.load(target).graph
    assert {'QuantizeLinear', 'DequantizeLinear'} <= {node.op_type for node in graph.node}
    zero_points = [
        onnx.numpy_helper.to_array(w) for w in graph.initializer if 'zero_point' in w.name
    ]
    # TensorRT takes symmetric ranges of signed integers only.
    assert all(z.dtype == np.int8 or z.dtype == np.int32 for z in zero_points)
    assert all(not z.any() for z in zero_points)
    exact, coarse = (run(path, pictures[0]['image'])['depth'] for path in (network, target))
    assert 0.01 < np.abs(coarse - exact).max() < 10


def test_convert_int8_learns_its_ranges_with_the_states_of_the_frames_before(tmp_path):
    # memory_next = 2 memory + 1 by a convolution: 1, 3, 7 over three frames.
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'nothing'], ['zero']),
        helper.make_node('Conv', ['memory', 'two', 'one'], ['grown']),
        helper.make_node('Add', ['grown', 'zero'], ['memory_next']),
        helper.make_node('Identity', ['memory_next'], ['depth']),
    ]
    shape = [1, 1, 32, 64]
    source = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, 32, 64]), info('memory', shape)],
        [info('depth', shape), info('memory_next', shape)],
        [weights('nothing', 0.0), weights('two', np.full((1, 1, 1, 1), 2)), weights('one', [1])],
    )
    write_card(source, memory_card())
    target = tmp_path / 'b.onnx'
    pictures = [{'image': image_tensor(seed=seed)} for seed in range(3)]
    convert(source, target, 'int8', pictures)
    engine = OnnxRuntimeEngine(read_onnx_file(target), threads=1)
    image, memory = image_tensor(), np.full(shape, 3.0, np.float32)
    # A range learnt on zeros alone would cut the memory off at zero.
    depth = engine.infer({'image': image, 'memory': memory})['depth']
    np.testing.assert_allclose(depth, 7.0, atol=0.1)


@pytest.mark.parametrize('warmup_frames', [1, 9])
def test_convert_int8_of_what_is_next_to_nothing_without_a_past(tmp_path, warmup_frames):
    # The first product is 1e-7, the next ones are 100: no histogram of the first can hold them.
    shape = [1, 1, 64, 32]
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Transpose', ['mean'], ['turned'], perm=[0, 1, 3, 2]),
        helper.make_node('Mul', ['turned', 'gain'], ['memory_next']),
        helper.make_node('Add', ['memory', 'nothing'], ['past']),
        helper.make_node('MatMul', ['mean', 'past'], ['depth']),
    ]
    source = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, 32, 64]), info('memory', shape)],
        [info('depth', [1, 1, 32, 32]), info('memory_next', shape)],
        [weights('gain', 6.0), weights('nothing', 1e-9)],
    )
    state = StateSpec(input='memory', output='memory_next', shape=tuple(shape))
    temporal = TemporalSpec(states=(state,), warmup_frames=warmup_frames)
    write_card(source, model_spec(temporal=temporal))
    pictures = [{'image': image_tensor(seed=seed)} for seed in range(3)]
    convert(source, tmp_path / 'b.onnx', 'int8', pictures)
    engine = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'b.onnx'), threads=1)
    memory = np.full(shape, 3.0, np.float32)
    depth = engine.infer({'image': image_tensor(), 'memory': memory})['depth']
    wanted = image_tensor().mean(axis=1).sum(axis=2)[0, :, None] * 3.0
    np.testing.assert_allclose(depth[0, 0], np.broadcast_to(wanted, (32, 32)), rtol=0.05)


@pytest.mark.parametrize('name', shipped_names())
def test_fp16_of_every_shipped_model_passes_the_gate_of_an_engine(name, tmp_path):
    half, twin = tmp_path / 'half.onnx', tmp_path / 'twin.onnx'
    convert(resolve_model(name), half, 'fp16', [])
    write_rounding_twin(half, twin)
    exact, rounded = (
        OnnxRuntimeEngine(read_onnx_file(path), threads=1) for path in (resolve_model(name), twin)
    )
    card = read_card(half)
    report = compare_engines(exact, rounded, card, probe_images(card), FP16_TOLERANCE)
    assert report.passed, report.failures
    assert report.worst_relative > 1e-4


def test_convert_fp16_of_a_tensor_with_several_delicate_readers(tmp_path):
    # The tool casts the layer back for each, under one name.
    nodes = [
        helper.make_node('Conv', ['image', 'w'], ['layer']),
        helper.make_node('Exp', ['layer'], ['grown']),
        helper.make_node('Sqrt', ['layer'], ['root']),
        helper.make_node('Add', ['grown', 'root'], ['depth']),
    ]
    source, half = tmp_path / 'a.onnx', tmp_path / 'half.onnx'
    depth = [info('depth', [1, 1, 32, 64])]
    mean = weights('w', np.full((1, 3, 1, 1), 1 / 3))
    save_graph(source, nodes, [info('image', [1, 3, 32, 64])], depth, [mean])
    write_card(source, model_spec())
    convert(source, half, 'fp16', [])
    assert precision_of(half) == 'fp16'
    image = image_tensor()
    layer = image.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(run(half, image)['depth'], np.exp(layer) + layer**0.5, rtol=2e-3)


def test_convert_fp16_of_a_stream_with_camera_and_states_is_the_formula(tmp_path):
    source, half = with_layer(steady_file(tmp_path / 'a.onnx')), tmp_path / 'half.onnx'
    write_card(source, steady_card())
    convert(source, half, 'fp16', [])
    engine = OnnxRuntimeEngine(read_onnx_file(half), threads=1)
    card, images = steady_card(), [image_tensor(seed=seed) for seed in range(3)]
    wanted = steady_depths(images, usual_camera(card))
    for got, depth in zip(run_sequence(engine, card, images), wanted, strict=True):
        np.testing.assert_allclose(got['depth'], depth, rtol=1e-2)


def test_convert_fp16_nothing_left_to_compute_in_it_is_refused(tmp_path):
    # All of it depends on the camera: a file that says fp16 would be fp32.
    source = steady_file(tmp_path / 'a.onnx')
    write_card(source, steady_card())
    with pytest.raises(ModelError, match=r'a\.onnx: nothing of it can be computed in fp16'):
        convert(source, tmp_path / 'half.onnx', 'fp16', [])


def test_convert_int8_is_fed_with_the_camera(tmp_path):
    # depth = (convolved mean) * fx: without a camera the calibration could not run.
    nodes = [
        helper.make_node('Conv', ['image', 'w'], ['mean']),
        helper.make_node('Gather', ['camera', 'zero'], ['fx'], axis=1),
        helper.make_node('Reshape', ['fx', 'shape'], ['fx4']),
        helper.make_node('Mul', ['mean', 'fx4'], ['depth']),
    ]
    source = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, 32, 64]), info('camera', [1, 4])],
        [info('depth', [1, 1, 32, 64])],
        [
            weights('w', np.full((1, 3, 1, 1), 1 / 3)),
            helper.make_tensor('zero', TensorProto.INT64, [1], [0]),
            helper.make_tensor('shape', TensorProto.INT64, [4], [1, 1, 1, 1]),
        ],
    )
    card = with_input(model_spec(), camera='camera')
    write_card(source, card)
    camera = np.array([[50, 50, 31, 15]], np.float32)
    pictures = [{'image': image_tensor(seed=seed), 'camera': camera} for seed in range(3)]
    convert(source, tmp_path / 'b.onnx', 'int8', pictures)
    engine = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'b.onnx'), threads=1)
    depth = engine.infer(pictures[0])['depth']
    wanted = 50 * pictures[0]['image'].mean(axis=1, keepdims=True)
    np.testing.assert_allclose(depth, wanted, atol=0.02 * 50)


def test_convert_int8_nothing_to_quantise_is_refused(tmp_path):
    source = memory_file(tmp_path / 'a.onnx')
    write_card(source, memory_card())
    with pytest.raises(ModelError, match=r'there is nothing to quantise, no Conv and no MatMul'):
        convert(source, tmp_path / 'b.onnx', 'int8', [{'image': image_tensor()}])


def test_convert_int8_without_pictures_asks_for_a_bag(network, tmp_path):
    with pytest.raises(ConfigError, match='int8 needs pictures to calibrate on: give --bag'):
        convert(network, tmp_path / 'b.onnx', 'int8', [])


def test_convert_what_is_fp16_already_is_refused(network, tmp_path):
    convert(network, tmp_path / 'half.onnx', 'fp16', [])
    with pytest.raises(ModelError, match=r'half\.onnx: the model is fp16 already'):
        convert(tmp_path / 'half.onnx', tmp_path / 'c.onnx', 'fp16', [])


@pytest.mark.parametrize('precision', ['fp8', '', 'fp32'])
def test_convert_to_another_precision_lists_the_known(network, tmp_path, precision):
    with pytest.raises(ConfigError, match=r"must be one of \['fp32', 'fp16', 'int8'\]"):
        convert(network, tmp_path / 'b.onnx', precision, [])


def test_convert_without_onnx_says_what_to_install(network, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(ModelError, match='pip install onnx'):
        convert(network, tmp_path / 'b.onnx', 'fp16', [])


def test_record_is_read_back(network):
    record = source_record(network, 'fp16', 'a tool', {'change': 0.001})
    assert record.source_sha256 == model_sha256(network)
    write_record(network, record)
    assert read_record(read_onnx_file(network)) == record


def test_record_of_a_foreign_file_is_none(network):
    assert read_record(read_onnx_file(network)) is None


@pytest.mark.parametrize('text', ['{', '[]', '{}', json.dumps({'precision': 'fp16', 'x': 1})])
def test_record_that_is_damaged_is_refused(network, text):
    write_metadata(network, RECORD_KEY, text)
    with pytest.raises(ModelError, match=r'net\.onnx: its record of precision is damaged'):
        read_record(read_onnx_file(network))


def test_record_fields_are_all_needed():
    assert set(PrecisionRecord.__slots__) == {'precision', 'source_sha256', 'tool', 'gate'}
