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
Make a training dataset of bags: images, sparse LiDAR depth, calibration, poses, pictures.

Run it again after an interruption: it goes on where it was stopped. The folder is usable when
the program ends with status 0; docs/prepare.md describes every file.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
import re
import sys
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.errors import BagError, ConfigError, DepthRosError
from depth_ros.evaluation.fleet import find_bags, GLOB_CHARACTERS
from depth_ros.evaluation.runners import runner_of
from depth_ros.evaluation.tasks import OnProgress, Outcome, outcomes_of, Runner, SerialRunner
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from training.dataset_format import (
    DATASET_FILE,
    DatasetError,
    DEPTH_ENCODING,
    json_bytes,
    read_json,
    SCHEMA_VERSION,
    SEQUENCES,
    write_whole,
)
from training.prepare_arguments import options_of, parser_of
from training.prepare_manifest import Totals, write_manifest
from training.prepare_options import PrepareOptions
from training.prepare_page import write_page
from training.prepare_task import SequenceTask

PROGRAM = 'python -m training.prepare'
# Names become folders, and words of command lines.
NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9_.-]*')
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Source:
    """A bag and the name of the sequence that is made of it."""

    name: str
    bag: Path
    split: str


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = parser_of(PROGRAM, __doc__).parse_args(argv)
    console, errors = Console(), Console(stderr=True)
    try:
        options = options_of(given)
        sources = _sources(_texts(given.bags, given.manifest), given.val, given.test)
        runs = runner_of(given.workers, given.ray, given.retries)
        with runs as runner, _progress(errors) as progress:
            totals = prepare(sources, given.out, options, progress, runner)
    except DepthRosError as error:
        errors.print(f'prepare: {error}', style='red', markup=False, highlight=False)
        return 1
    except KeyboardInterrupt:
        errors.print('prepare: stopped; run the same command again to go on', style='yellow')
        return INTERRUPTED
    failed = _print_summary(console, errors, given.out, totals)
    if not any(total.frames for total in totals):
        errors.print('prepare: no frame of any bag can be used', style='red')
        return 1
    return 1 if failed else 0


def prepare(
    sources: Sequence[Source],
    out: Path,
    options: PrepareOptions,
    progress: Progress,
    runner: Runner | None = None,
) -> list[Totals]:
    """
    Make the dataset, or what is missing of it.

    A bag that fails does not lose the others: dataset.json lists it with its error.

    :param runner: who makes the sequences; None: this process, one after another. The files do
        not depend on it.
    :raises DepthRosError: the folder or an option cannot be used, or no bag can.
    """
    if options.objects is not None:
        _check_topic(sources, f'--{options.objects.kind}-topic', options.objects.topic)
    if options.right_topic is not None:
        _check_topic(sources, '--right-topic', options.right_topic)
    _claim(out, sources)
    tasks = [SequenceTask(name=s.name, bag=s.bag, out=out, options=options) for s in sources]
    for task in tasks:
        task.check()
    outcomes = outcomes_of(tasks, runner or SerialRunner(), _shown(progress))
    _check_any(outcomes)
    pairs = list(zip(sources, outcomes, strict=True))
    sequences = [{'name': s.name, 'split': s.split, **o.facts} for s, o in pairs if o.facts]
    failed = [
        {'name': s.name, 'split': s.split, 'bag': s.bag.name, 'error': o.error}
        for s, o in pairs
        if o.error is not None
    ]
    totals = write_manifest(out, sequences, options)
    for sequence, total in zip(sequences, totals, strict=True):
        sequence['totals'] = total.stored()
    content = {
        'schema_version': SCHEMA_VERSION,
        'complete': True,
        'depth_encoding': DEPTH_ENCODING,
        'options': options.stored(),
        'sequences': sequences,
        'failed': failed,
        'warnings': [*_failures(failed), *_empty(sequences), *_overlaps(sequences)],
    }
    write_page(out, content)
    write_whole(out / DATASET_FILE, json_bytes(content))
    return totals


def _check_topic(sources: Sequence[Source], option: str, topic: str) -> None:
    """Refuse a topic that no bag has; of several bags some may lack it."""
    readable = 0
    for source in sources:
        # What is wrong with a bag is told by its task, and costs no other bag.
        with suppress(BagError), BagReader(source.bag) as reader:
            readable += 1
            if any(info.name == topic for info in reader.topics):
                return
    if readable:
        raise BagError(f"{option} '{topic}': no bag has such a topic")


def _claim(out: Path, sources: Sequence[Source]) -> None:
    """Take the folder: mark it as unfinished, and refuse one that holds something else."""
    try:
        (out / SEQUENCES).mkdir(parents=True, exist_ok=True)
        strangers = {path.name for path in (out / SEQUENCES).iterdir()}
        names = {path.name for path in out.iterdir()}
    except OSError as error:
        raise DatasetError(f"folder '{out}' cannot be made: {error.strerror}") from error
    strangers -= {source.name for source in sources}
    if strangers:
        raise DatasetError(
            f"dataset '{out}' holds sequences of other bags, {sorted(strangers)}: name those "
            'bags too, or choose another folder'
        )
    if DATASET_FILE not in names and names != {SEQUENCES}:
        raise DatasetError(
            f"folder '{out}' is no dataset and not empty ({', '.join(sorted(names)[:5])}): "
            'choose another one'
        )
    if DATASET_FILE in names:
        _check_schema(out / DATASET_FILE)
    unfinished = {'schema_version': SCHEMA_VERSION, 'complete': False}
    write_whole(out / DATASET_FILE, json_bytes(unfinished))


def _check_schema(path: Path) -> None:
    version = read_json(path).get('schema_version')
    if version != SCHEMA_VERSION:
        raise DatasetError(
            f"'{path}' has schema_version {version!r}: this program writes {SCHEMA_VERSION}; "
            'choose another folder'
        )


def _check_any(outcomes: Sequence[Outcome]) -> None:
    """Raise what went wrong when no bag could be used."""
    if any(outcome.error is None for outcome in outcomes):
        return
    if len(outcomes) == 1:
        raise (outcomes[0].kind or DatasetError)(str(outcomes[0].error))
    errors = '; '.join(f'{outcome.name}: {outcome.error}' for outcome in outcomes)
    raise DatasetError(f'none of {len(outcomes)} bags can be used: {errors}')


def _failures(failed: Sequence[dict[str, Any]]) -> list[str]:
    return [f"'{bag['name']}' ({bag['split']}) is missing: {bag['error']}" for bag in failed]


def _empty(sequences: Sequence[dict[str, Any]]) -> list[str]:
    """Say which sequences came to nothing, or to no depth although there is LiDAR, and why."""
    found = []
    for sequence in sequences:
        totals, name = sequence['totals'], sequence['name']
        if not totals['frames']:
            why = _most(totals['dropped']) or 'it has no images'
            found.append(f"'{name}' has no frame that can be used: {why}")
        elif sequence['topics']['lidar'] is not None and not totals['labelled']:
            found.append(f"'{name}' has LiDAR but no depth: {_most(totals['unlabelled'])}")
    return found


def _most(reasons: dict[str, int]) -> str:
    """Return the most frequent reason with its count."""
    return next((f'{count} x {reason}' for reason, count in reasons.items()), '')


def _overlaps(sequences: Sequence[dict[str, Any]]) -> list[str]:
    """Say which sequences of different splits were recorded at the same time."""
    found = []
    for one, other in combinations(sequences, 2):
        is_apart = one['stop_ns'] <= other['start_ns'] or other['stop_ns'] <= one['start_ns']
        if one['split'] != other['split'] and not is_apart:
            found.append(
                f"'{one['name']}' ({one['split']}) and '{other['name']}' ({other['split']}) "
                'were recorded at the same time: if they are one drive, put them in one split'
            )
    return found


def _texts(bags: Sequence[str], manifest: Path | None) -> list[str]:
    """
    Return the bags as if each had been named, those of globs and of the manifest sorted.

    :raises ConfigError: nothing is named or found, or the manifest cannot be read.
    """
    globs = [text for text in bags if _is_glob(text)]
    found = find_bags(globs, manifest) if globs or manifest is not None or not bags else []
    named = [text for text in bags if text not in globs]
    taken = {_named(text)[1].resolve() for text in named}
    return [*named, *(str(bag) for bag in found if bag.resolve() not in taken)]


def _is_glob(text: str) -> bool:
    return any(character in text for character in GLOB_CHARACTERS) and not Path(text).exists()


def _sources(bags: Iterable[str], val: Sequence[str], test: Sequence[str]) -> list[Source]:
    """
    Return the bags with their names and splits.

    :raises ConfigError: a name is unfit or used twice, or a split names no bag.
    """
    paths: dict[str, Path] = {}
    for text in bags:
        name, path = _named(text)
        if not NAME.fullmatch(name):
            raise ConfigError(f"sequence name '{name}': must be letters, digits, '_', '.', '-'")
        if name in paths:
            raise ConfigError(
                f"bags '{paths[name]}' and '{path}' are both called '{name}': write NAME=BAG"
            )
        paths[name] = path
    for option, names in (('--val', val), ('--test', test)):
        unknown = sorted({*names} - {*paths})
        if unknown:
            raise ConfigError(f'{option} {" ".join(unknown)}: the bags are {", ".join(paths)}')
    both = sorted({*val} & {*test})
    if both:
        raise ConfigError(f'{" ".join(both)}: cannot be in --val and in --test')
    splits = {**dict.fromkeys(val, 'val'), **dict.fromkeys(test, 'test')}
    return [Source(name=n, bag=p, split=splits.get(n, 'train')) for n, p in paths.items()]


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition('=')
    if equals and not Path(text).exists():
        return name, Path(path)
    bag = Path(text)
    return (bag.stem if bag.suffix in ('.mcap', '.db3') else bag.resolve().name), bag


def _print_summary(console: Console, errors: Console, out: Path, totals: Sequence[Totals]) -> int:
    """Print what came of each bag; return how many have failed."""
    content = read_json(out / DATASET_FILE)
    failed = _failures(content['failed'])
    for text in failed:
        errors.print(f'prepare: {text}', style='red', markup=False, soft_wrap=True)
    for warning in islice(content['warnings'], len(failed), None):
        console.print(f'warning: {warning}', style='yellow', markup=False, soft_wrap=True)
    for total in totals:
        console.print(total.line(), markup=False, highlight=False, soft_wrap=True)
    console.print(f'Dataset: {out}  look at {out / "index.html"}', markup=False, soft_wrap=True)
    return len(failed)


def _shown(progress: Progress) -> OnProgress:
    """Return what shows a line of progress for each sequence."""
    rows: dict[str, TaskID] = {}

    def show(name: str, done: int, total: int, doing: str = '') -> None:
        if name not in rows:
            rows[name] = progress.add_task(name, total=total)
        description = f'{name}: {doing}' if doing else name
        progress.update(rows[name], completed=done, total=total, description=description)

    return show


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


if __name__ == '__main__':
    sys.exit(main())
