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
``DepthPipeline`` that the node runs. Frames are read ahead of the engine and scored behind it,
each in a thread of its own; the result is that of a plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
import os
from pathlib import Path
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.core.alignment import median_scale
from depth_ros.core.geometry import TransformTree
from depth_ros.core.metrics import counted
from depth_ros.engines.factory import load_model
from depth_ros.errors import FrameError, ReportError
from depth_ros.evaluation import bootstrap
from depth_ros.evaluation.album import drawable
from depth_ros.evaluation.clocks import corrected, lidar_clock
from depth_ros.evaluation.config import EvaluationConfig, Topics
from depth_ros.evaluation.facts import files_of, fingerprint, model_facts, versions
from depth_ros.evaluation.files import FileSet, FrameTable, make_folder
from depth_ros.evaluation.journal import is_finished, Journal, JOURNAL_FILE
from depth_ros.evaluation.node_words import last_words
from depth_ros.evaluation.observers import Observers, Recordings
from depth_ros.evaluation.passes import BagFacts, Job, Measurer, PassTimes, run_pass
from depth_ros.evaluation.report import (
    json_bytes,
    METRICS_FILE,
    read_result,
    SCHEMA_VERSION,
    TABLE_FILE,
    write_pages,
    write_pictures,
)
from depth_ros.evaluation.scoring import FrameScorer, HELD_RESET, NO_TRUTH, skip_record
from depth_ros.evaluation.session import Session
from depth_ros.evaluation.sources import PipelinePredictor, Predictor, RecordedPredictor
from depth_ros.evaluation.topics import bag_facts
import numpy as np

OnFrame = Callable[[int, int], None]
Say = Callable[[str], bool]

NO_RECORDINGS = Recordings()
CORES_OF_SCORES = 2


def _no_progress(done: int, total: int) -> None:
    """Report to nobody."""


def _go_on(sentence: str) -> bool:
    """Report to nobody."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A finished scoring: ``result`` is what metrics.json will hold; ``write`` makes the files."""

    result: dict[str, Any]
    folder: Path
    # None: an earlier run had finished already.
    _session: Session | None
    _table: FrameTable | None

    def write(self) -> None:
        """
        Write metrics.json, per_frame.csv, the journal, the pictures and both pages.

        :raises ReportError: some could not be written; the others are there.
        """
        if self._session is None or self._table is None:
            return
        files = FileSet(self.folder)
        # The numbers first: of a disk that is nearly full they get what is left.
        has_metrics = files.write(METRICS_FILE, lambda: json_bytes(self.result))
        for name, close in (
            (TABLE_FILE, self._table.close),
            (JOURNAL_FILE, self._session.journal.finish),
        ):
            error = close()
            if error is not None:
                files.fail(name, error)
        shots = drawable(self._session.album, self._session.shelf)
        self.result['pictures'] = write_pictures(files, shots)
        if has_metrics and self.result['pictures']:
            files.write(METRICS_FILE, lambda: json_bytes(self.result))
        write_pages(files, self.result)
        files.finish()
        self._session.shelf.clear_disk()


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
    say: Say = _go_on,
    resume: bool = False,
    is_overlapped: bool = True,
    recordings: Recordings = NO_RECORDINGS,
) -> Evaluation:
    """
    Score a model on a bag; beside per_frame.csv, files come with ``Evaluation.write``.

    :param say: told what takes long before the first frame, as building an engine; False stops it.
    :param resume: go on where an earlier run with the same folder was killed.
    :param is_overlapped: False runs one frame after another in one thread, for comparison.
    :param recordings: of the predictions, to be looked at.
    :raises DepthRosError: the bag, the model or a setting is unusable, or nothing was scored.
    """
    config = config or EvaluationConfig()
    recordings.check(resume=resume)
    with ExitStack() as stack:
        run = _Run(stack, bag, make_folder(folder), topics or Topics(), config, on_frame)
        loaded = stack.enter_context(
            load_model(model, engine=engine, threads=threads, progress=say)
        )
        spec = loaded.engine.spec
        facts = {'model': model_facts(loaded), 'node': None, 'command': command}
        predictor = PipelinePredictor.of(loaded, run.config, run.tree)
        done = run.start(facts, {spec.backend: spec.version}, predictor, resume=resume)
        return done or run.score(predictor, recordings, is_overlapped=is_overlapped)


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
    resume: bool = False,
    recordings: Recordings = NO_RECORDINGS,
) -> Evaluation:
    """
    Score the depth that a node has published and a recorder has stored, frame by stamp.

    :param bag: images and LiDAR that the node was fed with.
    :param recording: its depth/image_rect, depth/camera_info and, if there, depth/uncertainty.
    :raises DepthRosError: a bag or a setting is unusable, or nothing was scored.
    """
    config = config or EvaluationConfig()
    recordings.check(resume=resume)
    with ExitStack() as stack:
        run = _Run(stack, bag, make_folder(folder), topics or Topics(), config, on_frame)
        recorded = stack.enter_context(BagReader(recording))
        predictor = RecordedPredictor(recorded, depth_topic)
        identity, node = last_words(recorded)
        model = {
            'name': f'recording {recording.name}',
            **identity,
            'recording': str(recording),
            'recording_fingerprint': fingerprint(recording),
            **{f'{key}_topic': topic for key, topic in predictor.topics.items()},
        }
        facts = {'model': model, 'node': node, 'command': command}
        done = run.start(facts, {}, predictor, resume=resume)
        return done or run.score(predictor, recordings, is_overlapped=True)


class _Run:
    """One evaluation of one bag."""

    def __init__(
        self,
        stack: ExitStack,
        bag: Path,
        folder: Path,
        topics: Topics,
        config: EvaluationConfig,
        on_frame: OnFrame,
    ) -> None:
        self._stack = stack
        self._folder = folder
        self._on_frame = on_frame
        with BagReader(bag) as reader:
            facts, self._accuracy = bag_facts(reader, topics, config)
            self._clock = _clock(reader, facts)
            config = corrected(config, self._clock, bag)
            self._config, self._facts = config, replace(facts, config=config)
            self._total = reader.topic(self._facts.topics['image']).count
        if config.frames:
            self._total = min(self._total, config.frames)
        self._scale: float | None = None

    @property
    def config(self) -> EvaluationConfig:
        """Return the protocol, with what the bag has told."""
        return self._config

    @property
    def tree(self) -> TransformTree:
        """Return the static frames of the bag."""
        return self._facts.tree

    def start(
        self,
        facts: dict[str, Any],
        engine_versions: dict[str, str],
        predictor: Predictor,
        *,
        resume: bool,
    ) -> Evaluation | None:
        """Open the files of the run, or return what an earlier one has finished."""
        bag = self._facts.path
        self._about = {
            'protocol': self._config.protocol(),
            'model': facts['model'],
            'node': facts['node'],
            'bag': {
                'name': bag.name,
                'path': str(bag),
                'fingerprint': fingerprint(bag),
                'size_bytes': sum(file.stat().st_size for file in files_of(bag)),
                'topics': self._facts.topics,
            },
            'versions': {**versions(), **engine_versions},
            'command': facts['command'],
        }
        if self._config.rules.alignment == 'median_sequence':
            self._scale = self._sequence_scale(predictor)
        head = _identity(self._about, self._scale)
        if resume and is_finished(self._folder, head) and (self._folder / METRICS_FILE).is_file():
            result = read_result(self._folder)
            return Evaluation(result=result, folder=self._folder, _session=None, _table=None)
        journal = Journal(self._folder, head, resume=resume)
        self._stack.callback(journal.pause)
        self._table = FrameTable(self._folder / TABLE_FILE)
        self._stack.callback(self._table.close)
        self._session = Session(self._config, self._folder, self._table, journal)
        return None

    def score(
        self, predictor: Predictor, recordings: Recordings, *, is_overlapped: bool
    ) -> Evaluation:
        """Score what is left to score, and return the result."""
        session = self._session
        # Engine and scores keep two cores busy: with more of them the checks have their own.
        is_parallel = is_overlapped and len(os.sched_getaffinity(0)) > CORES_OF_SCORES
        scorer = FrameScorer(self._config, self._scale, is_parallel=is_parallel)
        measurer, observers = Measurer(self._facts), Observers(recordings, self._facts)
        done = session.done
        first = 0
        if done and not predictor.remembers_all:
            first = session.resume_at(is_stateful=predictor.is_stateful)
        seen = first

        def take(job: Job) -> None:
            item, prediction = job.item, job.prediction
            if prediction is None:
                record = skip_record(item.index, item.stamp_ns, job.reason, job.detail)
                record['dropped_sweeps'] = item.dropped_sweeps
                if job.is_held_reset:
                    record[HELD_RESET] = True
                if job.place >= done:
                    session.take(record, None, None)
                return
            measured = measurer.of(item, prediction)
            record, shot = scorer.score(item.index, prediction, measured)
            record['dropped_sweeps'] = item.dropped_sweeps
            if job.place >= done:
                scores = session.take(record, shot, prediction.intrinsics)
                observers.add(item.index, prediction, measured, scores)

        def finish() -> None:
            scorer.close()
            measurer.close()
            observers.close()

        def count() -> None:
            nonlocal seen
            seen += 1
            self._on_frame(seen, self._total)

        times = run_pass(
            self._facts,
            predictor,
            take,
            finish=finish,
            first=first,
            on_frame=count,
            is_overlapped=is_overlapped,
        )
        return self._finished(times)

    def _sequence_scale(self, predictor: Predictor) -> float:
        """Return the median over the frames of median truth over median prediction."""
        measurer, ratios = Measurer(self._facts), []

        def take(job: Job) -> None:
            if job.prediction is None:
                return
            truth = measurer.of(job.item, job.prediction).truth
            if truth is None:
                return
            truth = truth.where(counted(truth, self._config.rules))
            predicted = job.prediction.depth_HW[truth.rows_N, truth.cols_N].astype(np.float64)
            is_finite = np.isfinite(predicted)
            if is_finite.any():
                metres = truth.depth_N[is_finite].astype(np.float64)
                ratios.append(median_scale(predicted[is_finite], metres))

        try:
            run_pass(self._facts, predictor, take, finish=measurer.close)
        except FrameError as error:
            raise ReportError(f"bag '{self._facts.path}': {error}") from error
        if not ratios:
            raise ReportError(
                f"bag '{self._facts.path}': no frame has truth and prediction, so that the "
                'sequence has no median scale'
            )
        predictor.restart()
        return float(np.median(ratios))

    def _finished(self, times: PassTimes) -> Evaluation:
        """Return the result, or raise when there is none."""
        totals = self._session.totals
        is_checked = totals.skipped.get(NO_TRUTH, 0) > 0
        if totals.scored == 0 and not is_checked:
            self._table.close()
            reasons = '; '.join(f'{n} x {why}' for why, n in totals.skipped.items()) or 'no frame'
            raise ReportError(
                f"nothing could be scored in bag '{self._facts.path}': {reasons}; "
                f"'{self._table.path}' has a line for each frame"
            )
        return Evaluation(
            result={
                **totals.result(),
                'accuracy': self._accuracy,
                'drift': totals.drift.result(),
                'confidence': bootstrap.of_frames(totals.per_frame) if totals.scored else None,
                'latency': totals.latency(),
                'throughput': times.result(),
                **self._about,
                'sequence_scale': self._scale,
                'lidar_clock': self._clock,
                'bags': [],
                'timeline': totals.timeline.result(),
                'pictures': [],
                'schema_version': SCHEMA_VERSION,
            },
            folder=self._folder,
            _session=self._session,
            _table=self._table,
        )


def _clock(reader: BagReader, facts: BagFacts) -> dict[str, Any] | None:
    if 'lidar' not in facts.topics:
        return None
    return lidar_clock(reader, facts.topics['image'], facts.topics['lidar'])


def _identity(about: dict[str, Any], scale: float | None) -> dict[str, Any]:
    """Return what must be the same for one run to go on where another has stopped."""
    bag, model = about['bag'], about['model']
    keys = ('sha256', 'recording_fingerprint', 'engine', 'device', 'precision', 'depth_topic')
    return {
        'schema_version': SCHEMA_VERSION,
        'bag': bag['fingerprint'],
        'topics': bag['topics'],
        'model': {key: model[key] for key in keys if key in model},
        'protocol': about['protocol'],
        'versions': about['versions'],
        'sequence_scale': scale,
    }
