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

"""The right camera of a stereo pair: where it stands, and whether the pair is one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from depth_ros.core.camera import CameraModel, Rectifier
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.geometry import Matrix, TransformTree
from depth_ros.errors import BagError, FrameError
import numpy as np
from training.prepare_images import write_image
from training.prepare_options import PrepareOptions
from training.prepare_streams import Picture

# Of a rectified pair. A turn of a thousandth moves a point by less than a pixel at a focal length
# of 1000 px, and so does a focal length or centre that is wrong by so much.
MAX_TURN_RAD = 1e-3
MAX_DIFFERENCE_PX = 0.5
# Beside the baseline: below it rows of the two images are the same for points beyond 5 m or so.
MAX_OFFSET_SHARE = 0.01
MIN_BASELINE_M = 1e-3
COMPARED = ('fx', 'fy', 'cx', 'cy')


class RightCamera:
    """
    The right camera of the pair, and its rectification.

    The baseline comes from P of the two camera_infos (P[3] = -fx * baseline), and where these say
    nothing from the static transforms between their frames.
    """

    def __init__(
        self,
        tree: TransformTree,
        topic: str | None,
        options: PrepareOptions,
        bag: str,
        root: Path,
        folder: Path,
    ) -> None:
        self._tree, self._where = tree, f"right images '{topic}' of bag '{bag}'"
        self._topic, self._options = topic, options
        self._root, self._folder = root, folder
        self._known: tuple[Frame, Frame] | None = None

    def line(self, left: Picture, right: Picture | None) -> dict[str, Any]:
        """
        Write the right image of a frame, and return what the frame's line says of it.

        :raises BagError: the two are no pair.
        """
        if right is None:
            return {'right': None, 'right_T_this': None, 'right_missing': self._missing()}
        right_T_left = self.look(left.frame, right.frame)
        path = write_image(
            self._folder,
            f'right/{left.stamp_ns}',
            right,
            self.rectified(right.frame.image_HW3),
            options=self._options,
            changed=self._rectifier is not None,
        )
        return {
            'right': path.relative_to(self._root).as_posix(),
            'right_T_this': right_T_left[:3].tolist(),
            'right_missing': None,
        }

    def _missing(self) -> str | None:
        """Return why a frame has no right image; None: nobody asked for one."""
        if self._topic is not None:
            return f'no right image within {self._options.max_stereo_ms:g} ms'
        given = self._options.right_topic
        return None if given is None else f"the bag has no topic '{given}'"

    def look(self, left: Frame, right: Frame) -> Matrix:
        """
        Return right_T_left of the rectified cameras, which maps points of the left one [m].

        :raises BagError: sizes or intrinsics differ, the cameras are turned against each other,
            or stand at the same place.
        """
        if self._known is None or not _is_same(self._known, (left, right)):
            self._right_T_left = self._checked(left, right)
            needed = right.camera.needs_rectification
            self._rectifier = Rectifier(right.camera) if needed else None
            self._known = (left, right)
        return self._right_T_left

    def rectified(self, image_HW3: ImageU8) -> ImageU8:
        """Return the right image as its rectified camera sees it."""
        return image_HW3 if self._rectifier is None else self._rectifier(image_HW3)

    def _checked(self, left: Frame, right: Frame) -> Matrix:
        one, other = left.camera.intrinsics, right.camera.intrinsics
        if (one.width, one.height) != (other.width, other.height):
            raise BagError(
                f'{self._where} are {other.width}x{other.height} and the left ones '
                f'{one.width}x{one.height}: a rectified pair has one size'
            )
        for key in COMPARED:
            values = getattr(one, key), getattr(other, key)
            if abs(values[0] - values[1]) > MAX_DIFFERENCE_PX:
                raise BagError(
                    f'{self._where} have {key} = {values[1]:.2f} px and the left ones '
                    f'{values[0]:.2f}: the pair is not rectified to one camera'
                )
        shift_m = _projected_shift(left.camera, right.camera)
        right_T_left = np.eye(4)
        if shift_m:
            right_T_left[0, 3] = shift_m
        else:
            right_T_left = self._by_transforms(left, right)
        baseline_m = float(np.linalg.norm(right_T_left[:3, 3]))
        if baseline_m < MIN_BASELINE_M:
            raise BagError(
                f'{self._where}: the baseline is {baseline_m:.3f} m: P of camera_info has no '
                f"Tx, and '{left.frame_id}' and '{right.frame_id}' stand at one place"
            )
        return right_T_left

    def _by_transforms(self, left: Frame, right: Frame) -> Matrix:
        try:
            camera_T_camera = self._tree.lookup(right.frame_id, left.frame_id)
        except FrameError as error:
            raise BagError(
                f'{self._where}: the baseline is in neither P of camera_info nor a transform: '
                f'{error}'
            ) from error
        turns = [_rectification(frame.camera) for frame in (right, left)]
        right_T_left: Matrix = turns[0] @ camera_T_camera @ turns[1].T
        cosine = (np.trace(right_T_left[:3, :3]) - 1) / 2
        turn_rad = math.acos(min(max(float(cosine), -1.0), 1.0))
        if turn_rad > MAX_TURN_RAD:
            raise BagError(
                f'{self._where}: the camera is turned by {math.degrees(turn_rad):.2f} degrees '
                'against the left one: the pair is not rectified'
            )
        x, *others = np.abs(right_T_left[:3, 3]).tolist()
        if max(others) > max(MAX_OFFSET_SHARE * x, MIN_BASELINE_M):
            raise BagError(
                f'{self._where}: the camera stands {max(others):.3f} m off the line through the '
                f'rows of the left one, and {x:.3f} m along it: the pair is not rectified'
            )
        return right_T_left


def _is_same(one: tuple[Frame, Frame], other: tuple[Frame, Frame]) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.camera == b.camera and a.frame_id == b.frame_id for a, b in pairs)


def _projected_shift(left: CameraModel, right: CameraModel) -> float:
    """Return x of right_T_left [m] as P says it, 0: P says nothing."""
    if not left.p[0] or not right.p[0]:
        return 0.0
    return right.p[3] / right.p[0] - left.p[3] / left.p[0]


def _rectification(camera: CameraModel) -> Matrix:
    """Return rectified_T_camera, a turn."""
    turn = np.eye(4)
    if not camera.is_rectified_image:
        turn[:3, :3] = np.array(camera.r, np.float64).reshape(3, 3)
    return turn
