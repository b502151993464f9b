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
What crosses the boundaries of the core: a camera frame in, a depth estimate out.

Shape letters: H, W published image; h, w network grid; N points; 3 colour channels (bgr).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from depth_ros.core.camera import CameraModel, Intrinsics
import numpy as np
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]
ImageF32 = NDArray[np.float32]


class ResetReason(Enum):
    """Why the temporal state was dropped (DESIGN 3.3)."""

    FIRST_FRAME = 'first_frame'
    JUMP_BACK = 'jump_back'
    GAP = 'gap'
    SIZE = 'size_change'
    CAMERA = 'camera_info_change'
    FRAME_ID = 'frame_id_change'
    REQUESTED = 'requested'
    NOT_FINITE = 'memory_not_finite'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """
    One camera image with its calibration, as it came from the camera.

    Fields:
        image_HW3: uint8, bgr, C-contiguous.
        stamp_ns: acquisition time of the image [ns].
        frame_id: optical frame of the camera (REP 103).
        camera: calibration of exactly this image size.

    """

    image_HW3: ImageU8
    stamp_ns: int
    frame_id: str
    camera: CameraModel


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Duration of each stage of one frame [ns]."""

    rectify_ns: int
    preprocess_ns: int
    infer_ns: int
    postprocess_ns: int

    @property
    def total_ns(self) -> int:
        """Sum of the stages [ns]."""
        return self.rectify_ns + self.preprocess_ns + self.infer_ns + self.postprocess_ns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthEstimate:
    """
    Depth of one frame.

    Fields:
        depth_HW: z along the optical axis [m], float32. NaN unknown, +Inf beyond range or sky,
            -Inf too close (REP 117). Never 0.
        uncertainty_HW: one standard deviation [m], float32, NaN exactly where depth is NaN,
            +Inf where depth is infinite. None: not asked for, or the model has none.
        image_HW3: rectified bgr image on the grid of ``depth_HW``.
        intrinsics: of the rectified image at the size of ``depth_HW``.
        stamp_ns, frame_id: those of the camera frame.
        reset: why the temporal state was dropped just before this frame, else None.
        reset_detail: the same in words, with the values that differ; '' without a reset.
        frames_since_reset: 0 on the first frame after a reset.
        is_warm: the model had as much past as it was trained with.
        is_held: the model card asks not to publish the first frames after a reset, and this
            is one of them.
        times: what each stage took.
        is_complete: True when every depth is known to be finite; False when it was not looked at.

    """

    depth_HW: ImageF32
    uncertainty_HW: ImageF32 | None
    image_HW3: ImageU8
    intrinsics: Intrinsics
    stamp_ns: int
    frame_id: str
    reset: ResetReason | None
    frames_since_reset: int
    is_warm: bool
    is_held: bool
    times: StageTimes
    reset_detail: str = ''
    is_complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputBuffers:
    """
    Where the pipeline writes its result, so that a message's own memory can be filled.

    Both are (H, W) float32, C-contiguous, of the size of ``DepthPipeline.output_intrinsics``.
    Without ``uncertainty_HW`` the pipeline allocates it when it is asked for.
    """

    depth_HW: ImageF32
    uncertainty_HW: ImageF32 | None = None
