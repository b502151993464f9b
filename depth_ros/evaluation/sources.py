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

"""Where the predictions come from: the pipeline, frame by frame, or a recording of the node."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

import cv2
from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import CAMERA_INFO, IMAGE, LidarSweep, SkippedMessage
from depth_ros.bags.streams import depth_images
from depth_ros.core.camera import CameraModel, Rectifier
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame, ImageU8
from depth_ros.core.geometry import TransformTree
from depth_ros.core.message_fields import camera_from_info, stamp_ns
from depth_ros.core.pipeline import DepthPipeline, Pending
from depth_ros.core.scale_alignment import LidarAligner, make_aligner, Sweep
from depth_ros.core.sync import increasing, Stamped
from depth_ros.engines.factory import LoadedModel
from depth_ros.errors import BagError, FrameError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.frame_source import Truth
from depth_ros.evaluation.scoring import Prediction
import numpy as np

DEPTH_SUFFIX = 'depth/image_rect'
SIGMA_NAME = 'uncertainty'
INFO_NAME = 'camera_info'
# The least that an alignment takes as the gap between image and sweep.
LEAST_GAP_S = 0.001


class NotPredicted(Exception):  # noqa: N818  (it is no error of the program)
    """
    There is no prediction for this frame; the reason, and more for the table of frames.

    ``is_reset``: the model has seen the frame, as the first one of a new memory.
    """

    def __init__(self, reason: str, detail: str = '', *, is_reset: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.is_reset = is_reset


class Predictor(Protocol):
    """Turns the frames of a bag into depth, in order, each once."""

    def predict(self, frame: Frame) -> Prediction:
        """
        Return the depth of the next frame.

        :raises NotPredicted: it has none, and why.
        """
        ...

    @property
    def overlaps(self) -> bool:
        """Tell whether ``submit`` returns while the depth is still being computed."""
        ...

    def submit(self, frame: Frame) -> Callable[[], Prediction]:
        """
        Begin with the next frame; what is returned gives its depth, or raises NotPredicted.

        :raises NotPredicted: it has none, and why.
        """
        ...

    @property
    def is_stateful(self) -> bool:
        """Tell whether the depth of a frame depends on the frames before it."""
        ...

    @property
    def remembers_all(self) -> bool:
        """Tell whether the depth of a frame depends on every frame before it."""
        ...

    def take(self, truth: Truth | None) -> None:
        """Take what was measured at the time of the next frame."""
        ...

    def restart(self) -> None:
        """Begin anew with the first frame of the bag."""
        ...


class PipelinePredictor:
    """
    The model, through the pipeline that the node runs.

    :param aligner: of the pipeline, when it lives on the truth.
    """

    def __init__(
        self,
        pipeline: DepthPipeline,
        *,
        is_stateful: bool = True,
        aligner: LidarAligner | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._is_stateful = is_stateful
        self._aligner = aligner

    @classmethod
    def of(
        cls, loaded: LoadedModel, config: EvaluationConfig, tree: TransformTree
    ) -> PipelinePredictor:
        """
        Return the predictor of a model.

        :raises ModelError: a relative model, and no alignment is configured.
        :raises ConfigError: an alignment for a metric model.
        """
        gap_s = min(max(config.max_sync_ms / 1e3, LEAST_GAP_S), 1.0)
        settings = replace(config.model_alignment, max_time_difference_s=gap_s)
        aligner = make_aligner(settings, tree.lookup)
        temporal = loaded.card.temporal
        return cls(
            DepthPipeline(loaded.engine, loaded.card, PipelineConfig(), aligner),
            is_stateful=temporal.is_stateful or temporal.warmup_frames > 0,
            aligner=aligner if isinstance(aligner, LidarAligner) else None,
        )

    @property
    def remembers_all(self) -> bool:
        """Tell whether scale and shift follow the LiDAR, whose sweeps fade but never end."""
        return self._aligner is not None

    def take(self, truth: Truth | None) -> None:
        """Take a sweep for the alignment; nothing else is ever looked at."""
        if self._aligner is not None and isinstance(truth, LidarSweep):
            xyz_N3 = truth.xyz_N3
            self._aligner.add(
                Sweep(stamp_ns=truth.stamp_ns, frame_id=truth.frame_id, read=lambda: xyz_N3)
            )

    @property
    def is_stateful(self) -> bool:
        """Tell whether the model remembers frames."""
        return self._is_stateful

    def restart(self) -> None:
        """Forget what the model remembers."""
        self._pipeline.reset()

    @property
    def overlaps(self) -> bool:
        """Tell whether the engine computes beside the CPU."""
        return self._pipeline.overlaps

    def predict(self, frame: Frame) -> Prediction:
        """Run the pipeline; frames that the node would not publish are not predicted."""
        return self.submit(frame)()

    def submit(self, frame: Frame) -> Callable[[], Prediction]:
        """Begin with a frame, see ``DepthPipeline.submit``."""
        with _refusing():
            pending = self._pipeline.submit(frame)
        return lambda: self._finish(pending)

    @staticmethod
    def _finish(pending: Pending) -> Prediction:
        with _refusing():
            estimate = pending.result()
        if estimate.is_held:
            raise NotPredicted(
                'held: too little past after a reset of the temporal state',
                is_reset=estimate.reset is not None,
            )
        return Prediction.of(estimate)


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except FrameError as error:
        raise NotPredicted('refused by the pipeline', str(error)) from error


class RecordedPredictor:
    """What a node has published and a recorder has stored, matched by identical stamps."""

    def __init__(self, recording: BagReader, depth_topic: str | None) -> None:
        depth, info, sigma = _recorded_topics(recording, depth_topic)
        self.topics = {'depth': depth, 'depth_camera_info': info, 'uncertainty': sigma}
        self._recording = recording
        self._rectifier: Rectifier | None = None
        self._open()

    @property
    def overlaps(self) -> bool:
        """Return False: it is only read."""
        return False

    def submit(self, frame: Frame) -> Callable[[], Prediction]:
        """Read a frame."""
        prediction = self.predict(frame)
        return lambda: prediction

    @property
    def is_stateful(self) -> bool:
        """Return False: what was recorded does not change."""
        return False

    @property
    def remembers_all(self) -> bool:
        """Return False: what was recorded does not change."""
        return False

    def take(self, truth: Truth | None) -> None:
        """Look away: what was recorded does not change."""

    def restart(self) -> None:
        """Read the recording from its beginning."""
        self._open()

    def _open(self) -> None:
        recording, topics = self._recording, self.topics
        depth, info, sigma = topics['depth'], topics['depth_camera_info'], topics['uncertainty']
        self._unusable: dict[int, str] = {}
        self._depth = _ByStamp(depth_images(recording, str(depth), on_skip=self._note_unusable))
        self._info = _ByStamp(_infos(recording, str(info)))
        self._sigma = None if sigma is None else _ByStamp(depth_images(recording, sigma))

    def predict(self, frame: Frame) -> Prediction:
        """Return what was published for the frame; frames that were dropped have nothing."""
        depth = self._depth.at(frame.stamp_ns)
        if depth is None and frame.stamp_ns in self._unusable:
            raise NotPredicted('recorded depth is damaged', self._unusable.pop(frame.stamp_ns))
        if depth is None:
            raise NotPredicted('not published by the node')
        info = self._info.at(frame.stamp_ns)
        if info is None:
            raise NotPredicted('published without camera_info')
        sigma = None if self._sigma is None else self._sigma.at(frame.stamp_ns)
        intrinsics = info.camera.intrinsics
        size = (intrinsics.height, intrinsics.width)
        if depth.depth_HW.shape != size:
            raise NotPredicted('published with a camera_info of another size')
        return Prediction(
            stamp_ns=depth.stamp_ns,
            frame_id=depth.frame_id,
            depth_HW=depth.depth_HW,
            uncertainty_HW=None if sigma is None else sigma.depth_HW,
            image_HW3=self._image(frame, size),
            intrinsics=intrinsics,
            times=None,
        )

    def _note_unusable(self, skipped: SkippedMessage) -> None:
        self._unusable[skipped.stamp_ns] = skipped.reason

    def _image(self, frame: Frame, size: tuple[int, int]) -> ImageU8:
        image = frame.image_HW3
        if frame.camera.needs_rectification:
            if self._rectifier is None or self._rectifier.camera != frame.camera:
                self._rectifier = Rectifier(frame.camera)
            image = self._rectifier(image)
        if image.shape[:2] == size:
            return image
        return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Info:
    """The calibration of one published depth image."""

    stamp_ns: int
    camera: CameraModel


def _infos(recording: BagReader, topic: str) -> Iterator[_Info]:
    for item in recording.messages([topic]):
        try:
            camera = camera_from_info(item.message, is_rectified_image=True)
        except FrameError as error:
            raise BagError(f"recording '{recording.path}', topic '{topic}': {error}") from error
        yield _Info(stamp_ns=stamp_ns(item.message.header), camera=camera)


ItemT = TypeVar('ItemT', bound=Stamped)


class _ByStamp(Generic[ItemT]):
    """Looks up rising stamps in a stream of rising stamps, holding one item."""

    def __init__(self, items: Iterator[ItemT]) -> None:
        # A stamp that was published twice is the same frame again: the first one counts.
        self._items = increasing(items, on_drop=lambda item: None)
        self._next = next(self._items, None)

    def at(self, stamp_ns: int) -> ItemT | None:
        while self._next is not None and self._next.stamp_ns < stamp_ns:
            self._next = next(self._items, None)
        found = self._next
        return found if found is not None and found.stamp_ns == stamp_ns else None


def _recorded_topics(recording: BagReader, given: str | None) -> tuple[str, str, str | None]:
    """Return the topics of depth, camera_info and uncertainty; the node names them alike."""
    present = {info.name: info for info in recording.topics if info.count}
    images = [name for name, info in present.items() if info.msgtype == IMAGE]
    candidates = [name for name in images if name.endswith(DEPTH_SUFFIX)]
    if given is not None:
        candidates = [recording.topic(given).name]
    if len(candidates) != 1:
        raise BagError(
            f"recording '{recording.path}' has {len(candidates)} topics of depth images "
            f'({", ".join(candidates) or f"none ends in {DEPTH_SUFFIX}"}; image topics: '
            f'{", ".join(images) or "none"}): choose one with --depth-topic'
        )
    space = candidates[0].rpartition('/')[0]
    info, sigma = f'{space}/{INFO_NAME}', f'{space}/{SIGMA_NAME}'
    if info not in present or present[info].msgtype != CAMERA_INFO:
        raise BagError(
            f"recording '{recording.path}' has depth '{candidates[0]}' but no '{info}': record "
            'it too, metres at a pixel need the camera'
        )
    return candidates[0], info, sigma if sigma in images else None
