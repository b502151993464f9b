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
What past frames leave behind, and every rule by which it is forgotten.

Shape letters: T images of the window, oldest first; h, w network input.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from depth_ros.core.datatypes import Frame, ResetReason
from depth_ros.core.engine_api import Tensors
from depth_ros.core.model_spec import TemporalSpec
import numpy as np
from numpy.typing import NDArray

NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """
    The images for one inference.

    Fields:
        images: (1, 3, h, w) for a window of one, else (1, T, 3, h, w), the newest last; a
            window that is not full yet is padded at the old end with its oldest image.
        valid_T: False where an image is such padding.
        reset: why the past was dropped just before this frame, else None.
        frames_since_reset: 0 on the first frame after a reset.
        is_warm: as much past as the model was trained with.
    """

    images: NDArray[np.float32]
    valid_T: NDArray[np.bool_]
    reset: ResetReason | None
    frames_since_reset: int
    is_warm: bool


class FrameBuffer:
    """
    Window of past images and state tensors of one camera stream.

    The past is dropped on the first frame, on a jump back in time, on a gap longer than the
    card allows, and on a change of image size, calibration or frame_id.
    """

    def __init__(self, spec: TemporalSpec) -> None:
        self._spec = spec
        self._max_gap_ns = round(spec.max_gap_ms * NS_PER_MS)
        self._images: deque[NDArray[np.float32]] = deque(maxlen=spec.window)
        self._states: dict[str, NDArray[np.float32]] = {}
        self._last: Frame | None = None
        self._pending: ResetReason | None = None
        self._frames_since_reset = 0
        self._forget()

    @property
    def states(self) -> dict[str, NDArray[np.float32]]:
        """State inputs of the next inference, zeros after a reset."""
        return dict(self._states)

    def reset(self) -> None:
        """Drop the past before the next frame, whatever it is."""
        self._pending = ResetReason.REQUESTED

    def push(self, frame: Frame, image_13hw: NDArray[np.float32]) -> Window:
        """
        Apply the reset rules and append one preprocessed image.

        ``image_13hw`` may be a buffer that is overwritten later: a window of more than one
        keeps a copy.
        """
        reason = self._reset_reason(frame)
        if reason is not None:
            self._forget()
        else:
            self._frames_since_reset += 1
        self._last, self._pending = frame, None
        return self._window(image_13hw, reason)

    def store(self, outputs: Tensors) -> None:
        """Keep the state outputs of an inference for the next frame."""
        for state in self._spec.states:
            value = outputs[state.output]
            # An array may be the engine's own buffer, so it is copied. What is none stays on the
            # device, and only the engine that made it can read it.
            is_array = isinstance(value, np.ndarray)
            self._states[state.input] = np.array(value, np.float32) if is_array else value

    def _reset_reason(self, frame: Frame) -> ResetReason | None:
        last = self._last
        if last is None:
            return ResetReason.FIRST_FRAME
        rules: tuple[tuple[ResetReason, bool], ...] = (
            (ResetReason.FRAME_ID, frame.frame_id != last.frame_id),
            (ResetReason.SIZE, frame.image_HW3.shape != last.image_HW3.shape),
            (ResetReason.CAMERA, frame.camera != last.camera),
            (ResetReason.JUMP_BACK, frame.stamp_ns < last.stamp_ns),
            (ResetReason.GAP, frame.stamp_ns - last.stamp_ns > self._max_gap_ns),
        )
        found = [reason for reason, applies in rules if applies]
        return self._pending or (found[0] if found else None)

    def _forget(self) -> None:
        self._images.clear()
        self._frames_since_reset = 0
        self._states = {s.input: np.zeros(s.shape, np.float32) for s in self._spec.states}

    def _window(self, image_13hw: NDArray[np.float32], reason: ResetReason | None) -> Window:
        count, size = self._frames_since_reset, self._spec.window
        images: NDArray[Any] = image_13hw
        if size > 1:
            self._images.append(image_13hw[0].copy())
            missing = size - len(self._images)
            images = np.stack([self._images[0]] * missing + list(self._images))[np.newaxis]
        valid_T = np.arange(size) >= size - min(count + 1, size)
        is_warm = count >= max(self._spec.warmup_frames, size - 1)
        return Window(
            images=images, valid_T=valid_T, reset=reason, frames_since_reset=count, is_warm=is_warm
        )
