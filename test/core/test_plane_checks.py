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

"""Planes with known height, angle, noise and bow."""

import math
from test.synthetic import intrinsics

from depth_ros.core.plane_checks import fit_plane, ground_checks, Region, wall_checks
from depth_ros.errors import ConfigError
import numpy as np
import pytest

K = intrinsics(320, 160, 200.0)
ALL = Region(left=0.0, top=0.0, right=1.0, bottom=1.0)


def plane_depth(normal, distance):
    """Return the depth of a plane, pixel by pixel from its equation; NaN behind the camera."""
    normal = np.array(normal, float) / np.linalg.norm(normal)
    image = np.full((K.height, K.width), np.nan, np.float32)
    for row in range(K.height):
        for col in range(K.width):
            along = normal @ [(col - K.cx) / K.fx, (row - K.cy) / K.fy, 1.0]
            if along > 1e-3:
                image[row, col] = distance / along
    return image


def test_ground_of_an_exact_road_has_its_height_and_tilt():
    pitch = math.radians(4.0)
    depth = plane_depth([0.0, math.cos(pitch), math.sin(pitch)], 1.65)
    checks = ground_checks(depth, K)
    assert checks['ground_height_m'] == pytest.approx(1.65, rel=1e-4)
    assert checks['ground_tilt_deg'] == pytest.approx(4.0, abs=1e-3)
    assert checks['ground_roughness'] < 1e-5
    assert checks['ground_flat_share'] == 1.0


def test_ground_scale_error_shows_as_height():
    checks = ground_checks(1.2 * plane_depth([0, 1, 0], 1.5), K)
    assert checks['ground_height_m'] == pytest.approx(1.8, rel=1e-4)


def test_ground_with_a_car_on_it_is_still_the_road():
    depth = plane_depth([0, 1, 0], 1.5)
    depth[118:135, 115:150] = 4.0
    checks = ground_checks(depth, K)
    assert checks['ground_height_m'] == pytest.approx(1.5, rel=1e-3)
    assert 0.7 < checks['ground_flat_share'] < 1.0


def test_wall_has_its_distance_and_angle():
    angle = math.radians(20.0)
    depth = plane_depth([math.sin(angle), 0, math.cos(angle)], 3.0)
    checks = wall_checks(depth, K, ALL)
    assert checks['wall_distance_m'] == pytest.approx(3.0, rel=1e-5)
    assert checks['wall_tilt_deg'] == pytest.approx(20.0, abs=1e-3)
    assert checks['wall_bow'] == pytest.approx(0.0, abs=1e-5)


def test_wall_roughness_is_the_median_of_the_noise():
    noise = np.random.default_rng(2).normal(0, 0.02, (K.height, K.width))
    checks = wall_checks((5.0 * (1 + noise)).astype(np.float32), K, ALL)
    # The median of |x| of a normal distribution is 0.6745 sigma; 5 % are 2.5 sigma.
    assert checks['wall_roughness'] == pytest.approx(0.6745 * 0.02, rel=0.06)
    assert checks['wall_flat_share'] == pytest.approx(0.9876, abs=0.006)


def test_wall_that_bulges_away_in_the_middle_has_a_bow_above_zero():
    rows, cols = np.mgrid[: K.height, : K.width]
    reach = ((cols - K.cx) / K.width) ** 2 + ((rows - K.cy) / K.height) ** 2
    for sign in (1, -1):
        depth = (5.0 * (1 - sign * 0.1 * reach)).astype(np.float32)
        bow = wall_checks(depth, K, ALL)['wall_bow']
        assert sign * bow > 0.005


def test_fit_plane_equals_a_plane_through_three_points():
    depth = plane_depth([0.2, -0.1, 1.0], 6.0)
    points = [
        np.array([(c - K.cx) / K.fx, (r - K.cy) / K.fy, 1.0]) * float(depth[r, c])
        for r, c in ((10, 10), (120, 40), (80, 300))
    ]
    normal = np.cross(points[1] - points[0], points[2] - points[0])
    normal *= np.sign(normal @ points[0]) / np.linalg.norm(normal)
    plane = fit_plane(depth, K, ALL)
    np.testing.assert_allclose(plane.normal_3, normal, atol=1e-5)
    assert plane.distance_m == pytest.approx(normal @ points[0], rel=1e-5)


def test_planes_without_depth_say_nothing():
    nothing = np.full((K.height, K.width), np.nan, np.float32)
    assert ground_checks(nothing, K) == {}
    assert wall_checks(np.full_like(nothing, np.inf), K, ALL) == {}


@pytest.mark.parametrize('sides', [(0.5, 0, 0.5, 1), (0, 0, 1.2, 1), (0, 0.9, 1, 0.1)])
def test_region_that_is_none_is_refused(sides):
    with pytest.raises(ConfigError, match='0 <= left'):
        Region(**dict(zip(('left', 'top', 'right', 'bottom'), sides, strict=True)))
