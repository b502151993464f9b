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

"""The network tensor is what the card says, and its record leads back to the pixel."""

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.model_spec import InputSpec
from depth_ros.core.preprocess import image_inputs, ImageTransform, Preprocessor
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def spec(**changes) -> InputSpec:
    values = {
        'name': 'image',
        'width': 64,
        'height': 32,
        'color_order': 'rgb',
        'mean': MEAN,
        'std': STD,
    }
    return InputSpec(**(values | changes))


def image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_same_size_image_is_only_normalised(order):
    bgr = image(32, 64)
    tensor, transform = Preprocessor(spec(color_order=order), mirrored=False)(bgr)
    channels = bgr[..., ::-1] if order == 'rgb' else bgr
    expected = (channels / 255.0 - np.array(MEAN)) / np.array(STD)
    assert tensor.shape == (1, 3, 32, 64)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0], expected.transpose(2, 0, 1), atol=2e-6)
    assert transform.is_whole_input


@pytest.mark.parametrize('interpolation', ['linear', 'area', 'cubic'])
def test_interpolation_is_the_one_of_the_card(interpolation):
    bgr = image(100, 150)
    plain = spec(mean=(0, 0, 0), std=(1, 1, 1), color_order='bgr', interpolation=interpolation)
    tensor, _ = Preprocessor(plain, mirrored=False)(bgr)
    flag = {'linear': cv2.INTER_LINEAR, 'area': cv2.INTER_AREA, 'cubic': cv2.INTER_CUBIC}
    expected = cv2.resize(bgr, (64, 32), interpolation=flag[interpolation]) / 255.0
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), expected, atol=1e-6)


def test_supersample_is_the_mean_of_four_bilinear_samples():
    bgr = image(100, 150)
    plain = spec(mean=(0, 0, 0), std=(1, 1, 1), color_order='bgr', interpolation='supersample')
    tensor, _ = Preprocessor(plain, mirrored=False)(bgr)
    samples = cv2.resize(bgr, (128, 64)).astype(float).reshape(32, 2, 64, 2, 3)
    expected = samples.mean(axis=(1, 3)) / 255.0
    # Half a grey value of rounding.
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), expected, atol=0.51 / 255)


def test_supersample_suppresses_what_linear_aliases():
    stripes = np.zeros((128, 256, 3), np.uint8)
    stripes[1::4] = 255
    stripes[2::4] = 255
    means = {}
    for name in ('linear', 'supersample', 'area'):
        tensor, _ = Preprocessor(
            spec(mean=(0, 0, 0), std=(1, 1, 1), interpolation=name), mirrored=False
        )(stripes)
        means[name] = float(np.abs(tensor - 0.5).max())
    assert means['area'] < 0.01
    assert means['supersample'] < 0.01
    assert means['linear'] == 0.5


def test_mirror_is_the_second_batch_item_and_only_when_asked():
    preprocessor = Preprocessor(spec(), mirrored=True)
    both, _ = preprocessor(image(32, 64), with_mirror=True)
    np.testing.assert_array_equal(both[1], both[0][:, :, ::-1])
    one, _ = preprocessor(image(32, 64))
    assert one.shape[0] == 1


def test_letterbox_keeps_the_aspect_and_pads_with_zeros():
    tensor, transform = Preprocessor(spec(resize='letterbox'), mirrored=False)(image(50, 50))
    assert (transform.x, transform.y, transform.width, transform.height) == (16, 0, 32, 32)
    assert not transform.is_whole_input
    assert not tensor[..., :16].any()
    assert not tensor[..., 48:].any()
    assert tensor[..., 16:48].all()


def test_letterbox_padding_is_clean_after_an_image_of_another_shape():
    preprocessor = Preprocessor(spec(resize='letterbox'), mirrored=False)
    preprocessor(image(32, 64))
    tensor, _ = preprocessor(image(50, 50))
    assert not tensor[..., :16].any()


def test_focal_length_is_scaled_like_the_columns():
    camera = Intrinsics(width=1242, height=375, fx=721.5377, fy=721.5377, cx=609.6, cy=172.9)
    kitti = ImageTransform.plan(1242, 375, spec(width=640, height=192))
    assert kitti.input_focal_px(camera) == pytest.approx(721.5377 * 640 / 1242)


@given(st.integers(8, 300), st.integers(8, 300), st.sampled_from(['stretch', 'letterbox']))
def test_output_pixels_map_into_the_image_part_of_the_grid(width, height, resize):
    transform = ImageTransform.plan(width, height, spec(resize=resize))
    matrix = transform.output_to_grid_23((width, height), (16, 8))
    # The outer edges of the camera image lie at the outer edges of the placed image.
    left, top = matrix @ (-0.5, -0.5, 1.0)
    right, bottom = matrix @ (width - 0.5, height - 0.5, 1.0)
    assert left == pytest.approx(transform.x / 4 - 0.5)
    assert top == pytest.approx(transform.y / 4 - 0.5)
    assert right == pytest.approx((transform.x + transform.width) / 4 - 0.5)
    assert bottom == pytest.approx((transform.y + transform.height) / 4 - 0.5)


def test_read_only_image_is_accepted():
    bgr = image(40, 80)
    bgr.flags.writeable = False
    tensor, _ = Preprocessor(spec(), mirrored=False)(bgr)
    assert np.isfinite(tensor).all()


def test_input_intrinsics_point_at_the_same_thing_as_in_the_camera_image():
    camera = Intrinsics(width=100, height=60, fx=80.0, fy=90.0, cx=40.0, cy=20.0)
    transform = ImageTransform.plan(100, 60, spec(resize='letterbox'))
    seen = transform.input_intrinsics(camera)
    assert (seen.width, seen.height) == (64, 32)
    # A ray lies at the pixel of the input tensor to which the resize brings its camera pixel.
    for x, y in ((0.0, 0.0), (-0.4, 0.3)):
        u, v = camera.fx * x + camera.cx, camera.fy * y + camera.cy
        resized_u = (u + 0.5) * transform.width / 100 - 0.5 + transform.x
        resized_v = (v + 0.5) * transform.height / 60 - 0.5 + transform.y
        assert seen.fx * x + seen.cx == pytest.approx(resized_u)
        assert seen.fy * y + seen.cy == pytest.approx(resized_v)
    assert seen.fx == pytest.approx(transform.input_focal_px(camera))


def test_image_inputs_are_the_image_alone_without_a_camera_in_the_card():
    tensor = np.zeros((1, 3, 32, 64), np.float32)
    camera = Intrinsics(width=64, height=32, fx=1, fy=2, cx=3, cy=4)
    assert list(image_inputs(spec(), tensor, camera)) == ['image']


@pytest.mark.parametrize('shape', [(1, 3, 32, 64), (1, 5, 3, 32, 64)])
def test_image_inputs_camera_is_fx_fy_cx_cy(shape):
    camera = Intrinsics(width=64, height=32, fx=50, fy=60, cx=30, cy=14)
    inputs = image_inputs(spec(camera='K'), np.zeros(shape, np.float32), camera)
    assert inputs['K'].dtype == np.float32
    np.testing.assert_array_equal(inputs['K'], [[50, 60, 30, 14]])


def test_image_inputs_camera_of_the_mirror_image_is_mirrored():
    camera = Intrinsics(width=64, height=32, fx=50, fy=60, cx=0, cy=14)
    inputs = image_inputs(spec(camera='K'), np.zeros((2, 3, 32, 64), np.float32), camera)
    # What lay at column 0 lies at the last one.
    np.testing.assert_array_equal(inputs['K'], [[50, 60, 0, 14], [50, 60, 63, 14]])
