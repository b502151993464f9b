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

"""The bookkeeping of the TensorRT engine, on a simulated GPU; see test_gpu.py for a real one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.engines.graphs import (
    brightness_file,
    FLIP,
    image_tensor,
    info,
    memory_card,
    memory_file,
    network_card,
    network_file,
    save_graph,
    STATE_SHAPE,
    steady_card,
    steady_depths,
    steady_file,
    with_input,
)
from test.engines.simulated_gpu import SimulatedRuntime, SimulatedTensorRt, Status
from test.synthetic import frame, model_spec

from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import ResetReason
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.preprocess import usual_camera
from depth_ros.engines import cuda_memory
from depth_ros.engines.cuda_memory import Buffer, Cuda
from depth_ros.engines.model_card import card_of, write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from depth_ros.engines.probe import run_sequence
from depth_ros.engines.tensorrt_builder import input_ranges
from depth_ros.engines.tensorrt_engine import GpuState, TensorRtEngine
from depth_ros.engines.tensorrt_library import Library
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from onnx import helper, TensorProto
import pytest

TO_GPU = SimulatedRuntime.cudaMemcpyKind.cudaMemcpyHostToDevice


@pytest.fixture
def runtime(monkeypatch):
    simulated = SimulatedRuntime()
    monkeypatch.setattr(cuda_memory, '_import', lambda: simulated)
    return simulated


@pytest.fixture
def tensorrt(runtime):
    return SimulatedTensorRt(runtime)


@pytest.fixture
def opened(tensorrt, request):
    """Return a function that opens the engine of a file."""

    def open_engine(path: Path, card: ModelSpec, plan: bytes | None = None) -> TensorRtEngine:
        write_card(path, card)
        file = read_onnx_file(path)
        engine = TensorRtEngine(
            Library(name='tensorrt', api=tensorrt),
            Cuda(),
            tensorrt.plan(path) if plan is None else plan,
            file,
            precision='fp32',
            ranges=input_ranges(card_of(file), file),
            states=card.temporal.states,
        )
        request.addfinalizer(engine.close)
        return engine

    return open_engine


@pytest.fixture
def network(opened, tmp_path):
    return opened(network_file(tmp_path / 'a.onnx'), network_card())


@pytest.fixture
def flipping(opened, tmp_path):
    return opened(brightness_file(tmp_path / 'a.onnx'), model_spec(uncertainty=FLIP))


@pytest.fixture
def memory(opened, tmp_path):
    return opened(memory_file(tmp_path / 'a.onnx'), memory_card())


def test_spec_states_library_device_and_graph(network):
    spec = network.spec
    assert (spec.backend, spec.version, spec.device) == ('tensorrt', '10.3.0.30', 'Simulated GPU')
    assert [(t.name, t.shape, t.dtype) for t in spec.inputs] == [
        ('image', (None, 3, 32, 64), 'float32')
    ]
    assert [t.name for t in spec.outputs] == ['depth', 'log_scale']


def test_infer_gives_what_the_graph_computes_again_and_again(network, tmp_path):
    reference = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'a.onnx'), threads=1)
    for seed in range(5):
        image = {'image': image_tensor(seed=seed)}
        got, wanted = network.infer(image), reference.infer(image)
        for name in wanted:
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-6)


def test_infer_batches_alternate_each_with_its_own_graph(flipping, runtime):
    for seed in range(4):
        for batch in (1, 2):
            image = image_tensor(batch, seed)
            depth = flipping.infer({'image': image})['depth']
            assert depth.shape == (batch, 1, 32, 64)
            np.testing.assert_allclose(depth[:, 0], 100 * image.mean(axis=1), rtol=1e-5)
    assert len(runtime.graphs) == 2
    # The first run of each shape prepares, the others are launches.
    assert runtime.launches == 6


def test_infer_recording_that_is_not_possible_runs_without(network, runtime, tmp_path):
    reference = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'a.onnx'), threads=1)
    honest = runtime.cudaStreamEndCapture

    def refuse(stream):
        honest(stream)
        return Status.cudaErrorStreamCaptureUnsupported, None

    runtime.cudaStreamEndCapture = refuse
    for seed in range(4):
        image = {'image': image_tensor(seed=seed)}
        got, wanted = network.infer(image), reference.infer(image)
        np.testing.assert_allclose(got['depth'], wanted['depth'], rtol=1e-6)
    assert (runtime.launches, runtime.graphs) == (0, {})


def test_submit_takes_the_input_and_collect_gives_the_output(network, tmp_path):
    reference = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'a.onnx'), threads=1)
    image = image_tensor()
    wanted = reference.infer({'image': image})['depth']
    network.submit({'image': image})
    image[:] = 0
    np.testing.assert_allclose(network.collect()['depth'], wanted, rtol=1e-6)


def test_submit_twice_and_collect_too_early_are_refused(network):
    with pytest.raises(ModelError, match='there is no inference to collect'):
        network.collect()
    network.submit({'image': image_tensor()})
    with pytest.raises(ModelError, match='collect the last inference before the next'):
        network.submit({'image': image_tensor()})


def test_infer_input_that_is_not_contiguous_is_copied_right(flipping):
    image = image_tensor(2)[:, :, :, ::-1]
    depth = flipping.infer({'image': image})['depth']
    np.testing.assert_allclose(depth[:, 0], 100 * image.mean(axis=1), rtol=1e-5)


def test_states_stay_on_the_gpu_and_are_fed_back(memory, runtime):
    states = {'memory': np.zeros(STATE_SHAPE, np.float32)}
    wanted = 0.0
    for seed in range(6):
        image = image_tensor(seed=seed)
        runtime.copies.clear()
        outputs = memory.infer({'image': image, **states})
        wanted = wanted / 2 + image.mean(axis=1)
        np.testing.assert_allclose(outputs['depth'][:, 0], 100 * wanted, rtol=1e-5)
        assert isinstance(outputs['memory_next'], GpuState)
        assert outputs['memory_next'].shape == STATE_SHAPE
        states = {'memory': outputs['memory_next']}
    # The image goes up, the state stays, depth comes down; the graph's copies are recorded.
    assert runtime.copies == [TO_GPU]
    np.testing.assert_allclose(np.array(states['memory'])[:, 0], wanted, rtol=1e-5)


def test_state_reset_by_zeros_starts_anew(memory):
    image = image_tensor()
    zeros = {'memory': np.zeros(STATE_SHAPE, np.float32)}
    first = memory.infer({'image': image, **zeros})['depth'].copy()
    memory.infer({'image': image, 'memory': np.full(STATE_SHAPE, 9, np.float32)})
    np.testing.assert_array_equal(memory.infer({'image': image, **zeros})['depth'], first)


def test_state_of_an_earlier_inference_is_refused(memory):
    inputs = {'image': image_tensor(), 'memory': np.zeros(STATE_SHAPE, np.float32)}
    old = memory.infer(inputs)['memory_next']
    memory.infer(inputs)
    with pytest.raises(ModelError, match=r"'memory' is a state of inference 1, the last one is 2"):
        memory.infer({'image': image_tensor(), 'memory': old})
    with pytest.raises(ModelError, match=r"'memory_next' of inference 1 is gone, 2 ran"):
        np.array(old)


def test_states_run_in_the_pipeline_without_leaving_the_gpu(memory, runtime, tmp_path):
    pipeline = DepthPipeline(memory, memory_card(), PipelineConfig())
    depths = []
    for index in range(5):
        runtime.copies.clear()
        estimate = pipeline.process(frame(100.0 * index, value=51))
        depths.append(float(estimate.depth_HW.mean()))
    np.testing.assert_allclose(depths, [20, 30, 35, 37.5, 38.75], rtol=1e-5)
    assert runtime.copies == [TO_GPU]


def test_stream_with_camera_and_two_states_is_the_formula(opened, runtime, tmp_path):
    card, images = steady_card(), [image_tensor(seed=seed) for seed in range(5)]
    engine = opened(steady_file(tmp_path / 'a.onnx'), card)
    wanted = steady_depths(images, usual_camera(card))
    for got, depth in zip(run_sequence(engine, card, images), wanted, strict=True):
        np.testing.assert_allclose(got['depth'], depth, rtol=1e-5)


def test_reset_in_the_pipeline_forgets_the_states_on_the_gpu(opened, tmp_path):
    card = steady_card()
    engine = opened(steady_file(tmp_path / 'a.onnx'), card)
    pipeline = DepthPipeline(engine, card, PipelineConfig())
    frames = [frame(100 * i, value=value) for i, value in enumerate((20, 200, 90))]
    fresh = [pipeline.process(each).depth_HW for each in frames]
    # The same again after a jump back in time: nothing of before.
    again = [pipeline.process(each) for each in frames]
    assert again[0].reset is ResetReason.JUMP_BACK
    for first, second in zip(fresh, again, strict=True):
        np.testing.assert_array_equal(second.depth_HW, first)


def test_mirror_image_brings_its_camera_as_a_second_batch_item(opened, runtime, tmp_path):
    card = with_input(model_spec(uncertainty=FLIP), camera='camera')
    nodes = [
        helper.make_node('Gather', ['camera', 'two'], ['cx'], axis=1),
        helper.make_node('Reshape', ['cx', 'shape'], ['cx4']),
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Add', ['mean', 'cx4'], ['depth']),
    ]
    path = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', ['batch', 3, 32, 64]), info('camera', ['batch', 4])],
        [info('depth', ['batch', 1, 32, 64])],
        [
            helper.make_tensor('two', TensorProto.INT64, [1], [2]),
            helper.make_tensor('shape', TensorProto.INT64, [4], [-1, 1, 1, 1]),
        ],
    )
    engine = opened(path, card)
    ranges = {each.name: each for each in input_ranges(card, read_onnx_file(path))}
    assert (ranges['camera'].smallest, ranges['camera'].largest) == ((1, 4), (2, 4))
    base = frame(value=0)
    k = replace(base.camera.intrinsics, cx=20.0)
    estimate = DepthPipeline(engine, card, PipelineConfig()).process(
        replace(base, camera=CameraModel.pinhole(k))
    )
    np.testing.assert_allclose(estimate.depth_HW, 20.0, rtol=1e-6)
    # The mirror image's centre is 63 - 20.
    np.testing.assert_allclose(estimate.uncertainty_HW, 43.0 - 20.0, rtol=1e-6)


def test_gate_feeds_the_states_back_on_the_gpu_too(memory, runtime, tmp_path):
    card, images = memory_card(), [image_tensor(seed=seed) for seed in range(5)]
    reference = OnnxRuntimeEngine(read_onnx_file(tmp_path / 'a.onnx'), threads=1)
    for wanted, got in zip(
        run_sequence(reference, card, images), run_sequence(memory, card, images), strict=True
    ):
        for name in ('depth', 'memory_next'):
            np.testing.assert_allclose(got[name], wanted[name], rtol=1e-5)
    # Five images and the zeros of the start went up, no state.
    assert runtime.copies.count(TO_GPU) == len(images) + 1


def test_infer_wrong_inputs_are_refused_before_the_gpu_sees_them(network, runtime):
    with pytest.raises(ModelError, match=r"input 'image' is float32 1 x 3 x 8 x 8"):
        network.infer({'image': np.zeros((1, 3, 8, 8), np.float32)})
    with pytest.raises(ModelError, match=r"inputs \['picture', 'x'\]"):
        network.infer({'picture': image_tensor(), 'x': image_tensor()})
    assert runtime.copies == []


def test_infer_batch_beyond_the_plan_is_refused(flipping):
    with pytest.raises(ModelError, match=r"input 'image' \(3, 3, 32, 64\) is not in the range"):
        flipping.infer({'image': image_tensor(3)})


def test_infer_failing_kernel_is_a_device_error(network, tensorrt):
    tensorrt.engines[-1].runs = False
    with pytest.raises(DeviceError, match=r'a\.onnx: tensorrt 10\.3\.0\.30 failed to run'):
        network.infer({'image': image_tensor()})


def test_infer_lost_gpu_is_a_device_error_and_closing_still_works(network, runtime):
    runtime.failing['cudaStreamSynchronize'] = Status.cudaErrorIllegalAddress
    with pytest.raises(DeviceError, match=r'cudaStreamSynchronize failed: .*IllegalAddress'):
        network.infer({'image': image_tensor()})
    network.close()


def test_open_too_little_memory_says_so_and_frees_what_it_had(opened, runtime, tmp_path):
    runtime.free_bytes = 30_000
    with pytest.raises(DeviceError, match=r'cudaMalloc failed: .*: too little GPU memory'):
        opened(network_file(tmp_path / 'a.onnx'), network_card())
    assert (runtime.memory, runtime.streams) == ({}, {})


def test_open_plan_that_the_library_refuses_names_reason_and_remedy(opened, tmp_path):
    with pytest.raises(ModelError) as caught:
        opened(network_file(tmp_path / 'a.onnx'), network_card(), b'plan of another version')
    sentence = str(caught.value)
    assert 'cannot load its plan: Serialization assertion magicTag failed' in sentence
    assert 'build it again on this machine' in sentence


def test_open_plan_of_another_model_is_refused(opened, tensorrt, tmp_path):
    other = memory_file(tmp_path / 'other.onnx')
    with pytest.raises(ModelError, match=r"the plan has inputs \['image', 'memory'\], the graph"):
        opened(network_file(tmp_path / 'a.onnx'), network_card(), tensorrt.plan(other))


def test_close_frees_everything_and_ends_the_engine(opened, runtime, tmp_path):
    engine = opened(network_file(tmp_path / 'a.onnx'), network_card())
    for _ in range(3):
        engine.infer({'image': image_tensor()})
    assert runtime.memory
    engine.close()
    engine.close()
    assert (runtime.memory, runtime.streams, runtime.graphs) == ({}, {}, {})
    with pytest.raises(ModelError, match='the engine is closed'):
        engine.infer({'image': image_tensor()})


def test_buffer_without_host_memory_frees_its_gpu_memory(runtime):
    runtime.failing['cudaHostAlloc'] = Status.cudaErrorMemoryAllocation
    with pytest.raises(DeviceError, match='cudaHostAlloc failed'):
        Buffer(Cuda(), (1, 3), 'float32')
    assert runtime.memory == {}


def test_gpu_states_what_the_device_is(runtime):
    gpu = Cuda().gpu()
    assert (gpu.name, gpu.compute_capability) == ('Simulated GPU', '8.7')
    assert (gpu.memory_mib, gpu.driver) == (8192, 12060)
