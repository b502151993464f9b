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

"""From a LiDAR sweep of the bag to the depth that a frame is scored against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from depth_ros.bags.records import LidarSweep, OdometrySample
from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import Matrix, TransformTree
from depth_ros.core.lidar import compensate_motion, project, SparseDepth, twist_between
from depth_ros.errors import FrameError
from depth_ros.evaluation.config import EvaluationConfig
import numpy as np


class LidarTruth:
    """
    Projects sweeps into the camera, through the static transforms of the bag.

    :param odometry: poses of the vehicle in the order of time, for motion compensation; sweeps
        must then come in the order of time too.
    """

    def __init__(
        self,
        tree: TransformTree,
        config: EvaluationConfig,
        odometry: Iterable[OdometrySample] | None = None,
    ) -> None:
        self._tree = tree
        self._config = config
        self._motion = None if odometry is None else _Motion(tree, odometry)

    def of(
        self, sweep: LidarSweep, intrinsics: Intrinsics, frame_id: str, stamp_ns: int
    ) -> SparseDepth:
        """
        Return the truth of the frame with this camera, frame and stamp.

        :raises FrameError: no static transform, or no odometry around the sweep.
        """
        cam_T_lidar = self.cam_T_lidar(frame_id, sweep.frame_id)
        xyz_N3 = sweep.xyz_N3
        if self._motion is not None:
            xyz_N3 = self._motion.compensated(sweep, stamp_ns)
        truth = project(xyz_N3, cam_T_lidar, intrinsics, convention=self._config.lidar_depth)
        return truth if self._config.occlusion is None else self._config.occlusion(truth)

    def cam_T_lidar(self, camera_frame: str, lidar_frame: str) -> Matrix:
        """
        Return the transform from the LiDAR to the camera.

        :raises FrameError: naming both frames when /tf_static does not connect them.
        """
        return self._tree.lookup(camera_frame, lidar_frame)


class _Motion:
    """Motion of the LiDAR around each sweep, from the poses before and after it."""

    def __init__(self, tree: TransformTree, samples: Iterable[OdometrySample]) -> None:
        self._tree = tree
        self._samples: Iterator[OdometrySample] = iter(samples)
        self._before: OdometrySample | None = None
        self._after: OdometrySample | None = next(self._samples, None)

    def compensated(
        self, sweep: LidarSweep, stamp_ns: int
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        before, after = self._around(sweep.stamp_ns)
        poses = [
            sample.world_T_body_44 @ self._tree.lookup(sample.child_frame_id, sweep.frame_id)
            for sample in (before, after)
        ]
        twist = twist_between(poses[0], poses[1], after.stamp_ns - before.stamp_ns)
        offsets = sweep.time_offset_ns_N
        if offsets is None:
            offsets = np.zeros(len(sweep.xyz_N3), np.int64)
        return compensate_motion(sweep.xyz_N3, offsets + (sweep.stamp_ns - stamp_ns), twist)

    def _around(self, stamp_ns: int) -> tuple[OdometrySample, OdometrySample]:
        while self._after is not None and self._after.stamp_ns <= stamp_ns:
            self._before, self._after = self._after, next(self._samples, None)
        if self._before is None or self._after is None:
            raise FrameError(f'no odometry before and after the sweep at {stamp_ns} ns')
        return self._before, self._after
