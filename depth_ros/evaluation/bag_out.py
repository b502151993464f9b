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

"""
Write what was predicted into a bag that RViz and Foxglove open with the layouts of this package.

Topics and types are those of the live node, stamped as the images, with /tf_static; LiDAR and
odometry stay in the bag that was read, and can be played beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PointsConfig
from depth_ros.core.datatypes import DepthEstimate, StageTimes
from depth_ros.core.geometry import TransformTree
from depth_ros.core.point_cloud import CloudBuilder, POINT_DTYPE
from depth_ros.evaluation.figures import depth_color
from depth_ros.evaluation.scoring import Measured, Prediction

UNTIMED = StageTimes(rectify_ns=0, preprocess_ns=0, infer_ns=0, postprocess_ns=0)


class Observer(Protocol):
    """Sees every prediction of a run, in order; one thread calls it."""

    def add(
        self, index: int, prediction: Prediction, measured: Measured, scores: dict[str, float]
    ) -> None:
        """Look at one frame; ``scores`` is empty when it has none."""
        ...

    def close(self) -> None:
        """End what was written."""
        ...


class BagOut:
    """
    Writes an MCAP bag.

    :param cap_m: upper end of the colours of /depth/image_color.
    :raises BagError: the path exists already, or the disk refuses the writing.
    """

    def __init__(self, path: Path, tree: TransformTree, cap_m: float) -> None:
        self._make = MessageFactory()
        self._bag = BagWriter(path)
        self._tree = tree
        self._cap_m = cap_m
        self._cloud = CloudBuilder(PointsConfig(organized=False))
        self._is_first = True

    def add(
        self, index: int, prediction: Prediction, measured: Measured, scores: dict[str, float]
    ) -> None:
        """Write image, camera_info, depth, uncertainty, colours and points of one frame."""
        make, stamp, frame_id = self._make, prediction.stamp_ns, prediction.frame_id
        if self._is_first:
            self._is_first = False
            edges = self._tree.edges()
            if edges:
                self._bag.write('/tf_static', stamp, make.transforms(stamp, edges))
        info = make.camera_info(stamp, frame_id, CameraModel.pinhole(prediction.intrinsics))
        color = depth_color(prediction.depth_HW, self._cap_m)
        messages = {
            '/camera_info': info,
            '/image': make.image(stamp, frame_id, prediction.image_HW3),
            '/depth/camera_info': info,
            '/depth/image_rect': make.image(stamp, frame_id, prediction.depth_HW, '32FC1'),
            '/depth/image_color': make.image(stamp, frame_id, color),
        }
        if prediction.uncertainty_HW is not None:
            sigma = make.image(stamp, frame_id, prediction.uncertainty_HW, '32FC1')
            messages['/depth/uncertainty'] = sigma
        points = self._cloud.build(_estimate(prediction)).points
        fields = {name: points[name] for name in POINT_DTYPE.names or ()}
        messages['/points'] = make.point_cloud(stamp, frame_id, fields)
        for topic, message in messages.items():
            self._bag.write(topic, stamp, message)

    def close(self) -> None:
        """End the bag and write its metadata."""
        self._bag.close()


def _estimate(prediction: Prediction) -> DepthEstimate:
    return DepthEstimate(
        depth_HW=prediction.depth_HW,
        uncertainty_HW=prediction.uncertainty_HW,
        image_HW3=prediction.image_HW3,
        intrinsics=prediction.intrinsics,
        stamp_ns=prediction.stamp_ns,
        frame_id=prediction.frame_id,
        reset=None,
        frames_since_reset=prediction.frames_since_reset,
        is_warm=True,
        is_held=False,
        times=prediction.times or UNTIMED,
    )
