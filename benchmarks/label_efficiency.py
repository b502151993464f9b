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
Fine-tune on ever fewer labels, from several encoders, with the same steps: the curve of both.

Each run trains the supervised recipe on a share of the LiDAR frames, from random weights, from
those of training.pretrain and from ImageNet's. A second call goes on where the first was stopped.
Scores are those of the last step: the validation drives choose nothing. docs/pretraining.md
holds what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
import math
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation import (
    finished,
    make,
    parser_of,
    require_data,
    Run,
    TABLE_FILE,
    told,
)
from benchmarks.ablation_table import Result, Spread, table_text
from benchmarks.ablation_variants import Variant, variant_config
from depth_ros.errors import ConfigError
from depth_ros.evaluation.charts import Axis, line_chart
from training.dataset import DepthDataset
from training.dataset_format import write_whole
from training.label_share import LabelShare
from training.settings import read_yaml
import yaml

PROGRAM = 'python -m benchmarks.label_efficiency'
CONFIG = Path(__file__).parents[1] / 'training' / 'configs' / 'ablation.yaml'
CURVE_FILE = 'curve.svg'
# Two frames are all that 1 % of 194 are.
STEPS, BATCH = 150, 2
PERCENTS = (1, 3, 5, 10, 100)
FILE = 'file'
# Weights: their name in the table, and in the config.
ENCODERS = {
    'random': ('random', 'random'),
    'gradient_field': ('gradient field', FILE),
    'imagenet': ('ImageNet', 'imagenet'),
}
# Title: alignment, column, digits.
COLUMNS = {
    'AbsRel': ('none', 'abs_rel', 3),
    'a1': ('none', 'a1', 3),
    'AbsRel, median-aligned': ('median', 'abs_rel', 3),
}
ABSENT = '-'
# The colours that the report's page gives to charts.
STYLE = (
    '<style>svg{--mark:#1f6fb2;--other:#c1441e;--faint:#5f7f2f;--line:#ddd;--ink:#222;'
    'font:12px sans-serif;fill:#222;background:#fff}</style>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the curve: from which weights, with how much of the labels."""

    encoder: str
    percent: int


CELLS: dict[str, Cell] = {
    f'{encoder}_{percent}': Cell(encoder=encoder, percent=percent)
    for percent in PERCENTS
    for encoder in ENCODERS
}


def planned_runs(given: argparse.Namespace) -> list[Run]:
    """
    Return all runs, seed after seed.

    :raises DepthRosError: a name, the config, the weights, or the dataset.
    """
    unknown = [name for name in given.variants if name not in CELLS]
    if unknown:
        raise ConfigError(f'--variants {unknown[0]}: must be of {", ".join(CELLS)}')
    if given.encoder is None:
        raise ConfigError('--encoder is missing: give the file that training.pretrain wrote')
    base = read_yaml(given.config)
    return [
        Run(
            variant=name,
            seed=seed,
            folder=given.out / name / f'seed_{seed}',
            plan=yaml.safe_dump(plan(CELLS[name], base, given, seed), sort_keys=False),
        )
        for seed in range(given.seeds)
        for name in given.variants
    ]


def plan(cell: Cell, base: Mapping[str, Any], given: argparse.Namespace, seed: int) -> Any:
    """
    Return the whole config of one run.

    :raises DepthRosError: the config or the dataset.
    """
    title, weights = ENCODERS[cell.encoder]
    content = {
        **base,
        'name': f'label_efficiency {cell.percent} %',
        'batch_size': BATCH,
        'data': {**base['data'], 'label_share': cell.percent / 100},
        'network': {
            **base['network'],
            'weights': str(given.encoder.resolve()) if weights == FILE else weights,
        },
        # Nothing is validated; an epoch may be a single step.
        'validation': {'every_epochs': given.steps},
    }
    variant = Variant(label=title, recipe='supervised')
    return variant_config(variant, content, given.data, steps=given.steps, seed=seed)


def spreads(results: Iterable[Result], title: str) -> dict[str, Spread]:
    """Return one column of the table for each cell."""
    alignment, column, _ = COLUMNS[title]
    found: dict[str, list[float | None]] = {}
    for result in results:
        (scores,) = result['scores'].values()
        found.setdefault(result['variant'], []).append(scores[alignment][column])
    all_spreads = {name: Spread.of(values) for name, values in found.items()}
    return {name: spread for name, spread in all_spreads.items() if spread is not None}


def tables(results: Sequence[Result], labels: int) -> str:
    """Return one table for each score: a row for each share, a column for each encoder."""
    texts = []
    header = ['labels', 'frames', *(title for title, _ in ENCODERS.values()), 'seeds']
    for title, (_, _, digits) in COLUMNS.items():
        found = spreads(results, title)
        rows = [_row(found, percent, digits, labels) for percent in PERCENTS]
        texts.append(table_text([title, *header[1:]], [row for row in rows if row is not None]))
    return '\n'.join(texts)


def _row(found: Mapping[str, Spread], percent: int, digits: int, labels: int) -> list[str] | None:
    own = [found.get(f'{encoder}_{percent}') for encoder in ENCODERS]
    counts = sorted({spread.count for spread in own if spread is not None})
    if not counts:
        return None
    frames = int(LabelShare(percent / 100).kept(labels).sum())
    cells = [ABSENT if spread is None else spread.text(digits) for spread in own]
    return [f'{percent} %', str(frames), *cells, '/'.join(map(str, counts))]


def curve(results: Sequence[Result], title: str) -> str:
    """Return the mean of a score over the share of the labels, with one standard deviation."""
    found = spreads(results, title)
    series = {
        name: [
            point
            for percent in PERCENTS
            if f'{encoder}_{percent}' in found
            for point in _bar(math.log10(percent), found[f'{encoder}_{percent}'])
        ]
        for encoder, (name, _) in ENCODERS.items()
    }
    series = {name: points for name, points in series.items() if points}
    heights = [height for points in series.values() for _, height in points]
    marks = tuple((math.log10(percent), str(percent)) for percent in PERCENTS)
    x = Axis(low=0.0, high=2.0, label='share of the labels, %', marks=marks)
    chart = line_chart(series, x, Axis.over(heights, title), f'{title} over the share of labels')
    opened = chart.replace('<svg ', '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return opened.replace('>', f'>{STYLE}', 1) + '\n'


def _bar(x: float, spread: Spread) -> list[tuple[float, float]]:
    """Return the way of the pen: to the mean, and along its standard deviation and back."""
    middle = (x, spread.mean)
    if spread.count == 1:
        return [middle]
    return [middle, (x, spread.mean + spread.std), (x, spread.mean - spread.std), middle]


def tabulate(out: Path, data: Path) -> str:
    """
    Write table.md and curve.svg of the runs that are finished; return the tables.

    :raises DepthRosError: there is none, or a file cannot be read or written.
    """
    results = finished(out, {name: Variant(label=name) for name in CELLS})
    text = tables(results, len(DepthDataset(data, 'train', labelled=True, neighbours=False)))
    write_whole(out / TABLE_FILE, text.encode())
    write_whole(out / CURVE_FILE, curve(results, 'AbsRel').encode())
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = parser().parse_args(argv)

    def work() -> int:
        require_data(given)
        status = 0 if given.table else make(planned_runs(given), given)
        if not status:
            print(tabulate(given.out, given.data))
        return status

    return told(given, work)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    names = {name: Variant(label=name) for name in CELLS}
    result = parser_of(PROGRAM, __doc__, CONFIG, names, STEPS)
    result.add_argument('--encoder', type=Path, help='file that training.pretrain wrote')
    return result


if __name__ == '__main__':
    sys.exit(main())
