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

"""What /diagnostics says of scale and shift."""

from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.core.scale import LineSums, ScaleFit, ScaleShift  # noqa: E402, I100
from depth_ros.core.scale_alignment import AlignmentReport  # noqa: E402
from depth_ros.ros.alignment_status import alignment_status  # noqa: E402
from depth_ros.ros.diagnostics import Level, TopicView  # noqa: E402

LIDAR = TopicView(name='/lidar', publishers=1, problem='')
LINE = ScaleShift(scale=0.0123456, shift=-0.002)
FIT = ScaleFit(
    line=LINE,
    sums=LineSums(uu=1.0, uv=0.5, vv=1.0, u=1.0, v=1.0),
    points=4000,
    kept=3600,
    relative_error=0.031,
)
GOOD = AlignmentReport(line=LINE, fit=FIT, stamp_ns=12_500_000_000, used=7, refused=2, unpaired=1)


@pytest.mark.parametrize(
    ('seen', 'lidar', 'level', 'words'),
    [
        (GOOD, LIDAR, Level.OK, 'scale 0.01235 1/m per unit, shift -0.002 1/m'),
        (GOOD, None, Level.OK, 'scale 0.01235'),
        (GOOD, replace(LIDAR, publishers=0), Level.WARN, 'nobody publishes /lidar'),
        (GOOD, replace(LIDAR, problem='/lidar is published as X'), Level.ERROR, 'published as X'),
        (AlignmentReport(), LIDAR, Level.WARN, 'no scale and shift yet: no LiDAR sweep was used'),
        (AlignmentReport(problem='12 points'), LIDAR, Level.WARN, 'yet: 12 points'),
    ],
)
def test_verdict_says_what_is_missing(seen, lidar, level, words):
    status = alignment_status('lidar', seen, lidar)
    assert (status.name, status.level) == ('alignment', level)
    assert words in status.message


def test_values_tell_the_fit_and_the_counts():
    values = dict(alignment_status('lidar', GOOD, LIDAR).values)
    assert values['points that agree'] == '3600 of 4000'
    assert values['median error of the points'] == '3.1%'
    assert values['newest sweep used [s]'] == '12.500'
    counts = [values[f'sweeps {word}'] for word in ('used', 'refused', 'without an image')]
    assert counts == ['7', '2', '1']
    assert (
        dict(alignment_status('lidar', AlignmentReport(), None).values)['last problem'] == 'none'
    )
