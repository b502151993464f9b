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
Camera image to network tensor, with the record that leads back.

Shape letters: H, W camera image; h, w network input; B batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from depth_ros.core.camera import Intrinsics
from depth_ros.core.model_spec import InputSpec, ModelSpec
import numpy as np
from numpy.typing import NDArray

INTERPOLATION = {
    'linear': cv2.INTER_LINEAR,
    'supersample': cv2.INTER_LINEAR,
    'area': cv2.INTER_AREA,
    'cubic': cv2.INTER_CUBIC,
}
# Samples a side of each network pixel with 'supersample'.
SAMPLES = 2
MAX_U8 = 255.0
# fx of a camera that sees 80 degrees, as a share of the width.
USUAL_FOCAL_SHARE = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTransform:
    """
    Where a camera image lies inside the network input.

    The image of ``camera_width`` x ``camera_height`` was resized to ``width`` x ``height`` and
    placed at column ``x`` and row ``y`` of an ``input_width`` x ``input_height`` tensor [px].
    """

    camera_width: int
    camera_height: int
    input_width: int
    input_height: int
    x: int
    y: int
    width: int
    height: int

    @classmethod
    def plan(cls, camera_width: int, camera_height: int, spec: InputSpec) -> ImageTransform:
        """Return the transform that ``spec.resize`` asks for."""
        width, height = spec.width, spec.height
        if spec.resize == 'letterbox':
            scale = min(spec.width / camera_width, spec.height / camera_height)
            width = max(1, min(spec.width, round(camera_width * scale)))
            height = max(1, min(spec.height, round(camera_height * scale)))
        return cls(
            camera_width=camera_width,
            camera_height=camera_height,
            input_width=spec.width,
            input_height=spec.height,
            x=(spec.width - width) // 2,
            y=(spec.height - height) // 2,
            width=width,
            height=height,
        )

    @property
    def is_whole_input(self) -> bool:
        """Tell whether the image fills the tensor: nothing was padded."""
        return (self.width, self.height) == (self.input_width, self.input_height)

    def input_focal_px(self, camera: Intrinsics) -> float:
        """Return fx of the camera as the network sees it [px]."""
        return camera.fx * self.width / self.camera_width

    def input_intrinsics(self, camera: Intrinsics) -> Intrinsics:
        """Return the camera as the network sees it: of the whole input tensor."""
        resized = camera.resized(self.width, self.height)
        return resized.cropped(-self.x, -self.y, self.input_width, self.input_height)

    def output_to_grid_23(
        self, output_wh: tuple[int, int], grid_wh: tuple[int, int]
    ) -> NDArray[np.float64]:
        """
        Return the affine map from an output image back into a network output grid.

        The output image shows the whole camera image, the grid covers the whole input tensor.
        Pixel (u, v) of the output image lies at ``map @ (u, v, 1)`` of the grid, by the
        half-pixel rule on both sides.
        """
        (out_w, out_h), (grid_w, grid_h) = output_wh, grid_wh
        ratio_x, ratio_y = grid_w / self.input_width, grid_h / self.input_height
        step_x, step_y = self.width / out_w * ratio_x, self.height / out_h * ratio_y
        offset_x = 0.5 * step_x + self.x * ratio_x - 0.5
        offset_y = 0.5 * step_y + self.y * ratio_y - 0.5
        return np.array([[step_x, 0.0, offset_x], [0.0, step_y, offset_y]])


def image_inputs(
    spec: InputSpec, images: NDArray[np.float32], camera: Intrinsics
) -> dict[str, NDArray[np.float32]]:
    """
    Return what the graph takes for one inference besides its states.

    :param images: (B, 3, h, w), a second item being the mirror image; or (1, T, 3, h, w).
    :param camera: of the input tensor, see ``ImageTransform.input_intrinsics``.
    """
    inputs = {spec.name: images}
    if spec.camera is not None:
        fx, fy, cx, cy = camera.fx, camera.fy, camera.cx, camera.cy
        both = ((fx, fy, cx, cy), (fx, fy, camera.width - 1 - cx, cy))
        inputs[spec.camera] = np.array(both[: len(images)], np.float32)
    return inputs


def usual_camera(model: ModelSpec) -> Intrinsics:
    """Return a camera of the input tensor for inferences on pictures that have none."""
    width, height = model.input.width, model.input.height
    focal_px = model.output.focal_px or USUAL_FOCAL_SHARE * width
    return Intrinsics(
        width=width,
        height=height,
        fx=focal_px,
        fy=focal_px,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
    )


class Preprocessor:
    """
    Fill one preallocated (B, 3, h, w) float32 tensor: (pixel / 255 - mean) / std.

    With ``mirrored`` the batch can hold two items, the second being the mirror image.
    """

    def __init__(self, spec: InputSpec, *, mirrored: bool) -> None:
        self._spec = spec
        batch = 2 if mirrored else 1
        self._tensor_B3hw = np.zeros((batch, 3, spec.height, spec.width), np.float32)
        mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
        self._gain = 1.0 / (MAX_U8 * std)
        self._offset = -mean / std
        self._channels = (2, 1, 0) if spec.color_order == 'rgb' else (0, 1, 2)
        self._last: ImageTransform | None = None
        self._small_hw3 = self._sampled_HW3 = np.empty((0, 0, 3), np.uint8)
        self._planes_3hw = np.empty((3, 0, 0), np.uint8)

    def __call__(
        self, image_HW3: NDArray[np.uint8], *, with_mirror: bool = False
    ) -> tuple[NDArray[np.float32], ImageTransform]:
        """
        Return the tensor and the record of what was done to a bgr image.

        The tensor is a buffer that the next call overwrites. Without ``with_mirror`` it is a
        batch of one.
        """
        height, width = image_HW3.shape[:2]
        transform = ImageTransform.plan(width, height, self._spec)
        if transform != self._last:
            self._allocate(transform)
        self._fill(image_HW3, transform)
        if not with_mirror:
            return self._tensor_B3hw[:1], transform
        for plane, mirrored in zip(self._tensor_B3hw[0], self._tensor_B3hw[1], strict=True):
            cv2.flip(plane, 1, dst=mirrored)
        return self._tensor_B3hw, transform

    def _resize(self, image_HW3: NDArray[np.uint8]) -> None:
        height, width = self._sampled_HW3.shape[:2]
        interpolation = INTERPOLATION[self._spec.interpolation]
        cv2.resize(image_HW3, (width, height), dst=self._sampled_HW3, interpolation=interpolation)
        if self._sampled_HW3 is not self._small_hw3:
            size = self._small_hw3.shape[1::-1]
            # By an exact whole number, area is the mean of the samples.
            cv2.resize(self._sampled_HW3, size, dst=self._small_hw3, interpolation=cv2.INTER_AREA)

    def _allocate(self, transform: ImageTransform) -> None:
        # Buffers that live on: allocating the planes anew costs more than filling them.
        size = (transform.height, transform.width)
        self._tensor_B3hw.fill(0.0)
        self._small_hw3 = self._sampled_HW3 = np.empty((*size, 3), np.uint8)
        if self._spec.interpolation == 'supersample':
            self._sampled_HW3 = np.empty((SAMPLES * size[0], SAMPLES * size[1], 3), np.uint8)
        self._planes_3hw = np.empty((3, *size), np.uint8)
        self._last = transform

    def _fill(self, image_HW3: NDArray[np.uint8], t: ImageTransform) -> None:
        self._resize(image_HW3)
        cv2.split(self._small_hw3, list(self._planes_3hw))
        rows, columns = slice(t.y, t.y + t.height), slice(t.x, t.x + t.width)
        content = self._tensor_B3hw[0, :, rows, columns]
        for target, source in enumerate(self._channels):
            gain, offset = float(self._gain[target]), float(self._offset[target])
            # One pass in float32: gain * plane + 0 * plane + offset.
            plane, out = self._planes_3hw[source], content[target]
            cv2.addWeighted(plane, gain, plane, 0.0, offset, dst=out, dtype=cv2.CV_32F)
