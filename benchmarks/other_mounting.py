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
What depth is worth when the camera looks elsewhere than the training's did.

    python -m benchmarks.other_mounting BAG [--models MODEL ...]

The recorded camera is turned about its centre, or given another focal length, which for a picture
is exact up to sampling and what was outside of it; the LiDAR is projected into the new camera.
The node is told of the focal length, and of the angle nothing, as on a robot.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
import math
from pathlib import Path
import sys

from benchmarks.ablation_table import table_text
import cv2
from depth_ros.core.camera import CameraModel, Intrinsics, Rectifier
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.geometry import Matrix, rotation_from_vector
from depth_ros.core.lidar import project, SparseDepth
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.errors import DepthRosError
import numpy as np
from training.frames import bag_frames
from training.scores import Score

EXIT_ERROR = 1
HEADER = ('camera', 'model', 'AbsRel', 'a1', 'within 1 sigma', 'within 2 sigma')


@dataclass(frozen=True, slots=True)
class Mounting:
    """
    How the camera differs from the recorded one.

    Fields:
        down_deg: turned downwards [degrees]; the horizon rises in the picture.
        roll_deg: turned clockwise about its axis [degrees].
        zoom: of the focal length.

    """

    name: str
    down_deg: float = 0.0
    roll_deg: float = 0.0
    zoom: float = 1.0

    @property
    def new_R_old_33(self) -> Matrix:
        """Return the rotation from the recorded optical frame (x right, y down) to the new."""
        # What turns the camera one way turns what it sees the other way.
        down, roll = np.deg2rad([self.down_deg, self.roll_deg])
        return rotation_from_vector([0, 0, -roll]) @ rotation_from_vector([down, 0, 0])


AS_RECORDED = Mounting('as recorded')
MOUNTINGS = (
    AS_RECORDED,
    Mounting('3 deg up', down_deg=-3.0),
    Mounting('1 deg up', down_deg=-1.0),
    Mounting('1 deg down', down_deg=1.0),
    Mounting('3 deg down', down_deg=3.0),
    Mounting('rolled by 1 deg', roll_deg=1.0),
    Mounting('rolled by 3 deg', roll_deg=3.0),
    Mounting('focal length x 1.1', zoom=1.1),
    Mounting('focal length x 1.3', zoom=1.3),
)


def seen_by(mounting: Mounting, frame: Frame, truth: SparseDepth) -> tuple[Frame, SparseDepth]:
    """Return what the camera would have recorded, and the LiDAR in its picture."""
    old = frame.camera.intrinsics
    new = replace(old, fx=old.fx * mounting.zoom, fy=old.fy * mounting.zoom)
    rotation = mounting.new_R_old_33
    pixels_T_pixels_33 = new.K_33 @ rotation @ np.linalg.inv(old.K_33)
    image = cv2.warpPerspective(
        _rectified(frame),
        pixels_T_pixels_33,
        (old.width, old.height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    new_T_old = np.eye(4)
    new_T_old[:3, :3] = rotation
    picture, camera = np.asarray(image, np.uint8), CameraModel.pinhole(new)
    turned = replace(frame, image_HW3=picture, camera=camera)
    return turned, project(points_of(truth, old), new_T_old, new)


def points_of(truth: SparseDepth, intrinsics: Intrinsics) -> Matrix:
    """Return the hits as points in the optical frame, (N, 3) [m]."""
    rays = np.stack((truth.cols_N, truth.rows_N, np.ones(len(truth))))
    points: Matrix = (np.linalg.inv(intrinsics.K_33) @ rays * truth.depth_N).T
    return points


def _rectified(frame: Frame) -> ImageU8:
    camera = frame.camera
    if not camera.needs_rectification:
        return frame.image_HW3
    return Rectifier(camera)(frame.image_HW3)


def score(pipeline: DepthPipeline, bag: Path, mounting: Mounting) -> Score:
    """Return what the model reaches on all frames of the bag."""
    result = Score()
    pipeline.reset()
    for frame, truth in bag_frames(bag):
        turned, hits = seen_by(mounting, frame, truth)
        result.add(pipeline.process(turned), hits)
    return result


def row(mounting: Mounting, model: str, result: Score) -> tuple[str, ...]:
    """Return a line of the table."""
    found = result.result()
    depth, sigma = found['depth'], found['uncertainty'] or {}
    values = (
        *(depth[key] for key in ('abs_rel', 'a1')),
        *(sigma.get(key, math.nan) for key in ('coverage_1_sigma', 'coverage_2_sigma')),
    )
    return mounting.name, model, *(f'{value:.3f}' for value in values)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    rows = []
    try:
        with ExitStack() as stack:
            loaded = [stack.enter_context(load_model(name)) for name in given.models]
            pipelines = {
                model.card.name: DepthPipeline(model.engine, model.card, PipelineConfig())
                for model in loaded
            }
            for mounting in MOUNTINGS:
                for name, pipeline in pipelines.items():
                    rows.append(row(mounting, name, score(pipeline, given.bag, mounting)))
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(table_text(HEADER, rows), end='')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.other_mounting', description=__doc__)
    parser.add_argument('bag', type=Path, help='with camera and LiDAR')
    parser.add_argument('--models', nargs='+', default=['default'])
    return parser


if __name__ == '__main__':
    sys.exit(main())
