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

"""The thread between the image callback and the publishers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import threading
import time
from typing import Any

from depth_ros.core.camera import CameraModel
from depth_ros.core.config import NodeConfig
from depth_ros.core.datatypes import DepthEstimate, Frame
from depth_ros.core.message_fields import camera_from_info, shared_frame_id
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.errors import AlignmentError, FrameError, RepeatedFrameError
from depth_ros.nodes.frame_mailbox import Mailbox
from depth_ros.nodes.outputs import Outputs, POINTS, UNCERTAINTY
from depth_ros.ros.convert import frame_from
from depth_ros.ros.frame_statistics import Drop, Statistics

# An inference that has not ended by then hangs.
STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """An image message, and when it came [ns, monotonic]."""

    message: Any
    received_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """
    What the worker asks of the node and tells it.

    Fields:
        config: the settings in force.
        camera_info: the newest calibration message, or None.
        clock_ns: the node's clock.
        on_problem: takes the sentence of a dropped frame.
        on_failure: takes the error that ended the worker.

    """

    config: Callable[[], NodeConfig]
    camera_info: Callable[[], Any]
    clock_ns: Callable[[], int]
    on_problem: Callable[[str], None]
    on_failure: Callable[[Exception], None]


class _FrameLostError(Exception):
    """A frame is dropped for this reason."""

    def __init__(self, reason: Drop, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class DepthWorker:
    """Convert, process and publish the newest frame, one after the other, in a thread."""

    def __init__(
        self, pipeline: DepthPipeline, outputs: Outputs, statistics: Statistics, hooks: Hooks
    ) -> None:
        self._pipeline = pipeline
        self._outputs = outputs
        self._statistics = statistics
        self._hooks = hooks
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._camera_of: tuple[Any, CameraModel | None] = (None, None)
        # A daemon, so that a hanging device cannot keep the process alive.
        self._thread = threading.Thread(target=self._run, name='depth_worker', daemon=True)
        self._thread.start()

    def submit(self, arrival: Arrival) -> None:
        """Hand over a frame; one that still waits is dropped for it."""
        if self._mailbox.put(arrival) is not None:
            self._statistics.drop(Drop.OVERWRITTEN)

    def stop(self) -> bool:
        """Finish the frame in work and end the thread; False when it hangs."""
        if self._mailbox.close() is not None:
            self._statistics.drop(Drop.STOPPED)
        self._thread.join(STOP_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (arrival := self._mailbox.take()) is not None:
            try:
                self._handle(arrival)
            except _FrameLostError as lost:
                self._statistics.drop(lost.reason, str(lost))
                self._hooks.on_problem(f'frame dropped, {lost.reason.value}: {lost}')
            except Exception as error:
                self._hooks.on_failure(error)
                return

    def _handle(self, arrival: Arrival) -> None:
        wanted = self._outputs.listeners()
        if not wanted:
            self._statistics.drop(Drop.NO_SUBSCRIBER)
            return
        if self._outputs.config is not self._hooks.config():
            self._outputs.configure(self._hooks.config())
        start_ns = time.perf_counter_ns()
        frame = self._frame(arrival.message)
        decode_ns = time.perf_counter_ns() - start_ns
        estimate = self._estimate(frame, wanted)
        self._statistics.estimated(estimate)
        if estimate.is_held:
            self._statistics.drop(Drop.HELD)
            return
        start_ns = time.perf_counter_ns()
        self._outputs.publish(estimate, wanted)
        self._statistics.publish(
            estimate.times,
            decode_ns=decode_ns,
            publish_ns=time.perf_counter_ns() - start_ns,
            received_ns=arrival.received_ns,
            since_stamp_ns=self._hooks.clock_ns() - estimate.stamp_ns,
        )

    def _frame(self, message: Any) -> Frame:
        info = self._hooks.camera_info()
        with _losing(Drop.BAD_CAMERA_INFO):
            camera = self._camera(info)
        with _losing(Drop.MISMATCH):
            frames = message.header.frame_id, info.header.frame_id
            frame_id = shared_frame_id(*frames, 'camera_info')
        with _losing(Drop.BAD_IMAGE):
            return frame_from(message, camera, frame_id)

    def _camera(self, info: Any) -> CameraModel:
        """Return a calibration; parsed again only when a new message came."""
        known, camera = self._camera_of
        if camera is None or info is not known:
            is_rectified = not self._hooks.config().rectify
            camera = camera_from_info(info, is_rectified_image=is_rectified)
            self._camera_of = (info, camera)
        return camera

    def _estimate(self, frame: Frame, wanted: tuple[str, ...]) -> DepthEstimate:
        with_uncertainty = UNCERTAINTY in wanted or POINTS in wanted
        intrinsics = self._pipeline.output_intrinsics(frame.camera)
        buffers = self._outputs.buffers(intrinsics, with_uncertainty=with_uncertainty)
        with (
            _losing(Drop.MISMATCH),
            _losing(Drop.REPEATED, RepeatedFrameError),
            _losing(Drop.NOT_ALIGNED, AlignmentError),
        ):
            return self._pipeline.process(frame, with_uncertainty=with_uncertainty, out=buffers)


@contextmanager
def _losing(reason: Drop, kind: type[FrameError] = FrameError) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise _FrameLostError(reason, str(error)) from error
