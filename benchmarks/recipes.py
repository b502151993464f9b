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
Measure what a training step of every recipe costs: its time, and the memory at its peak.

All train with their shipped options on the same frames of the demo clip, at one size and batch:
python -m benchmarks.recipes. Times are of steps in turns within one process, without reading;
on a CPU their ratio is that of the processor's time, which other programs hardly change. Memory
is what each takes in a process of its own, beyond the libraries. Weights are random.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.ablation_table import table_text
from benchmarks.train_scaling import make_dataset, ROOT
from depth_ros.errors import DepthRosError
from lightning_fabric import Fabric
import torch
from training.augment import RandomCrop
from training.checkpoint import build_recipe
from training.checkpoint_file import Checkpoint, Position, write_checkpoint
from training.dataset import DepthDataset
from training.loading import batches
from training.models.encoders import ENCODERS
from training.optimisation import make_optimiser
from training.ranks import Ranks
from training.recipes.recipe import Progress
from training.recipes.registry import RECIPES
from training.sampler import make_sampler
from training.samples import Batch
from training.settings import read_yaml
from training.train_config import read_config, TrainConfig
from training.train_step import TrainStep

PROGRAM = 'python -m benchmarks.recipes'
CONFIGS = ROOT / 'training' / 'configs'
WARM_UP = 2
MEMORY_STEPS = 3
EXIT_ERROR = 1
FIRST = 'supervised'
MB = 1e6
# What Linux calls kB.
KIB = 1024
KEPT_LABELS = 0.35
FEATURES = 'feature_network'


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """
    One row of the table.

    Fields:
        config: the file of a shipped config.
        changes: what is changed in it.
        feature_metric: it compares features, those of an untrained ``feature_network``.

    """

    config: str
    changes: tuple[str, ...] = ()
    note: str = ''
    feature_metric: bool = False


CASES: dict[str, Case] = {
    **{name: Case(config=name) for name in RECIPES},
    'gradient_field': Case(config='pretrain'),
    'depth_anything student': Case(
        config='depth_anything',
        changes=(
            'recipe.teacher={model: default}',
            'recipe.alignment={encoder: efficientnet_lite0, weights: random}',
            f'data.label_share={KEPT_LABELS}',
        ),
        note='asks a METER-XXS teacher in every step',
    ),
    'low_texture': Case(
        config='low_texture',
        note='self_supervised with features beside colours, nested decoder',
        feature_metric=True,
    ),
}


def config_of(case: Case, given: argparse.Namespace, data: Path) -> TrainConfig:
    """
    Return the shipped config at the common size, with random weights.

    :param data: where a feature network's checkpoint may be written.
    :raises DepthRosError: a value does not fit, or a file cannot be written.
    """
    path = CONFIGS / f'{case.config}.yaml'
    shipped = read_yaml(path)
    changes = {
        'data.width': given.width,
        'data.height': given.height,
        'batch_size': given.batch,
        'network.weights': 'random',
    }
    network = shipped['network']
    if network['encoder'] in ENCODERS and not network['encoder'].startswith(given.encoder):
        changes['network.encoder'] = given.encoder
    if 'pose_weights' in shipped['recipe']:
        changes['recipe.pose_weights'] = 'random'
    if case.feature_metric:
        changes['recipe.feature_metric.checkpoint'] = str(feature_checkpoint(given, data))
    texts = [f'{key}={value}' for key, value in changes.items()]
    return read_config(path, [*texts, *case.changes])


def feature_checkpoint(given: argparse.Namespace, data: Path) -> Path:
    """
    Write an untrained feature network as training.train would; return its file.

    :raises DepthRosError: a value does not fit, or the disk refuses it.
    """
    config = config_of(CASES[FEATURES], given, data)
    path = data / f'{FEATURES}.ckpt'
    checkpoint = Checkpoint(
        config=config.stored(),
        data={},
        position=Position(),
        best=None,
        recipe=build_recipe(config).state_dict(),
        averaged=None,
        optimiser={},
        scaler={},
    )
    write_checkpoint(path, checkpoint)
    return path


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step took [ms]: by the clock, and of the processor, all threads together."""

    clock: float
    processor: float


class Trained:
    """A recipe with its optimiser and one batch, as the trainer has them."""

    def __init__(self, case: Case, given: argparse.Namespace, data: Path) -> None:
        """
        Build it.

        :raises DepthRosError: config, recipe or dataset.
        """
        config = config_of(case, given, data)
        fabric = Fabric(accelerator=given.accelerator, devices=1)
        self._batch = first_batch(config, data, fabric.device)
        torch.manual_seed(0)
        self.recipe = build_recipe(config).to(fabric.device).train()
        for parameter in self.recipe.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self._step = TrainStep(
            fabric,
            Ranks(),
            self.recipe,
            make_optimiser(self.recipe, config.optimiser, fused=True),
            max_grad_norm=config.optimiser.max_grad_norm,
            averaged=None,
        )
        self._done = 0

    def parameters(self) -> int:
        """Return how many numbers are trained."""
        return sum(p.numel() for p in self.recipe.parameters() if p.requires_grad)

    def step(self) -> Taken:
        """
        Make one step; return its times.

        :raises DepthRosError: see ``TrainStep``; or it had nothing to learn from.
        """
        begin, begin_processor = time.perf_counter(), time.process_time()
        # Late, so that lessons which begin after some epochs take part.
        result = self._step(self._batch, Progress(step=self._done, epochs=1e3), 0)
        self._done += 1
        if result.loss is None:
            raise DepthRosError('a step had nothing to learn from: its time would mean nothing')
        clock, processor = time.perf_counter() - begin, time.process_time() - begin_processor
        return Taken(clock * 1e3, processor * 1e3)


def first_batch(config: TrainConfig, data: Path, device: torch.device) -> Batch:
    """
    Return the first batch of a training.

    :raises DepthRosError: the dataset has too few frames.
    """
    needs = config.recipe.options.needs
    crop = RandomCrop(width=config.data.width, height=config.data.height)
    dataset = DepthDataset(
        data, 'train', **needs.training(), label_share=config.label_share, augment=crop
    )
    sampler = make_sampler(
        dataset.is_labelled_N.tolist(), needs.mix, batch_size=config.batch_size, seed=0
    )
    return next(batches(dataset, [next(sampler.epoch(0))], 0, device))


def peak_mb(case: Case, given: argparse.Namespace, data: Path) -> float:
    """
    Return the memory that some steps take at their peak, beyond that of the libraries [MB].

    On a GPU: of its memory. Call it once in a process: Linux keeps the peak.
    """
    before = _resident_mb('VmRSS')
    trained = Trained(case, given, data)
    for _ in range(MEMORY_STEPS):
        trained.step()
    if given.accelerator == 'cuda':
        return torch.cuda.max_memory_allocated() / MB
    return _resident_mb('VmHWM') - before


def _resident_mb(key: str) -> float:
    """Return a line of this process's status; getrusage may tell the parent's peak instead."""
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    found = next(line for line in lines if line.startswith(f'{key}:'))
    return int(found.split()[1]) * KIB / MB


def measured_memory(name: str, given: argparse.Namespace, data: Path) -> float:
    """
    Return ``peak_mb`` of a process of its own.

    :raises DepthRosError: it failed; its own sentence is on stderr.
    """
    words = ['--memory-of', name, '--dataset', str(data)]
    for key in ('width', 'height', 'batch', 'threads', 'encoder', 'accelerator'):
        words += [f'--{key}', str(getattr(given, key))]
    command = [sys.executable, '-m', 'benchmarks.recipes', *words]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise DepthRosError(f'the measurement of {name} ended with status {done.returncode}')
    return float(json.loads(done.stdout))


def measured_times(
    names: Sequence[str], given: argparse.Namespace, data: Path
) -> tuple[dict[str, list[Taken]], dict[str, int]]:
    """
    Return the times of the steps of each case, taken in turns, and its trained numbers.

    :raises DepthRosError: see ``Trained``.
    """
    trained = {name: Trained(CASES[name], given, data) for name in names}
    times: dict[str, list[Taken]] = {name: [] for name in names}
    for number in range(WARM_UP + given.rounds):
        for name, one in trained.items():
            taken = one.step()
            if number >= WARM_UP:
                times[name].append(taken)
    return times, {name: one.parameters() for name, one in trained.items()}


def report(
    times: dict[str, list[Taken]],
    parameters: dict[str, int],
    memory: dict[str, float],
    *,
    by_processor: bool,
) -> str:
    """Return the table; its ratios are to the first recipe's processor time, or clock."""
    rows = []
    compared = {
        name: statistics.median(one.processor if by_processor else one.clock for one in own)
        for name, own in times.items()
    }
    for name, own in times.items():
        shown = f'`{name}`' if name in RECIPES else f'{name} ({CASES[name].note})'
        rows.append(
            [
                shown,
                f'{parameters[name] / 1e6:.1f}',
                f'{statistics.median(one.clock for one in own):.0f}',
                f'{statistics.median(one.processor for one in own):.0f}',
                f'{compared[name] / compared[FIRST]:.2f}' if FIRST in compared else '-',
                f'{memory[name]:.0f}',
            ]
        )
    header = ['recipe', 'trained, millions', 'step, ms', 'processor, ms', 'ratio', 'peak, MB']
    return table_text(header, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return its exit status."""
    given = _parser().parse_args(argv)
    torch.set_num_threads(given.threads)
    try:
        if given.memory_of is not None:
            print(json.dumps(peak_mb(CASES[given.memory_of], given, given.dataset)))
            return 0
        with tempfile.TemporaryDirectory() as folder:
            data = make_dataset(Path(folder))
            memory = {name: measured_memory(name, given, data) for name in given.cases}
            times, parameters = measured_times(given.cases, given, data)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(
        f'batch {given.batch} of {given.width}x{given.height}, {given.encoder} where a recipe '
        f'lets one choose, {given.threads} threads, {given.accelerator}, {given.rounds} rounds '
        'in turns:\n'
    )
    print(report(times, parameters, memory, by_processor=given.accelerator == 'cpu'))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument('--cases', nargs='+', choices=CASES, default=list(CASES), metavar='NAME')
    parser.add_argument('--batch', type=int, default=6)
    parser.add_argument('--width', type=int, default=320)
    parser.add_argument('--height', type=int, default=96)
    parser.add_argument('--encoder', default='efficientnet_lite0')
    parser.add_argument('--rounds', type=int, default=7)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--accelerator', choices=('cpu', 'cuda'), default='cpu')
    for hidden, kind in (('--memory-of', str), ('--dataset', Path)):
        parser.add_argument(hidden, type=kind, help=argparse.SUPPRESS)
    return parser


if __name__ == '__main__':
    sys.exit(main())
