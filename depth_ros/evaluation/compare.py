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
Compare two evaluations of the same frames: paired differences, and whether they are chance.

Only frames that both have scored under the same protocol are comparable; anything else is
refused with the difference. The test is a paired bootstrap: over drives when there are at least
three, else over blocks of neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_ros.core.metrics import DEPTH_METRICS
from depth_ros.errors import ConfigError, ReportError
from depth_ros.evaluation import bootstrap
from depth_ros.evaluation.report import METRIC_TITLES, read_result, TABLE_FILE
from depth_ros.evaluation.scoring import SCORED
import numpy as np
from numpy.typing import NDArray

COMPARED = (
    *DEPTH_METRICS,
    'nll',
    'ause_abs_rel',
    'aurg_abs_rel',
    'consistency',
    'flicker',
    'chamfer_m',
    'edge_f1',
    'latency_ms',
)
HIGHER_IS_BETTER = ('a1', 'a2', 'a3', 'aurg_abs_rel', 'edge_f1')
# What may differ between two runs of one protocol, because it names no rule of scoring.
FREE_KEYS = ('checks', 'wall')
SIGNIFICANT = 0.05
SAME = 'no difference'
SHOWN_FRAMES = 5

Series = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """The scored frames of one bag: its fingerprint, stamps, and a column for each metric."""

    name: str
    fingerprint: str
    stamps: tuple[int, ...]
    series: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """
    What a comparison may not exceed: the worsening of one metric from A to B.

    Fields:
        metric: key of the metric.
        amount: largest worsening, in the metric's unit or as a share of A.
        is_relative: whether ``amount`` is a share.
        text: as the user wrote it.

    """

    metric: str
    amount: float
    is_relative: bool
    text: str

    @classmethod
    def parsed(cls, text: str) -> Limit:
        """
        Return the limit of a text such as ``abs_rel>0.01`` or ``rmse>2%``.

        :raises ConfigError: it is no such text, or the metric is unknown.
        """
        name, sign, value = (part.strip() for part in text.partition('>'))
        is_relative = value.endswith('%')
        try:
            amount = float(value.removesuffix('%'))
        except ValueError:
            amount = float('nan')
        if not sign or name not in COMPARED or not amount >= 0:
            raise ConfigError(
                f"--fail-if '{text}': must be METRIC>AMOUNT or METRIC>AMOUNT%, the largest "
                f'worsening that passes, with METRIC one of {", ".join(COMPARED)}'
            )
        return cls(
            metric=name,
            amount=amount / 100 if is_relative else amount,
            is_relative=is_relative,
            text=text,
        )

    def is_broken(self, row: dict[str, Any]) -> bool:
        """Tell whether B is worse than A by more than the limit."""
        sign = -1.0 if row['metric'] in HIGHER_IS_BETTER else 1.0
        limit = self.amount * abs(row['a']) if self.is_relative else self.amount
        return bool(sign * row['difference'] > limit)


def compare(run_a: Path, run_b: Path) -> dict[str, Any]:
    """
    Return the paired comparison of two result folders, as compare.json holds it.

    :raises ReportError: a folder is of another schema version, or the two have not scored the
        same frames under the same protocol.
    """
    results = [read_result(folder) for folder in (run_a, run_b)]
    _check_protocol(results, (run_a, run_b))
    drives = [
        list(_drives(folder, result))
        for folder, result in zip((run_a, run_b), results, strict=True)
    ]
    _check_frames(drives[0], drives[1])
    rows = [_row(name, drives[0], drives[1]) for name in COMPARED]
    return {
        'a': _identity(run_a, results[0]),
        'b': _identity(run_b, results[1]),
        'drives': [drive.name for drive in drives[0]],
        'frames': sum(len(drive.stamps) for drive in drives[0]),
        'protocol': results[0]['protocol'],
        'metrics': [row for row in rows if row is not None],
        'level': bootstrap.LEVEL,
        'resamples': bootstrap.RESAMPLES,
        'significant_below': SIGNIFICANT,
    }


def _check_protocol(results: Sequence[dict[str, Any]], folders: Sequence[Path]) -> None:
    first, second = (result['protocol'] for result in results)
    keys = sorted({*first, *second} - set(FREE_KEYS))
    different = [
        f'{key} {first.get(key)!r} and {second.get(key)!r}'
        for key in keys
        if first.get(key) != second.get(key)
    ]
    if different:
        raise ReportError(
            f"'{folders[0]}' and '{folders[1]}' were scored by different protocols: "
            f'{"; ".join(different)}'
        )


def _check_frames(a: Sequence[Drive], b: Sequence[Drive]) -> None:
    known = ({drive.fingerprint: drive for drive in drives} for drives in (a, b))
    in_a, in_b = known
    alone = [f"bag '{d.name}' only in A" for d in a if d.fingerprint not in in_b]
    alone += [f"bag '{d.name}' only in B" for d in b if d.fingerprint not in in_a]
    for key in in_a.keys() & in_b.keys():
        stamps = set(in_a[key].stamps), set(in_b[key].stamps)
        for name, missing in (('A', stamps[0] - stamps[1]), ('B', stamps[1] - stamps[0])):
            if missing:
                shown = ', '.join(map(str, sorted(missing)[:SHOWN_FRAMES]))
                alone.append(
                    f"of bag '{in_a[key].name}', {len(missing)} frames only in {name} "
                    f'(stamps {shown}{" ..." if len(missing) > SHOWN_FRAMES else ""})'
                )
    if alone:
        raise ReportError(f'the runs have not scored the same frames: {"; ".join(alone)}')


def _drives(folder: Path, result: dict[str, Any]) -> Iterator[Drive]:
    """Yield the bags of a run in the order of their fingerprints."""
    if not result['bags']:
        yield _drive(folder, result)
        return
    parts = [folder / bag['folder'] for bag in result['bags'] if bag['error'] is None]
    drives = [_drive(part, read_result(part)) for part in parts]
    yield from sorted(drives, key=lambda drive: drive.fingerprint)


def _drive(folder: Path, result: dict[str, Any]) -> Drive:
    path = folder / TABLE_FILE
    try:
        with path.open(newline='', encoding='utf-8') as stream:
            rows = [row for row in csv.DictReader(stream) if row['status'] == SCORED]
    except (OSError, KeyError) as error:
        raise ReportError(f"'{path}' cannot be read: {error}") from error
    rows.sort(key=lambda row: int(row['stamp_ns']))
    series = {name: np.array([float(row.get(name) or 'nan') for row in rows]) for name in COMPARED}
    return Drive(
        name=result['bag']['name'],
        fingerprint=result['bag']['fingerprint'],
        stamps=tuple(int(row['stamp_ns']) for row in rows),
        series=series,
    )


def _row(name: str, a: Sequence[Drive], b: Sequence[Drive]) -> dict[str, Any] | None:
    """Return the comparison of one metric; None: no frame has it in both runs."""
    pairs = []
    for drive_a, drive_b in zip(a, b, strict=True):
        x, y = drive_a.series[name], drive_b.series[name]
        is_known = np.isfinite(x) & np.isfinite(y)
        pairs.append((x[is_known], y[is_known]))
    pairs = [pair for pair in pairs if len(pair[0])]
    if not pairs:
        return None
    means = [float(np.concatenate(side).mean()) for side in zip(*pairs, strict=True)]
    found, over = _interval([y - x for x, y in pairs])
    is_better = (means[1] > means[0]) == (name in HIGHER_IS_BETTER)
    is_significant = found is not None and found.p_value < SIGNIFICANT
    return {
        'metric': name,
        'title': METRIC_TITLES[name][0] if name in METRIC_TITLES else name,
        'a': means[0],
        'b': means[1],
        'difference': means[1] - means[0],
        'low': None if found is None else found.low,
        'high': None if found is None else found.high,
        'p_value': None if found is None else found.p_value,
        'over': over,
        'frames': sum(len(x) for x, _ in pairs),
        'verdict': ('better' if is_better else 'worse') if is_significant else SAME,
    }


def _interval(
    differences: Sequence[NDArray[np.float64]],
) -> tuple[bootstrap.Interval | None, str]:
    count = sum(len(difference) for difference in differences)
    if len(differences) >= bootstrap.MIN_DRIVES:
        sums = np.array([difference.sum() for difference in differences])
        counts = np.array([len(difference) for difference in differences], np.float64)
        return bootstrap.interval(bootstrap.drive_means(sums, counts)), 'drives'
    if count < bootstrap.MIN_BLOCKS * bootstrap.block_length(count):
        return None, 'too few frames'
    return bootstrap.interval(
        bootstrap.block_means(np.concatenate(differences))
    ), 'blocks of frames'


def _identity(folder: Path, result: dict[str, Any]) -> dict[str, Any]:
    model = result['model']
    keys = ('name', 'revision', 'sha256', 'engine', 'device', 'precision')
    return {'folder': str(folder), **{key: model[key] for key in keys if key in model}}


def broken(result: dict[str, Any], limits: Sequence[Limit]) -> list[str]:
    """
    Return a sentence for each limit that is exceeded.

    :raises ReportError: a limit is on a metric that the runs do not have.
    """
    rows = {row['metric']: row for row in result['metrics']}
    found = []
    for limit in limits:
        if limit.metric not in rows:
            raise ReportError(f"--fail-if '{limit.text}': the runs have no {limit.metric}")
        row = rows[limit.metric]
        if limit.is_broken(row):
            found.append(
                f'{limit.text}: {limit.metric} went from {row["a"]:.6g} to {row["b"]:.6g}'
            )
    return found
