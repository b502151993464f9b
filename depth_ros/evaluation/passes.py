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

"""One pass over the frames of a bag: read ahead, predict, score behind."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
import time

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import LidarSweep, OdometrySample
from depth_ros.bags.streams import odometry
from depth_ros.core.geometry import Matrix, TransformTree
from depth_ros.core.lidar import SparseDepth
from depth_ros.errors import BagError, FrameError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.frame_source import FrameSource, Item
from depth_ros.evaluation.overlap import Ahead, Behind
from depth_ros.evaluation.poses import PoseTrack
from depth_ros.evaluation.scoring import Measured, NO_TRUTH, Prediction
from depth_ros.evaluation.sources import NotPredicted, Predictor
from depth_ros.evaluation.truth import LidarTruth, truth_of_image

NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BagFacts:
    """What all passes over a bag share: where it is, its topics, its static transforms."""

    path: Path
    topics: dict[str, str]
    tree: TransformTree
    config: EvaluationConfig

    @property
    def has_truth(self) -> bool:
        """Tell whether there is anything to score against."""
        return 'lidar' in self.topics or 'truth' in self.topics


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """A frame on its way: as read, and what became of it."""

    place: int
    item: Item
    prediction: Prediction | None = None
    reason: str = ''
    detail: str = ''
    is_held_reset: bool = False


@dataclass(slots=True, kw_only=True)
class PassTimes:
    """How long a pass took, and how much of that the engine computed [ns]."""

    frames: int = 0
    started_ns: int = 0
    wall_ns: int = 0
    engine_ns: int = 0

    def result(self) -> dict[str, float] | None:
        """Return frames a second and the engine's share of the time; None of no frame."""
        if not self.frames or not self.wall_ns:
            return None
        seconds = self.wall_ns / NS_PER_S
        return {
            'frames': self.frames,
            'seconds': seconds,
            'frames_per_s': self.frames / seconds,
            'engine_share': self.engine_ns / self.wall_ns,
        }


class Measurer:
    """
    Finds what was measured for each frame; belongs to the thread that asks first.

    Odometry is read as far as it is needed, so frames must come in the order of the bag.
    """

    def __init__(self, facts: BagFacts) -> None:
        self._facts = facts
        topic = facts.topics.get('odometry')
        self._samples = None if topic is None else _samples(facts.path, topic)
        self._poses = None if self._samples is None else PoseTrack(facts.tree, self._samples)
        self._truth = LidarTruth(facts.tree, facts.config, self._poses)

    def close(self) -> None:
        """Close the bag, in the thread that has read it."""
        if self._samples is not None:
            self._samples.close()

    def of(self, item: Item, prediction: Prediction) -> Measured:
        """
        Return truth and pose of a frame.

        :raises BagError: no static transform from the LiDAR to the camera.
        """
        pose = self._pose(prediction)
        if not self._facts.has_truth:
            return Measured(reason=NO_TRUTH, world_T_cam=pose)
        if item.truth is None:
            what = 'LiDAR sweep' if 'lidar' in self._facts.topics else 'truth image'
            reason = f'no {what} within {self._facts.config.max_sync_ms:g} ms'
            return Measured(reason=reason, world_T_cam=pose)
        try:
            truth = self._truth_of(item, prediction)
        except FrameError as error:
            return Measured(reason='no truth', detail=str(error), world_T_cam=pose)
        return Measured(truth=truth, sweep_ns=item.truth.stamp_ns, world_T_cam=pose)

    def _truth_of(self, item: Item, prediction: Prediction) -> SparseDepth:
        if not isinstance(item.truth, LidarSweep):
            assert item.truth is not None
            return truth_of_image(item.truth, prediction.intrinsics)
        try:
            self._truth.cam_T_lidar(prediction.frame_id, item.truth.frame_id)
        except FrameError as error:
            raise BagError(f"bag '{self._facts.path}': {error}") from error
        return self._truth.of(
            item.truth, prediction.intrinsics, prediction.frame_id, prediction.stamp_ns
        )

    def _pose(self, prediction: Prediction) -> Matrix | None:
        if self._poses is None:
            return None
        try:
            return self._poses.pose(prediction.frame_id, prediction.stamp_ns)
        except FrameError:
            return None


def _samples(bag: Path, topic: str) -> Generator[OdometrySample, None, None]:
    with BagReader(bag) as reader:
        yield from odometry(reader, topic, on_skip=lambda skipped: None)


def run_pass(
    facts: BagFacts,
    predictor: Predictor,
    take: Callable[[Job], None],
    *,
    finish: Callable[[], None] = lambda: None,
    first: int = 0,
    on_frame: Callable[[], None] = lambda: None,
    is_overlapped: bool = True,
) -> PassTimes:
    """
    Hand every frame to the predictor, once and in order, and then to ``take``.

    :param take: gets each frame in its order, in a thread of its own unless not overlapped.
    :param finish: called last, in the thread of ``take``.
    :param first: place of the first frame that is handed over.
    """
    source = FrameSource(facts.path, facts.topics, facts.config)
    if not is_overlapped:
        return _plain(source, predictor, take, finish, first, on_frame)
    times = PassTimes(started_ns=time.perf_counter_ns())
    ahead = Ahead(lambda: iter(source))
    behind: Behind[Job] = Behind(take, finish)
    # What an engine computes beside the CPU, it computes beside the frames around.
    jobs = _begun_early if predictor.overlaps else _one_by_one
    try:
        for job in jobs(_wanted(ahead, first, times), predictor, times):
            behind.put(job)
            on_frame()
    finally:
        ahead.close()
        behind.close()
    times.wall_ns = time.perf_counter_ns() - times.started_ns
    return times


def _plain(
    source: FrameSource,
    predictor: Predictor,
    take: Callable[[Job], None],
    finish: Callable[[], None],
    first: int,
    on_frame: Callable[[], None],
) -> PassTimes:
    times = PassTimes(started_ns=time.perf_counter_ns())
    try:
        for job in _one_by_one(_wanted(source, first, times), predictor, times):
            take(job)
            on_frame()
    finally:
        finish()
    times.wall_ns = time.perf_counter_ns() - times.started_ns
    return times


def _wanted(items: Iterable[Item], first: int, times: PassTimes) -> Iterator[tuple[int, Item]]:
    """Yield the items that are handed over, with their places; time begins with a frame."""
    for place, item in enumerate(items):
        if place >= first:
            if not times.frames:
                times.started_ns = time.perf_counter_ns()
            yield place, item


def _one_by_one(
    items: Iterator[tuple[int, Item]], predictor: Predictor, times: PassTimes
) -> Iterator[Job]:
    for place, item in items:
        if item.frame is None:
            yield _unusable(place, item)
        else:
            predictor.take(item.truth)
            yield _ended(place, item, partial(predictor.predict, item.frame), times)


def _begun_early(
    items: Iterator[tuple[int, Item]], predictor: Predictor, times: PassTimes
) -> Iterator[Job]:
    """Begin with each frame before the one before it is ended; the order stays."""
    begun: Callable[[], Job] | None = None
    for place, item in items:
        last, begun = begun, _begin(place, item, predictor, times)
        if last is not None:
            yield last()
    if begun is not None:
        yield begun()


def _begin(place: int, item: Item, predictor: Predictor, times: PassTimes) -> Callable[[], Job]:
    if item.frame is None:
        return partial(_unusable, place, item)
    try:
        end = predictor.submit(item.frame)
    except NotPredicted as refusal:
        return partial(_refused, place, item, refusal)
    finally:
        # The frame before has been decided by now; this one has not.
        predictor.take(item.truth)
    return partial(_ended, place, item, end, times)


def _unusable(place: int, item: Item) -> Job:
    return Job(place=place, item=item, reason=item.reason, detail=item.detail)


def _refused(place: int, item: Item, refusal: NotPredicted) -> Job:
    return Job(
        place=place,
        item=item,
        reason=refusal.reason,
        detail=refusal.detail,
        is_held_reset=refusal.is_reset,
    )


def _ended(place: int, item: Item, end: Callable[[], Prediction], times: PassTimes) -> Job:
    try:
        prediction = end()
    except NotPredicted as refusal:
        return _refused(place, item, refusal)
    times.frames += 1
    if prediction.times is not None:
        times.engine_ns += prediction.times.infer_ns
    return Job(place=place, item=item, prediction=prediction)
