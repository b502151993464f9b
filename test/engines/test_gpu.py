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
The engines on a real GPU: ``make test-gpu``. Without one each test says what is missing.

The bookkeeping is tested on every machine (test_tensorrt_engine.py, test_onnxruntime_cuda.py);
here the libraries and the device have their say.
"""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import (
    image_tensor,
    memory_card,
    memory_file,
    STATE_SHAPE,
    steady_card,
    steady_depths,
    steady_file,
)
from test.synthetic import frame

from depth_ros.core.config import PipelineConfig
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.preprocess import usual_camera
from depth_ros.engines.cuda_memory import Cuda
from depth_ros.engines.engine_cache import EngineCache, FOLDER_VARIABLE
from depth_ros.engines.factory import load_model, LoadedModel
from depth_ros.engines.model_card import card_of, write_card
from depth_ros.engines.model_files import resolve_model, shipped_names
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.parity import compare_outputs, TOLERANCES
from depth_ros.engines.precision import convert
from depth_ros.engines.probe import probe_images, run_sequence
from depth_ros.engines.tensorrt_builder import input_ranges
from depth_ros.engines.tensorrt_engine import TensorRtEngine
from depth_ros.engines.tensorrt_library import open_library
from depth_ros.engines.tensorrt_store import named_target, obtain_plan
from depth_ros.errors import DeviceError, ModelError
import numpy as np
import pytest

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1200)]

TENSORRT = ('tensorrt', 'tensorrt_rtx')
ENGINES = ('onnxruntime_cuda', *TENSORRT)
MIB = 1 << 20
# What a driver may keep for itself between two looks.
NOISE_MIB = 64


def cuda_or_skip() -> Cuda:
    try:
        cuda = Cuda()
        cuda.gpu()
    except (ImportError, ModelError) as error:
        pytest.skip(str(error))
    return cuda


def loaded_or_skip(path: Path | str, engine: str) -> LoadedModel:
    """Load a model; what is not installed is a reason to skip, all else is a failure."""
    cuda_or_skip()
    try:
        return load_model(str(path), engine=engine)
    except ModelError as error:
        if 'needs the Python package' in str(error) or 'has no CUDA' in str(error):
            pytest.skip(str(error))
        raise


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / 'engines'))
    return tmp_path / 'engines'


@pytest.fixture
def memory(tmp_path):
    path = memory_file(tmp_path / 'memory.onnx')
    write_card(path, memory_card())
    return path


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('name', shipped_names())
@pytest.mark.parametrize('engine', ENGINES)
def test_shipped_model_is_admitted_and_stays_within_the_tolerance(
    engine, name, precision, tmp_path
):
    path = resolve_model(name)
    if precision == 'fp16':
        path = tmp_path / 'half.onnx'
        convert(resolve_model(name), path, 'fp16', [])
    with (
        loaded_or_skip(path, engine) as loaded,
        load_model(str(path), engine='onnxruntime') as reference,
    ):
        assert loaded.engine.spec.precision == precision
        images = probe_images(loaded.card)
        # More runs than it takes to record a graph, with both batch sizes.
        for _ in range(4):
            got = run_sequence(loaded.engine, loaded.card, images)
        wanted = run_sequence(reference.engine, loaded.card, images)
        depth = {loaded.card.output.name: 'quantity'}
        report = compare_outputs(wanted, got, depth, TOLERANCES[precision])
        assert report.passed, report.failures


@pytest.mark.parametrize('engine', ENGINES)
def test_states_on_the_gpu_are_fed_back(engine, memory):
    with loaded_or_skip(memory, engine) as loaded:
        states = {'memory': np.zeros(STATE_SHAPE, np.float32)}
        wanted = 0.0
        for seed in range(6):
            image = image_tensor(seed=seed)
            outputs = loaded.engine.infer({'image': image, **states})
            wanted = wanted / 2 + image.mean(axis=1)
            np.testing.assert_allclose(outputs['depth'][:, 0], 100 * wanted, rtol=1e-4)
            states = {'memory': outputs['memory_next']}
            assert not isinstance(states['memory'], np.ndarray)
        np.testing.assert_allclose(np.array(states['memory'])[:, 0], wanted, rtol=1e-4)


@pytest.mark.parametrize('engine', ENGINES)
def test_pipeline_with_a_memory_gives_the_known_depth(engine, memory):
    with loaded_or_skip(memory, engine) as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        depths = [
            float(pipeline.process(frame(100.0 * index, value=51)).depth_HW.mean())
            for index in range(4)
        ]
    np.testing.assert_allclose(depths, [20, 30, 35, 37.5], rtol=1e-4)


@pytest.mark.parametrize('engine', ENGINES)
def test_stream_with_camera_and_two_states_is_the_formula(engine, tmp_path):
    card, images = steady_card(), [image_tensor(seed=seed) for seed in range(8)]
    path = steady_file(tmp_path / 'steady.onnx')
    write_card(path, card)
    wanted = steady_depths(images, usual_camera(card))
    with loaded_or_skip(path, engine) as loaded:
        # Twice: the second stream begins with zeros, and runs the recorded graph.
        for _ in range(2):
            outputs = run_sequence(loaded.engine, card, images)
            for got, depth in zip(outputs, wanted, strict=True):
                np.testing.assert_allclose(got['depth'], depth, rtol=1e-4)


@pytest.mark.parametrize('engine', ENGINES)
def test_memory_does_not_grow_and_comes_back(engine):
    cuda = cuda_or_skip()
    loaded_or_skip('default', engine).close()
    before = cuda.call('cudaMemGetInfo')[0]
    with loaded_or_skip('default', engine) as loaded:
        images = probe_images(loaded.card)
        run_sequence(loaded.engine, loaded.card, images * 3)
        running = cuda.call('cudaMemGetInfo')[0]
        run_sequence(loaded.engine, loaded.card, images * 200)
        assert running - cuda.call('cudaMemGetInfo')[0] < NOISE_MIB * MIB
    assert before - cuda.call('cudaMemGetInfo')[0] < NOISE_MIB * MIB


@pytest.mark.parametrize('engine', TENSORRT)
def test_second_start_finds_engine_and_verdict(engine, folder):
    loaded_or_skip('default', engine).close()
    (entry,) = EngineCache(folder).entries()
    assert entry.verdict is not None
    assert entry.verdict['passed']
    with loaded_or_skip('default', engine) as loaded:
        assert 'earlier start' in loaded.selection


@pytest.mark.parametrize('engine', TENSORRT)
def test_truncated_plan_is_refused_by_the_library_too(engine, folder):
    loaded_or_skip('default', engine).close()
    (plan,) = folder.glob('*/plan.engine')
    with pytest.raises(ModelError, match='cannot load its plan'):
        opened(engine, plan.read_bytes()[: plan.stat().st_size // 2])


def test_plan_of_another_architecture_is_refused(folder):
    gpu = cuda_or_skip().gpu()
    try:
        library = open_library('tensorrt_rtx')
    except ImportError as error:
        pytest.skip(str(error))
    other = 'sm75' if gpu.compute_capability != '7.5' else 'sm89'
    file = read_onnx_file(resolve_model('default'))
    cache = EngineCache(folder)
    plan = obtain_plan(library, file, named_target(other), None, cache, lambda words: True)
    with pytest.raises(ModelError, match='cannot load its plan'):
        opened('tensorrt_rtx', plan.plan)


@pytest.mark.parametrize('engine', TENSORRT)
def test_too_little_gpu_memory_is_a_device_error(engine, folder):
    cuda = cuda_or_skip()
    loaded_or_skip('default', engine).close()
    (plan,) = folder.glob('*/plan.engine')
    taken = cuda.call('cudaMalloc', max(MIB, cuda.call('cudaMemGetInfo')[0] - 8 * MIB))
    try:
        with pytest.raises(ModelError) as caught:
            opened(engine, plan.read_bytes()).infer({'image': np.zeros((1, 3, 192, 636), 'f4')})
        assert isinstance(caught.value, DeviceError) or 'memory' in str(caught.value).lower()
    finally:
        cuda.call('cudaFree', taken)


def opened(engine: str, plan: bytes) -> TensorRtEngine:
    file = read_onnx_file(resolve_model('default'))
    card = card_of(file)
    return TensorRtEngine(
        open_library(engine),
        Cuda(),
        plan,
        file,
        precision='fp32',
        ranges=input_ranges(card, file),
        states=card.temporal.states,
    )
