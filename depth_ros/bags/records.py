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

"""What streams of a bag consist of: typed records, each with its stamp in nanoseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'
POINT_CLOUD = 'sensor_msgs/msg/PointCloud2'
TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
ODOMETRY = 'nav_msgs/msg/Odometry'


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicInfo:
    """A topic of a bag, its message type as ``package/msg/Name``, and its messages."""

    name: str
    msgtype: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """One message as it is stored: CDR bytes, and the time at which it was recorded [ns]."""

    topic: str
    msgtype: str
    log_ns: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BagMessage:
    """One decoded message, and the time at which it was recorded [ns], not its own stamp."""

    topic: str
    msgtype: str
    log_ns: int
    message: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedMessage:
    """
    A message that could not be used, and why.

    ``stamp_ns`` is the stamp of its header, or the time of recording where that is unreadable.
    """

    topic: str
    stamp_ns: int
    reason: str


OnSkip = Callable[[SkippedMessage], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LidarSweep:
    """
    One sweep of a LiDAR.

    Fields:
        stamp_ns: stamp of the message [ns].
        frame_id: frame of the points.
        xyz_N3: float32 [m]; rows without a return are NaN.
        time_offset_ns_N: int64, when each point was measured, relative to ``stamp_ns``; None
            when the driver does not say.

    """

    stamp_ns: int
    frame_id: str
    xyz_N3: NDArray[np.float32]
    time_offset_ns_N: NDArray[np.int64] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OdometrySample:
    """
    Pose and velocity of the vehicle.

    Fields:
        frame_id: the fixed frame ("world").
        child_frame_id: the body frame.
        world_T_body_44: float64, maps points of the body to the fixed frame [m].
        twist: (6,) float64, linear [m/s] and angular [rad/s] velocity in the body frame.

    """

    stamp_ns: int
    frame_id: str
    child_frame_id: str
    world_T_body_44: NDArray[np.float64]
    twist: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthImage:
    """A recorded depth image: metres, float32, NaN unknown, +Inf beyond range (REP 117)."""

    stamp_ns: int
    frame_id: str
    depth_HW: NDArray[np.float32]
