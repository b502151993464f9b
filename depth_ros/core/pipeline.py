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
The one road from a camera frame to depth in metres.

The live node, the replay, the evaluation and the benchmarks all call ``DepthPipeline.process``, or
its two halves: between ``submit`` and ``Pending.result`` an engine on a GPU computes beside the
CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
import time
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel, Intrinsics, Rectifier
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import (
    DepthEstimate,
    Frame,
    ImageU8,
    OutputBuffers,
    ResetReason,
    StageTimes,
)
from depth_ros.core.engine_api import Engine, OverlappingEngine, Tensors
from depth_ros.core.frame_buffer import FrameBuffer, Window
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.postprocess import (
    decode,
    DepthGrid,
    enlarge,
    focal_ratio,
    relative_inverse,
)
from depth_ros.core.preprocess import (
    image_inputs,
    ImageTransform,
    Preprocessor,
    usual_camera,
)
from depth_ros.core.scale import ScaleShift
from depth_ros.core.scale_alignment import Aligner, RelativeFrame, require_aligner
from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True, kw_only=True, eq=False)
class Pending:
    """
    One frame between ``DepthPipeline.submit`` and its depth.

    Fields:
        image_HW3: rectified, on the published grid.
        seen_HW: False where rectification had no camera pixel; None: it had all.
        started_ns: when its inference began.
        grid: its depth on the network's grid; None before, and where there is an ``error``.
        rectify_ns, preprocess_ns, infer_ns, postprocess_ns: see ``StageTimes``.

    """

    pipeline: DepthPipeline
    frame: Frame
    intrinsics: Intrinsics
    image_HW3: ImageU8
    seen_HW: NDArray[np.bool_] | None
    transform: ImageTransform
    window: Window
    wants_sigma: bool
    rectify_ns: int
    preprocess_ns: int
    started_ns: int = 0
    infer_ns: int = 0
    postprocess_ns: int = 0
    grid: DepthGrid | None = None
    error: FrameError | None = None

    def result(self, out: OutputBuffers | None = None) -> DepthEstimate:
        """
        Wait for the depth, and enlarge it to the published size.

        :param out: buffers to write into; the estimate's arrays are then these.
        :raises AlignmentError: a relative model, and no scale and shift yet for this frame.
        """
        return self.pipeline.finish(self, out)


class DepthPipeline:
    """
    Rectify, preprocess, infer, postprocess: for the frames of one camera stream, in order.

    Not thread-safe: one thread calls ``process``, or ``submit`` and ``Pending.result``.

    :param aligner: knows the scale and shift of a relative model; None for the others.
    :raises ModelError: the engine's outputs are not what the model states; found by one
        inference on a black image, which also warms the engine up. Or a relative model has no
        aligner.
    :raises ConfigError: there is an aligner, and nothing that it could align.
    """

    def __init__(
        self,
        engine: Engine,
        model: ModelSpec,
        config: PipelineConfig,
        aligner: Aligner | None = None,
    ) -> None:
        require_aligner(model, aligner)
        self._engine = engine
        self._beside = engine if isinstance(engine, OverlappingEngine) else None
        self._running: Pending | None = None
        self._model = model
        self._config = config
        self._aligner = aligner
        self._preprocess = Preprocessor(model.input, mirrored=model.uncertainty.kind == 'flip')
        self._buffer = self._empty_buffer()
        self._camera: CameraModel | None = None
        self._rectifier: Rectifier | None = None
        self._grid_wh = self._probe()

    @property
    def overlaps(self) -> bool:
        """Tell whether the engine computes beside the CPU between ``submit`` and the result."""
        return self._beside is not None

    def reset(self) -> None:
        """Drop the temporal state, and what is known of scale and shift, before the next frame."""
        self._settle()
        self._buffer.reset()
        if self._aligner is not None:
            self._aligner.reset()

    def output_intrinsics(self, camera: CameraModel) -> Intrinsics:
        """Return size and K of what ``process`` returns for this camera."""
        intrinsics = camera.intrinsics
        if self._config.resolution == 'camera':
            return intrinsics
        plan = ImageTransform.plan(intrinsics.width, intrinsics.height, self._model.input)
        grid_w, grid_h = self._grid_wh
        width = max(1, round(grid_w * plan.width / plan.input_width))
        height = max(1, round(grid_h * plan.height / plan.input_height))
        return intrinsics.resized(width, height)

    def process(
        self, frame: Frame, *, with_uncertainty: bool = True, out: OutputBuffers | None = None
    ) -> DepthEstimate:
        """
        Return the depth of one frame.

        :param with_uncertainty: False saves the second pass of models with flip uncertainty.
        :param out: buffers to write into; the estimate's arrays are then these.
        :raises FrameError: image and calibration disagree; the frame is lost, the stream not.
        :raises AlignmentError: a relative model, and no scale and shift yet for this frame.
        :raises RepeatedFrameError: the stamp of the frame before, for a model with a memory.
        """
        wants_sigma = self._wants_sigma(with_uncertainty=with_uncertainty)
        _buffers(self.output_intrinsics(frame.camera), out, with_uncertainty=wants_sigma)
        return self.submit(frame, with_uncertainty=with_uncertainty).result(out)

    def submit(self, frame: Frame, *, with_uncertainty: bool = True) -> Pending:
        """
        Begin with the next frame; of an engine that ``overlaps``, return while it computes.

        The results are those of ``process`` for the same frames in the same order: what one
        frame decides for the next, it has decided before that one begins. The frame before may
        be asked for its result afterwards, beside this one's inference.

        :raises FrameError: see ``process``.
        """
        watch = _StopWatch()
        _check_size(frame)
        rectified_HW3 = self._rectify(frame)
        rectify_ns = watch.lap()
        wants_sigma = self._wants_sigma(with_uncertainty=with_uncertainty)
        with_mirror = wants_sigma and self._model.uncertainty.kind == 'flip'
        tensor, transform = self._preprocess(rectified_HW3, with_mirror=with_mirror)
        preprocess_ns = watch.lap()
        self._settle()
        # That was time of the frame before.
        watch.lap()
        window = self._buffer.push(frame, tensor)
        pending = Pending(
            pipeline=self,
            frame=frame,
            intrinsics=self.output_intrinsics(frame.camera),
            image_HW3=rectified_HW3,
            seen_HW=None if self._rectifier is None else self._rectifier.valid_HW,
            transform=transform,
            window=window,
            wants_sigma=wants_sigma,
            rectify_ns=rectify_ns,
            preprocess_ns=preprocess_ns + watch.lap(),
        )
        self._begin(pending)
        watch.lap()
        pending.image_HW3 = _image_at(rectified_HW3, pending.intrinsics)
        if not self.overlaps:
            # Else it is done beside the inference.
            pending.postprocess_ns += watch.lap()
        return pending

    def finish(self, pending: Pending, out: OutputBuffers | None) -> DepthEstimate:
        """Return the depth of a frame; see ``Pending.result``."""
        if pending is self._running:
            self._settle()
        if pending.grid is None:
            assert pending.error is not None
            raise pending.error
        watch = _StopWatch()
        buffers = _buffers(pending.intrinsics, out, with_uncertainty=pending.wants_sigma)
        depth_HW, sigma_HW = buffers.depth_HW, buffers.uncertainty_HW
        unseen_HW = _unseen(pending.seen_HW, depth_HW.shape)
        is_complete = enlarge(
            pending.grid, pending.transform, depth_HW, sigma_HW, unseen_HW=unseen_HW
        )
        window = pending.window
        return DepthEstimate(
            depth_HW=depth_HW,
            uncertainty_HW=sigma_HW,
            image_HW3=pending.image_HW3,
            intrinsics=pending.intrinsics,
            stamp_ns=pending.frame.stamp_ns,
            frame_id=pending.frame.frame_id,
            reset=window.reset,
            reset_detail=window.reset_detail,
            frames_since_reset=window.frames_since_reset,
            is_warm=window.is_warm,
            is_held=not window.is_warm and self._model.temporal.first_frames == 'hold',
            times=StageTimes(
                rectify_ns=pending.rectify_ns,
                preprocess_ns=pending.preprocess_ns,
                infer_ns=pending.infer_ns,
                postprocess_ns=pending.postprocess_ns + watch.lap(),
            ),
            is_complete=is_complete,
        )

    def _wants_sigma(self, *, with_uncertainty: bool) -> bool:
        return with_uncertainty and self._model.uncertainty.kind != 'none'

    def _begin(self, pending: Pending) -> None:
        """Start the inference; an engine that does not overlap has ended it, too."""
        camera = pending.transform.input_intrinsics(pending.frame.camera.intrinsics)
        pending.started_ns = time.perf_counter_ns()
        if self._beside is not None:
            self._beside.submit(self._inputs(pending.window, camera))
            self._running = pending
        else:
            self._decode(pending, self._infer(pending.window, camera))

    def _settle(self) -> None:
        """End the inference in work, and decide what it decides for the next frame."""
        pending, self._running = self._running, None
        if pending is not None:
            assert self._beside is not None
            outputs = self._beside.collect()
            self._buffer.store(outputs)
            self._decode(pending, outputs)

    def _decode(self, pending: Pending, outputs: Tensors) -> None:
        """Take metres on the network's grid, in arrays of our own: the outputs are not."""
        pending.infer_ns = time.perf_counter_ns() - pending.started_ns
        watch = _StopWatch()
        frame, transform = pending.frame, pending.transform
        try:
            line = self._line(outputs, transform, frame)
        except FrameError as error:
            pending.error = error
            return
        pending.grid = decode(
            outputs,
            self._model,
            focal_px=transform.input_focal_px(frame.camera.intrinsics),
            with_uncertainty=pending.wants_sigma,
            line=line,
        )
        unknown_hw = pending.grid.unknown_hw
        if self._model.temporal.is_stateful and unknown_hw is not None and unknown_hw.all():
            # What is no number stays none when it is fed back: without this, for ever.
            self._buffer.reset(ResetReason.NOT_FINITE)
        pending.postprocess_ns = watch.lap()

    def _empty_buffer(self) -> FrameBuffer:
        copies_states = not self._engine.spec.gives_new_arrays
        return FrameBuffer(self._model.temporal, copies_states=copies_states)

    def _rectify(self, frame: Frame) -> ImageU8:
        if frame.camera != self._camera:
            needed = frame.camera.needs_rectification
            self._rectifier = Rectifier(frame.camera) if needed else None
            self._camera = frame.camera
        return frame.image_HW3 if self._rectifier is None else self._rectifier(frame.image_HW3)

    def _inputs(self, window: Window, camera: Intrinsics) -> Tensors:
        return {**image_inputs(self._model.input, window.images, camera), **self._buffer.states}

    def _infer(self, window: Window, camera: Intrinsics) -> dict[str, NDArray[Any]]:
        outputs = self._engine.infer(self._inputs(window, camera))
        self._buffer.store(outputs)
        return outputs

    def _line(
        self, outputs: Tensors, transform: ImageTransform, frame: Frame
    ) -> ScaleShift | None:
        """Return scale and shift of a relative model's answer; None of the others."""
        if self._aligner is None:
            return None
        camera = frame.camera.intrinsics
        relative = RelativeFrame(
            inverse_hw=relative_inverse(outputs, self._model),
            focal_ratio=focal_ratio(self._model, transform.input_focal_px(camera)),
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            camera=camera,
            transform=transform,
        )
        return self._aligner.align(relative)

    def _probe(self) -> tuple[int, int]:
        """Run every batch size once, on black; return (width, height) of the output grid."""
        spec = self._model.input
        camera = usual_camera(self._model)
        frame = Frame(
            image_HW3=np.zeros((spec.height, spec.width, 3), np.uint8),
            stamp_ns=0,
            frame_id='',
            camera=CameraModel.pinhole(camera),
        )
        for with_mirror in {False, self._model.uncertainty.kind == 'flip'}:
            tensor, transform = self._preprocess(frame.image_HW3, with_mirror=with_mirror)
            outputs = self._infer(self._buffer.push(frame, tensor), camera)
        focal_px = transform.input_focal_px(camera)
        line = None if self._aligner is None else ScaleShift(scale=1.0, shift=0.0)
        grid = decode(outputs, self._model, focal_px=focal_px, with_uncertainty=False, line=line)
        self._buffer = self._empty_buffer()
        height, width = grid.depth_hw.shape
        return width, height


class _StopWatch:
    """Time between laps [ns]."""

    def __init__(self) -> None:
        self._last_ns = time.perf_counter_ns()

    def lap(self) -> int:
        last_ns, self._last_ns = self._last_ns, time.perf_counter_ns()
        return self._last_ns - last_ns


def _check_size(frame: Frame) -> None:
    height, width = frame.image_HW3.shape[:2]
    if (width, height) != frame.camera.image_size:
        expected = '{}x{}'.format(*frame.camera.image_size)
        raise FrameError(
            f'image is {width}x{height} but its camera_info is for {expected}: '
            'publish the camera_info of this image size'
        )


def _buffers(
    intrinsics: Intrinsics, out: OutputBuffers | None, *, with_uncertainty: bool
) -> OutputBuffers:
    shape = (intrinsics.height, intrinsics.width)
    depth_HW = np.empty(shape, np.float32) if out is None else out.depth_HW
    sigma_HW = None if out is None else out.uncertainty_HW
    if with_uncertainty and sigma_HW is None:
        sigma_HW = np.empty(shape, np.float32)
    for name, buffer in (('depth_HW', depth_HW), ('uncertainty_HW', sigma_HW)):
        if buffer is not None and (buffer.shape != shape or buffer.dtype != np.float32):
            raise ValueError(f'out.{name} is {buffer.dtype} {buffer.shape}: needs float32 {shape}')
    return OutputBuffers(depth_HW=depth_HW, uncertainty_HW=sigma_HW if with_uncertainty else None)


def _unseen(seen_HW: NDArray[np.bool_] | None, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return where a published image of this shape shows what the camera never saw."""
    if seen_HW is None:
        return None
    if seen_HW.shape == shape:
        return ~seen_HW
    # A pixel of the smaller image counts as seen when all of it was.
    seen = cv2.resize(seen_HW.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(seen) < 1.0


def _image_at(image_HW3: ImageU8, intrinsics: Intrinsics) -> ImageU8:
    size = (intrinsics.width, intrinsics.height)
    if image_HW3.shape[1::-1] == size:
        return image_HW3
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)
