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
What a KITTI folder holds: files, stamps, calibration and poses, of the raw or odometry layout.

Frames: ``base_link`` is the GPS/IMU unit (raw) or the LiDAR (odometry layout, which does not
tell the unit's place). The optical frame is that of the chosen rectified camera: the offset in
the last column of P_rect is part of its transform, so that K alone projects.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
from depth_ros.bags.kitti_files import (
    Calibration,
    mercator_scale,
    NS_PER_S,
    numbered_files,
    OxtsPacket,
    read_calibration,
    read_oxts,
    read_poses,
    read_seconds,
    read_timestamps,
)
from depth_ros.bags.records import OdometrySample
from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import invert, log_se3, Matrix
from depth_ros.errors import BagError, FrameError
import numpy as np

BASE_FRAME, IMU_FRAME, LIDAR_FRAME = 'base_link', 'imu_link', 'velodyne'
ODOMETRY_FRAME = 'odom'
# The odometry layout counts seconds from its first frame, and a stamp of zero means "no stamp"
# in ROS: its drives are put at this moment.
ODOMETRY_EPOCH_NS = 1_000_000_000 * NS_PER_S
# Velocities of the odometry layout are differences over the neighbouring frames.
NO_TWIST = (np.nan,) * 6


@dataclass(frozen=True, kw_only=True)
class KittiDrive:
    """
    A drive ready to be converted.

    Fields:
        images, sweeps: files by frame number.
        image_stamps, sweep_stamps: by frame number [ns]; None where the file has a blank line.
        intrinsics: of the rectified images.
        camera_T_lidar: maps LiDAR points to the optical frame.
        static_edges: (parent, child, parent_T_child) of /tf_static.
        odometry: reads the sample of a frame, by frame number.

    """

    path: Path
    camera_frame: str
    intrinsics: Intrinsics
    camera_T_lidar: Matrix
    static_edges: tuple[tuple[str, str, Matrix], ...]
    images: dict[int, Path]
    image_stamps: list[int | None]
    sweeps: dict[int, Path]
    sweep_stamps: list[int | None]
    odometry: OdometrySource


@dataclass(frozen=True, kw_only=True)
class OdometrySource:
    """Samples by frame number: their stamps [ns], and how to read one with its sigma [m]."""

    stamps: dict[int, int]
    read: Callable[[int], tuple[OdometrySample, float]]


NO_ODOMETRY = OdometrySource(stamps={}, read=lambda index: _refuse_odometry(index))


def _refuse_odometry(index: int) -> tuple[OdometrySample, float]:
    raise FrameError(f'frame {index} has no odometry')


def open_raw_drive(
    path: Path, *, camera: int = 2, with_lidar: bool = True, with_odometry: bool = True
) -> KittiDrive:
    """
    Return a drive of the raw layout, such as ``2011_09_26/2011_09_26_drive_0005_sync``.

    The calibration files lie in the folder above, that of the date.

    :raises BagError: a file is missing or has other content.

    """
    cameras = read_calibration(path.parent / 'calib_cam_to_cam.txt')
    images = _images(path / f'image_{camera:02}' / 'data')
    camera_T_rect0, intrinsics = _camera(cameras, f'P_rect_{camera:02}', images)
    rect0 = np.eye(4)
    rect0[:3, :3] = cameras.matrix('R_rect_00', 3, 3)
    cam0_T_lidar = read_calibration(path.parent / 'calib_velo_to_cam.txt').rigid('R', 'T')
    lidar_T_imu = read_calibration(path.parent / 'calib_imu_to_velo.txt').rigid('R', 'T')
    camera_T_lidar = camera_T_rect0 @ rect0 @ cam0_T_lidar
    frame = camera_frame(camera)
    lidar = path / 'velodyne_points'
    return KittiDrive(
        path=path,
        camera_frame=frame,
        intrinsics=intrinsics,
        camera_T_lidar=camera_T_lidar,
        static_edges=(
            (BASE_FRAME, IMU_FRAME, np.eye(4)),
            (BASE_FRAME, LIDAR_FRAME, invert(lidar_T_imu)),
            (LIDAR_FRAME, frame, invert(camera_T_lidar)),
        ),
        images=images,
        image_stamps=read_timestamps(path / f'image_{camera:02}' / 'timestamps.txt'),
        sweeps=numbered_files(lidar / 'data', '.bin') if with_lidar else {},
        sweep_stamps=read_timestamps(lidar / 'timestamps.txt') if with_lidar else [],
        odometry=_oxts_odometry(path / 'oxts') if with_odometry else NO_ODOMETRY,
    )


def open_odometry_sequence(
    path: Path, *, camera: int = 2, with_lidar: bool = True, with_odometry: bool = True
) -> KittiDrive:
    """
    Return a sequence of the odometry layout, such as ``dataset/sequences/00``.

    The poses are ``dataset/poses/00.txt``; sequences 11 to 21 have none.

    :raises BagError: a file is missing or has other content.

    """
    calibration = read_calibration(path / 'calib.txt')
    images = _images(path / f'image_{camera}')
    camera_T_rect0, intrinsics = _camera(calibration, f'P{camera}', images)
    rect0_T_lidar = np.vstack([calibration.matrix('Tr', 3, 4), [0.0, 0.0, 0.0, 1.0]])
    camera_T_lidar = camera_T_rect0 @ rect0_T_lidar
    stamps = [ODOMETRY_EPOCH_NS + time_ns for time_ns in read_seconds(path / 'times.txt')]
    frame = camera_frame(camera)
    poses = path.parent.parent / 'poses' / f'{path.name}.txt'
    return KittiDrive(
        path=path,
        camera_frame=frame,
        intrinsics=intrinsics,
        camera_T_lidar=camera_T_lidar,
        static_edges=(
            (BASE_FRAME, LIDAR_FRAME, np.eye(4)),
            (LIDAR_FRAME, frame, invert(camera_T_lidar)),
        ),
        images=images,
        image_stamps=list(stamps),
        sweeps=numbered_files(path / 'velodyne', '.bin') if with_lidar else {},
        sweep_stamps=list(stamps) if with_lidar else [],
        odometry=_pose_odometry(poses, stamps, rect0_T_lidar) if with_odometry else NO_ODOMETRY,
    )


def camera_frame(camera: int) -> str:
    """Return the optical frame of a camera."""
    return f'camera_{camera:02}_optical_frame'


def _images(folder: Path) -> dict[int, Path]:
    images = numbered_files(folder, '.png')
    if not images:
        raise BagError(f"folder '{folder}' holds no image NNNNNNNNNN.png")
    return images


def _camera(
    calibration: Calibration, key: str, images: dict[int, Path]
) -> tuple[Matrix, Intrinsics]:
    """Split P = K [I | t] into camera_T_rect0, which is the offset t, and the intrinsics."""
    projection = calibration.matrix(key, 3, 4)
    camera_T_rect0 = np.eye(4)
    try:
        camera_T_rect0[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    except np.linalg.LinAlgError as error:
        raise BagError(f"'{calibration.path}': key '{key}' is no camera matrix") from error
    first = next(iter(images.values()))
    image = cv2.imread(str(first), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise BagError(f"'{first}' cannot be decoded: the image size is not known")
    intrinsics = Intrinsics(
        width=image.shape[1],
        height=image.shape[0],
        fx=float(projection[0, 0]),
        fy=float(projection[1, 1]),
        cx=float(projection[0, 2]),
        cy=float(projection[1, 2]),
    )
    return camera_T_rect0, intrinsics


def _oxts_odometry(folder: Path) -> OdometrySource:
    stamps = read_timestamps(folder / 'timestamps.txt')
    files = numbered_files(folder / 'data', '.txt')
    if not files:
        raise BagError(f"folder '{folder / 'data'}' holds no packet NNNNNNNNNN.txt")
    try:
        first = read_oxts(next(iter(files.values())))
    except FrameError as error:
        raise BagError(str(error)) from error
    timed = {i: stamp for i, stamp in enumerate(stamps) if i in files and stamp is not None}

    def read(index: int) -> tuple[OdometrySample, float]:
        packet = read_oxts(files[index])
        return _oxts_sample(packet, first, timed[index]), packet.position_sigma_m

    return OdometrySource(stamps=timed, read=read)


def _oxts_sample(packet: OxtsPacket, first: OxtsPacket, stamp_ns: int) -> OdometrySample:
    """Place the unit in axes east, north, up with the origin at the drive's first packet."""
    scale = mercator_scale(first.latitude_deg)
    odom_T_base = np.eye(4)
    odom_T_base[:3, :3] = packet.rotation()
    odom_T_base[:3, 3] = packet.mercator(scale) - first.mercator(scale)
    return _sample(stamp_ns, odom_T_base, packet.twist())


def _pose_odometry(path: Path, stamps: list[int], rect0_T_lidar: Matrix) -> OdometrySource:
    """Turn camera poses into poses of the LiDAR in its own axes at the first frame."""
    if not path.is_file():
        raise BagError(f"'{path}' does not exist: convert without odometry")
    lidar_T_rect0 = invert(rect0_T_lidar)
    poses = [lidar_T_rect0 @ world_T_rect0 @ rect0_T_lidar for world_T_rect0 in read_poses(path)]
    if len(poses) != len(stamps):
        raise BagError(f"'{path}' has {len(poses)} poses, times.txt {len(stamps)} times")

    def read(index: int) -> tuple[OdometrySample, float]:
        twist = _difference(poses, stamps, index)
        return _sample(stamps[index], poses[index], twist), 0.0

    return OdometrySource(stamps=dict(enumerate(stamps)), read=read)


def _difference(poses: list[Matrix], stamps: list[int], index: int) -> Matrix:
    """Return the mean twist [m/s, rad/s] between the neighbours of a pose."""
    before, after = max(index - 1, 0), min(index + 1, len(poses) - 1)
    seconds = (stamps[after] - stamps[before]) / NS_PER_S
    if seconds <= 0:
        return np.array(NO_TWIST)
    return log_se3(invert(poses[before]) @ poses[after]) / seconds


def _sample(stamp_ns: int, odom_T_base: Matrix, twist: Matrix) -> OdometrySample:
    return OdometrySample(
        stamp_ns=stamp_ns,
        frame_id=ODOMETRY_FRAME,
        child_frame_id=BASE_FRAME,
        world_T_body_44=odom_T_base,
        twist=twist,
    )
