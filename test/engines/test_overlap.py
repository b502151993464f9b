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

"""The GPU computes a frame beside the CPU's work on the one before; no number changes by that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from test.engines.graphs import (
    brightness_file,
    FLIP,
    memory_card,
    memory_file,
    steady_card,
    steady_file,
)
from test.engines.simulated_gpu import SimulatedRuntime, SimulatedTensorRt, Status
from test.project import ROOT
from test.relative_models import write_relative_model
from test.synthetic import frame, intrinsics, model_spec

from depth_ros.core.camera import CameraModel
from depth_ros.core.config import AlignmentConfig, PipelineConfig
from depth_ros.core.datatypes import DepthEstimate, Frame, ResetReason
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines import cuda_memory, factory
from depth_ros.engines.cuda_memory import Cuda
from depth_ros.engines.model_card import card_of, write_card
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.engines.tensorrt_builder import input_ranges
from depth_ros.engines.tensorrt_engine import TensorRtEngine
from depth_ros.engines.tensorrt_library import Library
from depth_ros.errors import DeviceError, FrameError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.report import json_bytes
from depth_ros.evaluation.run import evaluate
import numpy as np
import pytest

CLOCKED = ('latency', 'throughput', 'command', 'timeline')
MODELS = {
    'flip': (brightness_file, model_spec(uncertainty=FLIP)),
    'memory': (memory_file, memory_card()),
    'camera and two states': (steady_file, steady_card()),
}


@pytest.fixture
def runtime(monkeypatch) -> SimulatedRuntime:
    simulated = SimulatedRuntime()
    monkeypatch.setattr(cuda_memory, '_import', lambda: simulated)
    return simulated


def opened(runtime: SimulatedRuntime, path: Path) -> TensorRtEngine:
    api, file = SimulatedTensorRt(runtime), read_onnx_file(path)
    card = card_of(file)
    return TensorRtEngine(
        Library(name='tensorrt', api=api),
        Cuda(),
        api.plan(path),
        file,
        precision='fp32',
        ranges=input_ranges(card, file),
        states=card.temporal.states,
    )


def pipeline(runtime: SimulatedRuntime, path: Path, card: ModelSpec) -> DepthPipeline:
    write_card(path, card)
    return DepthPipeline(opened(runtime, path), card, PipelineConfig())


@pytest.fixture
def memory(runtime, tmp_path) -> DepthPipeline:
    return pipeline(runtime, memory_file(tmp_path / 'memory.onnx'), memory_card())


def one_by_one(made: DepthPipeline, frames: Sequence[Frame]) -> Iterator[DepthEstimate | str]:
    for each in frames:
        try:
            yield made.process(each)
        except FrameError as error:
            yield str(error)


def overlapped(made: DepthPipeline, frames: Sequence[Frame]) -> Iterator[DepthEstimate | str]:
    """Yield the same, each frame begun before the last one is ended."""
    begun = None
    for each in frames:
        last = begun
        try:
            begun = made.submit(each)
        except FrameError as error:
            begun = str(error)
        if last is not None:
            yield last if isinstance(last, str) else last.result()
    yield begun if isinstance(begun, str) else begun.result()


def distorted(each: Frame, k1: float) -> Frame:
    return replace(each, camera=replace(each.camera, d=(k1, 0.0, 0.0, 0.0, 0.0)))


def eventful_stream() -> list[Frame]:
    """Return frames with every event that decides something for the frames after it."""
    steady = [frame(100.0 * i, value=20 + 30 * i) for i in range(4)]
    wrong_size = replace(frame(400.0), camera=CameraModel.pinhole(intrinsics(width=80)))
    repeated = frame(300.0, value=9)
    after = [frame(500.0, value=200), frame(600.0, value=10), frame(5000.0, value=60)]
    back = [frame(0.0, value=90), frame(100.0, value=30)]
    bent = [distorted(frame(200.0, value=70), 0.4), distorted(frame(300.0, value=70), -0.4)]
    return [*steady, repeated, wrong_size, *after, *back, *bent, frame(400.0, value=50)]


@pytest.mark.parametrize('name', MODELS)
def test_overlapped_stream_is_that_of_one_frame_after_the_other(runtime, tmp_path, name):
    write, card = MODELS[name]
    made = pipeline(runtime, write(tmp_path / 'a.onnx'), card)
    wanted = list(one_by_one(made, eventful_stream()))
    made.reset()
    got = list(overlapped(made, eventful_stream()))
    assert len(got) == len(wanted) == len(eventful_stream())
    assert sum(isinstance(each, str) for each in wanted) == (1 if name == 'flip' else 2)
    for index, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if isinstance(a, str) or isinstance(b, str):
            assert a == b
            continue
        np.testing.assert_array_equal(b.depth_HW, a.depth_HW)
        assert (a.uncertainty_HW is None) is (b.uncertainty_HW is None)
        if a.uncertainty_HW is not None:
            np.testing.assert_array_equal(b.uncertainty_HW, a.uncertainty_HW)
        np.testing.assert_array_equal(b.image_HW3, a.image_HW3)
        assert (b.stamp_ns, b.frames_since_reset) == (a.stamp_ns, a.frames_since_reset)
        # The first stream began by itself, the second one by a reset.
        assert index == 0 or (b.reset, b.reset_detail) == (a.reset, a.reset_detail)


def test_frame_is_on_the_gpu_while_the_cpu_ends_the_one_before(memory, runtime):
    def on_the_gpu() -> int:
        return sum(map(len, runtime.streams.values()))

    first = memory.submit(frame(0.0, value=51))
    assert on_the_gpu()
    second = memory.submit(frame(100.0, value=51))
    # The first one has left the GPU, the second waits there: nobody has waited for it.
    waiting = on_the_gpu()
    assert waiting
    np.testing.assert_allclose(first.result().depth_HW, 20.0, rtol=1e-5)
    assert on_the_gpu() == waiting
    np.testing.assert_allclose(second.result().depth_HW, 30.0, rtol=1e-5)
    assert not on_the_gpu()


def test_depth_that_was_given_is_not_overwritten_by_the_next_frame(memory):
    first = memory.submit(frame(0.0, value=51)).result()
    kept = first.depth_HW.copy()
    memory.submit(frame(100.0, value=251)).result()
    np.testing.assert_array_equal(first.depth_HW, kept)


def test_memory_that_is_no_number_is_dropped_before_the_next_frame_begins(runtime, tmp_path):
    path = memory_file(tmp_path / 'memory.onnx')
    made = pipeline(runtime, path, memory_card())
    lost = made.submit(frame(0.0, value=51))
    engine = made._engine
    collect = engine.collect

    def broken():
        outputs = collect()
        outputs['depth'][:] = np.nan
        engine.collect = collect
        return outputs

    engine.collect = broken
    after = made.submit(frame(100.0, value=51))
    assert np.isnan(lost.result().depth_HW).all()
    estimate = after.result()
    assert estimate.reset is ResetReason.NOT_FINITE
    np.testing.assert_allclose(estimate.depth_HW, 20.0, rtol=1e-5)


def test_reset_with_a_frame_in_work_is_for_the_next_one(memory):
    first = memory.submit(frame(0.0, value=51))
    memory.reset()
    second = memory.submit(frame(100.0, value=51))
    assert first.result().reset is ResetReason.FIRST_FRAME
    assert second.result().reset is ResetReason.REQUESTED
    np.testing.assert_allclose(second.result().depth_HW, 20.0, rtol=1e-5)


def test_lost_gpu_ends_the_stream_and_not_the_frame_alone(memory, runtime):
    memory.submit(frame(0.0))
    runtime.failing['cudaStreamSynchronize'] = Status.cudaErrorIllegalAddress
    with pytest.raises(DeviceError, match='cudaStreamSynchronize failed'):
        memory.submit(frame(100.0))


def test_times_of_a_frame_are_its_own(memory):
    first = memory.submit(frame(0.0))
    second = memory.submit(frame(100.0))
    for pending in (first, second):
        times = pending.result().times
        stages = (times.rectify_ns, times.preprocess_ns, times.infer_ns, times.postprocess_ns)
        assert min(stages) >= 0
        assert times.infer_ns > 0


# --- In an evaluation ------------------------------------------------------------------------


@pytest.fixture
def simulated(runtime, monkeypatch):
    """Load models into the simulated GPU under the name of the reference."""
    backend = replace(
        factory.BACKENDS['onnxruntime'], open=lambda file, threads: opened(runtime, file.path)
    )
    monkeypatch.setitem(factory.BACKENDS, 'onnxruntime', backend)
    return runtime


def numbers(folder: Path, model: Path, **options) -> bytes:
    alignment = AlignmentConfig(method='lidar') if 'relative' in model.name else AlignmentConfig()
    config = EvaluationConfig(frames=6, pictures=0, checks=(), model_alignment=alignment)
    bag = ROOT / 'demo' / 'kitti_0005'
    done = evaluate(bag, folder, model=str(model), engine='onnxruntime', config=config, **options)
    return json_bytes({k: v for k, v in done.result.items() if k not in CLOCKED})


def remembering(folder: Path) -> Path:
    path = memory_file(folder / 'memory.onnx')
    write_card(path, memory_card())
    return path


@pytest.mark.parametrize(
    'write', [remembering, lambda f: write_relative_model(f / 'relative.onnx')]
)
def test_evaluation_beside_the_gpu_has_the_numbers_of_a_plain_loop(simulated, tmp_path, write):
    model = write(tmp_path)
    plain = numbers(tmp_path / 'plain', model, is_overlapped=False)
    assert numbers(tmp_path / 'beside', model) == plain
