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

"""LiDAR projection, z-buffer, occlusion and motion, each against a closed form."""

import math

from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import exp_se3, invert, rotation_from_vector, transform_from
from depth_ros.core.lidar import (
    compensate_motion,
    OcclusionFilter,
    project,
    SparseDepth,
    twist_between,
)
from depth_ros.errors import ConfigError, FrameError
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

CAMERA = Intrinsics(width=64, height=32, fx=50.0, fy=50.0, cx=31.5, cy=15.5)
# LiDAR axes: x forward, y left, z up. Camera axes: x right, y down, z forward.
CAM_R_LIDAR = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], np.float64)
CAM_T_LIDAR = transform_from(CAM_R_LIDAR, (0.0, -0.1, -0.3))


def at_pixels(cols, rows, depths, cam_T_lidar=CAM_T_LIDAR):
    """Return LiDAR points that lie on the rays of the pixels at these camera depths."""
    cols, rows, depths = (np.asarray(values, np.float64) for values in (cols, rows, depths))
    x = (cols - CAMERA.cx) / CAMERA.fx * depths
    y = (rows - CAMERA.cy) / CAMERA.fy * depths
    points = np.stack([x, y, depths, np.ones_like(x)])
    return (invert(cam_T_lidar) @ points)[:3].T.astype(np.float32)


def as_dict(sparse):
    pixels = zip(sparse.rows_N.tolist(), sparse.cols_N.tolist(), strict=True)
    return dict(zip(pixels, sparse.depth_N.tolist(), strict=True))


def loop_projection(xyz, cam_T_lidar, camera):
    """Return {pixel: depth} by the definition, one point at a time in float64."""
    nearest = {}
    for point in xyz.astype(np.float64):
        x, y, z = (cam_T_lidar @ (*point, 1.0))[:3]
        if not (np.isfinite(point).all() and point.any() and z > 0.1):
            continue
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        if abs(u % 1 - 0.5) < 1e-3 or abs(v % 1 - 0.5) < 1e-3:
            return None  # On the border of two pixels float32 may differ from float64.
        row, col = round(v), round(u)
        if 0 <= row < camera.height and 0 <= col < camera.width:
            nearest[row, col] = min(z, nearest.get((row, col), math.inf))
    return nearest


def test_project_point_on_a_pixel_centre_hits_that_pixel():
    sparse = project(at_pixels([10, 63, 0], [5, 31, 0], [7.0, 20.0, 3.0]), CAM_T_LIDAR, CAMERA)
    expected = {(5, 10): 7.0, (31, 63): 20.0, (0, 0): 3.0}
    assert as_dict(sparse) == pytest.approx(expected, rel=1e-6)
    assert (sparse.width, sparse.height, sparse.points) == (64, 32, 3)
    assert sparse.depth_N.dtype == np.float32


@pytest.mark.parametrize(('offset', 'col'), [(-0.49, 10), (0.49, 10), (0.51, 11), (-0.51, 9)])
def test_project_integer_pixel_is_the_centre(offset, col):
    sparse = project(at_pixels([10 + offset], [5], [7.0]), CAM_T_LIDAR, CAMERA)
    assert sparse.cols_N.tolist() == [col]


@pytest.mark.parametrize('col', [-0.51, 63.51])
def test_project_outside_the_image_is_dropped(col):
    assert len(project(at_pixels([col], [5], [7.0]), CAM_T_LIDAR, CAMERA)) == 0


def test_project_several_points_on_a_pixel_keeps_the_nearest():
    xyz = at_pixels([10, 10, 10, 20], [5, 5, 5, 5], [9.0, 4.0, 6.0, 8.0])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]):
        sparse = project(xyz[order], CAM_T_LIDAR, CAMERA)
        assert as_dict(sparse) == pytest.approx({(5, 10): 4.0, (5, 20): 8.0}, rel=1e-6)


def test_project_two_equal_points_count_once():
    sparse = project(at_pixels([10, 10], [5, 5], [9.0, 9.0]), CAM_T_LIDAR, CAMERA)
    assert len(sparse) == 1


def test_project_behind_the_camera_and_too_close_is_dropped():
    xyz = at_pixels([10, 10], [5, 5], [-7.0, 0.05])
    assert len(project(xyz, CAM_T_LIDAR, CAMERA)) == 0


def test_project_invalid_points_are_dropped_and_counted():
    # With the LiDAR two metres ahead of the camera, its origin would be a hit.
    ahead = transform_from(CAM_R_LIDAR, (0.0, 0.0, 2.0))
    xyz = np.concatenate([at_pixels([10], [5], [7.0], ahead), np.zeros((3, 3), np.float32)])
    xyz = np.concatenate([xyz, [[np.nan, 1, 1], [1, np.nan, 1], [np.inf, 0, 0]]]).astype(
        np.float32
    )
    sparse = project(xyz, ahead, CAMERA)
    assert as_dict(sparse) == pytest.approx({(5, 10): 7.0}, rel=1e-6)
    assert sparse.invalid == 6
    assert sparse.points == 7


def test_project_no_points_gives_an_empty_image():
    sparse = project(np.empty((0, 3), np.float32), CAM_T_LIDAR, CAMERA)
    assert len(sparse) == 0
    assert np.isnan(sparse.image_HW()).all()


def test_project_wrong_shape_is_refused():
    with pytest.raises(FrameError, match=r'\(5, 4\)'):
        project(np.zeros((5, 4), np.float32), CAM_T_LIDAR, CAMERA)


def test_project_unknown_convention_is_refused():
    with pytest.raises(ConfigError, match='euclid'):
        project(np.zeros((5, 3), np.float32), CAM_T_LIDAR, CAMERA, convention='euclid')


def test_project_kitti_export_keeps_forward_distance_and_shifts_the_pixel():
    xyz = at_pixels([10], [5], [7.0])
    sparse = project(xyz, CAM_T_LIDAR, CAMERA, convention='kitti_export')
    # The camera is 0.3 m ahead of the LiDAR.
    assert as_dict(sparse) == pytest.approx({(4, 9): 7.3}, rel=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_project_equals_a_loop_over_points(seed):
    rng = np.random.default_rng(seed)
    xyz = rng.uniform((-5, -20, -4), (40, 20, 4), (200, 3)).astype(np.float32)
    xyz[::17] = np.nan
    xyz[5] = 0.0
    turn = transform_from(rotation_from_vector(rng.uniform(-0.2, 0.2, 3)), rng.uniform(-1, 1, 3))
    expected = loop_projection(xyz, turn @ CAM_T_LIDAR, CAMERA)
    if expected is not None:
        sparse = project(xyz, turn @ CAM_T_LIDAR, CAMERA)
        assert as_dict(sparse) == pytest.approx(expected, rel=1e-5)


def test_image_HW_holds_the_hits_and_nan_elsewhere():
    image = project(at_pixels([10], [5], [7.0]), CAM_T_LIDAR, CAMERA).image_HW()
    assert image[5, 10] == pytest.approx(7.0)
    assert np.isnan(image).sum() == image.size - 1


def sparse_of(hits):
    rows, cols, depths = zip(*hits, strict=True)
    return SparseDepth(
        rows_N=np.array(rows),
        cols_N=np.array(cols),
        depth_N=np.array(depths, np.float32),
        width=64,
        height=32,
        points=len(hits),
        invalid=0,
    )


def test_occlusion_filter_drops_the_wall_seen_through_a_pole():
    pole = [(row, 30, 5.0) for row in range(4, 28, 4)]
    shining_through = [(row + 2, 31, 20.0) for row in range(4, 24, 4)]
    wall_beside = [(row, 40, 20.0) for row in range(4, 28, 4)]
    kept = OcclusionFilter()(sparse_of(pole + shining_through + wall_beside))
    assert as_dict(kept) == as_dict(sparse_of(pole + wall_beside))


def test_occlusion_filter_keeps_a_road_up_to_forty_metres():
    # A road 1.65 m below a camera of f = 720 px, horizon at row 0 here: z = f h / row.
    rows = np.arange(30, 160, 5)
    hits = [(int(row), 10, 720 * 1.65 / row) for row in rows]
    sparse = sparse_of(hits)
    tall = SparseDepth(
        rows_N=sparse.rows_N, cols_N=sparse.cols_N, depth_N=sparse.depth_N,
        width=64, height=160, points=len(hits), invalid=0,
    )  # fmt: skip
    assert len(OcclusionFilter()(tall)) == len(hits)


def test_occlusion_filter_window_and_margins_are_used():
    hits = sparse_of([(10, 10, 5.0), (10, 14, 20.0)])
    assert len(OcclusionFilter(cols=3)(hits)) == 2
    assert len(OcclusionFilter(cols=4)(hits)) == 1
    assert len(OcclusionFilter(cols=4, relative=3.1)(hits)) == 2
    assert len(OcclusionFilter(cols=4, relative=0.0, absolute_m=15.1)(hits)) == 2


@pytest.mark.parametrize(
    'wrong', [{'rows': -1}, {'cols': 65}, {'relative': -0.1}, {'absolute_m': math.nan}]
)
def test_occlusion_filter_bad_setting_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        OcclusionFilter(**wrong)


def test_compensate_motion_straight_ahead_moves_points_by_speed_times_time():
    xyz = np.array([[10.0, 0, 0], [10.0, 0, 0]], np.float32)
    offsets = np.array([-50_000_000, 50_000_000])
    moved = compensate_motion(xyz, offsets, np.array([10.0, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(moved, [[9.5, 0, 0], [10.5, 0, 0]], rtol=1e-6)


@given(st.lists(st.floats(-3, 3), min_size=6, max_size=6), st.integers(-(10**8), 10**8))
def test_compensate_motion_equals_the_exponential_of_the_twist(twist, offset_ns):
    twist = np.array(twist)
    world = np.array([[12.0, -3.0, 1.5], [2.0, 8.0, -1.0]])
    reference_T_lidar = exp_se3(twist * offset_ns * 1e-9)
    seen = (world - reference_T_lidar[:3, 3]) @ reference_T_lidar[:3, :3]
    moved = compensate_motion(seen, np.full(2, offset_ns), twist)
    np.testing.assert_allclose(moved, world, atol=1e-5)


def test_twist_between_poses_on_a_circle_is_speed_and_yaw_rate():
    start = transform_from(rotation_from_vector((0, 0, 0.3)), (5, 6, 7))
    end = start @ exp_se3(np.array([1.0, 0, 0, 0, 0, 0.2]))
    twist = twist_between(start, end, 100_000_000)
    np.testing.assert_allclose(twist, (10.0, 0, 0, 0, 0, 2.0), atol=1e-9)


def test_twist_between_poses_of_one_instant_is_refused():
    with pytest.raises(FrameError, match='0 ns apart'):
        twist_between(np.eye(4), np.eye(4), 0)
