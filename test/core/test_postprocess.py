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

"""Metres, sigma and the special values of REP 117."""

from dataclasses import replace
import math
from test.synthetic import model_spec

from depth_ros.core.model_spec import OutputSpec, SkySpec, UncertaintySpec
from depth_ros.core.postprocess import decode, enlarge
from depth_ros.core.preprocess import ImageTransform
from depth_ros.errors import ModelError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

METRIC = model_spec().output
LAPLACE = UncertaintySpec(kind='log_laplace_scale', name='log_b', temperature=2.0)
FLIP = UncertaintySpec(kind='flip', flip_gain=3.0, flip_relative=0.5, temperature=2.0)


def grid(values) -> np.ndarray:
    return np.asarray(values, np.float32)[np.newaxis, np.newaxis]


def published(outputs, model, size=(8, 4), *, focal=1.0, sigma=False, unseen=None):
    """Return depth and sigma at (width, height) ``size`` with the whole image stretched."""
    plan = ImageTransform.plan(size[0], size[1], model.input)
    decoded = decode(outputs, model, focal_px=focal, with_uncertainty=sigma)
    depth = np.empty(size[::-1], np.float32)
    sigma_HW = np.empty(size[::-1], np.float32) if sigma else None
    enlarge(decoded, plan, depth, sigma_HW, unseen_HW=unseen)
    return depth, sigma_HW


def test_constant_depth_stays_constant_at_every_size():
    depth, _ = published({'depth': grid(np.full((4, 8), 7.5))}, model_spec(), (31, 17))
    np.testing.assert_array_equal(depth, np.float32(7.5))


def test_depth_is_enlarged_by_the_half_pixel_rule():
    depth, _ = published({'depth': grid([[10.0, 20.0]])}, model_spec(), (4, 1))
    np.testing.assert_allclose(depth, [[10.0, 12.5, 17.5, 20.0]])


def test_scale_and_focal_length_make_metres():
    output = replace(METRIC, scale=0.1, focal_px=372.0)
    depth, _ = published({'depth': grid([[100.0]])}, model_spec(output=output), focal=744.0)
    np.testing.assert_allclose(depth, 20.0)


def test_inverse_depth_is_inverted_after_scaling():
    output = replace(METRIC, kind='inverse_depth', scale=0.5)
    depth, _ = published({'depth': grid([[0.1]])}, model_spec(output=output))
    np.testing.assert_allclose(depth, 20.0, rtol=1e-6)


@pytest.mark.parametrize('value', [0.0, -3.0, 1e-9])
def test_inverse_depth_of_nothing_is_beyond_range(value):
    output = replace(METRIC, kind='inverse_depth')
    depth, _ = published({'depth': grid([[value]])}, model_spec(output=output))
    assert np.isposinf(depth).all()


def test_affine_inverse_depth_is_refused_because_it_has_no_metres():
    output = replace(METRIC, kind='affine_inverse_depth')
    with pytest.raises(ModelError, match='affine_inverse_depth'):
        published({'depth': grid([[1.0]])}, model_spec(output=output))


def test_depth_outside_the_range_is_infinite_by_sign():
    depth, _ = published({'depth': grid([[0.4, 50.0, 130.0]])}, model_spec(), (3, 1))
    assert np.isneginf(depth[0, 0])
    assert depth[0, 1] == 50.0
    assert np.isposinf(depth[0, 2])


def test_range_scales_with_the_focal_length_like_the_metres():
    output = replace(METRIC, focal_px=100.0)
    depth, _ = published({'depth': grid([[99.0]])}, model_spec(output=output), focal=200.0)
    np.testing.assert_allclose(depth, 198.0)


def test_one_extreme_cell_reaches_no_further_than_its_neighbours():
    depth, _ = published({'depth': grid([[50.0, 1e30, 50.0]])}, model_spec(), (3, 1))
    np.testing.assert_array_equal(depth, np.float32([[50.0, np.inf, 50.0]]))


def test_network_nan_makes_every_touched_pixel_unknown():
    depth, _ = published({'depth': grid([[10.0, np.nan, 10.0, 10.0]])}, model_spec(), (8, 1))
    np.testing.assert_array_equal(np.isnan(depth[0]), [0, 1, 1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(depth[0, [0, 5, 6, 7]], 10.0)


def test_sky_mask_is_plus_infinity():
    model = model_spec(sky=SkySpec(kind='mask', name='sky', threshold=0.3))
    outputs = {'depth': grid([[10.0, 20.0]]), 'sky': grid([[0.29, 0.3]])}
    depth, _ = published(outputs, model, (2, 1))
    np.testing.assert_array_equal(depth, np.float32([[10.0, np.inf]]))


def test_pixels_that_rectification_never_saw_are_unknown():
    unseen = np.zeros((4, 8), bool)
    unseen[0, 0] = True
    depth, _ = published({'depth': grid([[5.0]])}, model_spec(), unseen=unseen)
    np.testing.assert_array_equal(np.isnan(depth), unseen)


def test_log_laplace_scale_becomes_one_sigma():
    model = model_spec(uncertainty=LAPLACE)
    outputs = {'depth': grid([[10.0]]), 'log_b': grid([[math.log(0.5)]])}
    _, sigma = published(outputs, model, sigma=True)
    np.testing.assert_allclose(sigma, 2.0 * math.sqrt(2.0) * 0.5, rtol=1e-6)


def test_sigma_scales_with_the_focal_length_like_depth():
    model = model_spec(uncertainty=LAPLACE, output=replace(METRIC, focal_px=100.0))
    outputs = {'depth': grid([[10.0]]), 'log_b': grid([[0.0]])}
    _, sigma = published(outputs, model, sigma=True, focal=50.0)
    np.testing.assert_allclose(sigma, 2.0 * math.sqrt(2.0) * 0.5, rtol=1e-6)


@pytest.mark.parametrize(('log_b', 'finite'), [(1e9, True), (-1e9, True), (np.inf, True)])
def test_extreme_log_scale_stays_finite_and_positive(log_b, finite):
    outputs = {'depth': grid([[10.0]]), 'log_b': grid([[log_b]])}
    _, sigma = published(outputs, model_spec(uncertainty=LAPLACE), sigma=True)
    assert np.isfinite(sigma).all() == finite
    assert (sigma > 0).all()


def test_flip_sigma_is_the_calibrated_difference_to_the_mirrored_back_depth():
    outputs = {'depth': np.float32([[[[10.0, 20.0]]], [[[26.0, 10.0]]]])}
    depth, sigma = published(outputs, model_spec(uncertainty=FLIP), (2, 1), sigma=True)
    np.testing.assert_array_equal(depth, [[10.0, 20.0]])
    # Mirrored back: [10, 26]; sigma = 2 (3 |D - D'| + 0.5 D).
    np.testing.assert_allclose(sigma, [[2 * 0.5 * 10, 2 * (3 * 6 + 0.5 * 20)]])


def test_flip_depth_without_sigma_is_that_of_the_plain_image():
    outputs = {'depth': np.float32([[[[10.0, 20.0]]]])}
    depth, _ = published(outputs, model_spec(uncertainty=FLIP), (2, 1))
    np.testing.assert_array_equal(depth, [[10.0, 20.0]])


def test_nan_sigma_makes_the_pixel_unknown():
    outputs = {'depth': grid([[10.0, 10.0]]), 'log_b': grid([[np.nan, 0.0]])}
    depth, sigma = published(outputs, model_spec(uncertainty=LAPLACE), (2, 1), sigma=True)
    np.testing.assert_array_equal(np.isnan(depth), [[True, False]])
    np.testing.assert_array_equal(np.isnan(sigma), [[True, False]])


values = st.one_of(
    st.floats(0.25, 200, width=32), st.just(np.nan), st.just(np.inf), st.just(-np.inf)
)


@given(arrays(np.float32, (3, 5), elements=values), arrays(np.float32, (3, 5), elements=values))
def test_sigma_is_nan_exactly_where_depth_is_and_infinite_where_it_is(raw, log_b):
    outputs = {'depth': grid(raw), 'log_b': grid(log_b)}
    depth, sigma = published(outputs, model_spec(uncertainty=LAPLACE), (13, 7), sigma=True)
    np.testing.assert_array_equal(np.isnan(depth), np.isnan(sigma))
    np.testing.assert_array_equal(np.isinf(depth), np.isinf(sigma))
    finite = np.isfinite(depth)
    assert ((depth[finite] >= 1.0) & (depth[finite] <= 100.0)).all()
    assert (sigma[finite] > 0).all()


def test_letterbox_padding_never_reaches_the_published_image():
    letterbox = replace(model_spec().input, resize='letterbox')
    model = model_spec(input=letterbox)
    raw = np.full((32, 64), 90.0)
    raw[:, 16:48] = 5.0
    plan = ImageTransform.plan(50, 50, letterbox)
    depth = np.empty((50, 50), np.float32)
    decoded = decode({'depth': grid(raw)}, model, focal_px=1.0, with_uncertainty=False)
    enlarge(decoded, plan, depth, None)
    np.testing.assert_allclose(depth[:, 1:-1], 5.0)


def test_output_of_another_rank_is_refused_by_name_and_shape():
    with pytest.raises(ModelError, match=r"'depth' has shape \(4, 8\)"):
        decode(
            {'depth': np.ones((4, 8), np.float32)},
            model_spec(),
            focal_px=1.0,
            with_uncertainty=False,
        )


def test_three_dimensional_output_is_taken():
    depth, _ = published({'depth': np.full((1, 4, 8), 3.0, np.float32)}, model_spec())
    np.testing.assert_array_equal(depth, 3.0)


def test_output_spec_keeps_its_range_in_order():
    with pytest.raises(ModelError, match='min_depth_m'):
        OutputSpec(
            name='d',
            kind='metric_depth',
            scale=1.0,
            min_depth_m=5.0,
            max_depth_m=1.0,
            focal_px=None,
        )
