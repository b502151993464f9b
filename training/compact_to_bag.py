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
Convert a drive of a compact folder (index.csv, camera.json, JPEG, projected depth) to a bag.

The depth picture of a frame becomes a cloud in the camera's own frame, at the LiDAR's stamp.
Topics: /camera/image_rect/compressed, /camera/camera_info, /points, /tf_static, and where known
/vehicle/twist (speed) or /odometry (with --odometry-from), and /camera_right/... (with --right).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any

from depth_ros.bags.kitti import COMPRESSED_FORMATS, ODOMETRY_TOPIC, STATIC_TRANSFORM_TOPIC
from depth_ros.bags.kitti_drive import BASE_FRAME, camera_frame, LIDAR_FRAME, open_raw_drive
from depth_ros.bags.kitti_files import clock_to_ns
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.typestores import DEFAULT_DISTRO, METADATA_VERSIONS
from depth_ros.bags.writer import BagWriter, STORAGE_PLUGINS
from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.geometry import check_transform, invert, Matrix
from depth_ros.errors import BagError, DepthRosError, FrameError
import numpy as np
from numpy.typing import NDArray
from training.dataset_format import DatasetError, read_depth, read_json

PROGRAM = 'python -m training.compact_to_bag'
IMAGE_TOPIC, INFO_TOPIC = '/camera/image_rect/compressed', '/camera/camera_info'
RIGHT_IMAGE_TOPIC = '/camera_right/image_rect/compressed'
RIGHT_INFO_TOPIC = '/camera_right/camera_info'
CLOUD_TOPIC, TWIST_TOPIC = '/points', '/vehicle/twist'
LEFT, RIGHT = 2, 3
NS_PER_S = 1_000_000_000
# Drives without times run at this rate from a moment of their own: an hour apart, so that no two
# of them seem to be one recording.
PERIOD_NS = 100_000_000
UNTIMED_START_NS, UNTIMED_STEP_NS = 1_000_000_000 * NS_PER_S, 3600 * NS_PER_S
COLUMNS = {
    'drive', 'frame', 'image', 'depth', 'camera_time', 'lidar_time', 'speed_mps', 'image_right',
}  # fmt: skip

Message = tuple[int, str, Any]


@dataclass(frozen=True, kw_only=True)
class Rig:
    """The cameras of a folder: K is that of both, each projects with K alone in its frame."""

    intrinsics: Intrinsics
    left_T_right: Matrix
    left_T_lidar: Matrix


@dataclass(frozen=True, kw_only=True)
class CompactFrame:
    """One row of index.csv; paths below the folder, None where there is none."""

    frame: int
    image: Path
    image_right: Path | None
    depth: Path | None
    stamp_ns: int
    lidar_stamp_ns: int
    speed_mps: float | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        counts = convert(
            given.folder,
            given.drive,
            given.out,
            with_right=given.right,
            odometry_from=given.odometry_from,
            storage=given.storage,
            distro=given.distro,
        )
    except DepthRosError as error:
        print(f'compact_to_bag: {error}', file=sys.stderr)
        return 1
    print('\n'.join([f'{given.out}:', *(f'  {t}: {n}' for t, n in sorted(counts.items()))]))
    return 0


def convert(
    folder: Path,
    drive: str,
    out: Path,
    *,
    with_right: bool = False,
    odometry_from: Path | None = None,
    storage: Any = 'mcap',
    distro: str = DEFAULT_DISTRO,
) -> dict[str, int]:
    """
    Write the bag and return the number of messages of each topic.

    :param odometry_from: the same drive in the raw layout, whose GPS/IMU gives poses.
    :raises DepthRosError: a file is missing or damaged, or the bag cannot be written.
    """
    rig = read_rig(folder / 'camera.json')
    rows = read_index(folder, drive)
    make = MessageFactory(distro)
    camera = CameraModel.pinhole(rig.intrinsics)
    odometry: list[Message] = []
    edges = _edges(rig, with_right)
    if odometry_from is not None:
        odometry, base_edge = _odometry(make, odometry_from, rows)
        edges = [base_edge, *edges]
    with BagWriter(out, storage, distro) as writer:
        first_ns = min(row.stamp_ns for row in rows)
        writer.write(STATIC_TRANSFORM_TOPIC, first_ns, make.transforms(first_ns, edges))
        waiting = list(reversed(odometry))
        for row in rows:
            while waiting and waiting[-1][0] <= row.stamp_ns:
                stamp_ns, topic, message = waiting.pop()
                writer.write(topic, stamp_ns, message)
            for stamp_ns, topic, message in _messages(make, rig, camera, row, with_right):
                writer.write(topic, stamp_ns, message)
            if row.speed_mps is not None and odometry_from is None:
                writer.write(TWIST_TOPIC, row.stamp_ns, _twist(make, row))
        for stamp_ns, topic, message in reversed(waiting):
            writer.write(topic, stamp_ns, message)
        return dict(writer.counts)


def read_rig(path: Path) -> Rig:
    """
    Return the cameras that camera.json describes.

    :raises DatasetError: a key is missing or no such matrix.
    """
    content = read_json(path)
    try:
        width, height = (int(value) for value in content['size'])
        k_33 = np.array(content['K'], np.float64)
        left, right, lidar = (
            np.linalg.solve(k_33, np.array(content[key], np.float64))
            for key in ('P_rect_02', 'P_rect_03', 'velo_to_image_02_3x4')
        )
        left_T_right = np.eye(4)
        left_T_right[:3, 3] = left[:, 3] - right[:, 3]
        left_T_lidar = check_transform(np.vstack([lidar, [0.0, 0.0, 0.0, 1.0]]))
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError, FrameError) as error:
        raise DatasetError(f"'{path}': {type(error).__name__} {error}") from error
    return Rig(
        intrinsics=Intrinsics(
            width=width,
            height=height,
            fx=float(k_33[0, 0]),
            fy=float(k_33[1, 1]),
            cx=float(k_33[0, 2]),
            cy=float(k_33[1, 2]),
        ),
        left_T_right=left_T_right,
        left_T_lidar=left_T_lidar,
    )


def read_index(folder: Path, drive: str) -> list[CompactFrame]:
    """
    Return the frames of a drive in order.

    :raises DatasetError: the index lacks the drive or a column, or a time cannot be read.
    """
    path = folder / 'index.csv'
    try:
        with path.open(encoding='utf-8', newline='') as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error
    missing = sorted(COLUMNS - {*(rows[0] if rows else {})})
    if missing:
        raise DatasetError(f"'{path}' lacks the columns {', '.join(missing)}")
    drives = list(dict.fromkeys(row['drive'] for row in rows))
    if drive not in drives:
        raise DatasetError(f"'{path}' has no drive '{drive}': it has {', '.join(drives)}")
    start_ns = UNTIMED_START_NS + drives.index(drive) * UNTIMED_STEP_NS
    try:
        return [_frame(folder, row, start_ns) for row in rows if row['drive'] == drive]
    except ValueError as error:
        raise DatasetError(f"'{path}', drive '{drive}': {error}") from error


def _frame(folder: Path, row: dict[str, str], start_ns: int) -> CompactFrame:
    frame = int(row['frame'])
    untimed_ns = start_ns + frame * PERIOD_NS
    stamp_ns = clock_to_ns(row['camera_time']) if row['camera_time'] else untimed_ns
    return CompactFrame(
        frame=frame,
        image=folder / row['image'],
        image_right=folder / row['image_right'] if row['image_right'] else None,
        depth=folder / row['depth'] if row['depth'] else None,
        stamp_ns=stamp_ns,
        lidar_stamp_ns=clock_to_ns(row['lidar_time']) if row['lidar_time'] else stamp_ns,
        speed_mps=float(row['speed_mps']) if row['speed_mps'] else None,
    )


def _edges(rig: Rig, with_right: bool) -> list[tuple[str, str, Matrix]]:
    edges = [(LIDAR_FRAME, camera_frame(LEFT), invert(rig.left_T_lidar))]
    if with_right:
        edges.append((camera_frame(LEFT), camera_frame(RIGHT), rig.left_T_right))
    return edges


def _messages(
    make: MessageFactory, rig: Rig, camera: CameraModel, row: CompactFrame, with_right: bool
) -> Iterator[Message]:
    stamp_ns = row.stamp_ns
    if row.depth is not None:
        columns = dict(zip('xyz', unprojected(read_depth(row.depth), rig).T, strict=True))
        cloud = make.point_cloud(row.lidar_stamp_ns, camera_frame(LEFT), columns)
        yield min(row.lidar_stamp_ns, stamp_ns), CLOUD_TOPIC, cloud
    yield stamp_ns, INFO_TOPIC, make.camera_info(stamp_ns, camera_frame(LEFT), camera)
    yield stamp_ns, IMAGE_TOPIC, _jpeg(make, stamp_ns, camera_frame(LEFT), row.image)
    if with_right and row.image_right is None:
        raise DatasetError(f"frame {row.frame} of '{row.image}' has no right image: --right")
    if with_right and row.image_right is not None:
        frame = camera_frame(RIGHT)
        yield stamp_ns, RIGHT_INFO_TOPIC, make.camera_info(stamp_ns, frame, camera)
        yield stamp_ns, RIGHT_IMAGE_TOPIC, _jpeg(make, stamp_ns, frame, row.image_right)


def unprojected(depth_HW: NDArray[np.float32], rig: Rig) -> NDArray[np.float32]:
    """
    Return the measured pixels as points (N, 3) of the left camera [m].

    :raises DatasetError: the depth image is not of the camera's size.
    """
    i = rig.intrinsics
    if depth_HW.shape != (i.height, i.width):
        raise DatasetError(f'depth of shape {depth_HW.shape}: the camera is {i.width}x{i.height}')
    rows, cols = np.nonzero(depth_HW)
    z = depth_HW[rows, cols].astype(np.float64)
    x, y = (cols - i.cx) / i.fx * z, (rows - i.cy) / i.fy * z
    return np.stack([x, y, z], axis=1).astype(np.float32)


def _jpeg(make: MessageFactory, stamp_ns: int, frame: str, path: Path) -> Any:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error
    return make.compressed_image(stamp_ns, frame, data, COMPRESSED_FORMATS['jpeg'])


def _twist(make: MessageFactory, row: CompactFrame) -> Any:
    def xyz(x: float) -> Any:
        return make.make('geometry_msgs/msg/Vector3', x=x, y=0.0, z=0.0)

    return make.make(
        'geometry_msgs/msg/TwistStamped',
        header=make.header(row.stamp_ns, BASE_FRAME),
        # How fast the vehicle turns is not known.
        twist=make.make(
            'geometry_msgs/msg/Twist', linear=xyz(float(row.speed_mps or 0.0)), angular=xyz(np.nan)
        ),
    )


def _odometry(
    make: MessageFactory, drive: Path, rows: Sequence[CompactFrame]
) -> tuple[list[Message], tuple[str, str, Matrix]]:
    """Return the poses around the frames, and the place of the LiDAR on the vehicle."""
    raw = open_raw_drive(drive.resolve(), with_lidar=False)
    frame = rows[0].frame
    known = raw.image_stamps[frame] if frame < len(raw.image_stamps) else None
    if known != rows[0].stamp_ns:
        raise BagError(
            f"'{drive}' has image {frame} at {known} ns, the compact drive at "
            f'{rows[0].stamp_ns} ns: it is another drive'
        )
    numbers = {row.frame for row in rows}
    wanted = range(min(numbers) - 1, max(numbers) + 2)
    messages = []
    for index, stamp_ns in raw.odometry.stamps.items():
        if index in wanted:
            message = make.odometry(*raw.odometry.read(index))
            messages.append((stamp_ns, ODOMETRY_TOPIC, message))
    base_edge = next(edge for edge in raw.static_edges if edge[1] == LIDAR_FRAME)
    return messages, base_edge


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    add = parser.add_argument
    add('folder', type=Path, help='with index.csv and camera.json')
    add('--drive', required=True, metavar='NAME', help='as the index names it')
    add('--out', type=Path, required=True, metavar='BAG', help='folder of the bag to make')
    add('--right', action='store_true', help='the right camera too')
    add(
        '--odometry-from',
        type=Path,
        metavar='DRIVE_DIR',
        help='the same drive in the KITTI raw layout: poses from its GPS/IMU',
    )
    add('--storage', choices=sorted(STORAGE_PLUGINS), default='mcap')
    add('--distro', choices=sorted(METADATA_VERSIONS), default=DEFAULT_DISTRO)
    return parser


if __name__ == '__main__':
    sys.exit(main())
