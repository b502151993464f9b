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

"""Rigid transforms: closed forms, group laws, and the tree of static frames."""

import math

from depth_ros.core.geometry import (
    check_transform,
    exp_se3,
    interpolate,
    invert,
    log_se3,
    quaternion_from_rotation,
    rotation_from_quaternion,
    rotation_from_vector,
    transform_from,
    transform_points,
    TransformTree,
    vector_from_rotation,
)
from depth_ros.errors import FrameError
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

QUARTER_Z = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))
finite = st.floats(-100.0, 100.0)
vectors = st.tuples(finite, finite, finite)
small = st.floats(-1.8, 1.8)
rotation_vectors = st.tuples(small, small, small).filter(lambda w: np.linalg.norm(w) < 3.1)


@st.composite
def transforms(draw):
    return transform_from(rotation_from_vector(draw(rotation_vectors)), draw(vectors))


def test_rotation_from_quaternion_quarter_turn_about_z_maps_x_to_y():
    np.testing.assert_allclose(
        rotation_from_quaternion(QUARTER_Z) @ (1, 0, 0), (0, 1, 0), atol=1e-15
    )


def test_rotation_from_vector_quarter_turn_equals_quaternion():
    expected = rotation_from_quaternion(QUARTER_Z)
    np.testing.assert_allclose(rotation_from_vector((0, 0, math.pi / 2)), expected, atol=1e-15)


@pytest.mark.parametrize('xyzw', [(0, 0, 0, 0), (0, 0, 0, 2), (math.nan, 0, 0, 1), (0, 0, 1)])
def test_rotation_from_quaternion_not_a_rotation_is_refused(xyzw):
    with pytest.raises(FrameError, match='quaternion'):
        rotation_from_quaternion(xyzw)


def test_rotation_from_quaternion_rounded_text_is_normalised():
    rotation = rotation_from_quaternion((0.0, 0.0, 0.7071, 0.7071))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-15)


@given(rotation_vectors)
def test_quaternion_round_trip_keeps_the_rotation(omega):
    rotation = rotation_from_vector(omega)
    again = rotation_from_quaternion(quaternion_from_rotation(rotation))
    np.testing.assert_allclose(again, rotation, atol=1e-12)


@pytest.mark.parametrize('axis', [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0.8, 0)])
def test_vector_from_rotation_half_turn_keeps_axis_and_angle(axis):
    vector = vector_from_rotation(rotation_from_vector(np.multiply(axis, math.pi)))
    assert np.linalg.norm(vector) == pytest.approx(math.pi, abs=1e-9)
    assert abs(vector @ axis) == pytest.approx(math.pi, abs=1e-9)


@given(transforms())
def test_invert_times_transform_is_identity(a_T_b):
    np.testing.assert_allclose(invert(a_T_b) @ a_T_b, np.eye(4), atol=1e-10)


@given(transforms(), transforms(), vectors)
def test_transform_points_of_a_product_equals_one_after_the_other(a_T_b, b_T_c, point):
    xyz = np.array([point])
    direct = transform_points(a_T_b @ b_T_c, xyz)
    np.testing.assert_allclose(
        direct, transform_points(a_T_b, transform_points(b_T_c, xyz)), atol=1e-9
    )


def test_transform_points_keeps_dtype_and_nan_rows():
    a_T_b = transform_from(QUARTER_Z, (1, 2, 3))
    xyz = np.array([[1, 0, 0], [np.nan, 0, 0]], np.float32)
    moved = transform_points(a_T_b, xyz)
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved[0], (1, 3, 3), atol=1e-6)
    assert np.isnan(moved[1, 0])


@pytest.mark.parametrize(
    'matrix',
    [
        np.diag([1.0, 1.0, -1.0, 1.0]),
        np.diag([2.0, 1.0, 1.0, 1.0]),
        np.full((4, 4), np.nan),
        np.eye(3),
        np.diag([1.0, 1.0, 1.0, 2.0]),
    ],
)
def test_check_transform_not_rigid_is_refused(matrix):
    with pytest.raises(FrameError, match='transform'):
        check_transform(matrix)


def test_transform_from_wrong_shape_is_refused():
    with pytest.raises(FrameError, match='shape'):
        transform_from(np.eye(2), (0, 0, 0))


def test_exp_se3_on_a_circle_ends_where_the_circle_does():
    # Forward at pi/2 m while turning left by a quarter: an arc of radius 1 around (0, 1).
    end = exp_se3((math.pi / 2, 0, 0, 0, 0, math.pi / 2))
    np.testing.assert_allclose(end[:3, 3], (1, 1, 0), atol=1e-12)
    np.testing.assert_allclose(end[:3, :3] @ (1, 0, 0), (0, 1, 0), atol=1e-12)


@given(vectors, rotation_vectors)
def test_log_se3_undoes_exp_se3(velocity, omega):
    twist = np.array([*velocity, *omega])
    np.testing.assert_allclose(log_se3(exp_se3(twist)), twist, atol=1e-5)


@given(transforms(), transforms())
def test_interpolate_ends_are_the_poses(a_T_b, a_T_c):
    np.testing.assert_allclose(interpolate(a_T_b, a_T_c, 0.0), a_T_b, atol=1e-9)


def test_interpolate_half_way_on_a_line_is_the_middle():
    far = transform_from(np.eye(3), (4, 0, 2))
    np.testing.assert_allclose(interpolate(np.eye(4), far, 0.5)[:3, 3], (2, 0, 1), atol=1e-12)


def car() -> TransformTree:
    tree = TransformTree()
    tree.add('base_link', 'lidar', transform_from(np.eye(3), (0, 0, 2)))
    tree.add('base_link', 'mount', transform_from(np.eye(3), (1, 0, 0)))
    tree.add('mount', 'camera', transform_from(QUARTER_Z, (0, 0, 1)))
    return tree


def test_lookup_over_a_common_ancestor_is_exact():
    # camera: at (1, 0, 1) in the base, turned left by a quarter; lidar: at (0, 0, 2).
    moved = transform_points(car().lookup('camera', 'lidar'), np.array([[3.0, 0.0, -1.0]]))
    np.testing.assert_allclose(moved, [[0, -2, 0]], atol=1e-12)


def test_lookup_both_ways_is_inverse_and_same_frame_is_identity():
    tree = car()
    product = tree.lookup('camera', 'lidar') @ tree.lookup('lidar', 'camera')
    np.testing.assert_allclose(product, np.eye(4), atol=1e-12)
    np.testing.assert_array_equal(tree.lookup('nowhere', 'nowhere'), np.eye(4))


def test_lookup_leading_slash_means_the_same_frame():
    tree = car()
    np.testing.assert_array_equal(tree.lookup('/camera', '/lidar'), tree.lookup('camera', 'lidar'))


def test_lookup_unknown_frame_names_both_and_the_known_ones():
    with pytest.raises(FrameError) as caught:
        car().lookup('camera', 'velodyne')
    sentence = str(caught.value)
    assert "'velodyne' is not in the tree" in sentence
    assert "'camera' belongs to the part under 'base_link'" in sentence
    assert 'base_link, camera, lidar, mount' in sentence


def test_lookup_two_trees_says_what_belongs_to_each():
    tree = car()
    tree.add('roof', 'radar', np.eye(4))
    with pytest.raises(FrameError, match=r"part under 'roof' \(radar, roof\).*'camera' belongs"):
        tree.lookup('camera', 'radar')


def test_add_child_with_another_parent_is_refused():
    with pytest.raises(FrameError, match="two parents, 'base_link' and 'roof'"):
        car().add('roof', 'lidar', np.eye(4))


def test_add_same_edge_again_is_allowed_and_other_values_are_refused():
    tree = car()
    tree.add('/base_link', '/lidar', transform_from(np.eye(3), (0, 0, 2 + 1e-9)))
    with pytest.raises(FrameError, match='stated twice'):
        tree.add('base_link', 'lidar', transform_from(np.eye(3), (0, 0, 2.1)))


def test_add_loop_is_refused():
    with pytest.raises(FrameError, match='loop'):
        car().add('camera', 'base_link', np.eye(4))


def test_add_self_is_refused():
    with pytest.raises(FrameError, match='loop'):
        TransformTree().add('a', 'a', np.eye(4))


def test_add_bad_transform_names_the_frames():
    with pytest.raises(FrameError, match="'base_link' -> 'imu'"):
        car().add('base_link', 'imu', np.full((4, 4), np.nan))


def test_add_empty_name_is_refused():
    with pytest.raises(FrameError, match='empty'):
        TransformTree().add('', 'a', np.eye(4))


def test_edges_and_frames_list_everything_sorted():
    tree = car()
    assert tree.frames == ('base_link', 'camera', 'lidar', 'mount')
    assert [(parent, child) for parent, child, _ in tree.edges()] == [
        ('mount', 'camera'),
        ('base_link', 'lidar'),
        ('base_link', 'mount'),
    ]
