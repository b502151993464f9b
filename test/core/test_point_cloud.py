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

"""Points lie on their rays, carry their colour and sigma, and NaN is told apart."""

from dataclasses import replace

from depth_ros.core.camera import Intrinsics
from depth_ros.core.config import PointsConfig
from depth_ros.core.datatypes import DepthEstimate, StageTimes
from depth_ros.core.point_cloud import CloudBuilder, POINT_DTYPE
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

WIDTH, HEIGHT = 70, 41
CAMERA = Intrinsics(width=WIDTH, height=HEIGHT, fx=40.0, fy=45.0, cx=34.2, cy=19.7)
RNG = np.random.default_rng(3)
DEPTH = RNG.uniform(2, 60, (HEIGHT, WIDTH)).astype(np.float32)
SIGMA = (DEPTH * 0.1).astype(np.float32)
COLOR = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def estimate(depth=DEPTH, sigma=SIGMA) -> DepthEstimate:
    return DepthEstimate(
        depth_HW=depth,
        uncertainty_HW=sigma,
        image_HW3=COLOR,
        intrinsics=CAMERA,
        stamp_ns=0,
        frame_id='camera',
        reset=None,
        frames_since_reset=0,
        is_warm=True,
        is_held=False,
        times=StageTimes(rectify_ns=0, preprocess_ns=0, infer_ns=0, postprocess_ns=0),
    )


def build(config=None, out=None, **kwargs):
    return CloudBuilder(config or PointsConfig()).build(estimate(**kwargs), out)


def depth_with(value: float) -> np.ndarray:
    depth = DEPTH.copy()
    depth[3, 5] = value
    return depth


def test_point_layout_is_twenty_bytes_in_the_documented_order():
    assert POINT_DTYPE.names == ('x', 'y', 'z', 'rgb', 'uncertainty')
    assert [POINT_DTYPE.fields[name][1] for name in POINT_DTYPE.names] == [0, 4, 8, 12, 16]
    assert POINT_DTYPE.itemsize == 20


@given(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1))
def test_every_point_projects_back_to_its_pixel(row, column):
    point = build().points[row, column]
    assert point['z'] == DEPTH[row, column]
    assert point['x'] / point['z'] * CAMERA.fx + CAMERA.cx == pytest.approx(column, abs=1e-4)
    assert point['y'] / point['z'] * CAMERA.fy + CAMERA.cy == pytest.approx(row, abs=1e-4)


def test_color_and_uncertainty_come_from_the_same_pixel():
    points = build().points
    packed = np.ascontiguousarray(points['rgb']).view(np.uint8).reshape(HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(packed[..., :3], COLOR)
    np.testing.assert_array_equal(packed[..., 3], 0)
    assert np.isfinite(points['rgb']).all()
    np.testing.assert_array_equal(points['uncertainty'], SIGMA)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_pixel_without_depth_is_nan_in_an_organized_cloud(value):
    cloud = build(depth=depth_with(value))
    point = cloud.points[3, 5]
    assert np.isnan([point['x'], point['y'], point['z']]).all()
    assert not cloud.is_dense
    assert np.isnan(cloud.points['z']).sum() == 1


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_pixel_without_depth_is_left_out_of_a_dense_cloud(value):
    cloud = build(PointsConfig(organized=False), depth=depth_with(value))
    assert cloud.is_dense
    assert cloud.points.shape == (HEIGHT * WIDTH - 1,)
    assert np.isfinite(cloud.points['x']).all()


def test_cloud_of_all_finite_depth_is_dense_in_both_layouts():
    assert build().is_dense
    assert build(PointsConfig(organized=False)).points.size == HEIGHT * WIDTH


@pytest.mark.parametrize('stride', [1, 2, 3, 33, 64])
def test_stride_keeps_the_points_of_the_kept_pixels(stride):
    cloud = build(PointsConfig(stride=stride))
    np.testing.assert_array_equal(cloud.points, build().points[::stride, ::stride])


@pytest.mark.parametrize(
    ('config', 'expected'),
    [
        (PointsConfig(min_depth_m=10, max_depth_m=30), (DEPTH >= 10) & (DEPTH <= 30)),
        (PointsConfig(max_uncertainty_m=2.5), np.float32(2.5) >= SIGMA),
        (PointsConfig(max_relative_uncertainty=0.05), np.zeros_like(DEPTH, bool)),
        (PointsConfig(max_relative_uncertainty=0.2), np.ones_like(DEPTH, bool)),
    ],
)
def test_limits_keep_exactly_the_pixels_inside(config, expected):
    np.testing.assert_array_equal(np.isfinite(build(config).points['z']), expected)


def test_unknown_sigma_fails_an_uncertainty_limit():
    sigma = SIGMA.copy()
    sigma[2, 2] = np.nan
    cloud = build(PointsConfig(max_uncertainty_m=100.0), sigma=sigma)
    assert np.isnan(cloud.points['z'][2, 2])


def test_missing_uncertainty_is_infinite_and_filters_nothing():
    cloud = build(PointsConfig(max_uncertainty_m=0.1), sigma=None)
    assert np.isposinf(cloud.points['uncertainty']).all()
    assert cloud.is_dense


def test_given_buffer_is_filled_and_viewed():
    builder = CloudBuilder(PointsConfig())
    size = builder.max_bytes(CAMERA)
    assert size == HEIGHT * WIDTH * 20
    buffer = np.zeros(size + 100, np.uint8)
    cloud = builder.build(estimate(), buffer)
    assert np.shares_memory(cloud.points, buffer)
    assert buffer[:size].tobytes() == build().points.tobytes()
    assert not buffer[size:].any()


def test_builder_follows_a_change_of_camera():
    builder = CloudBuilder(PointsConfig())
    builder.build(estimate())
    other = Intrinsics(width=WIDTH, height=HEIGHT, fx=80.0, fy=90.0, cx=34.2, cy=19.7)
    narrow = replace(estimate(), intrinsics=other)
    x = builder.build(narrow).points['x']
    np.testing.assert_allclose(x, build().points['x'] / 2, rtol=1e-5)


def test_nan_in_one_cloud_leaves_no_trace_in_the_next():
    builder = CloudBuilder(PointsConfig())
    builder.build(estimate(depth=depth_with(np.nan)))
    assert builder.build(estimate()).is_dense


@pytest.mark.parametrize('config', [PointsConfig(), PointsConfig(max_depth_m=30.0)])
def test_complete_depth_gives_the_same_cloud_without_looking(config):
    looked = CloudBuilder(config).build(estimate())
    trusted = CloudBuilder(config).build(replace(estimate(), is_complete=True))
    assert trusted.points.tobytes() == looked.points.tobytes()
    assert trusted.is_dense == looked.is_dense
