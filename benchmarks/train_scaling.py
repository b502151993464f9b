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
Measure how training scales from one process to two with the same global batch.

Runs the training program itself on the demo clip, in turns: one process with one thread, one with
two threads, two with one thread each: python -m benchmarks.train_scaling. Then it compares their
loss curves, which must be the same. On a machine that has other work to do, the fastest steps say
more than the median.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import csv
from dataclasses import dataclass
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from rich.progress import Progress
from training.prepare import prepare, Source
from training.prepare_options import PrepareOptions
import yaml

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / 'demo' / 'kitti_0005'
TARGET_DIFFERENCE = 1e-5
# Steps at the beginning of a run that are not timed: memory is taken, kernels are chosen.
WARM_UP = 2
# So small that Adam, which divides by the size of a gradient, does not enlarge rounding.
LEARNING_RATE = 1e-6
FOCAL_SHARE = 721.5377 / 1242


@dataclass(frozen=True)
class Layout:
    """How the work is shared; a batch is always the same frames."""

    processes: int
    threads: int

    @property
    def name(self) -> str:
        return f'{self.processes} x {self.threads}'


@dataclass(frozen=True)
class Curve:
    """Loss and images per second of each step."""

    losses: tuple[float, ...]
    rates: tuple[float, ...]


LAYOUTS = (Layout(1, 1), Layout(1, 2), Layout(2, 1))


def config(given: argparse.Namespace) -> dict[str, Any]:
    """Return a config of the supervised recipe whose curve does not depend on the layout."""
    return {
        'name': 'train_scaling',
        'epochs': given.epochs,
        'batch_size': given.batch,
        'workers': 0,
        'batch_norm': 'frozen',
        'save_every_minutes': 1000,
        'focal_px': FOCAL_SHARE * given.width,
        'data': {'width': given.width, 'height': given.height},
        'optimiser': {'learning_rate': LEARNING_RATE},
        'schedule': {'name': 'constant'},
        'recipe': {'name': 'supervised'},
        'network': {'encoder': given.encoder, 'weights': 'random'},
    }


def make_dataset(folder: Path) -> Path:
    """Make a dataset of the demo clip."""
    out = folder / 'dataset'
    source = Source(name='kitti_0005', bag=CLIP, split='train')
    prepare([source], out, PrepareOptions(), Progress(disable=True))
    return out


def train(layout: Layout, config_path: Path, data: Path, out: Path) -> Curve:
    """Run the program once and return its curve."""
    command = [sys.executable, '-m', 'training.train', '--config', str(config_path)]
    command += ['--data', str(data), '--out', str(out), '--no-validation']
    command += ['--accelerator', 'cpu', '--devices', str(layout.processes)]
    threads = {'OMP_NUM_THREADS': str(layout.threads), 'MKL_NUM_THREADS': str(layout.threads)}
    subprocess.run(
        command, cwd=ROOT, env={**os.environ, **threads}, check=True, stderr=subprocess.DEVNULL
    )
    with (out / 'log.csv').open(encoding='utf-8') as stream:
        rows = list(csv.DictReader(stream))
    return Curve(
        tuple(float(row['loss']) for row in rows),
        tuple(float(row['images_per_s']) for row in rows[WARM_UP:]),
    )


def largest_difference(curves: Sequence[Curve]) -> float:
    """Return the largest relative difference of a step's loss to that of the first curve."""
    first = curves[0].losses
    return max(
        abs(loss - own) / abs(own)
        for curve in curves
        for loss, own in zip(curve.losses, first, strict=True)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when the curves are the same."""
    given = _parser().parse_args(argv)
    curves: dict[Layout, list[Curve]] = {layout: [] for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data, path = make_dataset(folder), folder / 'config.yaml'
        path.write_text(yaml.safe_dump(config(given)), encoding='utf-8')
        for number in range(given.rounds):
            for layout in LAYOUTS:
                out = folder / f'{layout.processes}_{layout.threads}_{number}'
                curves[layout].append(train(layout, path, data, out))
    difference = largest_difference([curve for own in curves.values() for curve in own])
    _report(given, curves, difference)
    return 0 if difference <= TARGET_DIFFERENCE else 1


def _report(
    given: argparse.Namespace, curves: dict[Layout, list[Curve]], difference: float
) -> None:
    steps = len(curves[LAYOUTS[0]][0].losses)
    print(
        f'supervised, {given.encoder}, {given.width}x{given.height}, global batch {given.batch}, '
        f'{steps} steps, {given.rounds} rounds in turns, {os.cpu_count()} cores; images/s of all '
        f'steps but the first {WARM_UP} of a run:'
    )
    print('  processes x threads    median  ratio   fastest  ratio')
    rates = {
        layout: [rate for curve in own for rate in curve.rates] for layout, own in curves.items()
    }
    first = rates[LAYOUTS[0]]
    for layout, own in rates.items():
        figures = [
            f'{figure(own):8.2f}  {figure(own) / figure(first):5.2f}'
            for figure in (statistics.median, max)
        ]
        print(f'  {layout.name:<20} {"  ".join(figures)}')
    print(f'  largest relative difference of a loss: {difference:.1e} ', end='')
    print(f'(target <= {TARGET_DIFFERENCE:.0e})')


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.train_scaling', description=__doc__)
    parser.add_argument('--batch', type=int, default=4, help='of all processes together')
    parser.add_argument('--width', type=int, default=320)
    parser.add_argument('--height', type=int, default=96)
    parser.add_argument('--epochs', type=int, default=3, help='of 20 frames')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--encoder', default='efficientnet_lite0')
    return parser


if __name__ == '__main__':
    sys.exit(main())
