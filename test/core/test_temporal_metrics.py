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

"""A room of exact depth through which the camera moves; every check against plain loops."""

from dataclasses import replace
import math
from test.synthetic import intrinsics

from depth_ros.core.geometry import invert, transform_from
from depth_ros.core.lidar import SparseDepth
from depth_ros.core.temporal_metrics import (
    flicker,
    Moment,
    pose_checks,
    temporal_consistency_metric,
    TemporalChecks,
)
import numpy as np
import pytest

WIDTH, HEIGHT = 96, 48
K = intrinsics(WIDTH, HEIGHT, 60.0)
WALL_M = 20.0
PERIOD_NS = 100_000_000


def wall_truth(depth_HW, step=2):
    rows, cols = (axis.ravel() for axis in np.mgrid[0:HEIGHT:step, 0:WIDTH:step])
    return SparseDepth(
        rows_N=rows,
        cols_N=cols,
        depth_N=depth_HW[rows, cols],
        width=WIDTH,
        height=HEIGHT,
        points=len(rows),
        invalid=0,
    )


def moment(frame, *, scale=1.0, speed=1.0, sigma=0.5, truth=True, pose=True, image=None):
    """Return a frame before a wall that the camera drives towards, ``speed`` m a frame."""
    true = np.full((HEIGHT, WIDTH), WALL_M - speed * frame, np.float32)
    noise = np.random.default_rng(7).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    return Moment(
        depth_HW=(true * np.float32(scale)),
        sigma_HW=None if sigma is None else np.full_like(true, sigma),
        image_HW3=noise if image is None else image,
        intrinsics=K,
        stamp_ns=frame * PERIOD_NS,
        truth=wall_truth(true) if truth else None,
        world_T_cam=transform_from(np.eye(3), [0, 0, speed * frame]) if pose else None,
    )


def loop_tcm(first, second):
    """Return the metric point by point, as the definition reads."""
    move = invert(second.world_T_cam) @ first.world_T_cam
    truth_then = {
        (int(r), int(c)): float(d)
        for r, c, d in zip(
            second.truth.rows_N, second.truth.cols_N, second.truth.depth_N, strict=True
        )
    }
    offsets = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    tracks = []
    for row, col, true in zip(
        first.truth.rows_N, first.truth.cols_N, first.truth.depth_N, strict=True
    ):
        ray = np.array([(col - K.cx) / K.fx, (row - K.cy) / K.fy, 1.0])
        x, y, z = (move @ [*(ray * float(true)), 1.0])[:3]
        u, v = x / z * K.fx + K.cx, y / z * K.fy + K.cy
        places = [(round(v + dy), round(u + dx)) for dy, dx in offsets]
        found = [truth_then[place] for place in places if place in truth_then]
        r, c = places[0]
        if not found or not (0 <= r < HEIGHT and 0 <= c < WIDTH):
            continue
        track = abs(z - found[0]) * np.linalg.norm(ray)
        if track < 0.3:
            then = float(second.depth_HW[r, c])
            tracks.append((ray, float(true), float(first.depth_HW[row, col]), then, track))
    scale = np.median([t[1] for t in tracks]) / np.median([t[2] for t in tracks])
    errors = []
    for ray, _, predicted, then, track in tracks:
        z = (move @ [*(ray * scale * predicted), 1.0])[2]
        errors.append(abs(track - abs(z - scale * then) * np.linalg.norm(ray)))
    errors = sorted(errors)[: int(0.8 * len(errors))]
    square = sum(e * e for e in errors) / len(errors)
    return {
        'tcm_abs_m': sum(errors) / len(errors),
        'tcm_sq_m2': square,
        'tcm_rmse_m': math.sqrt(square),
    }


def test_pose_checks_of_a_right_prediction_are_perfect():
    checks = pose_checks(moment(0), moment(1))
    assert checks['consistency'] == pytest.approx(0.0, abs=1e-6)
    assert checks['scale_step'] == pytest.approx(0.0, abs=1e-6)
    assert checks['step_in_sigma'] == 1.0
    assert checks['tcm_abs_m'] == pytest.approx(0.0, abs=1e-5)


def test_pose_checks_scale_that_grows_is_its_logarithm():
    checks = pose_checks(moment(0, speed=0.0), moment(1, speed=0.0, scale=1.1))
    assert checks['scale_step'] == pytest.approx(math.log(1.1), rel=1e-5)
    assert checks['consistency'] == pytest.approx(math.log(1.1), rel=1e-5)
    # |20 - 22| m is more than sqrt(2) * 0.5 m.
    assert checks['step_in_sigma'] == 0.0


def test_pose_checks_without_poses_or_sigma_say_less():
    assert pose_checks(moment(0, pose=False), moment(1)) == {}
    checks = pose_checks(moment(0, sigma=None, truth=False), moment(1, sigma=None, truth=False))
    assert set(checks) == {'consistency', 'scale_step'}


def test_tcm_of_any_constant_scale_is_zero_when_nothing_moves():
    first, second = moment(0, speed=0.0, scale=3.0), moment(1, speed=0.0, scale=3.0)
    checks = temporal_consistency_metric(first, second, np.eye(4))
    assert checks['tcm_abs_m'] == pytest.approx(0.0, abs=1e-5)
    assert checks['tcm_sq_m2'] == pytest.approx(0.0, abs=1e-9)


def test_tcm_equals_the_definition_point_by_point():
    rng = np.random.default_rng(3)
    first, second = moment(0), moment(1)
    first, second = (
        replace(m, depth_HW=m.depth_HW * rng.uniform(0.9, 1.1, m.depth_HW.shape).astype('f4'))
        for m in (first, second)
    )
    move = invert(second.world_T_cam) @ first.world_T_cam
    assert temporal_consistency_metric(first, second, move) == pytest.approx(
        loop_tcm(first, second), rel=1e-6
    )


def test_tcm_leaves_out_what_moves_by_itself():
    first, second = moment(0), moment(1)
    moving = replace(second, truth=wall_truth(second.depth_HW + np.float32(2.0)))
    assert 'tcm_abs_m' not in pose_checks(first, moving)


def test_flicker_of_steady_motion_is_nothing_and_of_a_jump_its_size():
    still = np.zeros((24, 48, 2), np.float32)
    frames = [np.full((HEIGHT, WIDTH), 10.0 * 1.1**n, np.float32) for n in range(3)]
    assert flicker(*frames, still, still) == pytest.approx(0.0, abs=1e-6)
    frames[1] = frames[1] * np.float32(1.05)
    assert flicker(*frames, still, still) == pytest.approx(2 * math.log(1.05), rel=1e-4)


def test_flicker_follows_the_flow():
    # Depth grows to the right and the picture moves left by two small pixels a frame.
    base = np.tile(np.exp(np.arange(WIDTH) / 40.0), (HEIGHT, 1)).astype(np.float32)
    frames = [np.roll(base, -4 * n, axis=1) for n in (-1, 0, 1)]
    left, right = np.zeros((24, 48, 2), np.float32), np.zeros((24, 48, 2), np.float32)
    left[..., 0], right[..., 0] = 2.0, -2.0
    assert flicker(*frames, left, right) == pytest.approx(0.0, abs=1e-6)
    # Without the flow the two sides cancel on a slope, but not with one of them.
    assert flicker(*frames, left, np.zeros_like(left)) == pytest.approx(0.1, rel=1e-3)


def test_flicker_of_unknown_depth_says_nothing():
    still = np.zeros((24, 48, 2), np.float32)
    nothing = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    assert flicker(nothing, nothing, nothing, still, still) is None


def test_temporal_checks_begin_with_the_second_frame_and_flicker_with_the_third():
    checks = TemporalChecks(max_gap_ns=2 * PERIOD_NS)
    results = [checks.add(moment(n, speed=0.0)) for n in range(3)]
    assert results[0] == {}
    assert 'flicker' not in results[1]
    assert results[2]['flicker'] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize('stamp', [0, 10 * PERIOD_NS])
def test_temporal_checks_start_anew_after_a_gap_or_jump_back(stamp):
    checks = TemporalChecks(max_gap_ns=2 * PERIOD_NS)
    checks.add(moment(1))
    assert checks.add(replace(moment(2), stamp_ns=stamp)) == {}
