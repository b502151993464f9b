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
Convert a KITTI drive, raw or odometry layout, to a ROS 2 bag.

Topics: /camera/image_rect (or /camera/image_rect/compressed), /camera/camera_info,
/velodyne_points, /odometry, /tf_static. Messages carry the stamps of the drive's time files,
whose local wall clock is taken for UTC.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
import sys

from depth_ros.bags.kitti import (
    ConversionOptions,
    ConversionSummary,
    IMAGE_TOPICS,
    KittiConverter,
)
from depth_ros.bags.kitti_drive import KittiDrive, open_odometry_sequence, open_raw_drive
from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.typestores import DEFAULT_DISTRO, METADATA_VERSIONS
from depth_ros.bags.writer import BagWriter, STORAGE_PLUGINS
from depth_ros.errors import DepthRosError

LAYOUTS: dict[str, Callable[..., KittiDrive]] = {
    'raw': open_raw_drive,
    'odometry': open_odometry_sequence,
}
SHOWN_SKIPS = 5


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(prog='kitti_to_bag', description=__doc__)
    add = result.add_argument
    add('drive', type=Path, metavar='DRIVE_DIR', help='…_drive_NNNN_sync, or sequences/NN')
    add('--out', type=Path, required=True, metavar='BAG', help='folder of the bag to make')
    add('--layout', choices=sorted(LAYOUTS), default='raw')
    add('--storage', choices=sorted(STORAGE_PLUGINS), default='mcap')
    add(
        '--distro',
        choices=sorted(METADATA_VERSIONS),
        default=DEFAULT_DISTRO,
        help='oldest ROS distribution that has to read the bag',
    )
    add('--camera', type=int, choices=range(4), default=2, help='2 and 3 are in colour')
    add(
        '--image',
        choices=sorted(IMAGE_TOPICS),
        default='raw',
        help='png: the files of the drive as they are, lossless',
    )
    add('--jpeg-quality', type=int, default=ConversionOptions.jpeg_quality, metavar='1..100')
    add('--frames', type=_frames, metavar='A:B', help='frame numbers A to B-1')
    add(
        '--points-margin',
        type=float,
        metavar='SHARE',
        help='keep only LiDAR points that project into the image widened by this share of its '
        'size on every side',
    )
    add(
        '--points-range',
        type=_range,
        default=ConversionOptions.range_m,
        metavar='MIN:MAX',
        help='keep only LiDAR points at these distances from the LiDAR, in metres',
    )
    add(
        '--without',
        nargs='+',
        choices=('lidar', 'odometry'),
        default=(),
        help='what the drive lacks or the bag need not have',
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    options = parser().parse_args(arguments)
    try:
        summary = _convert(options)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(_report(options.out, summary))
    return 0


def _convert(options: argparse.Namespace) -> ConversionSummary:
    conversion = ConversionOptions(
        image=options.image,
        jpeg_quality=options.jpeg_quality,
        frames=options.frames,
        crop_margin=options.points_margin,
        range_m=options.points_range,
    )
    drive = LAYOUTS[options.layout](
        options.drive.resolve(),
        camera=options.camera,
        with_lidar='lidar' not in options.without,
        with_odometry='odometry' not in options.without,
    )
    converter = KittiConverter(drive, conversion, MessageFactory(options.distro))
    with BagWriter(options.out, options.storage, options.distro) as writer:
        return converter.write_to(writer)


def _report(path: Path, summary: ConversionSummary) -> str:
    lines = [f'{path}: {sum(summary.written.values())} messages']
    for topic, count in sorted(summary.written.items()):
        missing = summary.missing[topic]
        lines.append(f'  {topic}: {count}' + (f' ({missing} missing)' if missing else ''))
    for skipped in summary.skipped[:SHOWN_SKIPS]:
        lines.append(f'  skipped on {skipped.topic}: {skipped.reason}')
    more = len(summary.skipped) - SHOWN_SKIPS
    if more > 0:
        lines.append(f'  and {more} more skipped')
    return '\n'.join(lines)


def _frames(text: str) -> tuple[int, int]:
    first, _, stop = text.partition(':')
    return int(first), int(stop)


def _range(text: str) -> tuple[float, float]:
    low, _, high = text.partition(':')
    return float(low), float(high)


if __name__ == '__main__':
    sys.exit(main())
