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
"""ONNX Runtime and OpenVINO behind one interface: the same rules, the same numbers."""

import gc
from test.engines.graphs import (
    brightness_file,
    BRIGHTNESS_GAIN,
    image_tensor,
    info,
    memory_file,
    network_file,
    save_graph,
    STATE_SHAPE,
    steady_card,
    steady_depths,
    steady_file,
)
from test.synthetic import frame

from depth_ros.core.config import PipelineConfig
from depth_ros.core.engine_api import TensorSpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.preprocess import usual_camera
from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.probe import no_past, run_sequence
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from onnx import helper
import pytest

EXACT = ('onnxruntime', 'openvino')
THREADS = 2
# float32 sums of a few hundred terms in another order.
FP32_RELATIVE = 1e-5


@pytest.fixture
def opened(request):
    """Return a function that opens a file and closes the engine after the test."""

    def open_engine(path, name):
        engine = BACKENDS[name].open(read_onnx_file(path), THREADS)
        request.addfinalizer(engine.close)
        return engine

    return open_engine


@pytest.fixture(params=EXACT)
def name(request):
    return request.param


def test_spec_states_backend_and_graph(tmp_path, opened, name):
    spec = opened(network_file(tmp_path / 'a.onnx'), name).spec
    assert (spec.backend, spec.device, spec.precision) == (name, 'CPU', 'fp32')
    assert spec.version[0].isdigit()
    assert '-' not in spec.version
    assert spec.inputs == (TensorSpec(name='image', shape=(None, 3, 32, 64), dtype='float32'),)
    assert [(t.name, t.shape, t.dtype) for t in spec.outputs] == [
        ('depth', (None, 1, 32, 64), 'float32'),
        ('log_scale', (None, 1, 32, 64), 'float32'),
    ]


@pytest.mark.parametrize('batch', [1, 2])
def test_infer_brightness_is_the_mean_times_gain(tmp_path, opened, name, batch):
    engine = opened(brightness_file(tmp_path / 'a.onnx'), name)
    image = image_tensor(batch)
    depth = engine.infer({'image': image})['depth']
    expected = BRIGHTNESS_GAIN * image.mean(axis=1, keepdims=True, dtype=np.float64)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, rtol=1e-5)


def test_infer_alternating_batch_sizes_stays_right(tmp_path, opened, name):
    engine = opened(network_file(tmp_path / 'a.onnx'), name)
    pair = image_tensor(2)
    alone = [engine.infer({'image': pair[[i]]})['depth'].copy() for i in range(2)]
    for _ in range(2):
        both = engine.infer({'image': pair})['depth'].copy()
        np.testing.assert_allclose(both, np.concatenate(alone), rtol=FP32_RELATIVE)
        again = engine.infer({'image': pair[1:]})['depth']
        np.testing.assert_array_equal(again, alone[1])


def test_infer_engines_give_the_same_numbers(tmp_path, opened):
    path = network_file(tmp_path / 'a.onnx')
    first, second = (opened(path, name) for name in EXACT)
    for seed in range(3):
        wanted = first.infer({'image': image_tensor(2, seed)})
        got = second.infer({'image': image_tensor(2, seed)})
        assert set(wanted) == set(got) == {'depth', 'log_scale'}
        np.testing.assert_allclose(got['depth'], wanted['depth'], rtol=FP32_RELATIVE)
        np.testing.assert_allclose(got['log_scale'], wanted['log_scale'], atol=1e-5)


def test_infer_image_not_contiguous_or_read_only_gives_the_same(tmp_path, opened, name):
    engine = opened(network_file(tmp_path / 'a.onnx'), name)
    image = image_tensor()
    wanted = engine.infer({'image': image})['depth'].copy()
    mirrored = np.ascontiguousarray(image[..., ::-1])
    np.testing.assert_array_equal(engine.infer({'image': mirrored[..., ::-1]})['depth'], wanted)
    image.flags.writeable = False
    np.testing.assert_array_equal(engine.infer({'image': image})['depth'], wanted)


def test_infer_changed_image_in_the_same_buffer_is_seen(tmp_path, opened, name):
    engine = opened(brightness_file(tmp_path / 'a.onnx'), name)
    image = np.zeros((1, 3, 32, 64), np.float32)
    assert engine.infer({'image': image})['depth'].max() == 0
    image.fill(0.5)
    np.testing.assert_allclose(engine.infer({'image': image})['depth'], 50.0, rtol=1e-6)


def test_infer_state_fed_back_without_a_copy_is_right(tmp_path, opened, name):
    engine = opened(memory_file(tmp_path / 'a.onnx'), name)
    image = np.full((1, 3, 32, 64), 0.25, np.float32)
    memory = np.zeros(STATE_SHAPE, np.float32)
    expected = 0.0
    for _ in range(6):
        memory = engine.infer({'image': image, 'memory': memory})['memory_next']
        expected = expected / 2 + 0.25
        np.testing.assert_allclose(memory, expected, rtol=1e-6)


def test_stream_with_camera_and_states_is_the_formula(tmp_path, opened, name):
    engine = opened(steady_file(tmp_path / 'a.onnx'), name)
    card, images = steady_card(), [image_tensor(seed=seed) for seed in range(6)]
    wanted = steady_depths(images, usual_camera(card))
    # Twice: the second stream begins with zeros again.
    for _ in range(2):
        for got, depth in zip(run_sequence(engine, card, images), wanted, strict=True):
            np.testing.assert_allclose(got['depth'], depth, rtol=FP32_RELATIVE)


def test_infer_camera_of_wrong_shape_is_refused(tmp_path, opened, name):
    engine = opened(steady_file(tmp_path / 'a.onnx'), name)
    inputs = {
        'image': image_tensor(),
        'camera': np.ones((1, 3), np.float32),
        **no_past(steady_card()),
    }
    with pytest.raises(ModelError, match=r"input 'camera' is float32 1 x 3: .* 1 x 4"):
        engine.infer(inputs)


def test_pipeline_keeps_the_states_of_an_engine_that_reuses_its_buffers(tmp_path, opened, name):
    engine = opened(steady_file(tmp_path / 'a.onnx'), name)
    card = steady_card()
    pipeline = DepthPipeline(engine, card, PipelineConfig())
    frames = [frame(100 * i, value=value) for i, value in enumerate((20, 200, 90, 40, 250))]
    images = [np.full((1, 3, 32, 64), f.image_HW3[0, 0, 0] / 255) for f in frames]
    wanted = steady_depths(images, frames[0].camera.intrinsics)
    for each, depth in zip(frames, wanted, strict=True):
        np.testing.assert_allclose(pipeline.process(each).depth_HW, depth[0, 0], rtol=1e-5)
    assert engine.spec.gives_new_arrays == (name == 'onnxruntime')


def test_infer_new_arrays_are_not_overwritten_by_the_next_call(tmp_path, opened, name):
    engine = opened(network_file(tmp_path / 'a.onnx'), name)
    first = engine.infer({'image': image_tensor(seed=1)})['depth']
    before = first.copy()
    engine.infer({'image': image_tensor(seed=2)})
    if engine.spec.gives_new_arrays:
        np.testing.assert_array_equal(first, before)
    else:
        assert not np.array_equal(first, before)


def test_infer_outputs_outlive_the_engine(tmp_path, name):
    engine = BACKENDS[name].open(read_onnx_file(network_file(tmp_path / 'a.onnx')), THREADS)
    depth = engine.infer({'image': image_tensor()})['depth']
    wanted = depth.copy()
    engine.close()
    del engine
    gc.collect()
    np.testing.assert_array_equal(depth, wanted)


@pytest.mark.parametrize(
    ('inputs', 'sentence'),
    [
        ({}, r"inputs \[\]: the graph takes \['image'\]"),
        ({'img': image_tensor()}, r"input 'image' is missing, there is \['img'\]"),
        ({'image': image_tensor(), 'more': image_tensor()}, r"inputs \['image', 'more'\]"),
        ({'image': image_tensor()[0]}, r"input 'image' is float32 3 x 32 x 64: the graph states "),
        ({'image': image_tensor()[..., :63]}, r'.* 32 x 63: .* float32 \? x 3 x 32 x 64'),
        (
            {'image': image_tensor().astype(np.float64)},
            r"input 'image' is float64 1 x 3 x 32 x 64",
        ),
    ],
)
def test_infer_wrong_inputs_are_named(tmp_path, opened, name, inputs, sentence):
    engine = opened(network_file(tmp_path / 'a.onnx'), name)
    with pytest.raises(ModelError, match=f'{name}: {sentence}'):
        engine.infer(inputs)


def test_infer_after_a_refused_input_still_works(tmp_path, opened, name):
    engine = opened(brightness_file(tmp_path / 'a.onnx'), name)
    with pytest.raises(ModelError):
        engine.infer({'image': image_tensor()[0]})
    assert engine.infer({'image': image_tensor()})['depth'].shape == (1, 1, 32, 64)


def test_infer_closed_engine_says_so(tmp_path, opened, name):
    engine = opened(network_file(tmp_path / 'a.onnx'), name)
    engine.close()
    engine.close()
    with pytest.raises(ModelError, match=f'{name}: the engine is closed'):
        engine.infer({'image': image_tensor()})


def test_infer_failing_run_is_a_device_error(tmp_path, opened):
    # A reshape that no real image fits: found only when it runs.
    path = save_graph(
        tmp_path / 'a.onnx',
        [
            helper.make_node('Cast', ['sizes'], ['shape'], to=7),
            helper.make_node('Reshape', ['image', 'shape'], ['depth']),
        ],
        [info('image', [1, 3, 32, 64]), info('sizes', [4])],
        [info('depth', ['a', 'b', 'c', 'd'])],
        [],
    )
    engine = opened(path, 'onnxruntime')
    sizes = np.array([1, 1, 5, 5], np.float32)
    with pytest.raises(DeviceError, match=r'a\.onnx: onnxruntime failed to run: .*Reshape'):
        engine.infer({'image': image_tensor(), 'sizes': sizes})


@pytest.mark.parametrize('backend', [*EXACT, 'openvino_bf16'])
def test_open_unknown_operator_names_the_file(tmp_path, backend):
    node = helper.make_node('NoSuchOperator', ['image'], ['depth'])
    shape = [1, 3, 32, 64]
    path = save_graph(
        tmp_path / 'a.onnx', [node], [info('image', shape)], [info('depth', shape)], []
    )
    with pytest.raises(ModelError, match=r'a\.onnx: .*NoSuchOperator|no bf16') as caught:
        BACKENDS[backend].open(read_onnx_file(path), THREADS)
    assert '\n' not in str(caught.value)


def test_open_sequence_output_is_refused_by_onnxruntime(tmp_path):
    node = helper.make_node('SplitToSequence', ['image'], ['depth'])
    output = helper.make_tensor_sequence_value_info('depth', 1, None)
    path = save_graph(tmp_path / 'a.onnx', [node], [info('image', [1, 3])], [output], [])
    with pytest.raises(ModelError, match=r"a\.onnx: 'depth' is seq\(tensor\(float\)\): must"):
        BACKENDS['onnxruntime'].open(read_onnx_file(path), THREADS)


def test_infer_output_of_another_shape_than_promised_is_refused(tmp_path, opened):
    nodes = [
        helper.make_node('NonZero', ['image'], ['where']),
        helper.make_node('Cast', ['where'], ['depth'], to=1),
    ]
    path = save_graph(
        tmp_path / 'b.onnx', nodes, [info('image', [1, 3, 32, 64])], [info('depth', [4, 6])], []
    )
    engine = opened(path, 'onnxruntime')
    with pytest.raises(ModelError, match="output 'depth' is float32 4 x 6144: the graph states"):
        engine.infer({'image': image_tensor() + 1})


def bf16_engine(path):
    try:
        return BACKENDS['openvino_bf16'].open(read_onnx_file(path), THREADS)
    except ModelError as error:
        if 'has no bf16 arithmetic' not in str(error):
            raise
        pytest.skip(f'needs a processor with bfloat16: {error}')


def test_bf16_engine_differs_from_fp32_by_its_eight_bits(tmp_path, opened):
    path = network_file(tmp_path / 'a.onnx')
    exact = opened(path, 'openvino').infer({'image': image_tensor()})['depth']
    engine = bf16_engine(path)
    assert engine.spec.precision == 'bf16'
    depth = engine.infer({'image': image_tensor()})['depth']
    assert depth.dtype == np.float32
    difference = np.abs(depth - exact).max() / np.abs(exact).max()
    assert 1e-6 < difference < 2e-2


def test_bf16_engine_on_a_processor_without_it_is_refused(tmp_path, monkeypatch):
    from depth_ros.engines import openvino_engine

    monkeypatch.setitem(openvino_engine.CAPABILITIES, 'bf16', 'NO_PROCESSOR_HAS_THIS')
    path = network_file(tmp_path / 'a.onnx')
    with pytest.raises(ModelError, match=r"'openvino_bf16': .* no bf16 .*; use engine 'openvino'"):
        BACKENDS['openvino_bf16'].open(read_onnx_file(path), THREADS)


def test_onnxruntime_session_has_the_stated_settings(tmp_path):
    from depth_ros.engines.onnxruntime_engine import PROVIDERS

    path = network_file(tmp_path / 'a.onnx')
    engine = BACKENDS['onnxruntime'].open(read_onnx_file(path), 1)
    session = engine._session
    options = session.get_session_options()
    assert session.get_providers() == list(PROVIDERS)
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry('session.intra_op.allow_spinning') == '0'


def test_openvino_compiles_once_per_shape_with_the_stated_settings(tmp_path, opened):
    engine = opened(network_file(tmp_path / 'a.onnx'), 'openvino')
    for batch in (1, 2, 1, 2):
        engine.infer({'image': image_tensor(batch)})
    assert len(engine._requests) == 2
    compiled = next(iter(engine._requests.values())).get_compiled_model()
    assert compiled.get_property('INFERENCE_NUM_THREADS') == THREADS
    assert compiled.get_property('ENABLE_CPU_PINNING') is False
    assert compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name() == 'f32'


def test_weights_in_a_file_beside_the_model_are_found(tmp_path, opened, name):
    import onnx

    path = network_file(tmp_path / 'a.onnx')
    wanted = opened(path, name).infer({'image': image_tensor()})['depth'].copy()
    onnx.save(
        onnx.load(path),
        tmp_path / 'b.onnx',
        save_as_external_data=True,
        location='b.bin',
        size_threshold=0,
    )
    got = opened(tmp_path / 'b.onnx', name).infer({'image': image_tensor()})['depth']
    np.testing.assert_array_equal(got, wanted)
