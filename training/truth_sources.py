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
Drives with LiDAR truth by the options of a command line: bags, KITTI folders, data sets.

What the truth is differs: bags and KITTI folders give all hits of one sweep, a prepared data set
what ``training.prepare`` has left of them. Every drive says which, and so do the results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.datatypes import Frame
from depth_ros.core.lidar import SparseDepth
from depth_ros.errors import ConfigError
import numpy as np
from training.dataset_format import SPLITS
from training.frames import bag_frames, object_frames, Pair, projected_frames

RAW = 'raw LiDAR, single sweep'
PREPARED = 'prepared LiDAR, single sweep'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drive:
    """
    Frames of one recording, or of one folder of single frames.

    ``pairs`` begins a new pass with every call; ``truth`` says what the LiDAR depth is.
    """

    name: str
    truth: str
    pairs: Callable[[], Iterator[Pair]]


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that ``drives_of`` reads."""
    group = parser.add_argument_group('frames with LiDAR')
    folders: dict[str, Any] = {'type': Path, 'nargs': '+', 'default': []}
    group.add_argument('--bag', **folders, help='bags with camera and LiDAR')
    group.add_argument('--data', **folders, help='data sets that training.prepare made')
    group.add_argument('--split', choices=SPLITS, help='of --data (default: val)')
    group.add_argument('--kitti-object', **folders, help="the object benchmark's training")
    group.add_argument('--kitti-depth', **folders, help='drives with image_02 and proj_depth')
    group.add_argument('--kitti-calibration', type=Path, help='calib_cam_to_cam.txt of these')


def drives_of(arguments: argparse.Namespace) -> list[Drive]:
    """
    Return the drives that a command line names.

    :raises ConfigError: an option would have no effect, two drives have one name, or none is
        named.
    :raises DatasetError: a data set cannot be used.
    """
    calibration = arguments.kitti_calibration
    if bool(arguments.kitti_depth) != (calibration is not None):
        raise ConfigError(
            '--kitti-depth needs --kitti-calibration, the calib_cam_to_cam.txt, and the reverse'
        )
    if arguments.split is not None and not arguments.data:
        raise ConfigError(f'--split {arguments.split} has no effect without --data')
    drives = [
        *(_folder(path, bag_frames) for path in arguments.bag),
        *(_folder(path, object_frames, parents=1) for path in arguments.kitti_object),
        *(
            _folder(path, partial(projected_frames, calibration=calibration))
            for path in arguments.kitti_depth
        ),
    ]
    for folder in arguments.data:
        drives += dataset_drives(folder, arguments.split or 'val')
    _refuse_no_or_equal_names(drives)
    return drives


def _folder(path: Path, read: Callable[[Path], Iterator[Pair]], *, parents: int = 0) -> Drive:
    # Every folder of the object benchmark is called training.
    first = -1 - parents
    return Drive(name='/'.join(path.resolve().parts[first:]), truth=RAW, pairs=partial(read, path))


def _refuse_no_or_equal_names(drives: list[Drive]) -> None:
    names = [drive.name for drive in drives]
    if not names:
        raise ConfigError('no frame with LiDAR: give --bag, --data, --kitti-object or others')
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two drives are named '{name}': give each once, or rename one")


def dataset_drives(folder: Path, split: str) -> list[Drive]:
    """
    Return the drives of one split of a prepared data set, in its order.

    :raises DatasetError: it cannot be used, or the split has no frame with LiDAR.
    """
    # Bags and KITTI folders need no torch.
    from training.dataset import DepthDataset

    dataset = DepthDataset(folder, split, labelled=True, neighbours=False)
    indices: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        indices.setdefault(dataset.line(index)['sequence'], []).append(index)
    truth = _truth_of(dataset.facts['options'])
    return [
        Drive(name=name, truth=truth, pairs=partial(_dataset_pairs, dataset, chosen))
        for name, chosen in indices.items()
    ]


def _truth_of(options: Mapping[str, Any]) -> str:
    steps = {
        'occluded points removed': options['occlusion'] is not None,
        'lone hits above the horizon removed': options['sky'] is not None,
        'moved to the time of the image where odometry allows': options['motion'] != 'off',
    }
    return ', '.join([PREPARED, *(step for step, is_done in steps.items() if is_done)])


def _dataset_pairs(dataset: Any, indices: list[int]) -> Iterator[Pair]:
    for index in indices:
        sample, line = dataset[index], dataset.line(index)
        camera = CameraModel.pinhole(Intrinsics(**line['intrinsics']))
        frame = Frame(
            image_HW3=np.ascontiguousarray(sample.image_3HW.permute(1, 2, 0).numpy()[..., ::-1]),
            stamp_ns=sample.stamp_ns,
            frame_id=line['frame_id'],
            camera=camera,
        )
        depth_HW = sample.depth_1HW[0].numpy()
        rows, cols = np.nonzero(sample.valid_1HW[0].numpy())
        yield (
            frame,
            SparseDepth(
                rows_N=rows,
                cols_N=cols,
                depth_N=depth_HW[rows, cols],
                width=camera.intrinsics.width,
                height=camera.intrinsics.height,
                points=len(rows),
                invalid=0,
            ),
        )
