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

"""The four stages together, on networks with a closed-form answer."""

from dataclasses import replace
from test.synthetic import (
    brightness_engine,
    constant_engine,
    frame,
    FunctionEngine,
    intrinsics,
    model_spec,
)

from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import OutputBuffers, ResetReason
from depth_ros.core.model_spec import SkySpec, StateSpec, TemporalSpec, UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.errors import FrameError, ModelError
import numpy as np
import pytest

FLIP = UncertaintySpec(kind='flip', flip_gain=1.0, flip_relative=0.1)
MODEL_GRID = PipelineConfig(resolution='model')


def pipeline(engine, config=PipelineConfig(), **changes) -> DepthPipeline:  # noqa: B008
    return DepthPipeline(engine, model_spec(**changes), config)


def test_brightness_becomes_depth_at_the_camera_size():
    estimate = pipeline(brightness_engine()).process(frame(7, width=100, height=60, value=51))
    assert estimate.depth_HW.shape == (60, 100)
    np.testing.assert_allclose(estimate.depth_HW, 100 * 51 / 255, rtol=1e-6)
    assert estimate.intrinsics == intrinsics(100, 60)
    assert (estimate.stamp_ns, estimate.frame_id) == (7_000_000, 'camera')
    assert estimate.uncertainty_HW is None


def test_depth_is_rescaled_by_the_focal_length_at_the_input_size():
    output = replace(model_spec().output, focal_px=25.0)
    estimate = pipeline(brightness_engine(), output=output).process(
        frame(width=128, height=64, focal=100.0, value=51)
    )
    # At the 64-pixel input the focal length is 50: twice that of the card.
    np.testing.assert_allclose(estimate.depth_HW, 2 * 20.0, rtol=1e-6)


def test_model_resolution_publishes_the_grid_with_its_own_intrinsics():
    engine = constant_engine(depth=np.full((1, 1, 8, 16), 5.0))
    made = pipeline(engine, MODEL_GRID)
    estimate = made.process(frame(width=100, height=60))
    assert estimate.depth_HW.shape == (8, 16)
    assert estimate.image_HW3.shape == (8, 16, 3)
    assert estimate.intrinsics == intrinsics(100, 60).resized(16, 8)
    assert made.output_intrinsics(frame(width=100, height=60).camera) == estimate.intrinsics


def test_model_resolution_of_a_letterbox_leaves_the_padding_out():
    letterbox = replace(model_spec().input, resize='letterbox')
    engine = constant_engine(depth=np.full((1, 1, 8, 16), 5.0))
    estimate = pipeline(engine, MODEL_GRID, input=letterbox).process(frame(width=50, height=50))
    assert estimate.depth_HW.shape == (8, 8)


def test_buffers_are_written_in_place():
    out = OutputBuffers(depth_HW=np.zeros((32, 64), np.float32))
    estimate = pipeline(brightness_engine()).process(frame(value=51), out=out)
    assert estimate.depth_HW is out.depth_HW
    np.testing.assert_allclose(out.depth_HW, 20.0, rtol=1e-6)


def test_buffers_of_another_size_are_refused():
    out = OutputBuffers(depth_HW=np.zeros((31, 64), np.float32))
    with pytest.raises(ValueError, match=r'\(32, 64\)'):
        pipeline(brightness_engine()).process(frame(), out=out)


def test_flip_uncertainty_costs_a_second_batch_item_only_when_asked_for():
    engine = brightness_engine()
    made = pipeline(engine, uncertainty=FLIP)
    with_sigma = made.process(frame(value=51))
    batches = [len(call['image']) for call in engine.calls]
    assert batches[-1] == 2
    np.testing.assert_allclose(with_sigma.uncertainty_HW, 0.1 * 20.0, rtol=1e-5)
    without = made.process(frame(100, value=51), with_uncertainty=False)
    assert len(engine.calls[-1]['image']) == 1
    assert without.uncertainty_HW is None
    np.testing.assert_array_equal(without.depth_HW, with_sigma.depth_HW)


def test_start_runs_every_batch_size_once():
    engine = brightness_engine()
    pipeline(engine, uncertainty=FLIP)
    assert sorted(len(call['image']) for call in engine.calls) == [1, 2]


def test_state_flows_from_frame_to_frame_and_is_dropped_on_a_jump_back():
    states = (StateSpec(input='count', output='next', shape=(1,)),)

    def counting(inputs):
        depth = np.full((1, 1, 4, 8), 10.0 + inputs['count'][0], np.float32)
        return {'depth': depth, 'next': inputs['count'] + 1}

    temporal = TemporalSpec(states=states, warmup_frames=1, first_frames='hold')
    made = pipeline(FunctionEngine(counting), temporal=temporal)
    estimates = [made.process(frame(stamp)) for stamp in (0, 100, 200, 50, 150)]
    assert [e.depth_HW[0, 0] for e in estimates] == [10, 11, 12, 10, 11]
    assert [e.reset for e in estimates] == [
        ResetReason.FIRST_FRAME,
        None,
        None,
        ResetReason.JUMP_BACK,
        None,
    ]
    assert [e.is_held for e in estimates] == [True, False, False, True, False]


def test_memory_that_is_no_number_is_dropped_before_the_next_image():
    states = (StateSpec(input='past', output='next', shape=(1,)),)

    def fragile(inputs):
        brightness = inputs['image'].max()
        memory = inputs['past'] + (np.nan if brightness == 1 else brightness)
        return {'depth': np.full((1, 1, 4, 8), 10 * memory[0], np.float32), 'next': memory}

    made = pipeline(FunctionEngine(fragile), temporal=TemporalSpec(states=states))
    estimates = [
        made.process(frame(100 * i, value=value)) for i, value in enumerate((51, 255, 102, 51))
    ]
    assert np.isnan(estimates[1].depth_HW).all()
    assert [e.reset for e in estimates[1:]] == [None, ResetReason.NOT_FINITE, None]
    assert 'nowhere a number' in estimates[2].reset_detail
    np.testing.assert_allclose([e.depth_HW[0, 0] for e in estimates[2:]], [4.0, 6.0], rtol=1e-6)


def test_window_reaches_the_engine_oldest_first():
    def newest(inputs):
        return {'depth': inputs['image'][:, -1].mean(axis=1, keepdims=True) * 100}

    engine = FunctionEngine(newest)
    made = pipeline(engine, temporal=TemporalSpec(window=2))
    made.process(frame(0, value=51))
    estimate = made.process(frame(100, value=102))
    np.testing.assert_allclose(estimate.depth_HW, 40.0, rtol=1e-5)
    np.testing.assert_allclose(engine.calls[-1]['image'][0, :, 0, 0, 0], [0.2, 0.4], rtol=1e-5)


def test_requested_reset_is_reported_on_the_next_frame():
    made = pipeline(brightness_engine())
    made.process(frame(0))
    made.reset()
    assert made.process(frame(100)).reset is ResetReason.REQUESTED


def test_distorted_camera_is_rectified_and_unseen_pixels_are_unknown():
    base = frame(value=51)
    camera = replace(base.camera, d=(0.9, 0.0, 0.0, 0.0, 0.0))
    estimate = pipeline(brightness_engine()).process(replace(base, camera=camera))
    assert np.isnan(estimate.depth_HW[0, 0])
    assert estimate.depth_HW[16, 32] == pytest.approx(20.0)
    small = pipeline(constant_engine(depth=np.full((1, 1, 8, 16), 5.0)), MODEL_GRID)
    assert np.isnan(small.process(replace(base, camera=camera)).depth_HW[0, 0])


def test_camera_change_renews_the_rectification():
    made, base = pipeline(brightness_engine()), frame(value=51)
    distorted = replace(base, camera=replace(base.camera, d=(0.9, 0.0, 0.0, 0.0, 0.0)))
    made.process(distorted)
    plain = made.process(base)
    assert plain.reset is ResetReason.CAMERA
    assert np.isfinite(plain.depth_HW).all()


def test_image_of_another_size_than_its_calibration_is_dropped_by_name():
    wrong = replace(frame(), camera=CameraModel.pinhole(intrinsics(640, 480)))
    made = pipeline(brightness_engine())
    with pytest.raises(FrameError, match='64x32 but its camera_info is for 640x480'):
        made.process(wrong)
    assert made.process(frame()).reset is ResetReason.FIRST_FRAME


def test_model_without_metres_is_refused_at_the_start():
    output = replace(model_spec().output, kind='affine_inverse_depth')
    with pytest.raises(ModelError, match='has no metres'):
        pipeline(brightness_engine(), output=output)


def test_sky_is_plus_infinity_at_the_camera_size():
    sky = np.zeros((1, 1, 2, 2))
    sky[..., 0, :] = 1
    engine = constant_engine(depth=np.full((1, 1, 2, 2), 30.0), sky=sky)
    estimate = pipeline(engine, sky=SkySpec(kind='mask', name='sky')).process(frame())
    assert np.isposinf(estimate.depth_HW[:16]).all()
    np.testing.assert_array_equal(estimate.depth_HW[16:], 30.0)


def test_stage_times_are_measured():
    times = pipeline(brightness_engine()).process(frame()).times
    parts = (times.rectify_ns, times.preprocess_ns, times.infer_ns, times.postprocess_ns)
    assert min(parts) >= 0
    assert times.infer_ns > 0
    assert times.total_ns == sum(parts)


@pytest.mark.parametrize(('value', 'complete'), [(51, True), (0, False)])
def test_estimate_says_when_every_depth_is_finite(value, complete):
    estimate = pipeline(brightness_engine()).process(frame(value=value))
    assert estimate.is_complete == complete
    assert np.isfinite(estimate.depth_HW).all() == complete


def test_camera_reaches_the_engine_in_pixels_of_the_input_of_each_frame():
    engine = brightness_engine()
    spec = replace(model_spec().input, camera='K', resize='letterbox')
    made = pipeline(engine, input=spec)
    made.process(frame(width=128, height=64, focal=100.0))
    np.testing.assert_allclose(engine.calls[-1]['K'], [[50.0, 50.0, 31.5, 15.5]])
    # 100 x 50 becomes 64 x 32, and 50 x 50 becomes 32 x 32 in the middle of 64 x 32.
    made.process(frame(100, width=50, height=50, focal=100.0))
    np.testing.assert_allclose(engine.calls[-1]['K'], [[64.0, 64.0, 31.5, 15.5]])


def test_camera_of_a_distorted_image_is_that_of_the_rectified_one():
    engine = brightness_engine()
    made = pipeline(engine, input=replace(model_spec().input, camera='K'))
    base = frame(value=51, focal=50.0)
    p = (40.0, 0.0, 30.0, 0.0, 0.0, 41.0, 14.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    camera = replace(base.camera, d=(0.1, 0.0, 0.0, 0.0, 0.0), p=p)
    made.process(replace(base, camera=camera))
    np.testing.assert_allclose(engine.calls[-1]['K'], [[40.0, 41.0, 30.0, 14.0]])


def test_camera_of_the_mirror_image_is_the_mirrored_one():
    engine = brightness_engine()
    spec = replace(model_spec().input, camera='K')
    made = pipeline(engine, input=spec, uncertainty=FLIP)
    base = frame(value=51)
    made.process(replace(base, camera=CameraModel.pinhole(replace(intrinsics(64, 32), cx=20.0))))
    np.testing.assert_allclose(engine.calls[-1]['K'][:, 2], [20.0, 43.0])
