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
Bound inputs and outputs of ONNX Runtime, in main memory where there is no GPU.

The calls are the same; with the real provider they run in test_gpu.py.
"""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import (
    image_tensor,
    memory_card,
    memory_file,
    network_card,
    network_file,
    STATE_SHAPE,
    steady_card,
    steady_depths,
    steady_file,
)
from test.synthetic import frame

from depth_ros.core.config import PipelineConfig
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.preprocess import usual_camera
from depth_ros.engines import onnxruntime_cuda_engine
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.onnxruntime_cuda_engine import DeviceState, OnnxRuntimeCudaEngine
from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine
from depth_ros.engines.probe import run_sequence
from depth_ros.errors import DeviceError, ModelError
import numpy as np
import onnxruntime as ort
import pytest

NO_CUDA = 'CUDAExecutionProvider' not in ort.get_available_providers()


def opened(path: Path, states=(), threads=1) -> OnnxRuntimeCudaEngine:
    return OnnxRuntimeCudaEngine(read_onnx_file(path), states=states, threads=1, device='cpu')


@pytest.fixture
def network(tmp_path):
    return network_file(tmp_path / 'a.onnx')


@pytest.mark.parametrize('batch', [1, 2])
def test_infer_bound_gives_what_the_reference_gives(network, batch):
    image = {'image': image_tensor(batch)}
    wanted = OnnxRuntimeEngine(read_onnx_file(network), threads=1).infer(image)
    engine = opened(network)
    for _ in range(2):
        got = engine.infer(image)
        assert list(got) == ['depth', 'log_scale']
        np.testing.assert_allclose(got['depth'], wanted['depth'], rtol=1e-5)


def test_spec_states_backend_device_and_precision(network):
    spec = opened(network).spec
    assert (spec.backend, spec.device, spec.precision) == ('onnxruntime_cuda', 'cpu:0', 'fp32')
    assert spec.inputs[0].shape == (None, 3, 32, 64)


def test_infer_array_that_is_not_contiguous_is_taken(network):
    image = image_tensor()[:, :, :, ::-1]
    wanted = OnnxRuntimeEngine(read_onnx_file(network), threads=1).infer({'image': image})
    np.testing.assert_allclose(opened(network).infer({'image': image})['depth'], wanted['depth'])


def test_states_are_fed_back_on_the_device(tmp_path):
    card = memory_card()
    path = memory_file(tmp_path / 'a.onnx')
    write_card(path, card)
    engine = opened(path, card.temporal.states)
    outputs = engine.infer({'image': image_tensor(), 'memory': np.zeros(STATE_SHAPE, np.float32)})
    state = outputs['memory_next']
    assert isinstance(state, DeviceState)
    assert (state.shape, state.dtype) == (STATE_SHAPE, np.float32)
    np.testing.assert_allclose(np.array(state)[:, 0], image_tensor().mean(axis=1), rtol=1e-5)
    pipeline = DepthPipeline(engine, card, PipelineConfig())
    depths = [
        float(pipeline.process(frame(100.0 * index, value=51)).depth_HW.mean())
        for index in range(3)
    ]
    np.testing.assert_allclose(depths, [20, 30, 35], rtol=1e-5)


def test_stream_with_camera_and_two_states_is_the_formula(tmp_path):
    card, images = steady_card(), [image_tensor(seed=seed) for seed in range(5)]
    engine = opened(steady_file(tmp_path / 'a.onnx'), card.temporal.states)
    wanted = steady_depths(images, usual_camera(card))
    for got, depth in zip(run_sequence(engine, card, images), wanted, strict=True):
        np.testing.assert_allclose(got['depth'], depth, rtol=1e-5)


def test_infer_wrong_input_is_refused(network):
    with pytest.raises(ModelError, match='the graph states float32'):
        opened(network).infer({'image': np.zeros((1, 3, 8, 8), np.float32)})


def test_infer_failing_run_is_a_device_error(network, monkeypatch):
    engine = opened(network)

    def fail(inputs):
        raise RuntimeError('CUDA failure 700:\nillegal memory access')

    monkeypatch.setattr(engine, '_run', fail)
    with pytest.raises(DeviceError, match='failed to run: CUDA failure 700: illegal memory'):
        engine.infer({'image': image_tensor()})


def test_closed_engine_says_so(network):
    engine = opened(network)
    engine.close()
    with pytest.raises(ModelError, match='the engine is closed'):
        engine.infer({'image': image_tensor()})


@pytest.mark.skipif(not NO_CUDA, reason='this ONNX Runtime has CUDA')
def test_load_model_without_cuda_says_which_wheel_to_install(network):
    write_card(network, network_card())
    with pytest.raises(ModelError, match=r'has no CUDA .* pip install onnxruntime-gpu'):
        load_model(str(network), engine='onnxruntime_cuda')


@pytest.mark.filterwarnings('ignore:Specified provider')
def test_open_that_falls_back_to_the_cpu_is_refused(network, monkeypatch):
    # As ONNX Runtime does when libcudnn is missing: the provider is there, the session has none.
    monkeypatch.setattr(
        onnxruntime_cuda_engine.ort, 'get_available_providers', lambda: ['CUDAExecutionProvider']
    )
    with pytest.raises(ModelError, match=r"could not load CUDA and would run on \['CPUExec"):
        OnnxRuntimeCudaEngine(read_onnx_file(network), states=(), threads=1)
