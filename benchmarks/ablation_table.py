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

"""From the scores of all runs to tables: mean and standard deviation over the seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
import csv
from dataclasses import dataclass
import io
import math
from typing import Any

from benchmarks.ablation_variants import VARIANTS

AGAINST = 'AbsRel against reference'
# Title -> alignment, column, digits.
DEPTH_COLUMNS = {
    'AbsRel': ('none', 'abs_rel', 3),
    'RMSE, m': ('none', 'rmse', 2),
    'a1': ('none', 'a1', 3),
    'AbsRel, median-aligned': ('median', 'abs_rel', 3),
}
SIGMA_COLUMNS = {
    'NLL, ln m': ('none', 'nll', 2),
    'within 1 sigma': ('none', 'coverage_1_sigma', 2),
    'within 2 sigma': ('none', 'coverage_2_sigma', 2),
}
MEDIAN_COLUMNS = {
    'at hits, m': ('none', 'sigma_at_hits_m', 2),
    'where LiDAR never reaches, m': ('none', 'sigma_never_reached_m', 2),
}
ABSENT = '-'
Result = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and sample standard deviation of one score over the seeds."""

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Return it; None where a seed has no such score, for fewer seeds would flatter."""
        found = list(values)
        if not found or any(value is None for value in found):
            return None
        known = [float(value) for value in found if value is not None]
        mean = math.fsum(known) / len(known)
        if len(known) == 1:
            return cls(mean, math.nan, 1)
        squares = math.fsum((value - mean) ** 2 for value in known)
        return cls(mean, math.sqrt(squares / (len(known) - 1)), len(known))

    def text(self, digits: int) -> str:
        """Return mean and standard deviation for people."""
        if self.count == 1:
            return f'{self.mean:.{digits}f}'
        return f'{self.mean:.{digits}f} ± {self.std:.{digits}f}'


def rows_of(
    results: Iterable[Result],
    labels: Mapping[str, str],
    columns: Mapping[str, tuple[str, str, int]],
) -> str:
    """Return these columns of the deployed branch for every variant that has a label and runs."""
    results, rows = list(results), []
    for name, label in labels.items():
        runs = [run for run in results if run['variant'] == name]
        if runs:
            values = ((spread(runs, 0, kind, key), n) for kind, key, n in columns.values())
            cells = [ABSENT if value is None else value.text(n) for value, n in values]
            rows.append([label, str(len(runs)), str(runs[0]['steps']), *cells])
    return table_text(['', 'seeds', 'steps', *columns], rows)


def by_variant(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the runs of each variant, both in their order."""
    found: dict[str, list[Result]] = {name: [] for name in VARIANTS}
    for result in sorted(results, key=lambda r: r['seed']):
        found[result['variant']].append(result)
    return {name: runs for name, runs in found.items() if runs}


def spread(runs: Sequence[Result], branch: int, alignment: str, column: str) -> Spread | None:
    """Return one score of the deployed (0) or the other branch (1) over the seeds."""
    rows = (list(run['scores'].values())[branch][alignment] for run in runs)
    return Spread.of(row[column] for row in rows)


def is_beyond(one: Spread | None, other: Spread | None) -> bool:
    """Tell whether two means differ by more than both standard deviations together."""
    if one is None or other is None:
        return False
    return abs(one.mean - other.mean) > one.std + other.std


def _cells(
    runs: Sequence[Result], branch: int, columns: Mapping[str, tuple[str, str, int]]
) -> list[str]:
    cells = []
    for alignment, column, digits in columns.values():
        value = spread(runs, branch, alignment, column)
        cells.append(ABSENT if value is None else value.text(digits))
    return cells


def table_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ['---', *['---:'] * (len(header) - 1)], *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines) + '\n'


def main_table(results: Iterable[Result]) -> str:
    """Return the scores of every variant's deployed branch, its AbsRel beside its reference's."""
    groups = by_variant(results)
    rows = []
    for name, runs in groups.items():
        variant = VARIANTS[name]
        sigma = [ABSENT] * len(SIGMA_COLUMNS)
        if variant.has_metric_sigma:
            sigma = _cells(runs, 0, SIGMA_COLUMNS)
        steps = sorted({run['steps'] for run in runs})
        row = [variant.label, str(len(runs)), '/'.join(map(str, steps))]
        rows.append([*row, *_cells(runs, 0, DEPTH_COLUMNS), _against(name, groups), *sigma])
    return table_text(['', 'seeds', 'steps', *DEPTH_COLUMNS, AGAINST, *SIGMA_COLUMNS], rows)


def _against(name: str, groups: Mapping[str, Sequence[Result]]) -> str:
    reference = VARIANTS[name].reference
    if name == reference or reference not in groups:
        return ABSENT
    own, other = (spread(groups[key], 0, 'none', 'abs_rel') for key in (name, reference))
    if own is None or other is None or min(own.count, other.count) == 1:
        return ABSENT
    verdict = 'beyond the spread' if is_beyond(own, other) else 'within the spread'
    return f'{own.mean - other.mean:+.3f} to {reference}, {verdict}'


def second_table(results: Iterable[Result]) -> str:
    """Return the scores of the branches that are not deployed."""
    rows = []
    for name, runs in by_variant(results).items():
        branches = list(runs[0]['scores'])
        if len(branches) > 1:
            label = f'{VARIANTS[name].label}: {branches[1]}'
            rows.append([label, *_cells(runs, 1, DEPTH_COLUMNS)])
    return table_text(['second branch', *DEPTH_COLUMNS], rows) if rows else ''


def sigma_table(results: Iterable[Result]) -> str:
    """Return the median of sigma in metres, where LiDAR hits and where it never reaches."""
    rows = [
        [VARIANTS[name].label, *_cells(runs, 0, MEDIAN_COLUMNS)]
        for name, runs in by_variant(results).items()
        if VARIANTS[name].has_metric_sigma
    ]
    return table_text(['median of sigma', *MEDIAN_COLUMNS], rows) if rows else ''


def markdown(results: Sequence[Result]) -> str:
    """Return all tables."""
    tables = (main_table(results), second_table(results), sigma_table(results))
    return '\n'.join(table for table in tables if table)


def csv_text(results: Iterable[Result]) -> str:
    """Return one line for each run, branch and alignment, with every score."""
    rows = [
        {'variant': name, 'seed': run['seed'], 'steps': run['steps'], 'branch': branch}
        | {'alignment': alignment}
        | scores
        for name, runs in by_variant(results).items()
        for run in runs
        for branch, aligned in run['scores'].items()
        for alignment, scores in aligned.items()
    ]
    stream = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(stream, list(columns), restval='', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
