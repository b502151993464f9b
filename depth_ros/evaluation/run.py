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
Score a model, or what a node has published, against the LiDAR of a bag.

Deterministic: every frame once, in order, without a clock and without a ROS graph, through the
``DepthPipeline`` that the node runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import LidarSweep, SkippedMessage
from depth_ros.bags.streams import frames, odometry, static_transforms, sweeps
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.core.sync import increasing, pair_streams
from depth_ros.engines.factory import load_model
from depth_ros.errors import BagError, FrameError, ReportError
from depth_ros.evaluation.config import EvaluationConfig, Topics
from depth_ros.evaluation.facts import files_of, fingerprint, model_facts, scores, versions
from depth_ros.evaluation.files import FileSet, FrameTable, make_folder
from depth_ros.evaluation.node_words import last_words
from depth_ros.evaluation.report import (
    json_bytes,
    METRICS_FILE,
    SCHEMA_VERSION,
    TABLE_FILE,
    write_pages,
    write_pictures,
)
from depth_ros.evaluation.session import Session
from depth_ros.evaluation.sources import (
    NotPredicted,
    PipelinePredictor,
    Predictor,
    RecordedPredictor,
)
from depth_ros.evaluation.truth import LidarTruth

# (frames done, frames in all); called after every frame.
OnFrame = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A finished scoring: ``result`` is what metrics.json will hold; ``write`` makes the files."""

    result: dict[str, Any]
    folder: Path
    _session: Session
    _table: FrameTable

    def write(self) -> None:
        """
        Write metrics.json, per_frame.csv, the pictures and both pages.

        :raises ReportError: some could not be written; the others are there.
        """
        files = FileSet(self.folder)
        # The numbers first: of a disk that is nearly full they get what is left.
        has_metrics = files.write(METRICS_FILE, lambda: json_bytes(self.result))
        error = self._table.close()
        if error is not None:
            files.fail(TABLE_FILE, error)
        self.result['pictures'] = write_pictures(files, self._session.album.chosen())
        if has_metrics and self.result['pictures']:
            files.write(METRICS_FILE, lambda: json_bytes(self.result))
        write_pages(files, self.result)
        files.finish()


def evaluate(
    bag: Path,
    folder: Path,
    *,
    model: str = 'default',
    engine: str = 'auto',
    threads: int = 0,
    topics: Topics | None = None,
    config: EvaluationConfig | None = None,
    command: str = '',
    on_frame: OnFrame = _no_progress,
) -> Evaluation:
    """
    Score a model on a bag; nothing but per_frame.csv is written before ``Evaluation.write``.

    :raises DepthRosError: the bag, the model or a setting is unusable, or nothing was scored.
    """
    config = config or EvaluationConfig()
    with ExitStack() as stack:
        run = _Run(stack, bag, make_folder(folder), topics or Topics(), config, on_frame)
        loaded = stack.enter_context(load_model(model, engine=engine, threads=threads))
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        session = run.score(PipelinePredictor(pipeline))
        facts = {'model': model_facts(loaded), 'node': None, 'command': command}
        spec = loaded.engine.spec
        return run.finish(session, facts, {spec.backend: spec.version})


def evaluate_recorded(
    bag: Path,
    recording: Path,
    folder: Path,
    *,
    depth_topic: str | None = None,
    topics: Topics | None = None,
    config: EvaluationConfig | None = None,
    command: str = '',
    on_frame: OnFrame = _no_progress,
) -> Evaluation:
    """
    Score the depth that a node has published and a recorder has stored, frame by stamp.

    :param bag: images and LiDAR that the node was fed with.
    :param recording: its depth/image_rect, depth/camera_info and, if there, depth/uncertainty.
    :raises DepthRosError: a bag or a setting is unusable, or nothing was scored.
    """
    config = config or EvaluationConfig()
    with ExitStack() as stack:
        run = _Run(stack, bag, make_folder(folder), topics or Topics(), config, on_frame)
        recorded = stack.enter_context(BagReader(recording))
        predictor = RecordedPredictor(recorded, depth_topic)
        session = run.score(predictor)
        identity, node = last_words(recorded)
        model = {
            'name': f'recording {recording.name}',
            **identity,
            'recording': str(recording),
            'recording_fingerprint': fingerprint(recording),
            **{f'{key}_topic': topic for key, topic in predictor.topics.items()},
        }
        return run.finish(session, {'model': model, 'node': node, 'command': command}, {})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Numbered:
    """A frame and its place in the bag, frames that cannot be read included."""

    index: int
    frame: Frame

    @property
    def stamp_ns(self) -> int:
        return self.frame.stamp_ns


class _Run:
    """One pass over one bag."""

    def __init__(
        self,
        stack: ExitStack,
        bag: Path,
        folder: Path,
        topics: Topics,
        config: EvaluationConfig,
        on_frame: OnFrame,
    ) -> None:
        self._config = config
        self._folder = folder
        self._on_frame = on_frame
        self._reader = stack.enter_context(BagReader(bag))
        self._topics = _resolved(self._reader, topics, config)
        self._table = FrameTable(folder / TABLE_FILE)
        stack.callback(self._table.close)
        self._session = Session(config, self._table)
        self._dropped_sweeps = 0
        self._total = self._reader.topic(self._topics['image']).count
        if config.frames:
            self._total = min(self._total, config.frames)

    def score(self, predictor: Predictor) -> Session:
        """Hand every frame to the predictor, once and in order, and score what has truth."""
        truth = self._truth()
        session = self._session
        stream = increasing(self._numbered(), on_drop=self._skip_late)
        lidar = increasing(self._sweeps(), on_drop=self._drop_sweep)
        for item, sweep in pair_streams(stream, lidar, max_gap_ns=self._config.max_sync_ns):
            try:
                prediction = predictor.predict(item.frame)
            except NotPredicted as refusal:
                session.skip(item.index, item.stamp_ns, refusal.reason, refusal.detail)
            else:
                if prediction.times is not None:
                    session.note_times(prediction.times)
                self._score_one(truth, item, sweep, prediction)
            self._on_frame(session.frames, self._total)
        return session

    def finish(
        self, session: Session, facts: dict[str, Any], engine_versions: dict[str, str]
    ) -> Evaluation:
        """Return the result, or raise when there is none."""
        if session.scored == 0:
            self._table.close()
            reasons = '; '.join(f'{n} x {why}' for why, n in session.skipped.items()) or 'no frame'
            raise ReportError(
                f"nothing could be scored in bag '{self._reader.path}': {reasons}; "
                f"'{self._table.path}' has a line for each frame"
            )
        bag = {
            'name': self._reader.path.name,
            'path': str(self._reader.path),
            'fingerprint': fingerprint(self._reader.path),
            'size_bytes': sum(file.stat().st_size for file in files_of(self._reader.path)),
            'topics': self._topics,
        }
        measured = scores(session, self._dropped_sweeps)
        all_versions = {**versions(), **engine_versions}
        return Evaluation(
            result={**measured, **self._rest(facts, bag, all_versions)},
            folder=self._folder,
            _session=session,
            _table=self._table,
        )

    def _rest(
        self, facts: dict[str, Any], bag: dict[str, Any], versions: dict[str, str]
    ) -> dict[str, Any]:
        return {
            'protocol': self._config.protocol(),
            'model': facts['model'],
            'node': facts['node'],
            'bag': bag,
            'versions': versions,
            'command': facts['command'],
            'pictures': [],
            'schema_version': SCHEMA_VERSION,
        }

    def _truth(self) -> LidarTruth:
        tree = static_transforms(self._reader)
        topic = self._topics.get('odometry')
        poses = None if topic is None else odometry(self._reader, topic)
        return LidarTruth(tree, self._config, poses)

    def _numbered(self) -> Iterator[_Numbered]:
        numbers = count()

        def on_skip(skipped: SkippedMessage) -> None:
            self._session.skip(
                next(numbers), skipped.stamp_ns, 'image cannot be used', skipped.reason
            )

        stream = frames(
            self._reader,
            self._topics['image'],
            self._topics['camera_info'],
            rectify=self._config.rectify,
            on_skip=on_skip,
        )
        for frame in stream:
            index = next(numbers)
            if self._config.frames and index >= self._config.frames:
                return
            yield _Numbered(index=index, frame=frame)

    def _sweeps(self) -> Iterator[LidarSweep]:
        return sweeps(self._reader, self._topics['lidar'], on_skip=self._drop_sweep)

    def _drop_sweep(self, dropped: LidarSweep | SkippedMessage) -> None:
        self._dropped_sweeps += 1

    def _skip_late(self, item: _Numbered) -> None:
        reason = 'stamp not after that of the frame before'
        self._session.skip(item.index, item.stamp_ns, reason)

    def _score_one(
        self, truth: LidarTruth, item: _Numbered, sweep: LidarSweep | None, prediction: Any
    ) -> None:
        if sweep is None:
            reason = f'no LiDAR sweep within {self._config.max_sync_ms:g} ms'
            self._session.skip(item.index, item.stamp_ns, reason)
            return
        try:
            truth.cam_T_lidar(prediction.frame_id, sweep.frame_id)
        except FrameError as error:
            raise BagError(f"bag '{self._reader.path}': {error}") from error
        try:
            sparse = truth.of(
                sweep, prediction.intrinsics, prediction.frame_id, prediction.stamp_ns
            )
        except FrameError as error:
            self._session.skip(item.index, item.stamp_ns, 'no truth', str(error))
            return
        self._session.score(item.index, prediction, sparse, sweep.stamp_ns)


def _resolved(reader: BagReader, topics: Topics, config: EvaluationConfig) -> dict[str, str]:
    image = resolve_topic(reader, 'image', topics.image)
    resolved = {
        'image': image,
        'camera_info': resolve_topic(reader, 'camera_info', topics.camera_info, near=image),
        'lidar': resolve_topic(reader, 'lidar', topics.lidar),
    }
    if config.motion_compensation:
        resolved['odometry'] = resolve_topic(reader, 'odometry', topics.odometry)
    return resolved
