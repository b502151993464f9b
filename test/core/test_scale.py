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

"""Scale and shift of a relative inverse depth from sparse depth."""

from depth_ros.core.scale import fit_scale_shift, FitRules, LineSums
from depth_ros.errors import FrameError
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

SCALE, SHIFT = 0.02, 0.005


def scene(count: int = 400, seed: int = 0, near: float = 3.0, far: float = 60.0):
    """Return outputs and depths [m] that lie on the line exactly."""
    depth = np.random.default_rng(seed).uniform(near, far, count)
    return (1.0 / depth - SHIFT) / SCALE, depth


def test_exact_points_give_their_line():
    fit = fit_scale_shift(*scene())
    assert fit.line.scale == pytest.approx(SCALE, rel=1e-9)
    assert fit.line.shift == pytest.approx(SHIFT, rel=1e-9)
    assert (fit.points, fit.kept) == (400, 400)
    assert fit.relative_error < 1e-9


def test_two_depths_are_enough():
    depth = np.repeat([10.0, 20.0], 60)
    fit = fit_scale_shift(np.repeat([4.0, 2.0], 60), depth)
    # 1/10 = 4 s + t and 1/20 = 2 s + t.
    assert fit.line.scale == pytest.approx(0.025)
    assert fit.line.shift == pytest.approx(0.0, abs=1e-12)


@given(
    scale=st.floats(1e-4, 10.0),
    shift=st.floats(-0.005, 0.05),
    noise=st.floats(0.0, 0.02),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_line_is_found_through_noise(scale, shift, noise, seed):
    random = np.random.default_rng(seed)
    depth = random.uniform(3.0, 60.0, 500)
    x = (1.0 / depth - shift) / scale
    measured = depth * (1.0 + noise * random.standard_normal(500))
    line = fit_scale_shift(x, measured).line
    back = 1.0 / (line.scale * x + line.shift)
    assert np.abs(back / depth - 1.0).max() <= 1e-6 + noise


@given(share=st.floats(0.0, 0.4), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_points_that_shine_through_do_not_bend_the_line(share, seed):
    x, depth = scene(600, seed)
    wrong = np.random.default_rng(seed + 1).random(600) < share
    # What the LiDAR sees behind an edge is farther than what the camera sees.
    measured = np.where(wrong, depth * 2.5 + 5.0, depth)
    fit = fit_scale_shift(x, measured)
    assert fit.line.scale == pytest.approx(SCALE, rel=1e-6)
    assert fit.line.shift == pytest.approx(SHIFT, rel=1e-5)
    assert fit.kept == np.count_nonzero(~wrong)


@given(a=st.floats(0.01, 100.0), b=st.floats(-5.0, 5.0))
@settings(max_examples=40, deadline=None)
def test_depth_does_not_depend_on_the_units_of_the_output(a, b):
    x, depth = scene()
    noisy = depth * (1.0 + 0.01 * np.random.default_rng(3).standard_normal(depth.size))
    first, second = fit_scale_shift(x, noisy).line, fit_scale_shift(a * x + b, noisy).line
    np.testing.assert_allclose(
        second.scale * (a * x + b) + second.shift, first.scale * x + first.shift, rtol=1e-6
    )


def test_relative_error_is_what_is_least():
    x, depth = scene(200)
    noisy = depth * (1.0 + 0.02 * np.random.default_rng(4).standard_normal(200))
    fit = fit_scale_shift(x, noisy)
    kept = np.abs(noisy * (fit.line.scale * x + fit.line.shift) - 1.0)
    assert fit.kept >= 195
    for scale, shift in ((1.002, 0.0), (0.998, 0.0), (1.0, 1e-5), (1.0, -1e-5)):
        other = noisy * (scale * fit.line.scale * x + fit.line.shift + shift) - 1.0
        assert np.mean(other**2) > np.mean(kept**2)


def test_unusable_points_are_left_out():
    x, depth = scene()
    x[:4] = (np.nan, np.inf, 1.0, 1.0)
    depth[2:6] = (np.nan, np.inf, 0.0, -3.0)
    fit = fit_scale_shift(x, depth)
    assert fit.points == 394
    assert fit.line.scale == pytest.approx(SCALE)


def test_too_few_points_are_refused_with_their_number():
    x, depth = scene(99)
    with pytest.raises(FrameError, match=r'99 points with depth: needs at least 100'):
        fit_scale_shift(x, depth)
    with pytest.raises(FrameError, match=r'^0 points'):
        fit_scale_shift(np.empty(0), np.empty(0))
    assert fit_scale_shift(x, depth, FitRules(min_points=99)).points == 99


def test_a_wall_is_refused():
    x, depth = scene(near=10.0, far=12.0)
    with pytest.raises(FrameError, match=r'between 10\.\d+ and 11\.\d+ m: .* factor of 1\.5'):
        fit_scale_shift(x, depth)


def test_an_upside_down_output_is_refused():
    x, depth = scene()
    with pytest.raises(FrameError, match=r'the scale is -0\.02 1/m: must be above 0'):
        fit_scale_shift(-x, depth)


def test_an_output_that_is_constant_is_refused():
    _, depth = scene()
    with pytest.raises(FrameError, match='it has no scale'):
        fit_scale_shift(np.full(depth.size, 3.0), depth)
    mostly = np.full(depth.size, 3.0)
    mostly[:10] = 4.0
    with pytest.raises(FrameError, match='it has no scale'):
        fit_scale_shift(mostly, depth)


def test_an_output_that_follows_nothing_is_refused():
    random = np.random.default_rng(5)
    with pytest.raises(FrameError, match=r'scale is|misses half|agree with a line'):
        fit_scale_shift(random.random(1000), np.exp(random.uniform(0.5, 4.5, 1000)))


def test_means_of_sweeps_mix_to_the_line_of_all_points():
    x, depth = scene(200)
    first, second = (LineSums.of(x[part], depth[part]) for part in (np.s_[:50], np.s_[50:]))
    mixed = second.mixed(first, 0.25).solve()
    whole = LineSums.of(x, depth).solve()
    assert mixed.scale == pytest.approx(whole.scale)
    assert mixed.shift == pytest.approx(whole.shift)


def test_means_of_one_output_have_no_line():
    with pytest.raises(FrameError, match='the same at every point'):
        LineSums.of(np.full(5, 2.0), np.linspace(1.0, 5.0, 5)).solve()
