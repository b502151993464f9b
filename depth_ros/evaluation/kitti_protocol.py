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
The protocol of the published KITTI tables, on the files of KITTI itself.

    raw       truth from the Velodyne sweep of the frame: the forward coordinate of each hit, at
              round(u) - 1, nearest point wins; Garg crop (Eigen et al. 2014; list of 697 frames)
    improved  truth from the depth annotations (Uhrig et al. 2017, arXiv:1708.06500): png value
              / 256 metres, 0 unknown; no crop (list of 652 frames)

Both: 0.001 to 80 m, predictions clamped to that, metrics of each image, then their mean. Frames
stand alone: a model with memory is reset before each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
import hashlib
from pathlib import Path
import re
from typing import Any, get_args, Literal

import cv2
from depth_ros.bags.kitti_drive import KittiDrive, open_raw_drive
from depth_ros.bags.kitti_files import read_points
from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import Frame
from depth_ros.core.lidar import project, SparseDepth
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.errors import BagError, ConfigError, ReportError
from depth_ros.evaluation import bootstrap
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.facts import model_facts, versions
from depth_ros.evaluation.files import FrameTable, make_folder
from depth_ros.evaluation.journal import Journal
from depth_ros.evaluation.overlap import Ahead, Behind
from depth_ros.evaluation.report import SCHEMA_VERSION, TABLE_FILE
from depth_ros.evaluation.run import Evaluation, OnFrame, Say
from depth_ros.evaluation.scoring import FrameScorer, Measured, Prediction, skip_record
from depth_ros.evaluation.session import Session
from depth_ros.evaluation.sources import NotPredicted, PipelinePredictor
from depth_ros.evaluation.totals import Totals
import numpy as np

KittiTruth = Literal['raw', 'improved']

# The forms of the lists that circulate: drive, number, side; or the path of the image.
DRIVE_LINE = re.compile(r'^(\d{4}_\d\d_\d\d/\S+_sync)\s+(\d+)\s+([lr])$')
IMAGE_LINE = re.compile(r'^(\d{4}_\d\d_\d\d/\S+_sync)/image_0([23])/data/(\d+)\.(?:png|jpg)\b')
SIDES = {'l': 2, 'r': 3}
PNG_PER_M = 256.0
ANNOTATION = 'proj_depth/groundtruth'
MISSING = 'not on disk'


@dataclass(frozen=True, slots=True, kw_only=True)
class KittiFrame:
    """A line of a list: drive such as 2011_09_26/2011_09_26_drive_0002_sync, frame, camera."""

    drive: str
    index: int
    camera: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Loaded:
    """A frame of the list from disk, or why it is not there."""

    place: int
    wanted: KittiFrame
    frame: Frame | None = None
    truth: SparseDepth | None = None
    detail: str = ''


def read_list(path: Path) -> list[KittiFrame]:
    """
    Return the frames of a list, in either form that circulates.

    :raises ConfigError: it cannot be read, is empty, or a line is of no known form.
    """
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--list '{path}' cannot be read: {error}") from error
    frames = [_parsed(line.strip(), number, path) for number, line in enumerate(lines, 1) if line]
    if not frames:
        raise ConfigError(f"--list '{path}' has no line")
    return frames


def _parsed(line: str, number: int, path: Path) -> KittiFrame:
    if found := DRIVE_LINE.match(line):
        return KittiFrame(drive=found[1], index=int(found[2]), camera=SIDES[found[3]])
    if found := IMAGE_LINE.match(line):
        return KittiFrame(drive=found[1], index=int(found[3]), camera=int(found[2]))
    raise ConfigError(
        f"--list '{path}', line {number} is '{line}': must be 'DATE/DRIVE NUMBER l|r' or "
        "'DATE/DRIVE/image_02/data/NUMBER.png'"
    )


class KittiFolders:
    """
    Frames and truth from the folders of KITTI.

    :param raw: holds the folders of the dates, each with its calibration and drives.
    :param annotated: holds train/ and val/ with the depth annotations; for 'improved'.
    """

    def __init__(self, raw: Path, annotated: Path | None, truth: KittiTruth) -> None:
        if truth not in get_args(KittiTruth):
            raise ConfigError(f'truth {truth!r}: must be one of {get_args(KittiTruth)}')
        if (truth == 'improved') != (annotated is not None):
            raise ConfigError('--annotated is the folder of the improved truth: give both or none')
        self._raw = raw
        self._annotated = annotated
        self._drives: dict[tuple[str, int], KittiDrive] = {}

    def load(self, place: int, wanted: KittiFrame) -> _Loaded:
        """Return one frame; what is not on disk is said in ``detail``."""
        try:
            drive = self._drive(wanted)
            image = drive.images.get(wanted.index)
            if image is None:
                raise BagError(f"'{drive.path}' has no image {wanted.index:010}")
            frame = _frame(drive, wanted, image, place)
            truth = self._truth(drive, wanted)
        except BagError as error:
            return _Loaded(place=place, wanted=wanted, detail=str(error))
        return _Loaded(place=place, wanted=wanted, frame=frame, truth=truth)

    def _drive(self, wanted: KittiFrame) -> KittiDrive:
        key = (wanted.drive, wanted.camera)
        if key not in self._drives:
            self._drives[key] = open_raw_drive(
                self._raw / wanted.drive,
                camera=wanted.camera,
                with_lidar=self._annotated is None,
                with_odometry=False,
            )
        return self._drives[key]

    def _truth(self, drive: KittiDrive, wanted: KittiFrame) -> SparseDepth:
        if self._annotated is not None:
            return _annotation(self._annotated, wanted)
        sweep = drive.sweeps.get(wanted.index)
        if sweep is None:
            raise BagError(f"'{drive.path}' has no sweep {wanted.index:010}")
        points = read_points(sweep)[:, :3]
        return project(points, drive.camera_T_lidar, drive.intrinsics, convention='kitti_export')


def _frame(drive: KittiDrive, wanted: KittiFrame, path: Path, place: int) -> Frame:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BagError(f"image '{path}' cannot be decoded")
    stamps = drive.image_stamps
    stamp = stamps[wanted.index] if wanted.index < len(stamps) else None
    return Frame(
        image_HW3=np.asarray(image, np.uint8),
        stamp_ns=place if stamp is None else stamp,
        frame_id=drive.camera_frame,
        camera=CameraModel.pinhole(drive.intrinsics),
    )


def _annotation(root: Path, wanted: KittiFrame) -> SparseDepth:
    name = Path(wanted.drive).name
    tail = Path(name, ANNOTATION, f'image_{wanted.camera:02}', f'{wanted.index:010}.png')
    places = [root / part / tail for part in ('train', 'val')]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise BagError(f"'{root}' has neither train/{tail} nor val/{tail}")
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 2:
        raise BagError(f"'{path}' is no 16-bit depth picture")
    rows, cols = np.nonzero(values)
    return SparseDepth(
        rows_N=rows.astype(np.int64),
        cols_N=cols.astype(np.int64),
        depth_N=(values[rows, cols] / PNG_PER_M).astype(np.float32),
        width=values.shape[1],
        height=values.shape[0],
        points=len(rows),
        invalid=0,
    )


def evaluate_kitti(
    folders: KittiFolders,
    frames: Sequence[KittiFrame],
    output: Path,
    *,
    list_name: str,
    truth: KittiTruth,
    model: str = 'default',
    engine: str = 'auto',
    threads: int = 0,
    config: EvaluationConfig,
    command: str = '',
    on_frame: OnFrame = lambda done, total: None,
    say: Say = lambda sentence: True,
) -> Evaluation:
    """
    Score a model on a list of frames; files come with ``Evaluation.write``.

    :param say: told what takes long before the first frame, as building an engine.
    :raises DepthRosError: the model is unusable, or no frame of the list could be scored.
    """
    with ExitStack() as stack:
        output = make_folder(output)
        loaded = stack.enter_context(
            load_model(model, engine=engine, threads=threads, progress=say)
        )
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        table = FrameTable(output / TABLE_FILE)
        stack.callback(table.close)
        journal = Journal(output, {'list': list_name}, resume=False)
        stack.callback(journal.pause)
        session = Session(config, output, table, journal)
        drives = _Drives(config)
        _pass(folders, frames, PipelinePredictor(pipeline), session, drives, config, on_frame)
        if not session.totals.scored:
            reasons = '; '.join(sorted(drives.details)[:3])
            raise ReportError(f"no frame of '{list_name}' could be scored: {reasons}")
        spec = loaded.engine.spec
        facts = {
            'model': model_facts(loaded),
            'versions': {**versions(), spec.backend: spec.version},
            'command': command,
        }
        result = _result(session.totals, drives, frames, list_name, truth, config, facts)
        return Evaluation(result=result, folder=output, _session=session, _table=table)


class _Drives:
    """Totals of each drive, for the intervals, and what was missing."""

    def __init__(self, config: EvaluationConfig) -> None:
        self._config = config
        self.totals: dict[str, Totals] = {}
        self.details: set[str] = set()

    def add(self, drive: str, record: dict[str, Any]) -> None:
        """Count one frame."""
        self.totals.setdefault(drive, Totals(self._config.rules)).add(record)
        if record['status'] == MISSING:
            self.details.add(record['detail'])


def _pass(
    folders: KittiFolders,
    frames: Sequence[KittiFrame],
    predictor: PipelinePredictor,
    session: Session,
    drives: _Drives,
    config: EvaluationConfig,
    on_frame: OnFrame,
) -> None:
    scorer = FrameScorer(config)

    def load() -> Iterator[_Loaded]:
        return (folders.load(place, wanted) for place, wanted in enumerate(frames))

    def take(job: tuple[_Loaded, Prediction | NotPredicted | None]) -> None:
        item, prediction = job
        shot, intrinsics = None, None
        if prediction is None:
            record = skip_record(item.place, item.place, MISSING, item.detail)
        elif isinstance(prediction, NotPredicted):
            record = skip_record(item.place, item.place, prediction.reason, prediction.detail)
        else:
            intrinsics = prediction.intrinsics
            measured = Measured(truth=item.truth, sweep_ns=prediction.stamp_ns)
            record, shot = scorer.score(item.place, prediction, measured)
        drives.add(item.wanted.drive, record)
        session.take(record, shot, intrinsics)

    ahead, behind = Ahead(load), Behind(take)
    try:
        for item in ahead:
            predictor.restart()
            behind.put((item, _predicted(predictor, item)))
            on_frame(item.place + 1, len(frames))
    finally:
        ahead.close()
        behind.close()


def _predicted(predictor: PipelinePredictor, item: _Loaded) -> Prediction | NotPredicted | None:
    if item.frame is None:
        return None
    try:
        return predictor.predict(item.frame)
    except NotPredicted as refusal:
        return refusal


def _result(
    totals: Totals,
    drives: _Drives,
    frames: Sequence[KittiFrame],
    list_name: str,
    truth: KittiTruth,
    config: EvaluationConfig,
    facts: dict[str, Any],
) -> dict[str, Any]:
    parts = {name: part.result() for name, part in sorted(drives.totals.items())}
    units = [(part['frames']['scored'], part['depth']) for part in parts.values()]
    words = {
        'raw': 'KITTI raw LiDAR, forward distance, as in the published tables',
        'improved': 'KITTI depth annotations (improved truth)',
    }[truth]
    digest = hashlib.sha256(repr(frames).encode()).hexdigest()
    return {
        **totals.result(),
        'accuracy': 'measured',
        'drift': None,
        'confidence': bootstrap.of_drives(units),
        'latency': totals.latency(),
        'throughput': None,
        'protocol': {
            **config.protocol(),
            'truth': words,
            'lidar_depth': 'kitti_export' if truth == 'raw' else 'camera_z',
            'list': f'{list_name}: {len(frames)} frames',
        },
        'node': None,
        'bag': {
            'name': list_name,
            'path': list_name,
            'fingerprint': digest,
            'size_bytes': 0,
            'topics': {},
        },
        **facts,
        'sequence_scale': None,
        'lidar_clock': None,
        'bags': [],
        'drives': [
            {'name': name, 'frames': part['frames'], 'depth': part['depth']}
            for name, part in parts.items()
        ],
        'timeline': [],
        'pictures': [],
        'schema_version': SCHEMA_VERSION,
    }
