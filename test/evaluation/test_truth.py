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

"""Poses between odometry samples, accumulated sweeps, and truth from depth images."""

from __future__ import annotations

import math
from test.evaluation.scenes import CAM_T_LIDAR, CAMERA

from depth_ros.bags.records import DepthImage, LidarSweep, OdometrySample
from depth_ros.core.geometry import invert, transform_from, TransformTree
from depth_ros.errors import FrameError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.poses import PoseTrack
from depth_ros.evaluation.truth import LidarTruth, truth_of_image
import numpy as np
import pytest

SECOND = 1_000_000_000
STEP = 100_000_000


def tree():
    found = TransformTree()
    found.add('base_link', 'lidar', transform_from(np.eye(3), [0.5, 0, 0]))
    found.add('lidar', 'camera', invert(CAM_T_LIDAR))
    return found


def sample(stamp_ns, x, yaw=0.0):
    rotation = [
        [math.cos(yaw), -math.sin(yaw), 0],
        [math.sin(yaw), math.cos(yaw), 0],
        [0, 0, 1],
    ]
    return OdometrySample(
        stamp_ns=stamp_ns,
        frame_id='odom',
        child_frame_id='base_link',
        world_T_body_44=transform_from(rotation, [x, 0, 0]),
        twist=np.zeros(6),
    )


def track(speed=10.0, count=100):
    return PoseTrack(tree(), [sample(n * STEP, speed * n * 0.1) for n in range(count)])


def test_pose_between_samples_is_interpolated_and_of_the_frame_asked_for():
    pose = track().pose('lidar', 3 * STEP + STEP // 4)
    np.testing.assert_allclose(pose[:3, 3], [3.25 + 0.5, 0, 0], atol=1e-9)


def test_pose_may_be_asked_a_little_back_in_time():
    poses = track()
    late, early = (poses.pose('base_link', n * STEP)[0, 3] for n in (50, 30))
    assert (late, early) == pytest.approx((50.0, 30.0))


def test_pose_on_a_curve_follows_the_arc():
    quarter = PoseTrack(tree(), [sample(0, 0.0), sample(SECOND, 2.0, math.pi / 2)])
    pose = quarter.pose('base_link', SECOND // 2)
    assert math.atan2(pose[1, 0], pose[0, 0]) == pytest.approx(math.pi / 4)


@pytest.mark.parametrize('stamp', [-1, 99 * STEP, 20 * SECOND])
def test_pose_outside_the_samples_is_refused(stamp):
    with pytest.raises(FrameError, match='no odometry before and after'):
        track().pose('base_link', stamp)


def test_pose_in_a_hole_of_the_odometry_is_refused():
    poses = PoseTrack(tree(), [sample(0, 0.0), sample(3 * SECOND, 30.0)])
    with pytest.raises(FrameError, match='more than a second'):
        poses.pose('base_link', SECOND)


def test_pose_track_holds_only_the_last_seconds():
    poses = track(count=1000)
    poses.pose('base_link', 990 * STEP)
    assert len(poses._known) < 60


def test_twist_is_that_of_the_frame():
    twist = track().twist('lidar', 5 * STEP + 1)
    np.testing.assert_allclose(twist, [10, 0, 0, 0, 0, 0], atol=1e-9)


def wall(distance_from_lidar, stamp_ns, y):
    """Return a sweep of one upright line of points ahead."""
    z = np.linspace(-1, 1, 21)
    points = np.stack([np.full(21, distance_from_lidar), np.full(21, y), z], axis=1)
    return LidarSweep(
        stamp_ns=stamp_ns,
        frame_id='lidar',
        xyz_N3=points.astype(np.float32),
        time_offset_ns_N=None,
    )


def test_accumulated_sweeps_are_where_they_are_seen_from_now():
    config = EvaluationConfig(truth='accumulated', accumulated_sweeps=2)
    truth = LidarTruth(tree(), config, track())
    stamps = [5 * STEP, 6 * STEP]
    truth.of(wall(20.0, stamps[0], 3.0), CAMERA, 'camera', stamps[0])
    # A metre further on, the same wall is a metre nearer; this sweep hits it elsewhere.
    both = truth.of(wall(19.0, stamps[1], -3.0), CAMERA, 'camera', stamps[1])
    # The camera stands 0.3 m behind the scanner: z = 19 m - 0.3 m.
    np.testing.assert_allclose(both.depth_N, 18.7, atol=1e-4)
    assert len(set((both.cols_N > CAMERA.cx).tolist())) == 2
    assert both.points == 42
    # The oldest of three is forgotten.
    third = truth.of(wall(18.0, 7 * STEP, 0.0), CAMERA, 'camera', 7 * STEP)
    assert third.points == 42


def test_accumulated_sweeps_drop_what_is_hidden_now():
    config = EvaluationConfig(truth='accumulated', accumulated_sweeps=2)
    truth = LidarTruth(tree(), config, track(speed=0.0))
    truth.of(wall(40.0, 5 * STEP, 0.0), CAMERA, 'camera', 5 * STEP)
    now = truth.of(wall(10.0, 6 * STEP, 0.0), CAMERA, 'camera', 6 * STEP)
    assert now.depth_N.max() < 10.0


def test_accumulated_sweeps_without_odometry_are_refused():
    truth = LidarTruth(tree(), EvaluationConfig(truth='accumulated'), None)
    with pytest.raises(FrameError, match='needs odometry'):
        truth.of(wall(10.0, STEP, 0.0), CAMERA, 'camera', STEP)


def test_truth_of_image_takes_what_is_known():
    depth = np.full((CAMERA.height, CAMERA.width), np.nan, np.float32)
    depth[3, 5], depth[4, 6], depth[5, 7] = 7.5, 0.0, np.inf
    truth = truth_of_image(DepthImage(stamp_ns=0, frame_id='camera', depth_HW=depth), CAMERA)
    assert (truth.rows_N.tolist(), truth.cols_N.tolist()) == ([3], [5])
    assert truth.depth_N.tolist() == [7.5]


def test_truth_of_image_of_another_size_is_refused():
    image = DepthImage(stamp_ns=0, frame_id='camera', depth_HW=np.ones((2, 3), np.float32))
    with pytest.raises(FrameError, match='truth image is 3x2'):
        truth_of_image(image, CAMERA)
