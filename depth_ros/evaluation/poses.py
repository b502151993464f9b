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

"""Where the vehicle was, at any time, from the odometry of a bag."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from depth_ros.bags.records import OdometrySample
from depth_ros.core.geometry import interpolate, Matrix, TransformTree
from depth_ros.core.lidar import twist_between
from depth_ros.errors import FrameError

# Questions come nearly in the order of time: images and sweeps are a fraction of a second apart.
KEPT_NS = 5_000_000_000
# Between samples further apart the vehicle may have done anything.
MAX_GAP_NS = 1_000_000_000


class PoseTrack:
    """
    Poses of sensors, interpolated at constant twist; holds the last seconds of samples.

    :param samples: in the order of time; one that is not later than those before is left out.
    """

    def __init__(self, tree: TransformTree, samples: Iterable[OdometrySample]) -> None:
        self._tree = tree
        self._samples: Iterator[OdometrySample] = iter(samples)
        self._known: list[OdometrySample] = []
        self._stamps: list[int] = []

    def pose(self, frame_id: str, stamp_ns: int) -> Matrix:
        """
        Return world_T_frame at a time.

        :raises FrameError: no odometry around that time, or no static transform to the frame.
        """
        before, after = self._around(stamp_ns)
        fraction = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        world_T_body = interpolate(before.world_T_body_44, after.world_T_body_44, fraction)
        return world_T_body @ self._tree.lookup(before.child_frame_id, frame_id)

    def twist(self, frame_id: str, stamp_ns: int) -> Matrix:
        """
        Return v, omega [m/s, rad/s] of a sensor in its own frame, around a time.

        :raises FrameError: as ``pose``.
        """
        before, after = self._around(stamp_ns)
        poses = [
            sample.world_T_body_44 @ self._tree.lookup(sample.child_frame_id, frame_id)
            for sample in (before, after)
        ]
        return twist_between(poses[0], poses[1], after.stamp_ns - before.stamp_ns)

    def _around(self, stamp_ns: int) -> tuple[OdometrySample, OdometrySample]:
        while not self._stamps or self._stamps[-1] <= stamp_ns:
            sample = next(self._samples, None)
            if sample is None:
                break
            if not self._stamps or sample.stamp_ns > self._stamps[-1]:
                self._known.append(sample)
                self._stamps.append(sample.stamp_ns)
        old = bisect_right(self._stamps, stamp_ns - KEPT_NS)
        del self._known[: old - 1 if old else 0], self._stamps[: old - 1 if old else 0]
        at = bisect_right(self._stamps, stamp_ns)
        if at == 0 or at == len(self._stamps):
            raise FrameError(f'no odometry before and after {stamp_ns} ns')
        before, after = self._known[at - 1], self._known[at]
        if after.stamp_ns - before.stamp_ns > MAX_GAP_NS:
            raise FrameError(f'no odometry for more than a second around {stamp_ns} ns')
        return before, after
