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

"""Warps against exactly rendered scenes and against the numpy geometry of the robot."""

from __future__ import annotations

from test.training.scenes import motion, NEXT_T_TARGET, PlaneScene, PREVIOUS_T_TARGET

from depth_ros.core import geometry as robot_geometry
from depth_ros.core.camera import Intrinsics
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
import torch
from training import warp

INTRINSICS = Intrinsics(width=96, height=48, fx=60.0, fy=66.0, cx=49.0, cy=22.75)
VECTORS = st.tuples(*[st.floats(-3.0, 3.0)] * 3)


def k_of(intrinsics: Intrinsics) -> torch.Tensor:
    return torch.from_numpy(intrinsics.K_33)[None]


def vector(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def test_depth_from_disp_at_the_ends_is_the_range() -> None:
    depth = warp.depth_from_disp(torch.tensor([0.0, 1.0], dtype=torch.float64), 0.1, 100.0)
    torch.testing.assert_close(depth, torch.tensor([100.0, 0.1], dtype=torch.float64))


def test_depth_from_disp_falls_and_is_undone() -> None:
    disp = torch.linspace(0, 1, 101, dtype=torch.float64)
    depth = warp.depth_from_disp(disp, 0.1, 100.0)
    assert (depth.diff() < 0).all()
    torch.testing.assert_close(warp.disp_from_depth(depth, 0.1, 100.0), disp)


@pytest.mark.parametrize('bounds', [(0.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (1.0, float('nan'))])
def test_depth_from_disp_with_an_impossible_range_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match='depth range'):
        warp.depth_from_disp(torch.zeros(1), *bounds)


@settings(max_examples=50, deadline=None)
@given(VECTORS, VECTORS)
def test_pose_equals_the_robots_geometry(
    omega: tuple[float, ...], translation: tuple[float, ...]
) -> None:
    wanted = robot_geometry.transform_from(robot_geometry.rotation_from_vector(omega), translation)
    got = warp.pose_matrix(vector(*omega), vector(*translation))
    np.testing.assert_allclose(got[0], wanted, atol=1e-12)
    np.testing.assert_allclose(warp.invert_pose(got)[0], robot_geometry.invert(wanted), atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(VECTORS, VECTORS)
def test_inverse_pose_times_pose_is_identity(
    omega: tuple[float, ...], translation: tuple[float, ...]
) -> None:
    arguments = vector(*omega), vector(*translation)
    product = warp.inverse_pose_matrix(*arguments) @ warp.pose_matrix(*arguments)
    torch.testing.assert_close(product[0], torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize('angle', [0.0, 1e-9, 1e-4, 0.0009, 0.0011, 1.0])
def test_rotation_has_the_right_gradient_at_every_angle(angle: float) -> None:
    omega = vector(0.6 * angle, -0.8 * angle, 0.0).requires_grad_()
    assert torch.autograd.gradcheck(warp.rotation_from_vector, omega)


def test_rotation_by_zero_in_float32_is_identity() -> None:
    omega = torch.zeros(2, 3, requires_grad=True)
    rotation = warp.rotation_from_vector(omega)
    rotation.sum().backward()
    assert torch.equal(rotation[0], torch.eye(3))
    assert torch.isfinite(omega.grad).all()


def test_resize_intrinsics_equals_the_robots() -> None:
    got = warp.resize_intrinsics(k_of(INTRINSICS), (48, 96), (24, 64))
    np.testing.assert_allclose(got[0], INTRINSICS.resized(64, 24).K_33)


def test_flip_intrinsics_keeps_points_on_their_mirrored_pixels() -> None:
    point = torch.tensor([0.7, -0.2, 4.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    mirrored = point * point.new_tensor([-1.0, 1.0, 1.0]).reshape(1, 3, 1, 1)
    K = k_of(INTRINSICS)
    pixel, _ = warp.project(point, K)
    flipped, _ = warp.project(mirrored, warp.flip_intrinsics(K, 96))
    torch.testing.assert_close(flipped[0, 0], 95 - pixel[0, 0])
    torch.testing.assert_close(flipped[0, 1], pixel[0, 1])


def test_unproject_equals_the_robots_rays() -> None:
    depth = torch.rand(1, 1, 48, 96, dtype=torch.float64) + 1.0
    x_W, y_H = INTRINSICS.rays()
    points = warp.unproject(depth, k_of(INTRINSICS))[0].numpy()
    np.testing.assert_allclose(points[0], depth[0, 0].numpy() * x_W, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(points[1], depth[0, 0].numpy() * y_H[:, None], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(points[2], depth[0, 0])


def test_project_undoes_unproject() -> None:
    depth = torch.rand(2, 1, 48, 96, dtype=torch.float64) + 1.0
    K = k_of(INTRINSICS).expand(2, 3, 3)
    pixels, z = warp.project(warp.unproject(depth, K), K)
    torch.testing.assert_close(z, depth)
    columns = torch.arange(96, dtype=torch.float64).expand(2, 48, 96)
    torch.testing.assert_close(pixels[:, 0], columns)


def test_transform_equals_the_robots_points() -> None:
    points = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    pose = NEXT_T_TARGET.numpy()
    wanted = robot_geometry.transform_points(pose, points[0].reshape(3, -1).T.numpy())
    got = warp.transform(NEXT_T_TARGET[None], points)[0].reshape(3, -1).T
    np.testing.assert_allclose(got, wanted, atol=1e-12)


def test_source_grid_equals_unproject_transform_project() -> None:
    scene = PlaneScene()
    size, depth = (scene.height, scene.width), scene.depth()
    rays = warp.ray_map(scene.K_B33, NEXT_T_TARGET[None], size, torch.float64)
    grid, _ = warp.source_grid(1 / depth, rays)
    points = warp.transform(NEXT_T_TARGET[None], warp.unproject(depth, scene.K_B33))
    pixels, _ = warp.project(points, scene.K_B33)
    sizes = torch.tensor([scene.width, scene.height], dtype=torch.float64)
    wanted = (2 * pixels.permute(0, 2, 3, 1) + 1) / sizes - 1
    torch.testing.assert_close(grid, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize('size', [(48, 96), (192, 640)])
def test_identity_pose_gives_the_source_whatever_the_depth(size: tuple[int, int]) -> None:
    scene = PlaneScene(height=size[0], width=size[1], focal_px=0.6 * size[1])
    picture = scene.picture(torch.eye(4, dtype=torch.float64)).float()
    depth = torch.rand(1, 1, *size) * 80 + 0.1
    pose = warp.pose_matrix(torch.zeros(1, 3), torch.zeros(1, 3))
    warped = warp.warp(
        picture, depth, warp.ray_map(scene.K_B33.float(), pose, size, torch.float32)
    )
    assert (warped.image_BCHW - picture).abs().max() <= 1e-5
    assert warped.is_visible_B1HW.all()


@pytest.mark.parametrize(
    ('source_T_target', 'least_seen', 'most_seen'),
    [(PREVIOUS_T_TARGET, 1.0, 1.0), (NEXT_T_TARGET, 0.7, 0.95)],
)
def test_true_depth_and_pose_rebuild_the_target(
    source_T_target: torch.Tensor, least_seen: float, most_seen: float
) -> None:
    scene = PlaneScene()
    target = scene.picture(torch.eye(4, dtype=torch.float64))
    rays = warp.ray_map(
        scene.K_B33, source_T_target[None], (scene.height, scene.width), torch.float64
    )
    warped = warp.warp(scene.picture(source_T_target), scene.depth(), rays)
    error = (warped.image_BCHW - target).abs().amax(1, keepdim=True)[warped.is_visible_B1HW]
    unmoved = (scene.picture(source_T_target) - target).abs().max()
    # What is left is the curvature of the texture between pixels.
    assert error.max() < 0.02 < 0.1 < unmoved
    assert least_seen <= warped.is_visible_B1HW.double().mean() <= most_seen


def test_visibility_is_false_outside_the_source_and_behind_it() -> None:
    size = (8, 16)
    K = k_of(INTRINSICS.resized(16, 8))
    ahead = motion((0, 0, 0), (0, 0, -5.0))[None]
    depth = torch.full((1, 1, *size), 4.0, dtype=torch.float64)
    behind = warp.source_grid(1 / depth, warp.ray_map(K, ahead, size, torch.float64))
    assert not behind[1].any()
    assert torch.isfinite(behind[0]).all()
    # fx = 10: a metre to the left at 4 m is 2.5 px: the last columns leave the image.
    aside = motion((0, 0, 0), (1.0, 0, 0))[None]
    _, visible = warp.source_grid(1 / depth, warp.ray_map(K, aside, size, torch.float64))
    # Column 13 goes to 15.5, the very edge of the image; 12 goes to 14.5.
    assert visible[0, 0, :, :13].all()
    assert not visible[0, 0, :, 14:].any()


def test_warp_gradients_are_those_of_finite_differences() -> None:
    scene = PlaneScene(height=5, width=6, focal_px=5.0)
    source = scene.picture(NEXT_T_TARGET)
    depth = scene.depth().requires_grad_()
    omega = vector(0.011, -0.02, 0.013).requires_grad_()
    translation = vector(0.05, -0.07, 0.11).requires_grad_()

    def warped(depth: torch.Tensor, omega: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
        pose = warp.pose_matrix(omega, step)
        rays = warp.ray_map(scene.K_B33, pose, (5, 6), torch.float64)
        return warp.warp(source, depth, rays).image_BCHW

    assert torch.autograd.gradcheck(warped, (depth, omega, translation))


def test_warp_under_autocast_stays_exact() -> None:
    scene = PlaneScene()
    arguments = scene.picture(NEXT_T_TARGET).float(), scene.depth().float()
    size, pose = (scene.height, scene.width), NEXT_T_TARGET[None].float()
    plain = warp.warp(*arguments, warp.ray_map(scene.K_B33.float(), pose, size, torch.float32))
    with torch.autocast('cpu', torch.bfloat16):
        mixed = warp.warp(*arguments, warp.ray_map(scene.K_B33.float(), pose, size, torch.float32))
    assert torch.equal(plain.image_BCHW, mixed.image_BCHW)


@pytest.mark.parametrize(
    ('call', 'names'),
    [
        (lambda: warp.pose_matrix(torch.zeros(2, 4), torch.zeros(2, 3)), 'axis_angle_B3'),
        (lambda: warp.pose_matrix(torch.zeros(2, 3), torch.zeros(1, 3)), 'translation_B3'),
        (lambda: warp.unproject(torch.ones(1, 4, 4), torch.eye(3)[None]), 'depth_B1HW'),
        (
            lambda: warp.ray_map(
                torch.eye(3)[None], torch.eye(4)[None].expand(2, 4, 4), (4, 4), torch.float32
            ),
            'source_T_target_B44',
        ),
        (
            lambda: warp.warp(
                torch.zeros(1, 3, 4, 4),
                torch.ones(1, 1, 2, 2),
                warp.ray_map(torch.eye(3)[None], torch.eye(4)[None], (2, 2), torch.float32),
            ),
            'source_BCHW',
        ),
    ],
)
def test_wrong_shapes_are_named(call: object, names: str) -> None:
    with pytest.raises(ValueError, match=names):
        call()
