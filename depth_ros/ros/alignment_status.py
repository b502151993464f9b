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

"""What /diagnostics says of the scale and shift of a relative model."""

from __future__ import annotations

from depth_ros.core.scale_alignment import AlignmentReport
from depth_ros.ros.diagnostics import Level, Status, TopicView

NS_PER_S = 1e9


def alignment_status(method: str, seen: AlignmentReport, lidar: TopicView | None) -> Status:
    """
    Say whether a relative model has its scale, and from what.

    :param lidar: who publishes the LiDAR; None: the method needs none.
    """
    level, message = _verdict(seen, lidar)
    line, fit = seen.line, seen.fit
    values = (
        ('method', method),
        ('scale [1/m per unit]', 'none' if line is None else f'{line.scale:.6g}'),
        ('shift [1/m]', 'none' if line is None else f'{line.shift:.6g}'),
        ('LiDAR topic', 'none' if lidar is None else lidar.name),
        ('newest sweep used [s]', _seconds(seen.stamp_ns)),
        ('points that agree', 'none' if fit is None else f'{fit.kept} of {fit.points}'),
        ('median error of the points', 'none' if fit is None else f'{fit.relative_error:.1%}'),
        ('sweeps used', str(seen.used)),
        ('sweeps refused', str(seen.refused)),
        ('sweeps without an image', str(seen.unpaired)),
        ('last problem', seen.problem or 'none'),
    )
    return Status(name='alignment', level=level, message=message, values=values)


def _verdict(seen: AlignmentReport, lidar: TopicView | None) -> tuple[Level, str]:
    if lidar is not None and lidar.problem:
        return Level.ERROR, lidar.problem
    if lidar is not None and not lidar.publishers:
        return Level.WARN, f'nobody publishes {lidar.name}'
    if seen.line is None:
        return Level.WARN, f'no scale and shift yet: {seen.problem or "no LiDAR sweep was used"}'
    return Level.OK, f'scale {seen.line.scale:.4g} 1/m per unit, shift {seen.line.shift:.4g} 1/m'


def _seconds(stamp_ns: int | None) -> str:
    return 'none' if stamp_ns is None else f'{stamp_ns / NS_PER_S:.3f}'
