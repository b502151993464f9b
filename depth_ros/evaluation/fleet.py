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
Evaluate many bags: each a task of its own, one after another, in worker processes, or on Ray.

Every bag has a folder below ``bags/``. The result of all is made from the journals there, in the
order of the names, so that it has the same bytes however the tasks were spread. What a clock
says is in run.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from glob import glob
import hashlib
from pathlib import Path
import time
from typing import Any

from depth_ros.bags.reader import METADATA_FILE, STORAGE_SUFFIXES
from depth_ros.errors import ConfigError, ReportError
from depth_ros.evaluation import bootstrap
from depth_ros.evaluation.config import EvaluationConfig, Topics
from depth_ros.evaluation.files import FileSet, make_folder
from depth_ros.evaluation.journal import is_unfinished, read_journal
from depth_ros.evaluation.report import (
    json_bytes,
    METRICS_FILE,
    read_result,
    SCHEMA_VERSION,
    write_pages,
)
from depth_ros.evaluation.run import evaluate
from depth_ros.evaluation.tasks import no_progress, OnProgress, Outcome, outcomes_of, Runner
from depth_ros.evaluation.totals import Totals

BAGS_FOLDER = 'bags'
RUN_FILE = 'run.json'
GLOB_CHARACTERS = '*?['
# Taken over from the first bag: the same for all.
SHARED_KEYS = ('protocol', 'model', 'node', 'versions')


@dataclass(frozen=True, slots=True, kw_only=True)
class BagTask:
    """What a worker needs to evaluate one bag; travels between processes and machines."""

    name: str
    bag: Path
    folder: Path
    model: str
    engine: str
    threads: int
    topics: Topics
    config: EvaluationConfig
    resume: bool
    is_overlapped: bool = True

    @property
    def cores(self) -> int:
        """Return how many cores the engine keeps busy."""
        return max(self.threads, 1)

    def run(self, on_progress: OnProgress) -> dict[str, Any]:
        """
        Evaluate the bag, write its folder, and return what the clock says.

        :raises DepthRosError: the bag, the model or a setting is unusable.
        """

        def say(sentence: str) -> bool:
            on_progress(self.name, 0, 0, sentence)
            return True

        evaluation = evaluate(
            self.bag,
            self.folder,
            say=say,
            model=self.model,
            engine=self.engine,
            threads=self.threads,
            topics=self.topics,
            config=self.config,
            resume=self.resume,
            is_overlapped=self.is_overlapped,
            on_frame=lambda done, total: on_progress(self.name, done, total),
        )
        evaluation.write()
        return {'throughput': evaluation.result['throughput']}

    def on_one_core(self) -> BagTask:
        """Return the task as a plain loop."""
        return replace(self, is_overlapped=False)

    def resumed(self) -> BagTask:
        """Return the task that goes on where this one has stopped, or that begins as it did."""
        return replace(self, resume=self.resume or is_unfinished(self.folder))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How each bag is evaluated."""

    model: str = 'default'
    engine: str = 'auto'
    threads: int = 0
    topics: Topics = field(default_factory=Topics)
    config: EvaluationConfig = field(default_factory=EvaluationConfig)
    resume: bool = False
    command: str = ''


def find_bags(patterns: Sequence[str], manifest: Path | None = None) -> list[Path]:
    """
    Return the bags that are named, each once, sorted.

    :param patterns: paths, or globs, which find bags alone.
    :param manifest: text file with a path or glob a line, relative to its folder; # comments.
    :raises ConfigError: the manifest cannot be read, or nothing is found.
    """
    found: set[Path] = set()
    for pattern in [*patterns, *_manifest_lines(manifest)]:
        if any(character in pattern for character in GLOB_CHARACTERS):
            matches = [Path(match) for match in glob(pattern, recursive=True)]
            bags = {match for match in matches if _is_bag(match)}
            if not bags:
                raise ConfigError(f"'{pattern}' finds no bag ({len(matches)} other files)")
            found |= bags
        else:
            found.add(Path(pattern))
    if not found:
        raise ConfigError('no bag is given: name bags, globs or a --manifest')
    return sorted(found)


def _manifest_lines(manifest: Path | None) -> list[str]:
    if manifest is None:
        return []
    try:
        text = manifest.read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        raise ConfigError(f"--manifest '{manifest}' cannot be read: {error}") from error
    lines = (line.partition('#')[0].strip() for line in text.splitlines())
    return [str(manifest.parent / line) for line in lines if line]


def _is_bag(path: Path) -> bool:
    if path.is_file():
        # Storage files of a bag folder belong to the folder.
        has_folder = (path.parent / METADATA_FILE).is_file()
        return path.suffix in STORAGE_SUFFIXES and not has_folder
    return (path / METADATA_FILE).is_file() or any(
        file.suffix in STORAGE_SUFFIXES for file in path.iterdir()
    )


def names_of(bags: Sequence[Path]) -> list[str]:
    """Return a name for each bag, with the folders above where the last part is not unique."""
    names = []
    for bag in bags:
        parts, count = bag.resolve().parts, 1
        while (
            count < len(parts)
            and sum(_tail(other, count) == _tail(bag, count) for other in bags) > 1
        ):
            count += 1
        names.append('__'.join(_tail(bag, count)))
    return names


def _tail(bag: Path, count: int) -> tuple[str, ...]:
    return bag.resolve().parts[-count:]


def evaluate_many(
    bags: Sequence[Path],
    folder: Path,
    runner: Runner,
    plan: Plan,
    *,
    is_overlapped: bool = True,
    on_progress: OnProgress = no_progress,
) -> dict[str, Any]:
    """
    Evaluate bags, write the result of all of them, and return it.

    A bag that fails does not lose the others: it is listed with its error.

    :raises ReportError: all have failed, or the result cannot be written.
    """
    make_folder(folder)
    tasks = [
        BagTask(
            name=name,
            bag=bag,
            folder=folder / BAGS_FOLDER / name,
            model=plan.model,
            engine=plan.engine,
            threads=plan.threads,
            topics=plan.topics,
            config=plan.config,
            resume=plan.resume,
            is_overlapped=is_overlapped,
        )
        for name, bag in sorted(zip(names_of(bags), bags, strict=True))
    ]
    started = time.monotonic()
    ordered = outcomes_of(tasks, runner, on_progress)
    if all(outcome.error for outcome in ordered):
        errors = '; '.join(f'{outcome.name}: {outcome.error}' for outcome in ordered)
        raise ReportError(f'none of {len(ordered)} bags could be evaluated: {errors}')
    result = merged(folder, ordered, plan.config)
    facts = {
        'command': plan.command,
        **runner.facts(),
        'seconds': time.monotonic() - started,
        'bags': [_timing(outcome) for outcome in ordered],
    }
    files = FileSet(folder)
    files.write(METRICS_FILE, lambda: json_bytes(result))
    files.write(RUN_FILE, lambda: json_bytes(facts))
    write_pages(files, result)
    files.finish()
    return result


def _timing(outcome: Outcome) -> dict[str, Any]:
    return {
        'name': outcome.name,
        'seconds': outcome.seconds,
        'attempts': outcome.attempts,
        'throughput': (outcome.facts or {}).get('throughput'),
    }


def merged(folder: Path, outcomes: Sequence[Outcome], config: EvaluationConfig) -> dict[str, Any]:
    """
    Return the result of all bags, from their folders alone.

    :raises ReportError: a folder is not as its outcome says.
    """
    totals = Totals(config.rules)
    rows: list[dict[str, Any]] = []
    shared: dict[str, Any] = {}
    for outcome in outcomes:
        row: dict[str, Any] = {'name': outcome.name, 'folder': f'{BAGS_FOLDER}/{outcome.name}'}
        if outcome.error is not None:
            rows.append({**row, 'error': outcome.error, 'depth': None, 'frames': None})
            continue
        part = folder / BAGS_FOLDER / outcome.name
        result = read_result(part)
        shared = shared or {key: result[key] for key in SHARED_KEYS}
        totals.merge(_replayed(part, config))
        kept = (
            'depth',
            'frames',
            'accuracy',
            'drift',
            'bag',
            'pictures',
            'sequence_scale',
            'lidar_clock',
        )
        rows.append({**row, 'error': None, **{key: result[key] for key in kept}})
    if config.lidar_offset_ms == 'auto':
        # Measured in each bag, whose own folder has the number.
        shared['protocol'] = {**shared['protocol'], 'lidar_offset_ms': 'auto'}
    return {
        **totals.result(),
        'accuracy': _accuracy(rows),
        'drift': None,
        'confidence': bootstrap.of_drives([_unit(row) for row in rows if row['error'] is None]),
        'latency': None,
        'throughput': None,
        **shared,
        'bag': _all_bags(rows),
        'command': '',
        'sequence_scale': None,
        'lidar_clock': None,
        'bags': [{k: v for k, v in row.items() if k != 'pictures'} for row in rows],
        'timeline': [],
        'pictures': _pictures(rows),
        'schema_version': SCHEMA_VERSION,
    }


def _replayed(part: Path, config: EvaluationConfig) -> Totals:
    totals = Totals(config.rules)
    for record in read_journal(part):
        totals.add(record)
    return totals


def _unit(row: dict[str, Any]) -> tuple[int, dict[str, float]]:
    return row['frames']['scored'], row['depth']


def _accuracy(rows: Sequence[dict[str, Any]]) -> str:
    reasons = {row['accuracy'] for row in rows if row['error'] is None}
    return 'measured' if 'measured' in reasons else '; '.join(sorted(reasons))


def _all_bags(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    bags = [row['bag'] for row in rows if row['error'] is None]
    prints = ' '.join(bag['fingerprint'] for bag in bags)
    return {
        'name': f'{len(rows)} bags',
        'path': ', '.join(bag['path'] for bag in bags),
        'fingerprint': hashlib.sha256(prints.encode()).hexdigest(),
        'size_bytes': sum(bag['size_bytes'] for bag in bags),
        'topics': {},
    }


def _pictures(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best picture of the best bag and the worst of the worst."""
    drawn = [row for row in rows if row['error'] is None and row['pictures']]
    if not drawn:
        return []
    ranked = sorted(drawn, key=lambda row: (row['depth']['abs_rel'], row['name']))
    picks = []
    for role, row in (('best', ranked[0]), ('worst', ranked[-1])):
        picture = next((p for p in row['pictures'] if p['role'] == role), row['pictures'][0])
        paths = {key: f'{row["folder"]}/{picture[key]}' for key in ('overview', 'birdseye')}
        picks.append({**picture, **paths, 'role': role, 'bag': row['name']})
    return picks
