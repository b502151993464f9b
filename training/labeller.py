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
A finished model file as a teacher: what it says of single clean pictures.

It runs through the same pipeline as on the robot, so its own input size, focal length and
calibration hold.
"""

from __future__ import annotations

from dataclasses import replace

from depth_ros.core.camera import CameraModel, Intrinsics
from depth_ros.core.config import PipelineConfig, Resolution
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model, LoadedModel
from depth_ros.errors import ModelError
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

AFFINE = 'affine_inverse_depth'
# The pipeline speaks of metres. An inverse depth without a unit goes through it as if it had one,
# in a range that cuts nothing off.
ANY_DEPTH = {'min_depth_m': 1e-6, 'max_depth_m': 1e6}

F32 = NDArray[np.float32]


class Labeller:
    """A loaded model that is asked for one picture at a time."""

    def __init__(
        self,
        model: str,
        *,
        engine: str = 'auto',
        threads: int = 0,
        resolution: Resolution = 'camera',
    ) -> None:
        """
        Load it.

        :param model: a shipped model's name, or the path of an ONNX file with its card.
        :param resolution: of the answers: the picture's, or the grid of the model.
        :raises ModelError: it cannot be used, or needs more than one frame.
        """
        self.loaded: LoadedModel = load_model(model, engine=engine, threads=threads)
        if self.loaded.card.temporal.is_stateful:
            raise ModelError(
                f"teacher '{self.loaded.path}' looks at several frames: training shows single ones"
            )
        self._pipeline = DepthPipeline(
            self.loaded.engine,
            _with_any_unit(self.loaded.card),
            PipelineConfig(resolution=resolution),
        )

    @property
    def kind(self) -> str:
        """Return the output kind that the card states."""
        return self.loaded.card.output.kind

    def depth(self, image_HW3: ImageU8, intrinsics: Intrinsics, stamp_ns: int = 0) -> F32:
        """
        Return depth [m], or 1 / output of a model without a unit; not finite: see DepthPipeline.

        :param image_HW3: bgr, rectified.
        :param intrinsics: of exactly this picture.
        """
        frame = Frame(
            image_HW3=np.ascontiguousarray(image_HW3),
            stamp_ns=stamp_ns,
            frame_id='',
            camera=CameraModel.pinhole(intrinsics),
        )
        depth_HW: F32 = self._pipeline.process(frame, with_uncertainty=False).depth_HW
        return depth_HW

    def inv_depth(self, image_HW3: ImageU8, intrinsics: Intrinsics, stamp_ns: int = 0) -> F32:
        """Return the inverse of ``depth``: 0 for sky and beyond the range, NaN for unknown."""
        depth_HW = self.depth(image_HW3, intrinsics, stamp_ns)
        inverse_HW = 1.0 / np.where(np.isneginf(depth_HW), np.float32(np.nan), depth_HW)
        return np.asarray(inverse_HW, np.float32)


def _with_any_unit(card: ModelSpec) -> ModelSpec:
    if card.output.kind != AFFINE:
        return card
    output = replace(card.output, kind='inverse_depth', focal_px=None, **ANY_DEPTH)
    return replace(card, output=output)


def require_metres(kind: str, where: str, wanted_by: str) -> None:
    """
    Check that a teacher's card states depth with a unit.

    :param where: the model or store, for messages.
    :param wanted_by: the option that needs metres.
    :raises ModelError: it states an inverse depth up to scale and shift.
    """
    if kind == AFFINE:
        raise ModelError(
            f"teacher {where}: output.kind = '{kind}' has no metres, and {wanted_by} compares "
            'metres: use loss = affine, or a teacher of metric_depth or inverse_depth'
        )


def picture_of(image_3HW: Tensor) -> ImageU8:
    """Return the bgr bytes (H, W, 3) of an rgb picture (3, H, W), of bytes or in 0..1."""
    pixels = image_3HW if not image_3HW.is_floating_point() else (image_3HW * 255.0).round().byte()
    rgb_HW3 = pixels.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(rgb_HW3[:, :, ::-1])


def intrinsics_of(K_33: Tensor, image_3HW: Tensor) -> Intrinsics:
    """Return K with the size of its picture."""
    (fx, _, cx), (_, fy, cy), _ = K_33.tolist()
    height, width = image_3HW.shape[-2:]
    return Intrinsics(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy)
