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

"""The command line of ``training.prepare``: nothing that is given is ignored."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from depth_ros.core.lidar import OcclusionFilter
from depth_ros.errors import ConfigError
from training.prepare_options import (
    DIRECTIONS,
    IMAGE_FORMATS,
    MOTION_MODES,
    OBJECT_KINDS,
    ObjectSource,
    PrepareOptions,
    SkyFilter,
    SpinningScanner,
    SWEEP_STAMPS,
)

DEFAULTS = PrepareOptions()
OCCLUSION, SKY = OcclusionFilter(), SkyFilter()


def options_of(given: argparse.Namespace) -> PrepareOptions:
    """
    Return the settings of a command line.

    :raises ConfigError: one is out of range, or would have no effect.
    """
    return PrepareOptions(
        image_topic=given.image_topic,
        camera_info_topic=given.camera_info_topic,
        lidar_topic=given.lidar_topic,
        odometry_topic=given.odometry_topic,
        twist_topic=given.twist_topic,
        is_rectified=given.image_is_rectified,
        use_lidar=not given.without_lidar,
        objects=_objects(given),
        right_topic=given.right_topic,
        right_camera_info_topic=given.right_camera_info_topic,
        max_stereo_ms=_max_stereo_ms(given),
        max_sync_ms=given.max_sync_ms,
        motion=given.motion,
        scanner=_scanner(given),
        occlusion=_occlusion(given),
        sky=_sky(given),
        image_format=given.image_format,
        jpeg_quality=_jpeg_quality(given),
        overlay_every=given.overlay_every,
        neighbour_ms=given.neighbour_ms,
    )


def _max_stereo_ms(given: argparse.Namespace) -> float:
    if given.right_topic is None:
        _refuse(given, 'has no effect without --right-topic', 'max_stereo_ms')
    if given.max_stereo_ms is None:
        return DEFAULTS.max_stereo_ms
    return float(given.max_stereo_ms)


def _objects(given: argparse.Namespace) -> ObjectSource | None:
    found = []
    for kind in OBJECT_KINDS:
        topic, labels = getattr(given, f'{kind}_topic'), getattr(given, f'{kind}_labels')
        if topic is None:
            _refuse(given, f'has no effect without --{kind}-topic', f'{kind}_labels')
        else:
            found.append(ObjectSource(topic=topic, kind=kind, labels=labels))
    if len(found) > 1:
        raise ConfigError('--mask-topic and --boxes-topic both tell objects: leave one out')
    return found[0] if found else None


def _scanner(given: argparse.Namespace) -> SpinningScanner | None:
    if given.sweep_time_ms is None:
        _refuse(given, 'has no effect without --sweep-time-ms', 'sweep_direction', 'sweep_stamp')
        _refuse(given, 'has no effect without --sweep-time-ms', 'sweep_seam_deg')
        return None
    if given.sweep_direction is None:
        raise ConfigError('--sweep-time-ms needs --sweep-direction: which way does it turn?')
    return SpinningScanner(
        period_ms=given.sweep_time_ms,
        direction=given.sweep_direction,
        **_given(given, stamp='sweep_stamp', seam_deg='sweep_seam_deg'),
    )


def _occlusion(given: argparse.Namespace) -> OcclusionFilter | None:
    keys = {key: f'occlusion_{key}' for key in ('rows', 'cols', 'relative', 'absolute_m')}
    if given.no_occlusion_filter:
        _refuse(given, 'has no effect with --no-occlusion-filter', *keys.values())
        return None
    return OcclusionFilter(**_given(given, **keys))


def _sky(given: argparse.Namespace) -> SkyFilter | None:
    keys = {key: f'sky_{key}' for key in ('window_deg', 'relative', 'absolute_m', 'support')}
    if given.no_sky_filter:
        _refuse(given, 'has no effect with --no-sky-filter', *keys.values())
        return None
    return SkyFilter(**_given(given, **keys))


def _jpeg_quality(given: argparse.Namespace) -> int:
    if given.image_format != 'jpeg':
        _refuse(given, 'has no effect without --image-format jpeg', 'jpeg_quality')
    return DEFAULTS.jpeg_quality if given.jpeg_quality is None else int(given.jpeg_quality)


def _given(given: argparse.Namespace, **keys: str) -> dict[str, Any]:
    """Return the fields that were given on the command line."""
    values = {field: getattr(given, name) for field, name in keys.items()}
    return {field: value for field, value in values.items() if value is not None}


def _refuse(given: argparse.Namespace, why: str, *names: str) -> None:
    for name in names:
        if getattr(given, name) is not None:
            raise ConfigError(f'--{name.replace("_", "-")} {why}: leave one out')


def parser_of(program: str, description: str | None) -> argparse.ArgumentParser:
    """Return the command line."""
    parser = argparse.ArgumentParser(prog=program, description=description)
    add = parser.add_argument
    add('bags', nargs='*', metavar='[NAME=]BAG', help='bag folders, .mcap or .db3 files, or globs')
    add('--out', type=Path, required=True, metavar='DATASET', help='folder to make or to finish')
    add('--val', nargs='+', default=[], metavar='NAME', help='whole bags for validation')
    add('--test', nargs='+', default=[], metavar='NAME', help='whole bags for testing')
    for kind in ('image', 'camera-info', 'lidar', 'odometry', 'twist'):
        add(f'--{kind}-topic', help='default: the only one of its type')
    add('--image-is-rectified', action='store_true', help='whatever camera_info says')
    add('--without-lidar', action='store_true', help='unlabelled, though the bag has LiDAR')
    add('--max-sync-ms', type=float, default=DEFAULTS.max_sync_ms, help='to sweep or mask')
    add('--neighbour-ms', type=float, default=DEFAULTS.neighbour_ms, help='largest gap')
    add('--image-format', choices=IMAGE_FORMATS, default=DEFAULTS.image_format)
    add('--jpeg-quality', type=int, help=f'1 to 100, default {DEFAULTS.jpeg_quality}')
    add('--overlay-every', type=int, default=DEFAULTS.overlay_every, help='frames; 0: none')
    _add_runner(parser)
    _add_stereo(parser)
    _add_objects(parser)
    _add_motion(parser)
    _add_filters(parser)
    return parser


def _add_runner(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('many bags').add_argument
    add(
        '--manifest', type=Path, help='text file with a bag or glob a line, relative to its folder'
    )
    add('--workers', type=int, help='bags at a time, each in a process of its own')
    add('--ray', metavar='ADDRESS', help="Ray cluster; 'auto', or 'local' for one of its own")
    add('--retries', type=int, help='how often a bag is tried again whose worker has died')


def _add_stereo(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('stereo pair').add_argument
    add('--right-topic', help='images of the right camera of a rectified pair')
    add('--right-camera-info-topic', help='default: the one beside --right-topic')
    add('--max-stereo-ms', type=float, help=f'in a pair; default {DEFAULTS.max_stereo_ms:g}')


def _add_objects(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('people and vehicles in the images').add_argument
    add('--mask-topic', help='Image of labels: mono8, mono16, 32SC1')
    add('--mask-labels', metavar='LIST', help="values that count, '11-18,24'; default: not 0")
    add('--boxes-topic', help='vision_msgs/Detection2DArray')
    add('--boxes-labels', metavar='LIST', help="class ids that count, 'car,person'; default: all")


def _add_motion(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('motion of the vehicle').add_argument
    add('--motion', choices=MOTION_MODES, default=DEFAULTS.motion, help='auto: with odometry')
    add('--sweep-time-ms', type=float, help='one turn, where points carry no time')
    add('--sweep-direction', choices=DIRECTIONS, help='seen from above')
    add('--sweep-stamp', choices=sorted(SWEEP_STAMPS), help='which moment; default middle')
    add('--sweep-seam-deg', type=float, help='azimuth where turns begin; default 180: behind')


def _add_filters(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group('filters').add_argument
    add('--no-occlusion-filter', action='store_true', help='keep what shines through')
    add('--occlusion-rows', type=int, help=f'half window, px; default {OCCLUSION.rows}')
    add('--occlusion-cols', type=int, help=f'half window, px; default {OCCLUSION.cols}')
    add('--occlusion-relative', type=float, help=f'default {OCCLUSION.relative}')
    add('--occlusion-absolute-m', type=float, help=f'default {OCCLUSION.absolute_m}')
    add('--no-sky-filter', action='store_true', help='keep lone returns above the horizon')
    add('--sky-window-deg', type=float, help=f'half window; default {SKY.window_deg}')
    add('--sky-relative', type=float, help=f'default {SKY.relative}')
    add('--sky-absolute-m', type=float, help=f'default {SKY.absolute_m}')
    add('--sky-support', type=int, help=f'neighbours needed; default {SKY.support}')
