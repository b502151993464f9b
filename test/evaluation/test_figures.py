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

"""Colours of known values, places of known points, and pictures of every shape."""

import math

from depth_ros.core.camera import Intrinsics
from depth_ros.core.lidar import SparseDepth
from depth_ros.evaluation.colors import (
    BEYOND_BGR,
    depth_scale,
    relative_error_scale,
    sigma_scale,
    TOO_CLOSE_BGR,
    UNKNOWN_BGR,
)
from depth_ros.evaluation.figures import (
    BACKDROP_SHARE,
    BAR_WIDTH_PX,
    depth_color,
    overview,
    PANEL_WIDTH_PX,
    Snapshot,
    stamp_points,
    TITLE_HEIGHT_PX,
)
from depth_ros.evaluation.views import AHEAD_M, birdseye, LIDAR_BGR, PIXELS_PER_M, SIDE_M
import numpy as np
import pytest


def shot_of(width=200, height=60, *, has_sigma=True, depth=10.0, truth=10.0):
    rows, cols = np.array([height // 2]), np.array([width // 4])
    return Snapshot(
        name='Frame 7',
        verdict='AbsRel 0.1',
        image_HW3=np.full((height, width, 3), 200, np.uint8),
        depth_HW=np.full((height, width), depth, np.float32),
        sigma_HW=np.ones((height, width), np.float32) if has_sigma else None,
        truth=SparseDepth(
            rows_N=rows,
            cols_N=cols,
            depth_N=np.full(1, truth, np.float32),
            width=width,
            height=height,
            points=1,
            invalid=0,
        ),
        cap_m=80.0,
    )


def test_depth_scale_special_values_have_their_own_colours():
    values = np.array([np.nan, np.inf, -np.inf], np.float32)
    colors = depth_scale(2.0, 80.0)(values)
    assert [tuple(color) for color in colors] == [UNKNOWN_BGR, BEYOND_BGR, TOO_CLOSE_BGR]


def test_depth_scale_is_logarithmic_and_holds_beyond_its_ends():
    scale = depth_scale(2.0, 80.0)
    middle = math.sqrt(2.0 * 80.0)
    np.testing.assert_allclose(
        scale.positions(np.array([1.0, 2.0, middle, 80.0, 300.0])), [0, 0, 0.5, 1, 1]
    )


def test_depth_scale_near_is_red_and_far_is_blue():
    near, far = depth_scale(2.0, 80.0)(np.array([3.0, 70.0]))
    assert near[2] > near[0]
    assert far[0] > far[2]


def test_relative_error_scale_signs_have_their_colours():
    too_near, right, too_far = relative_error_scale(0.5)(np.array([-0.4, 0.0, 0.4]))
    assert too_near[0] > too_near[2]
    assert right.min() > 240
    assert too_far[2] > too_far[0]


def test_sigma_scale_grows_brighter():
    colors = sigma_scale(0.1, 20.0)(np.array([0.1, 1.0, 20.0])).astype(int).sum(axis=1)
    assert colors[0] < colors[1] < colors[2]


def test_scale_ticks_lie_within_the_range():
    assert depth_scale(2.0, 50.0).ticks == (2.0, 5.0, 10.0, 20.0, 40.0)


def test_depth_color_keeps_size_and_does_not_touch_the_depth():
    depth = np.array([[1.0, np.nan]], np.float32)
    assert depth_color(depth, 80.0).shape == (1, 2, 3)
    np.testing.assert_array_equal(depth, np.array([[1.0, np.nan]], np.float32))


def test_overview_of_a_wide_image_stacks_four_panels():
    picture = overview(shot_of(200, 60))
    height = round(60 * PANEL_WIDTH_PX / 200)
    assert picture.shape[1] == PANEL_WIDTH_PX + BAR_WIDTH_PX
    assert picture.shape[0] == 4 * (height + TITLE_HEIGHT_PX) + 3 * 6


def test_overview_of_a_square_image_is_two_by_two():
    picture = overview(shot_of(100, 100))
    assert picture.shape[1] > picture.shape[0]


@pytest.mark.parametrize(('depth', 'channel'), [(14.0, 2), (6.0, 0)])
def test_overview_error_point_has_the_colour_of_its_sign(depth, channel):
    shot = shot_of(200, 60, depth=depth)
    picture = overview(shot)
    panel = TITLE_HEIGHT_PX + round(60 * PANEL_WIDTH_PX / 200)
    factor = PANEL_WIDTH_PX / 200
    row = 3 * (panel + 6) + TITLE_HEIGHT_PX + round(30 * factor)
    point = picture[row, round(50 * factor)].astype(int)
    assert point[channel] - point[2 - channel] > 60
    aside = picture[row, round(50 * factor) + 20]
    np.testing.assert_array_equal(aside, [round(200 * BACKDROP_SHARE)] * 3)


def test_overview_without_sigma_or_truth_still_draws():
    shot = shot_of(has_sigma=False)
    empty = Snapshot(
        **{
            **{name: getattr(shot, name) for name in Snapshot.__slots__},
            'truth': shot.truth.where(np.array([False])),
        }
    )
    assert overview(empty).shape == overview(shot_of()).shape


def test_overview_is_the_same_every_time():
    np.testing.assert_array_equal(overview(shot_of()), overview(shot_of()))


def test_stamp_points_draws_inside_and_clips_at_the_border():
    picture = np.zeros((5, 5, 3), np.uint8)
    colors = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    stamp_points(picture, np.array([2.2, -1.0]), np.array([2.0, 0.0]), colors, 1)
    assert (picture[1:4, 1:4] == (1, 2, 3)).all()
    assert picture[0, 0].tolist() == [4, 5, 6]
    assert not picture[4].any()


def test_birdseye_puts_points_where_they_are():
    # The pixel at the principal point, 10 m ahead predicted, 20 m by the LiDAR.
    k = Intrinsics(width=101, height=61, fx=100.0, fy=100.0, cx=50.0, cy=30.0)
    shot = shot_of(101, 61, depth=10.0, truth=20.0)
    picture = birdseye(shot, k)
    middle = round(SIDE_M * PIXELS_PER_M)
    row = TITLE_HEIGHT_PX + round((AHEAD_M - 10.0) * PIXELS_PER_M)
    assert picture[row, middle].tolist() == [200, 200, 200]
    lidar_x = (25 - 50) / 100 * 20.0
    at = (
        TITLE_HEIGHT_PX + round((AHEAD_M - 20.0) * PIXELS_PER_M),
        round((lidar_x + SIDE_M) * PIXELS_PER_M),
    )
    assert tuple(picture[at]) == LIDAR_BGR


def test_birdseye_of_unknown_and_infinite_depth_draws_only_the_grid():
    k = Intrinsics(width=100, height=60, fx=100.0, fy=100.0, cx=50.0, cy=30.0)
    pictures = [
        birdseye(shot_of(100, 60, depth=depth, truth=200.0), k) for depth in (math.nan, math.inf)
    ]
    np.testing.assert_array_equal(*pictures)
