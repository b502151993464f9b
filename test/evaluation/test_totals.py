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

"""Totals from records: merging, drift, time line, and scalars, against plain sums."""

from __future__ import annotations

import math
import statistics

from depth_ros.evaluation.timeline import MAX_POINTS, TimeLine
from depth_ros.evaluation.totals import Drift, ScalarMeans
import pytest

SECOND = 1_000_000_000


def test_scalar_means_are_those_of_the_standard_library():
    values = [0.25, 1.5, -3.0, 0.125]
    means = ScalarMeans()
    for number, value in enumerate(values):
        means.add({'flicker': value} if number else {'flicker': value, 'rare': 7.0})
    row = means.result()['flicker']
    assert row['mean'] == pytest.approx(statistics.fmean(values))
    assert row['std'] == pytest.approx(statistics.pstdev(values))
    assert row['frames'] == 4
    assert means.result()['rare'] == {'mean': 7.0, 'std': 0.0, 'frames': 1}


def test_scalar_means_merge_in_any_order_to_the_same_result():
    parts = [ScalarMeans() for _ in range(3)]
    for number, part in enumerate(parts):
        part.add({'a': 0.1 * number, f'only{number}': 1.0})
    forward, backward = ScalarMeans(), ScalarMeans()
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    assert forward.result() == backward.result()


def test_drift_of_a_growing_scale_is_its_growth_a_minute():
    drift = Drift()
    for second in range(30):
        drift.add(5 * SECOND + second * SECOND, math.log(1.1) + 0.001 * second)
    result = drift.result()
    assert result['drift_per_minute'] == pytest.approx(math.expm1(0.06), rel=1e-6)
    assert result['scale'] == pytest.approx(1.1 * math.exp(0.0145), rel=1e-9)
    expected = statistics.pstdev([0.001 * second for second in range(30)])
    assert result['scale_spread'] == pytest.approx(expected, rel=1e-6)


def test_drift_of_a_short_sequence_is_not_told():
    drift = Drift()
    drift.add(0, 0.1)
    assert drift.result() is None
    drift.add(SECOND, 0.2)
    assert math.isnan(drift.result()['drift_per_minute'])


def test_time_line_of_a_long_drive_stays_short_and_loses_no_frame():
    line = TimeLine()
    count = 3 * MAX_POINTS + 17
    for frame in range(count):
        line.add(frame, frame * SECOND, {'abs_rel': float(frame % 2)}, [float(frame), 0.0])
    points = line.result()
    assert len(points) <= MAX_POINTS
    assert sum(point['frames'] for point in points) == count
    assert points[0]['abs_rel'] == pytest.approx(0.5)
    times = [point['time_s'] for point in points]
    assert times == sorted(times)
    assert points[5]['position_m'][0] == points[5]['frame']


def test_time_line_of_a_short_drive_has_each_frame():
    line = TimeLine()
    line.add(3, 7 * SECOND, {'abs_rel': 0.5}, None)
    line.add(4, 8 * SECOND, {'latency_ms': 20.0}, None)
    assert line.result() == [
        {'frame': 3, 'frames': 1, 'time_s': 0.0, 'abs_rel': 0.5},
        {'frame': 4, 'frames': 1, 'time_s': 1.0, 'latency_ms': 20.0},
    ]
