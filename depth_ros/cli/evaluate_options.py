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

"""The options of ``evaluate``, and what they mean for the protocol."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args, Literal

from depth_ros.core.alignment import Alignment
from depth_ros.core.config import AlignmentConfig
from depth_ros.core.lidar import OcclusionFilter
from depth_ros.core.metrics import CROPS, ScoreRules
from depth_ros.core.plane_checks import Region
from depth_ros.errors import ConfigError
from depth_ros.evaluation.config import CHECK_GROUPS, EvaluationConfig, Topics, TruthKind
from depth_ros.evaluation.fleet import GLOB_CHARACTERS

RULES = ScoreRules()
DEFAULTS = EvaluationConfig()
WALL_SIDES = ('left', 'top', 'right', 'bottom')


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add everything that says what is scored and how."""
    _add_model_options(parser)
    _add_input_options(parser)
    _add_protocol_options(parser)
    _add_truth_options(parser)
    parser.add_argument(
        '--bag-out', type=Path, metavar='BAG', help='write depth, uncertainty and points as MCAP'
    )
    parser.add_argument(
        '--rerun', type=Path, metavar='FILE.rrd', help='write a recording for the Rerun viewer'
    )


def add_fleet_options(parser: argparse.ArgumentParser) -> None:
    """Add what serves runs over several bags."""
    parser.add_argument(
        '--manifest', type=Path, help='text file with a bag or glob a line, relative to its folder'
    )
    parser.add_argument('--workers', type=int, help='bags at a time, each in a process of its own')
    parser.add_argument(
        '--ray', metavar='ADDRESS', help="Ray cluster; 'auto', or 'local' for one of its own"
    )
    parser.add_argument(
        '--retries', type=int, help='how often a bag is tried again whose worker has died'
    )


def is_fleet(options: argparse.Namespace) -> bool:
    """Tell whether a run is one over several bags, with a folder for each."""
    return (
        len(options.bag) != 1
        or options.manifest is not None
        or any(character in options.bag[0] for character in GLOB_CHARACTERS)
    )


def check_effects(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the program when an option is given that this run would not use."""
    is_recorded = options.predictions is not None
    is_live = options.realtime
    has_lidar = options.truth in ('sweep', 'accumulated')
    many = is_fleet(options)
    if not options.bag and options.manifest is None:
        parser.error('no bag is given: name bags, globs or a --manifest')
    if many and (is_recorded or is_live):
        parser.error('--predictions and --realtime score one bag: name just that one')
    for option in ('workers', 'retries'):
        value = getattr(options, option)
        if value is not None and value < (1 if option == 'workers' else 0):
            parser.error(f'--{option} {value}: too few')
    # Option, its value, whether this run uses it: nothing that is given is ignored.
    conditions = (
        ('--model', options.model, not is_recorded),
        ('--engine', options.engine, not is_recorded),
        ('--threads', options.threads, not is_recorded and not is_live),
        ('--rate', options.rate, is_live),
        ('--image-topic', options.image_topic, not is_live),
        ('--camera-info-topic', options.camera_info_topic, not is_live),
        ('--image-is-rectified', options.image_is_rectified or None, not is_live),
        ('--resume', options.resume or None, not is_live),
        ('--depth-topic', options.depth_topic, is_recorded),
        ('--workers', options.workers, many and options.ray in (None, 'local')),
        ('--ray', options.ray, many),
        ('--retries', options.retries, many),
        ('--bag-out', options.bag_out, not many),
        ('--rerun', options.rerun, not many),
        ('--recover', options.recover or None, not many and not is_live),
        ('--truth-topic', options.truth_topic, options.truth == 'image'),
        ('--lidar-topic', options.lidar_topic, has_lidar),
        ('--sweeps', options.sweeps, options.truth == 'accumulated'),
        ('--lidar-offset-ms', options.lidar_offset_ms, has_lidar),
        ('--model-alignment', options.model_alignment, not is_recorded and not is_live),
        ('--model-scale', options.model_scale, options.model_alignment == 'declared'),
        ('--model-shift', options.model_shift, options.model_alignment == 'declared'),
        ('--motion-compensation', options.motion_compensation or None, options.truth == 'sweep'),
    )
    for option, value, is_used in conditions:
        if value is not None and not is_used:
            parser.error(f'{option} {value} has no effect in this run: leave it out')


def topics_of(options: argparse.Namespace) -> Topics:
    """Return the topics that were named."""
    return Topics(
        image=options.image_topic,
        camera_info=options.camera_info_topic,
        lidar=options.lidar_topic,
        odometry=options.odometry_topic,
        truth=options.truth_topic,
    )


def config_of(options: argparse.Namespace) -> EvaluationConfig:
    """
    Return the protocol.

    :raises ConfigError: a value is impossible.
    """
    rules = ScoreRules(
        crop=options.crop,
        cap_m=options.cap,
        min_depth_m=options.min_depth,
        alignment=options.alignment,
    )
    return EvaluationConfig(
        rules=rules,
        max_sync_ms=options.max_sync_ms,
        lidar_depth='kitti_export' if options.points_from_lidar_forward else 'camera_z',
        occlusion=OcclusionFilter() if options.occlusion_filter else None,
        motion_compensation=options.motion_compensation,
        rectify=not options.image_is_rectified,
        frames=options.frames,
        pictures=options.pictures,
        truth=options.truth,
        accumulated_sweeps=options.sweeps or DEFAULTS.accumulated_sweeps,
        checks=tuple(CHECK_GROUPS if options.checks is None else options.checks),
        wall=_wall(options.wall),
        lidar_offset_ms=options.lidar_offset_ms or 0.0,
        model_alignment=AlignmentConfig(
            method=options.model_alignment or 'none',
            scale=options.model_scale or 0.0,
            shift=options.model_shift or 0.0,
        ),
    )


def _offset(text: str) -> float | Literal['auto']:
    return 'auto' if text == 'auto' else float(text)


def _wall(text: str | None) -> Region | None:
    if text is None:
        return None
    try:
        sides = [float(part) for part in text.split(',')]
        return Region(**dict(zip(WALL_SIDES, sides, strict=True)))
    except ValueError as error:
        raise ConfigError(
            f'--wall {text}: must be four shares of the image, {",".join(WALL_SIDES)}'
        ) from error


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', help="shipped name or ONNX file (default 'default')")
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        '--predictions',
        type=Path,
        metavar='RECORDING',
        help='score depth that a node has published, from the bag where it was recorded',
    )
    source.add_argument(
        '--realtime',
        action='store_true',
        help='play the bag through the live node over DDS, and score what it publishes in time',
    )
    parser.add_argument('--rate', type=float, help='of --realtime (default 1.0)')
    parser.add_argument('--depth-topic', help='of the recording (default: */depth/image_rect)')
    parser.add_argument(
        '--model-alignment',
        choices=('lidar', 'declared'),
        help='where a relative model has its metres from: the LiDAR that then scores it, so that '
        'the scores are not metric, or --model-scale and --model-shift',
    )
    parser.add_argument('--model-scale', type=float, help='of 1 / depth = scale * output + shift')
    parser.add_argument('--model-shift', type=float, help='[1/m] (default 0)')
    parser.add_argument('--engine', help="back end of the model (default 'auto')")
    parser.add_argument('--threads', type=int, help='of the engine (default 0: physical cores)')


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    for kind in ('image', 'camera-info', 'lidar', 'odometry', 'truth'):
        parser.add_argument(f'--{kind}-topic', help='default: the only one of its type')
    parser.add_argument(
        '--image-is-rectified',
        action='store_true',
        help='the images are rectified already, whatever camera_info says of distortion',
    )
    parser.add_argument(
        '--frames', type=int, default=DEFAULTS.frames, help='score the first N (0: all)'
    )
    parser.add_argument(
        '--pictures', type=int, default=DEFAULTS.pictures, help='frames to draw (%(default)s)'
    )
    parser.add_argument(
        '--recover',
        action='store_true',
        help='the MCAP is damaged: copy its readable part below the output folder and score that',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on where a run into this folder was killed'
    )


def _add_protocol_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--crop', choices=sorted(CROPS), default=RULES.crop, help='%(default)s')
    parser.add_argument('--cap', type=float, default=RULES.cap_m, help='largest truth [m]')
    parser.add_argument('--min-depth', type=float, default=RULES.min_depth_m, help='least [m]')
    parser.add_argument(
        '--alignment',
        choices=get_args(Alignment),
        default=RULES.alignment,
        help='anything but none fits the prediction to the LiDAR: not metric any more',
    )
    parser.add_argument(
        '--checks',
        nargs='*',
        choices=CHECK_GROUPS,
        help='further metrics to compute (default: all of them)',
    )
    parser.add_argument(
        '--wall',
        metavar='L,T,R,B',
        help='a flat wall fills this part of the image (shares of its size): check it',
    )


def _add_truth_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--truth',
        choices=get_args(TruthKind),
        default=DEFAULTS.truth,
        help='one LiDAR sweep, several accumulated by odometry, depth images of the bag, or none',
    )
    parser.add_argument(
        '--sweeps',
        type=int,
        help=f'how many to accumulate (default {DEFAULTS.accumulated_sweeps})',
    )
    parser.add_argument(
        '--max-sync-ms',
        type=float,
        default=DEFAULTS.max_sync_ms,
        help='largest gap between the stamps of image and sweep (%(default)s)',
    )
    parser.add_argument(
        '--lidar-offset-ms',
        type=_offset,
        metavar='MS|auto',
        help='added to the stamps of the LiDAR, to correct its clock; auto: as measured',
    )
    parser.add_argument(
        '--points-from-lidar-forward',
        action='store_true',
        help='truth as in the published KITTI rows: forward distance in the LiDAR frame',
    )
    parser.add_argument(
        '--occlusion-filter',
        action='store_true',
        help='drop LiDAR points that the camera cannot see',
    )
    parser.add_argument(
        '--motion-compensation',
        action='store_true',
        help='move LiDAR points to the time of the image by odometry',
    )
