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

"""Build the messages that bags of this package hold, from arrays, as ``rosbags`` classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from depth_ros.bags.records import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    OdometrySample,
    POINT_CLOUD,
    TF_MESSAGE,
)
from depth_ros.bags.typestores import DEFAULT_DISTRO, store_of
from depth_ros.core.camera import CameraModel
from depth_ros.core.geometry import Matrix, quaternion_from_rotation
import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
# sensor_msgs/PointField datatype numbers of the numpy kinds.
POINT_FIELD_TYPES = {'i1': 1, 'u1': 2, 'i2': 3, 'u2': 4, 'i4': 5, 'u4': 6, 'f4': 7, 'f8': 8}


class MessageFactory:
    """Makes messages with the definitions of one distribution."""

    def __init__(self, distro: str = DEFAULT_DISTRO) -> None:
        self._types = store_of(distro).types

    def make(self, msgtype: str, **fields: Any) -> Any:
        """Return a message of any type; nested messages are messages too."""
        return self._types[msgtype](**fields)

    def time(self, stamp_ns: int) -> Any:
        """Return a builtin_interfaces/Time."""
        sec, nanosec = divmod(stamp_ns, NS_PER_S)
        return self.make('builtin_interfaces/msg/Time', sec=sec, nanosec=nanosec)

    def header(self, stamp_ns: int, frame_id: str) -> Any:
        """Return a std_msgs/Header."""
        return self.make('std_msgs/msg/Header', stamp=self.time(stamp_ns), frame_id=frame_id)

    def image(
        self, stamp_ns: int, frame_id: str, pixels: NDArray[Any], encoding: str = 'bgr8'
    ) -> Any:
        """Return an Image of an (H, W) or (H, W, C) array without row padding."""
        pixels = np.ascontiguousarray(pixels)
        height, width = pixels.shape[:2]
        return self.make(
            IMAGE,
            header=self.header(stamp_ns, frame_id),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=pixels.nbytes // height,
            data=pixels.reshape(-1).view(np.uint8),
        )

    def compressed_image(self, stamp_ns: int, frame_id: str, data: bytes, layout: str) -> Any:
        """Return a CompressedImage; the layout as image_transport writes it."""
        return self.make(
            COMPRESSED_IMAGE,
            header=self.header(stamp_ns, frame_id),
            format=layout,
            data=np.frombuffer(data, np.uint8),
        )

    def camera_info(self, stamp_ns: int, frame_id: str, camera: CameraModel) -> Any:
        """Return the CameraInfo of a calibration."""
        roi = camera.roi
        return self.make(
            CAMERA_INFO,
            header=self.header(stamp_ns, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model=camera.distortion_model,
            d=np.array(camera.d, np.float64),
            k=np.array(camera.k, np.float64),
            r=np.array(camera.r, np.float64),
            p=np.array(camera.p, np.float64),
            binning_x=camera.binning_x,
            binning_y=camera.binning_y,
            roi=self.make(
                'sensor_msgs/msg/RegionOfInterest',
                x_offset=roi.x,
                y_offset=roi.y,
                height=roi.height,
                width=roi.width,
                do_rectify=False,
            ),
        )

    def point_cloud(self, stamp_ns: int, frame_id: str, fields: Mapping[str, NDArray[Any]]) -> Any:
        """Return an unorganised PointCloud2 of equally long columns, in the order given."""
        dtype = np.dtype(
            [(name, values.dtype.newbyteorder('<')) for name, values in fields.items()]
        )
        points = np.empty(len(next(iter(fields.values()))), dtype)
        for name, values in fields.items():
            points[name] = values
        return self.make(
            POINT_CLOUD,
            header=self.header(stamp_ns, frame_id),
            height=1,
            width=len(points),
            fields=self._point_fields(dtype),
            is_bigendian=False,
            point_step=dtype.itemsize,
            row_step=points.nbytes,
            data=points.view(np.uint8).reshape(-1),
            is_dense=True,
        )

    def _point_fields(self, dtype: np.dtype[Any]) -> list[Any]:
        described = list((dtype.fields or {}).items())
        return [
            self.make(
                'sensor_msgs/msg/PointField',
                name=name,
                offset=field[1],
                datatype=POINT_FIELD_TYPES[field[0].str[1:]],
                count=1,
            )
            for name, field in described
        ]

    def transforms(self, stamp_ns: int, edges: Sequence[tuple[str, str, Matrix]]) -> Any:
        """Return a TFMessage of (parent, child, parent_T_child)."""
        stamped = [
            self.make(
                'geometry_msgs/msg/TransformStamped',
                header=self.header(stamp_ns, parent),
                child_frame_id=child,
                transform=self.make(
                    'geometry_msgs/msg/Transform',
                    translation=self._xyz('Vector3', parent_T_child[:3, 3]),
                    rotation=self._quaternion(parent_T_child),
                ),
            )
            for parent, child, parent_T_child in edges
        ]
        return self.make(TF_MESSAGE, transforms=stamped)

    def odometry(self, sample: OdometrySample, position_sigma_m: float) -> Any:
        """Return an Odometry; the pose covariance tells the position's sigma only."""
        pose = self.make(
            'geometry_msgs/msg/Pose',
            position=self._xyz('Point', sample.world_T_body_44[:3, 3]),
            orientation=self._quaternion(sample.world_T_body_44),
        )
        twist = self.make(
            'geometry_msgs/msg/Twist',
            linear=self._xyz('Vector3', sample.twist[:3]),
            angular=self._xyz('Vector3', sample.twist[3:]),
        )
        covariance = np.diag([position_sigma_m**2] * 3 + [0.0] * 3).reshape(-1)
        return self.make(
            ODOMETRY,
            header=self.header(sample.stamp_ns, sample.frame_id),
            child_frame_id=sample.child_frame_id,
            pose=self.make(
                'geometry_msgs/msg/PoseWithCovariance', pose=pose, covariance=covariance
            ),
            twist=self.make(
                'geometry_msgs/msg/TwistWithCovariance', twist=twist, covariance=np.zeros(36)
            ),
        )

    def _xyz(self, name: str, values: NDArray[np.float64]) -> Any:
        x, y, z = (float(value) for value in values)
        return self.make(f'geometry_msgs/msg/{name}', x=x, y=y, z=z)

    def _quaternion(self, a_T_b: Matrix) -> Any:
        x, y, z, w = (float(value) for value in quaternion_from_rotation(a_T_b[:3, :3]))
        return self.make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)
