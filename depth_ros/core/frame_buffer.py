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
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from depth_ros.core.camera import CameraModel
from depth_ros.core.datatypes import Frame, ResetReason
from depth_ros.core.engine_api import Tensors
from depth_ros.core.model_spec import TemporalSpec
from depth_ros.errors import RepeatedFrameError
import numpy as np
from numpy.typing import NDArray

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
# Resets that were decided before the frame came.
PENDING_WORDS = {
    ResetReason.REQUESTED: 'asked for',
    ResetReason.NOT_FINITE: 'the depth of the image before was nowhere a number',
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """
    The images for one inference.

    Fields:
        images: (1, 3, h, w) for a window of one, else (1, T, 3, h, w), the newest last; a
            window that is not full yet is padded at the old end with its oldest image.
        valid_T: False where an image is such padding.
        reset: why the past was dropped just before this frame, else None.
        reset_detail: the same in words.
        frames_since_reset: 0 on the first frame after a reset.
        is_warm: as much past as the model was trained with.
    """

    images: NDArray[np.float32]
    valid_T: NDArray[np.bool_]
    reset: ResetReason | None
    frames_since_reset: int
    is_warm: bool
    reset_detail: str = ''


class FrameBuffer:
    """
    Window of past images and state tensors of one camera stream.

    The past is dropped on the first frame, on a jump back in time, on a gap longer than the
    card allows, and on a change of image size, calibration or frame_id. Frames of two cameras in
    turn are therefore never mixed: each is a first one.

    :param copies_states: the engine overwrites its outputs, see ``EngineSpec.gives_new_arrays``.
    """

    def __init__(self, spec: TemporalSpec, *, copies_states: bool = True) -> None:
        self._spec = spec
        self._copies_states = copies_states
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

    def reset(self, reason: ResetReason = ResetReason.REQUESTED) -> None:
        """Drop the past before the next frame, whatever it is."""
        self._pending = reason

    def push(self, frame: Frame, image_13hw: NDArray[np.float32]) -> Window:
        """
        Apply the reset rules and append one preprocessed image.

        ``image_13hw`` may be a buffer that is overwritten later: a window of more than one
        keeps a copy.

        :raises RepeatedFrameError: the past would hold the same moment twice.
        """
        reason, detail = self._reset_reason(frame)
        if reason is not None:
            self._forget()
        else:
            self._refuse_repeated(frame)
            self._frames_since_reset += 1
        self._last, self._pending = frame, None
        return self._window(image_13hw, reason, detail)

    def store(self, outputs: Tensors) -> None:
        """Keep the state outputs of an inference for the next frame."""
        for state in self._spec.states:
            value = outputs[state.output]
            # What is no array stays on the device, and only the engine that made it can read it.
            is_copied = self._copies_states and isinstance(value, np.ndarray)
            self._states[state.input] = value.copy() if is_copied else value

    def _reset_reason(self, frame: Frame) -> tuple[ResetReason | None, str]:
        if self._last is None:
            return ResetReason.FIRST_FRAME, 'first image'
        if self._pending is not None:
            return self._pending, PENDING_WORDS[self._pending]
        return next(self._differences(frame, self._last), (None, ''))

    def _differences(self, frame: Frame, last: Frame) -> Iterator[tuple[ResetReason, str]]:
        """Yield every rule that applies, with what differs."""
        if frame.frame_id != last.frame_id:
            yield ResetReason.FRAME_ID, f"frame_id '{last.frame_id}' became '{frame.frame_id}'"
        if frame.image_HW3.shape != last.image_HW3.shape:
            yield ResetReason.SIZE, f'image {_size(last)} became {_size(frame)}'
        if frame.camera != last.camera:
            changed = _changed_fields(last.camera, frame.camera)
            yield ResetReason.CAMERA, f'camera_info changed in {", ".join(changed)}'
        elapsed_ns = frame.stamp_ns - last.stamp_ns
        if elapsed_ns < 0:
            yield ResetReason.JUMP_BACK, f'stamp went back by {-elapsed_ns / NS_PER_S:.3f} s'
        if elapsed_ns > self._max_gap_ns:
            yield (
                ResetReason.GAP,
                f'{elapsed_ns / NS_PER_S:.3f} s without an image, the card allows '
                f'{self._max_gap_ns / NS_PER_S:.3f} s',
            )

    def _refuse_repeated(self, frame: Frame) -> None:
        last = self._last
        if self._spec.is_stateful and last is not None and frame.stamp_ns == last.stamp_ns:
            raise RepeatedFrameError(
                f'stamp {frame.stamp_ns / NS_PER_S:.9f} s is that of the image before: a model '
                'with a memory needs the time of each image (one publisher, stamps of the camera)'
            )

    def _forget(self) -> None:
        self._images.clear()
        self._frames_since_reset = 0
        self._states = {s.input: np.zeros(s.shape, np.float32) for s in self._spec.states}

    def _window(
        self, image_13hw: NDArray[np.float32], reason: ResetReason | None, detail: str
    ) -> Window:
        count, size = self._frames_since_reset, self._spec.window
        images: NDArray[Any] = image_13hw
        if size > 1:
            self._images.append(image_13hw[0].copy())
            missing = size - len(self._images)
            images = np.stack([self._images[0]] * missing + list(self._images))[np.newaxis]
        valid_T = np.arange(size) >= size - min(count + 1, size)
        is_warm = count >= max(self._spec.warmup_frames, size - 1)
        return Window(
            images=images,
            valid_T=valid_T,
            reset=reason,
            reset_detail=detail,
            frames_since_reset=count,
            is_warm=is_warm,
        )


def _size(frame: Frame) -> str:
    height, width = frame.image_HW3.shape[:2]
    return f'{width}x{height}'


def _changed_fields(before: CameraModel, after: CameraModel) -> list[str]:
    names = (field.name for field in fields(CameraModel))
    return [name for name in names if getattr(before, name) != getattr(after, name)]
