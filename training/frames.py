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
Camera frames with LiDAR truth: from bags, and from KITTI folders whose frames have no time.

Bags are the road into training and evaluation; single frames (the object benchmark) and depth
that is projected already (the depth benchmark) cannot become one, but suit a calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
from depth_ros.bags.kitti_files import numbered_files, read_calibration, read_points
from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import LidarSweep, SkippedMessage
from depth_ros.bags.streams import frames, static_transforms, sweeps
from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.geometry import Matrix
from depth_ros.core.lidar import project, SparseDepth
from depth_ros.core.sync import increasing, pair_streams
from depth_ros.errors import BagError, FrameError
import numpy as np

Pair = tuple[Frame, SparseDepth]

DEPTH_PNG_PER_METRE = 256.0
# The protocol of evaluate.
MAX_SYNC_NS = 50_000_000
# Drives of KITTI are numbered at 10 Hz, missing frames counted.
PERIOD_NS = 100_000_000
# Pictures that have nothing to do with each other, for models with a memory: an hour.
ALONE_NS = 3_600_000_000_000
PROJECTED = Path('proj_depth', 'velodyne_raw', 'image_02')


def bag_frames(path: Path) -> Iterator[Pair]:
    """
    Yield the images of a bag that have a sweep of their own within ``MAX_SYNC_NS``.

    :raises BagError: a topic is missing or ambiguous, or a message cannot be used.
    """
    with BagReader(path) as reader:
        image, info, lidar = (
            resolve_topic(reader, kind, None) for kind in ('image', 'camera_info', 'lidar')
        )
        tree = static_transforms(reader)
        images = increasing(
            frames(reader, image, info, rectify=True, on_skip=_refuse), _refuse_late
        )
        clouds = increasing(sweeps(reader, lidar, on_skip=_refuse), _refuse_late)
        for frame, sweep in pair_streams(images, clouds, max_gap_ns=MAX_SYNC_NS):
            if sweep is not None:
                cam_T_lidar = tree.lookup(frame.frame_id, sweep.frame_id)
                yield frame, project(sweep.xyz_N3, cam_T_lidar, frame.camera.intrinsics)


def _refuse(skipped: SkippedMessage) -> None:
    raise BagError(
        f"topic '{skipped.topic}', stamp {skipped.stamp_ns} ns: {skipped.reason}: "
        'calibrate on bags whose messages are all whole'
    )


def _refuse_late(item: Frame | LidarSweep) -> None:
    raise BagError(f'stamp {item.stamp_ns} ns of {item.frame_id} is not after the one before it')


def object_frames(folder: Path) -> Iterator[Pair]:
    """
    Yield the frames of a ``training`` folder of the KITTI object benchmark.

    :raises BagError: a folder, or the point cloud or calibration of an image, is missing.
    """
    clouds = numbered_files(folder / 'velodyne', '.bin')
    for index, path in numbered_files(folder / 'image_2', '.png').items():
        if index not in clouds:
            raise BagError(f"'{path}' has no point cloud in '{folder / 'velodyne'}'")
        image_HW3 = _read_image(path)
        calibration = folder / 'calib' / f'{path.stem}.txt'
        cam_T_lidar, intrinsics = _object_camera(calibration, image_HW3)
        truth = project(read_points(clouds[index])[:, :3], cam_T_lidar, intrinsics)
        yield _frame(image_HW3, intrinsics, index * ALONE_NS), truth


def projected_frames(drive: Path, calibration: Path) -> Iterator[Pair]:
    """
    Yield the frames of a drive whose LiDAR is projected already (KITTI depth benchmark).

    :param drive: folder with image_02/data and proj_depth/velodyne_raw/image_02.
    :param calibration: calib_cam_to_cam.txt of the day.
    :raises BagError: a folder or file is missing, or image and depth differ in size.
    """
    images = {
        **numbered_files(drive / 'image_02' / 'data', '.png'),
        **numbered_files(drive / 'image_02' / 'data', '.jpg'),
    }
    projection = read_calibration(calibration).matrix('P_rect_02', 3, 4)
    for index, path in numbered_files(drive / PROJECTED, '.png').items():
        if index not in images:
            raise BagError(f"'{path}' has no image in '{drive / 'image_02' / 'data'}'")
        image_HW3 = _read_image(images[index])
        truth = read_depth_png(path)
        if (truth.height, truth.width) != image_HW3.shape[:2]:
            raise BagError(f"'{path}' is {truth.width}x{truth.height}, its image is not")
        yield _frame(image_HW3, _intrinsics(projection, image_HW3), index * PERIOD_NS), truth


def read_depth_png(path: Path) -> SparseDepth:
    """Return a 16-bit depth image of KITTI: metres x 256, 0 where nothing was measured."""
    raw_HW = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw_HW is None or raw_HW.dtype != np.uint16 or raw_HW.ndim != 2:
        raise BagError(f"'{path}' is no 16-bit grey picture: give depth as KITTI publishes it")
    rows, cols = np.nonzero(raw_HW)
    return SparseDepth(
        rows_N=rows.astype(np.int64),
        cols_N=cols.astype(np.int64),
        depth_N=(raw_HW[rows, cols] / DEPTH_PNG_PER_METRE).astype(np.float32),
        width=raw_HW.shape[1],
        height=raw_HW.shape[0],
        points=len(rows),
        invalid=0,
    )


def _object_camera(path: Path, image_HW3: ImageU8) -> tuple[Matrix, Intrinsics]:
    values = read_calibration(path)
    projection = values.matrix('P2', 3, 4)
    rect_T_cam, cam_T_lidar, camera_T_rect = np.eye(4), np.eye(4), np.eye(4)
    rect_T_cam[:3, :3] = values.matrix('R0_rect', 3, 3)
    cam_T_lidar[:3] = values.matrix('Tr_velo_to_cam', 3, 4)
    camera_T_rect[:3, 3] = np.linalg.solve(projection[:, :3], projection[:, 3])
    return camera_T_rect @ rect_T_cam @ cam_T_lidar, _intrinsics(projection, image_HW3)


def _intrinsics(projection_34: Matrix, image_HW3: ImageU8) -> Intrinsics:
    return Intrinsics(
        width=image_HW3.shape[1],
        height=image_HW3.shape[0],
        fx=float(projection_34[0, 0]),
        fy=float(projection_34[1, 1]),
        cx=float(projection_34[0, 2]),
        cy=float(projection_34[1, 2]),
    )


def _frame(image_HW3: ImageU8, intrinsics: Intrinsics, stamp_ns: int) -> Frame:
    camera = CameraModel.pinhole(intrinsics)
    return Frame(image_HW3=image_HW3, stamp_ns=stamp_ns, frame_id='camera', camera=camera)


def _read_image(path: Path) -> ImageU8:
    image_HW3 = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image_HW3 is None:
        raise FrameError(f"'{path}' cannot be read as a picture")
    return np.asarray(image_HW3, np.uint8)
