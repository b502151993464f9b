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
Score model files on frames with LiDAR: python -m training.evaluate --model M --data D --output O.

As they are deployed: the exported file, its card and ``DepthPipeline``, never the network that
was trained. No alignment, Garg crop, 0 to 80 m, mean over frames. Several models are scored on
exactly the same frames, side by side, and their times are taken in turns.

With --refine, also a checkpoint of the recipe tc_depth, as it is and refined on the window of
every frame; needs --data, for only data sets have windows.

Writes metrics.json, with every figure of every model on every drive, and per_frame.csv.
Exit status: 0 scored; 1 nothing scored or bad input; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, ExitStack
import csv
from functools import partial
import io
from pathlib import Path
import shlex
import sys
import time
from typing import Any, TYPE_CHECKING

from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import DepthEstimate, Frame
from depth_ros.core.lidar import SparseDepth
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.errors import ConfigError, DepthRosError, ReportError
from depth_ros.evaluation.facts import model_facts, versions
from depth_ros.evaluation.files import FileSet, make_folder
from depth_ros.evaluation.progress_lines import ProgressLines
from depth_ros.evaluation.report import json_bytes
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from training.scores import PROTOCOL, Score, table
from training.truth_sources import add_source_options, Drive, drives_of

if TYPE_CHECKING:
    from training.refine import Refiner

PROGRAM = 'python -m training.evaluate'
SCHEMA_VERSION = 1
METRICS_FILE, TABLE_FILE = 'metrics.json', 'per_frame.csv'
ALL = 'all'
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(given)
    console, errors = Console(), Console(stderr=True)
    try:
        drives, folder = drives_of(arguments), make_folder(arguments.output)
        with ExitStack() as stack:
            contestants = [_contestant(stack, name, arguments) for name in arguments.model]
            refiner = _refiner(arguments)
            if refiner is not None:
                contestants += _refined(refiner, arguments)
            _label(contestants)
            with _progress(errors) as on_frame:
                for drive in drives:
                    _score(contestants, drive, on_frame)
            result = _result(contestants, drives, shlex.join([*PROGRAM.split(), *given]))
        console.print(table(result['models']))
        for name, truth in result['truth'].items():
            console.print(f'{name}: {truth}', markup=False, highlight=False)
        if refiner is not None:
            result['refinement'] = {**refiner.facts(), **refiner.cost.result()}
            console.print(refiner.cost.text(), markup=False, highlight=False)
        _write(folder, result, contestants)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('stopped: nothing was written', file=sys.stderr)
        return INTERRUPTED
    console.print(f'{folder / METRICS_FILE}: written', markup=False, highlight=False)
    return 0


class Contestant:
    """
    One model, and its scores on each drive so far.

    :param long_label: where several have the same ``label``.
    :param process: from a drive's name and a frame to its depth.
    :param reset: called before each drive.
    """

    def __init__(
        self,
        label: str,
        long_label: str,
        facts: dict[str, Any],
        process: Callable[[str, Frame], DepthEstimate],
        reset: Callable[[], None],
    ) -> None:
        self.label, self.long_label, self.facts = label, long_label, facts
        self.scores: dict[str, Score] = {}
        self.rows: list[dict[str, Any]] = []
        self._process, self._reset = process, reset

    def begin(self, drive: Drive) -> None:
        """Forget the frames of the drive before."""
        self._reset()
        self.scores[drive.name] = Score()

    def add(self, drive: Drive, index: int, frame: Frame, truth: SparseDepth) -> None:
        """Score one frame."""
        row = self.scores[drive.name].add(self._process(drive.name, frame), truth)
        place = {'drive': drive.name, 'frame': index, 'stamp_ns': frame.stamp_ns}
        self.rows.append({**place, **row})

    def result(self) -> dict[str, Any]:
        """Return model, total and drives as metrics.json holds them."""
        total = Score.summed(self.scores.values())
        return {
            'label': self.label,
            'model': self.facts,
            ALL: total.result(),
            'drives': {name: score.result() for name, score in self.scores.items()},
        }


def _contestant(stack: ExitStack, name: str, arguments: argparse.Namespace) -> Contestant:
    loaded = stack.enter_context(
        load_model(
            name,
            engine=arguments.engine,
            threads=arguments.threads,
            progress=ProgressLines(partial(print, file=sys.stderr, flush=True)),
        )
    )
    pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
    return Contestant(
        loaded.card.name,
        str(loaded.path),
        model_facts(loaded),
        lambda _, frame: pipeline.process(frame),
        pipeline.reset,
    )


def _refiner(arguments: argparse.Namespace) -> Refiner | None:
    """Return what --refine asks for; ConfigError where an option has no effect."""
    if arguments.refine is None:
        if not arguments.model:
            raise ConfigError('nothing to score: give --model, --refine, or both')
        for key in ('refine_steps', 'refine_rate'):
            if getattr(arguments, key) is not None:
                raise ConfigError(f'--{key.replace("_", "-")} has no effect without --refine')
        return None
    others = ('bag', 'kitti_object', 'kitti_depth')
    given = [f'--{key.replace("_", "-")}' for key in others if getattr(arguments, key)]
    if given:
        raise ConfigError(
            f'--refine with {", ".join(given)}: only data sets of training.prepare have windows '
            'of frames; give --data alone'
        )
    # Without it, this program needs no torch.
    from training.refine import LEARNING_RATE, Refiner, STEPS

    return Refiner(
        arguments.refine,
        steps=STEPS if arguments.refine_steps is None else arguments.refine_steps,
        learning_rate=LEARNING_RATE if arguments.refine_rate is None else arguments.refine_rate,
    )


def _refined(refiner: Refiner, arguments: argparse.Namespace) -> list[Contestant]:
    """Return the checkpoint as it is and refined, both by torch on the same windows."""
    from training.refine import estimate_of, Windows

    windows = Windows(arguments.data, arguments.split or 'val', refiner)

    def contestant(kind: str, depth_of: Callable[..., Any]) -> Contestant:
        def process(drive: str, frame: Frame) -> DepthEstimate:
            batch, size = windows.batch(drive, frame), frame.image_HW3.shape[:2]
            began = time.perf_counter_ns()
            depth_HW = depth_of(batch, size)
            return estimate_of(depth_HW, frame, time.perf_counter_ns() - began)

        name = f'{refiner.label}, {kind}'
        where = f'{refiner.checkpoint}, {kind}'
        return Contestant(name, where, {'kind': kind, **refiner.facts()}, process, lambda: None)

    return [contestant('plain', refiner.plain), contestant('refined', refiner.refined)]


def _label(contestants: Sequence[Contestant]) -> None:
    """Name the models by their cards, or by their files where cards have the same name."""
    names = [contestant.label for contestant in contestants]
    if len(set(names)) == len(names):
        return
    for contestant in contestants:
        contestant.label = contestant.long_label
    paths = [contestant.label for contestant in contestants]
    if len(set(paths)) != len(paths):
        raise ConfigError(f'--model {" ".join(paths)}: give each model once')


def _score(contestants: Sequence[Contestant], drive: Drive, on_frame: Any) -> None:
    """
    Show every frame of a drive to every model.

    :raises ReportError: a frame counts for one model and not for another.
    """
    for contestant in contestants:
        contestant.begin(drive)
    for index, (frame, truth) in enumerate(drive.pairs()):
        for contestant in contestants:
            contestant.add(drive, index, frame, truth)
        _refuse_different(contestants)
        on_frame(drive.name)


def _refuse_different(contestants: Sequence[Contestant]) -> None:
    last = [contestant.rows[-1] for contestant in contestants]
    if len({row['status'] == 'scored' for row in last}) > 1:
        pairs = zip(contestants, last, strict=True)
        found = ', '.join(f'{c.label}: {row["status"]}' for c, row in pairs)
        raise ReportError(
            f"frame {last[0]['frame']} of '{last[0]['drive']}' counts for some models only "
            f'({found}): their means would be of different frames; score them one by one'
        )


def _result(
    contestants: Sequence[Contestant], drives: Sequence[Drive], command: str
) -> dict[str, Any]:
    results = [contestant.result() for contestant in contestants]
    if not results[0][ALL]['frames']['scored']:
        names = ', '.join(drive.name for drive in drives)
        raise ReportError(
            f'no frame with LiDAR could be scored in {names}: {results[0][ALL]["frames"]}'
        )
    return {
        'models': results,
        'protocol': PROTOCOL,
        'truth': {drive.name: drive.truth for drive in drives},
        'versions': versions(),
        'command': command,
        'schema_version': SCHEMA_VERSION,
    }


def _write(folder: Path, result: dict[str, Any], contestants: Sequence[Contestant]) -> None:
    files = FileSet(folder)
    files.write(METRICS_FILE, lambda: json_bytes(result))
    files.write(TABLE_FILE, lambda: _csv_bytes(contestants))
    files.finish()


def _csv_bytes(contestants: Sequence[Contestant]) -> bytes:
    rows = [{'model': c.label, **row} for c in contestants for row in c.rows]
    columns = dict.fromkeys(key for row in rows for key in row)
    stream = io.StringIO(newline='')
    writer = csv.DictWriter(stream, list(columns), lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().encode()


@contextmanager
def _progress(console: Console) -> Iterator[Any]:
    columns = (SpinnerColumn(), TextColumn('{task.description} {task.completed}'))
    is_seen = console.is_terminal
    bar = Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not is_seen
    )
    with bar as progress:
        task = progress.add_task('scoring', total=None)
        yield lambda name: progress.update(task, advance=1, description=f'scoring {name}')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--model', nargs='+', default=[], help='shipped names or ONNX files')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    parser.add_argument('--engine', default='auto', help="back end (default 'auto')")
    parser.add_argument('--threads', type=int, default=0, help='0: physical cores')
    add_source_options(parser)
    group = parser.add_argument_group('test-time refinement, offline')
    group.add_argument('--refine', type=Path, help='checkpoint of the recipe tc_depth')
    group.add_argument('--refine-steps', type=int, help='of Adam, for each frame (default: 20)')
    group.add_argument('--refine-rate', type=float, help='learning rate (default: 1e-5)')
    return parser


if __name__ == '__main__':
    sys.exit(main())
