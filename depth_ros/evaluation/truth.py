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

from collections import deque

from depth_ros.bags.records import DepthImage, LidarSweep
from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import invert, Matrix, transform_points, TransformTree
from depth_ros.core.lidar import compensate_motion, OcclusionFilter, project, SparseDepth
from depth_ros.errors import FrameError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.poses import PoseTrack
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


class LidarTruth:
    """
    Projects sweeps into the camera, through the static transforms of the bag.

    :param poses: of the vehicle, for motion compensation and accumulation; sweeps must then
        come in the order of time.
    """

    def __init__(
        self, tree: TransformTree, config: EvaluationConfig, poses: PoseTrack | None = None
    ) -> None:
        self._tree = tree
        self._config = config
        self._poses = poses
        # Sweeps in their own frame at their own stamp, and where that frame was.
        self._past: deque[tuple[Points, Matrix]] = deque(maxlen=config.accumulated_sweeps)

    def of(
        self, sweep: LidarSweep, intrinsics: Intrinsics, frame_id: str, stamp_ns: int
    ) -> SparseDepth:
        """
        Return the truth of the frame with this camera, frame and stamp.

        :raises FrameError: no static transform, or no odometry around the sweep.
        """
        cam_T_lidar = self.cam_T_lidar(frame_id, sweep.frame_id)
        if self._config.truth == 'accumulated':
            xyz_N3 = self._accumulated(sweep, stamp_ns)
        elif self._config.motion_compensation:
            xyz_N3 = self._compensated(sweep, stamp_ns)
        else:
            xyz_N3 = sweep.xyz_N3
        truth = project(xyz_N3, cam_T_lidar, intrinsics, convention=self._config.lidar_depth)
        return self._visible(truth)

    def cam_T_lidar(self, camera_frame: str, lidar_frame: str) -> Matrix:
        """
        Return the transform from the LiDAR to the camera.

        :raises FrameError: naming both frames when /tf_static does not connect them.
        """
        return self._tree.lookup(camera_frame, lidar_frame)

    def _visible(self, truth: SparseDepth) -> SparseDepth:
        occlusion = self._config.occlusion
        if occlusion is None and self._config.truth == 'accumulated':
            # Older sweeps saw what is hidden now.
            occlusion = OcclusionFilter()
        return truth if occlusion is None else occlusion(truth)

    def _compensated(self, sweep: LidarSweep, stamp_ns: int) -> Points:
        offsets = sweep.time_offset_ns_N
        if offsets is None:
            offsets = np.zeros(len(sweep.xyz_N3), np.int64)
        twist = self._track().twist(sweep.frame_id, sweep.stamp_ns)
        return compensate_motion(sweep.xyz_N3, offsets + (sweep.stamp_ns - stamp_ns), twist)

    def _accumulated(self, sweep: LidarSweep, stamp_ns: int) -> Points:
        """Return this sweep and those before it, where their points are seen from now."""
        track = self._track()
        world_T_then = track.pose(sweep.frame_id, sweep.stamp_ns)
        at_own_stamp = self._compensated(sweep, sweep.stamp_ns)
        self._past.append((at_own_stamp, world_T_then))
        lidar_T_world = invert(track.pose(sweep.frame_id, stamp_ns))
        return np.concatenate(
            [transform_points(lidar_T_world @ pose, xyz) for xyz, pose in self._past]
        )

    def _track(self) -> PoseTrack:
        if self._poses is None:
            raise FrameError('the truth needs odometry, and the bag has none')
        return self._poses


def truth_of_image(image: DepthImage, intrinsics: Intrinsics) -> SparseDepth:
    """
    Return the truth that a depth image of the bag holds, for example KITTI's improved one.

    :raises FrameError: it has not the size of the prediction.
    """
    height, width = image.depth_HW.shape
    if (width, height) != (intrinsics.width, intrinsics.height):
        raise FrameError(
            f'truth image is {width}x{height}, the prediction '
            f'{intrinsics.width}x{intrinsics.height}'
        )
    rows, cols = np.nonzero(np.isfinite(image.depth_HW) & (image.depth_HW > 0))
    return SparseDepth(
        rows_N=rows.astype(np.int64),
        cols_N=cols.astype(np.int64),
        depth_N=image.depth_HW[rows, cols],
        width=width,
        height=height,
        points=len(rows),
        invalid=0,
    )
