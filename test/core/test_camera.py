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

"""Pixel conventions, binning, ROI, rectification, and refusal of nonsense calibrations."""

from dataclasses import replace
import math

import cv2
from depth_ros.core.camera import CameraModel, Intrinsics, Rectifier, Roi
from depth_ros.errors import FrameError
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

VGA = Intrinsics(width=640, height=480, fx=500.0, fy=510.0, cx=320.5, cy=238.0)
PLUMB_BOB = (-0.28, 0.09, 0.001, -0.002, 0.01)
RATIONAL = (0.2, -0.1, 0.001, -0.0005, 0.02, 0.5, -0.05, 0.01)
FISHEYE = (0.05, -0.01, 0.003, -0.001)


def distorted(model: str, d: tuple[float, ...], intrinsics: Intrinsics = VGA) -> CameraModel:
    return replace(CameraModel.pinhole(intrinsics), distortion_model=model, d=d)


def test_resized_halves_the_image_by_the_half_pixel_rule():
    half = VGA.resized(320, 240)
    assert (half.fx, half.fy) == (250.0, 255.0)
    assert half.cx == (320.5 + 0.5) * 0.5 - 0.5
    assert half.cy == (238.0 + 0.5) * 0.5 - 0.5


@given(st.integers(1, 4000), st.integers(1, 4000))
def test_resized_there_and_back_is_identity(width, height):
    back = VGA.resized(width, height).resized(640, 480)
    assert math.isclose(back.fx, VGA.fx, rel_tol=1e-12)
    assert math.isclose(back.cx, VGA.cx, abs_tol=1e-9)
    assert math.isclose(back.cy, VGA.cy, abs_tol=1e-9)


@given(st.floats(0.1, 5.0), st.floats(-0.5, 639.5))
def test_resized_keeps_the_viewing_ray_of_every_pixel(scale, u):
    small = VGA.resized(max(1, round(640 * scale)), 480)
    s = small.width / 640
    u_small = (u + 0.5) * s - 0.5
    ray, ray_small = (u - VGA.cx) / VGA.fx, (u_small - small.cx) / small.fx
    assert math.isclose(ray, ray_small, abs_tol=1e-9)


def test_cropped_moves_the_principal_point():
    crop = VGA.cropped(100, 50, 200, 120)
    assert (crop.width, crop.height, crop.cx, crop.cy) == (200, 120, 220.5, 188.0)


def test_rays_are_zero_at_the_principal_point():
    camera = Intrinsics(width=5, height=3, fx=2.0, fy=4.0, cx=2.0, cy=1.0)
    ray_x, ray_y = camera.rays()
    np.testing.assert_array_equal(ray_x, np.array([-1, -0.5, 0, 0.5, 1], np.float32))
    np.testing.assert_array_equal(ray_y, np.array([-0.25, 0, 0.25], np.float32))


def test_pinhole_needs_no_rectification_and_keeps_its_intrinsics():
    camera = CameraModel.pinhole(VGA)
    assert not camera.needs_rectification
    assert camera.intrinsics == VGA
    assert camera.image_size == (640, 480)


def test_binning_divides_the_size_and_keeps_rays():
    binned = replace(CameraModel.pinhole(VGA), binning_x=2, binning_y=4)
    assert binned.image_size == (320, 120)
    assert binned.intrinsics == VGA.resized(320, 120)


def test_roi_then_binning_follows_rep_104():
    camera = replace(
        CameraModel.pinhole(VGA),
        binning_x=2,
        binning_y=2,
        roi=Roi(x=100, y=40, width=201, height=100),
    )
    assert camera.image_size == (100, 50)
    assert camera.intrinsics == VGA.cropped(100, 40, 200, 100).resized(100, 50)


def test_calibration_without_projection_matrix_uses_k():
    camera = replace(CameraModel.pinhole(VGA), p=(0.0,) * 12)
    assert camera.intrinsics == VGA
    assert not camera.needs_rectification


def test_new_projection_matrix_alone_needs_rectification():
    p = (400.0, 0, 320.5, 0, 0, 410.0, 238.0, 0, 0, 0, 1, 0)
    assert replace(CameraModel.pinhole(VGA), p=p).needs_rectification


def test_rectified_image_of_a_distorted_camera_is_left_alone():
    camera = replace(distorted('plumb_bob', PLUMB_BOB), is_rectified_image=True)
    assert not camera.needs_rectification
    assert camera.intrinsics == VGA


@pytest.mark.parametrize(
    ('model', 'd'),
    [
        ('plumb_bob', PLUMB_BOB),
        ('rational_polynomial', RATIONAL),
        ('equidistant', FISHEYE),
        ('fisheye', FISHEYE),
    ],
)
def test_rectifier_puts_a_known_ray_at_its_pinhole_pixel(model, d):
    camera = distorted(model, d)
    ray = np.array([[[0.25, -0.15, 1.0]]])
    if model in ('equidistant', 'fisheye'):
        seen, _ = cv2.fisheye.projectPoints(ray, np.zeros(3), np.zeros(3), VGA.K_33, np.array(d))
    else:
        seen, _ = cv2.projectPoints(ray, np.zeros(3), np.zeros(3), VGA.K_33, np.array(d))
    u, v = seen.ravel()
    image = np.zeros((480, 640, 3), np.uint8)
    cv2.circle(image, (round(u), round(v)), 6, (255, 255, 255), -1)
    rectified = Rectifier(camera)(image)
    rows, columns = np.nonzero(rectified[..., 0] > 128)
    assert abs(columns.mean() - (0.25 * VGA.fx + VGA.cx)) < 1.0
    assert abs(rows.mean() - (-0.15 * VGA.fy + VGA.cy)) < 1.0


def test_rectifier_takes_labels_from_the_nearest_pixel():
    camera = distorted('plumb_bob', PLUMB_BOB)
    v, u = np.mgrid[:480, :640].astype(np.float32)
    # Images that say where each pixel came from, to 1/8 of a pixel and as whole labels.
    rectifier = Rectifier(camera)
    for position in (u, v):
        fine = np.clip((position - 200) * 8, 0, 255).astype(np.uint8)
        exact = rectifier(np.dstack([fine] * 3))[..., 0] / 8 + 200
        labels = rectifier.nearest(np.clip(position - 200, 0, 255).astype(np.uint8)) + 200.0
        inside = (exact > 201) & (exact < 230)
        assert np.abs(labels - exact)[inside].max() <= 0.5 + 1 / 8
    square = np.where((u > 100) & (u < 300), 7, 0).astype(np.uint8)
    assert set(np.unique(rectifier.nearest(square)).tolist()) == {0, 7}


def test_rectifier_of_a_window_agrees_with_a_window_of_the_rectified_image():
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    camera = distorted('plumb_bob', PLUMB_BOB)
    whole = Rectifier(camera)(image)[140:340, 220:420]
    window = replace(camera, roi=Roi(x=200, y=120, width=240, height=240))
    part = Rectifier(window)(image[120:360, 200:440])[20:220, 20:220]
    assert np.abs(part.astype(int) - whole.astype(int)).max() <= 2


def test_rectifier_tells_which_pixels_the_camera_never_saw():
    pincushion = distorted('plumb_bob', (0.3, 0.0, 0.0, 0.0, 0.0))
    valid_HW = Rectifier(pincushion).valid_HW
    assert valid_HW is not None
    assert not valid_HW[0, 0]
    assert valid_HW[240, 320]


def test_rectifier_of_a_barrel_lens_sees_every_pixel():
    assert Rectifier(distorted('plumb_bob', (-0.1, 0.0, 0.0, 0.0, 0.0))).valid_HW is None


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        ({'width': 0}, '0x480'),
        ({'k': (0.0,) * 9}, 'fx = 0.0'),
        ({'k': (math.nan,) + (1.0,) * 8}, 'nan'),
        ({'k': (1.0,) * 8}, 'camera_info.k'),
        ({'p': (math.inf,) * 12}, 'camera_info.p'),
        ({'p': (-1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1, 0)}, 'fx = -1.0'),
        ({'r': (1.0,) * 3}, 'camera_info.r'),
        ({'d': (math.nan,) * 5}, 'nan'),
        ({'d': (0.1, 0.2, 0.3)}, '3 values'),
        ({'distortion_model': 'thin_prism', 'd': (0.1,)}, 'thin_prism'),
        ({'binning_x': 0}, '0x1'),
        ({'roi': Roi(x=600, y=0, width=100, height=100)}, '640x480'),
        ({'roi': Roi(width=100)}, 'roi'),
        ({'binning_x': 1000}, 'after binning'),
    ],
)
def test_calibration_that_cannot_be_is_refused_by_value(change, named):
    with pytest.raises(FrameError, match=named.replace('.', r'\.')):
        replace(CameraModel.pinhole(VGA), **change)
