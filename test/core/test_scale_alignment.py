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

"""Scale and shift that follow the LiDAR, frame by frame, and the pipeline that uses them."""

from contextlib import suppress
from dataclasses import replace
from test.synthetic import frame, FunctionEngine, intrinsics, model_spec
import threading

from depth_ros.core.config import AlignmentConfig, PipelineConfig
from depth_ros.core.model_spec import SkySpec, UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.scale_alignment import LidarAligner, make_aligner, Sweep
from depth_ros.errors import AlignmentError, ConfigError, FrameError, ModelError
import numpy as np
import pytest

AFFINE = replace(model_spec().output, kind='affine_inverse_depth')
K = intrinsics()
# Depth rises from 4 m at the left to 40 m at the right, the same in every row.
DEPTH_W = np.linspace(4.0, 40.0, K.width)
SCALE, SHIFT = 0.5, 0.01
LIDAR = AlignmentConfig(method='lidar', smoothing_s=0.0)
MS = 1_000_000


def relative_engine(scale: float = SCALE, shift: float = SHIFT) -> FunctionEngine:
    """Return a network whose answer is the scene, up to a scale and a shift of its own."""
    image_hw = np.tile((1.0 / DEPTH_W - shift) / scale, (K.height, 1)).astype(np.float32)

    def answer(inputs):
        batch = len(inputs['image'])
        stack = np.stack([image_hw, image_hw[:, ::-1]])[:batch, None]
        return {'depth': np.ascontiguousarray(stack)}

    return FunctionEngine(answer)


def points(scale: float = 1.0) -> np.ndarray:
    """Return LiDAR points in the camera's frame, one for every second pixel [m]."""
    v, u = 2 * np.indices((K.height // 2, K.width // 2))
    z = DEPTH_W[u] * scale
    xyz = np.stack([(u - K.cx) / K.fx * z, (v - K.cy) / K.fy * z, z], axis=-1)
    return xyz.reshape(-1, 3).astype(np.float32)


def sweep(stamp_ms: float, xyz=None, frame_id: str = 'lidar') -> Sweep:
    cloud = points() if xyz is None else xyz
    return Sweep(stamp_ns=round(stamp_ms * MS), frame_id=frame_id, read=lambda: cloud)


def same_frame(camera: str, lidar: str) -> np.ndarray:
    return np.eye(4)


def pipeline(config=LIDAR, engine=None, lookup=same_frame, **changes):
    aligner = make_aligner(config, lookup)
    model = model_spec(**{'output': AFFINE, **changes})
    return DepthPipeline(engine or relative_engine(), model, PipelineConfig(), aligner), aligner


def test_relative_model_becomes_metres_by_the_lidar():
    made, aligner = pipeline()
    aligner.add(sweep(5))
    estimate = made.process(frame(0))
    np.testing.assert_allclose(estimate.depth_HW, np.tile(DEPTH_W, (K.height, 1)), rtol=1e-4)
    report = aligner.report()
    assert report.line.scale == pytest.approx(SCALE, rel=1e-4)
    assert report.line.shift == pytest.approx(SHIFT, rel=1e-3)
    assert (report.used, report.refused, report.unpaired) == (1, 0, 0)
    assert report.fit.kept > 400


def test_camera_of_another_focal_length_does_not_change_the_metres():
    made, aligner = pipeline(output=replace(AFFINE, focal_px=25.0))
    aligner.add(sweep(0))
    estimate = made.process(frame(0))
    np.testing.assert_allclose(estimate.depth_HW[5], DEPTH_W, rtol=1e-4)


def test_lidar_of_another_frame_is_moved_by_its_transform():
    camera_T_lidar = np.eye(4)
    camera_T_lidar[:3, 3] = (0.5, -0.2, 1.5)
    asked = []

    def lookup(camera, lidar):
        asked.append((camera, lidar))
        return camera_T_lidar

    made, aligner = pipeline(lookup=lookup)
    moved = points() - camera_T_lidar[:3, 3].astype(np.float32)
    aligner.add(sweep(0, moved, frame_id='velodyne'))
    estimate = made.process(frame(0))
    np.testing.assert_allclose(estimate.depth_HW[5], DEPTH_W, rtol=2e-2)
    assert asked == [('camera', 'velodyne')]


def test_pose_of_the_configuration_is_used_and_not_the_tree():
    def lookup(camera, lidar):
        raise AssertionError('not asked')

    config = replace(LIDAR, lidar_pose='0 0 0 0 0 0 1')
    made, aligner = pipeline(config, lookup=lookup)
    aligner.add(sweep(0))
    np.testing.assert_allclose(made.process(frame(0)).depth_HW[5], DEPTH_W, rtol=1e-4)


def test_frames_before_the_first_sweep_have_no_scale():
    made, aligner = pipeline()
    with pytest.raises(AlignmentError, match='no LiDAR sweep has given scale and shift yet'):
        made.process(frame(0))
    aligner.add(sweep(100))
    assert np.isfinite(made.process(frame(100)).depth_HW).all()


def test_sweep_that_comes_after_its_image_serves_the_next():
    made, aligner = pipeline()
    with pytest.raises(AlignmentError):
        made.process(frame(0))
    aligner.add(sweep(10))
    assert np.isfinite(made.process(frame(100)).depth_HW).all()
    assert aligner.report().stamp_ns == 10 * MS


def test_sweep_far_from_every_image_is_counted_as_unpaired():
    made, aligner = pipeline()
    aligner.add(sweep(-60))
    with pytest.raises(AlignmentError):
        made.process(frame(0))
    assert (aligner.report().used, aligner.report().unpaired) == (0, 1)


def test_sweep_of_a_later_time_waits_for_its_image():
    made, aligner = pipeline()
    aligner.add(sweep(200))
    with pytest.raises(AlignmentError):
        made.process(frame(0))
    assert aligner.report().unpaired == 0
    made.process(frame(200))
    assert aligner.report().used == 1


def test_old_line_is_not_used_beyond_its_age():
    made, aligner = pipeline(replace(LIDAR, max_age_s=0.5))
    aligner.add(sweep(0))
    made.process(frame(0))
    made.process(frame(500))
    with pytest.raises(AlignmentError, match=r'are 0\.60 s old: no newer LiDAR sweep was usable'):
        made.process(frame(600))


def test_refused_sweep_leaves_the_line_and_is_told():
    made, aligner = pipeline()
    aligner.add(sweep(0))
    made.process(frame(0))
    aligner.add(sweep(100, points()[:20]))
    made.process(frame(100))
    report = aligner.report()
    assert (report.used, report.refused, report.stamp_ns) == (1, 1, 0)
    assert 'needs at least 100' in report.problem


def test_missing_transform_refuses_the_sweep_and_is_in_the_sentence():
    def lookup(camera, lidar):
        raise FrameError(f"no static transform from '{lidar}' to '{camera}'")

    made, aligner = pipeline(lookup=lookup)
    aligner.add(sweep(0))
    with pytest.raises(AlignmentError, match="yet: no static transform from 'lidar' to 'camera'"):
        made.process(frame(0))


def test_jump_back_in_time_forgets_the_line():
    made, aligner = pipeline()
    aligner.add(sweep(1000))
    made.process(frame(1000))
    with pytest.raises(AlignmentError, match='yet'):
        made.process(frame(0))
    aligner.add(sweep(100))
    made.process(frame(100))
    assert aligner.report().used == 2


def test_reset_forgets_line_and_waiting_sweeps():
    made, aligner = pipeline()
    aligner.add(sweep(0))
    made.process(frame(0))
    aligner.add(sweep(100))
    made.reset()
    with pytest.raises(AlignmentError):
        made.process(frame(100))


def test_many_sweeps_for_no_image_are_let_go_of():
    _, aligner = pipeline()
    for index in range(10):
        aligner.add(sweep(index))
    assert aligner.report().unpaired == 6


@pytest.mark.parametrize('smoothing_s', [0.0, 0.3])
def test_smoothing_averages_the_sweeps_with_fading_weights(smoothing_s):
    made, aligner = pipeline(replace(LIDAR, smoothing_s=smoothing_s))
    for index in range(30):
        aligner.add(sweep(100 * index, points(scale=1.05 if index % 2 else 0.95)))
        depth = made.process(frame(100 * index)).depth_HW
    swing = abs(float(depth[5, 30]) / DEPTH_W[30] - 1.0)
    # Odd sweeps come last. A steady 10 Hz at 0.3 s leaves the newest a weight of 0.28.
    assert swing == pytest.approx(0.05, abs=1e-3) if smoothing_s == 0.0 else 0.003 < swing < 0.015


def test_declared_line_needs_no_sweep():
    config = AlignmentConfig(method='declared', scale=SCALE, shift=SHIFT)
    made, aligner = pipeline(config)
    np.testing.assert_allclose(made.process(frame(0)).depth_HW[5], DEPTH_W, rtol=1e-5)
    assert aligner.report().line.scale == SCALE


def test_inverse_depth_at_or_below_zero_is_beyond_range():
    config = AlignmentConfig(method='declared', scale=SCALE, shift=SHIFT - 1.0 / 30.0)
    depth = pipeline(config)[0].process(frame(0)).depth_HW
    assert np.isposinf(depth[:, DEPTH_W > 31.0]).all()
    assert (depth[:, :20] > 0).all()


def test_flip_uncertainty_is_in_metres():
    uncertainty = UncertaintySpec(kind='flip', flip_gain=1.0, flip_relative=0.1)
    config = AlignmentConfig(method='declared', scale=SCALE, shift=SHIFT)
    made, _ = pipeline(config, uncertainty=uncertainty)
    sigma = made.process(frame(0)).uncertainty_HW
    np.testing.assert_allclose(sigma[5], 0.1 * DEPTH_W, rtol=1e-3)


def test_learned_uncertainty_of_a_relative_depth_is_carried_over_by_the_slope():
    # d = 1 / x with sqrt(2) b = 0.02 d; D = 1 / (s x + t), so that dD = s (D / d)^2 dd.
    engine = relative_engine()
    x_W = (1.0 / DEPTH_W - SHIFT) / SCALE

    def answer(inputs):
        outputs = engine.infer(inputs)
        ln_b = np.log(0.02 / np.sqrt(2.0) / np.maximum(outputs['depth'], 1e-9))
        return {**outputs, 'ln_b': ln_b.astype(np.float32)}

    config = AlignmentConfig(method='declared', scale=SCALE, shift=SHIFT)
    uncertainty = UncertaintySpec(kind='log_laplace_scale', name='ln_b')
    made, _ = pipeline(config, FunctionEngine(answer), uncertainty=uncertainty)
    sigma = made.process(frame(0)).uncertainty_HW[5]
    wanted = SCALE * (DEPTH_W * x_W) ** 2 * 0.02 / x_W
    near = x_W > 0.05
    np.testing.assert_allclose(sigma[near], wanted[near], rtol=1e-3)


def test_sky_mask_holds_after_alignment():
    engine = relative_engine()

    def answer(inputs):
        mask = np.zeros((1, 1, K.height, K.width), np.float32)
        mask[:, :, :8] = 0.9
        return {**engine.infer(inputs), 'sky': mask}

    config = AlignmentConfig(method='declared', scale=SCALE, shift=SHIFT)
    sky = SkySpec(kind='mask', name='sky', threshold=0.3)
    depth = pipeline(config, FunctionEngine(answer), sky=sky)[0].process(frame(0)).depth_HW
    assert np.isposinf(depth[:8]).all()
    assert np.isfinite(depth[8:]).all()


def test_relative_model_without_alignment_is_refused_and_says_what_to_do():
    with pytest.raises(ModelError, match=r"set alignment\.method to 'lidar', or to 'declared'"):
        pipeline(AlignmentConfig())


def test_metric_model_with_alignment_is_refused():
    with pytest.raises(ConfigError, match=r"answers metric_depth, .* set it to 'none'"):
        pipeline(LIDAR, output=model_spec().output)


def test_no_sweep_is_lost_from_the_counts_while_another_thread_adds_them():
    made, aligner = pipeline()
    aligner.add(sweep(0))
    # Before the others come: of too many that wait the oldest is lost.
    made.process(frame(0))
    count = 300

    def add() -> None:
        for index in range(1, count):
            aligner.add(sweep(index, points()[:20] if index % 3 else None))

    thread = threading.Thread(target=add)
    thread.start()
    stamp = 0
    # A frame may come long before the next sweep that can be used: it is refused, and counts.
    while thread.is_alive() or stamp < count:
        with suppress(AlignmentError):
            made.process(frame(stamp))
        stamp += 10
    thread.join()
    with suppress(AlignmentError):
        made.process(frame(stamp + 100))
    report = aligner.report()
    assert report.used + report.refused + report.unpaired == count
    assert report.used >= 1


def test_sweep_of_a_stamp_that_was_used_counts_as_unpaired():
    aligner = LidarAligner(LIDAR, same_frame)
    made = DepthPipeline(relative_engine(), model_spec(output=AFFINE), PipelineConfig(), aligner)
    aligner.add(sweep(0))
    made.process(frame(0))
    aligner.add(sweep(0))
    made.process(frame(50))
    assert (aligner.report().used, aligner.report().unpaired) == (1, 1)
