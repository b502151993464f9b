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
Train a depth network on a dataset of training.prepare.

Everything that decides the result stands in the config, and is explained in docs/train.md. Stop it
with Ctrl-C and go on with --resume.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
import logging
import os
from pathlib import Path
import platform
import signal
from typing import Any
import warnings

import cv2
from depth_ros import __version__
from depth_ros.errors import ConfigError, DepthRosError
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
import numpy as np
from rich.console import Console
import torch
from torch import distributed
from training.augment import RandomCrop, Resize
from training.checkpoint import build_recipe, stored_config
from training.checkpoint_file import Checkpoint, LAST, read_checkpoint
from training.dataset import DepthDataset
from training.dataset_format import DatasetError, json_bytes, write_whole
from training.label_store import manifest_hash
from training.ranks import COUNT_VARIABLE, leave, Ranks, TrainingError
from training.recipes.recipe import FrameNeeds
from training.sampler import make_sampler
from training.settings import read_yaml
from training.stop_signals import StopSignals
from training.train_config import changed, check_resumable, config_from, TrainConfig
from training.train_log import TrainLog
from training.trainer import TrainData, Trainer
import yaml

CONFIG_FILE, RUN_FILE = 'config.yaml', 'run.json'
EXIT_ERROR = 1
# What a shell reports of a program that a signal has ended: 128 + its number.
EXIT_SIGNAL = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """
    A command that trains.

    Fields:
        recipes: those that it takes; None: all.
        validates: it can, unless it is told not to.
        finish: what the first process does after the last step, with the folder of the run;
            returns what to say of it.

    """

    name: str
    description: str | None
    recipes: tuple[str, ...] | None = None
    validates: bool = True
    finish: Callable[[Path], str] | None = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    return run(Program(name='train', description=__doc__), argv)


def run(program: Program, argv: Sequence[str] | None) -> int:
    """Run a program that trains; return its exit status."""
    given = _parser(program).parse_args(argv)
    _silence_libraries()
    try:
        return _run(program, given)
    except DepthRosError as error:
        _say(f'{program.name}: {error}', 'red')
        # Fabric kills the first process when another one fails, even while it says why.
        return EXIT_ERROR if _is_first() else 0
    except KeyboardInterrupt:
        return EXIT_SIGNAL + signal.SIGINT


def _silence_libraries() -> None:
    """Leave out what libraries say of themselves and nobody can act on."""
    logging.getLogger('lightning_fabric').setLevel(logging.WARNING)
    # The newer name does not exist in older versions.
    warnings.filterwarnings('ignore', message='`broadcast_buffers` is deprecated')
    # Kernels of one channel have two names for the same order in memory.
    warnings.filterwarnings('ignore', message='Grad strides do not match bucket view')


def _say(text: str, style: str) -> None:
    if _is_first():
        console = Console(stderr=True)
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _run(program: Program, given: argparse.Namespace) -> int:
    config, start = _config(given)
    _check_recipe(program, config)
    fabric = _fabric(given, config)
    data = _data(given, config)
    _check_batch(given, config, data)
    if start is not None:
        _check_data(given.out / LAST, start, data)
    _claim(given.out, start)
    torch.manual_seed(config.seed)
    recipe = build_recipe(config)
    stop = StopSignals()
    with stop.caught():
        fabric.launch()
        ranks = Ranks()
        trainer = Trainer(
            fabric, config, recipe, data, given.out, ranks=ranks, stop=stop, start=start
        )
        try:
            return _train(trainer, program, given)
        finally:
            if ranks.count > 1:
                distributed.destroy_process_group()


def _config(given: argparse.Namespace) -> tuple[TrainConfig, Checkpoint | None]:
    """Return the config, and the checkpoint to go on from."""
    start = None
    if given.resume:
        if not (given.out / LAST).is_file():
            raise ConfigError(f"--resume: '{given.out}' has no {LAST}; begin without --resume")
        start = read_checkpoint(given.out / LAST)
    if given.config is not None:
        content = read_yaml(given.config)
    elif start is not None:
        content = stored_config(start, given.out / LAST).stored()
    else:
        raise ConfigError('--config is missing: only --resume goes on without')
    config = config_from(changed(content, given.set))
    if start is not None:
        began = stored_config(start, given.out / LAST)
        check_resumable(began.stored(), config.stored(), f"'{given.out / LAST}'")
    return config, start


def _check_recipe(program: Program, config: TrainConfig) -> None:
    if program.recipes is not None and config.recipe.name not in program.recipes:
        raise ConfigError(
            f'recipe.name = {config.recipe.name!r}: training.{program.name} takes '
            f'{", ".join(program.recipes)}; training.train takes all'
        )


def _fabric(given: argparse.Namespace, config: TrainConfig) -> Fabric:
    if given.accelerator == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--accelerator cuda: torch finds no such device; use cpu')
    accelerator = given.accelerator
    if accelerator == 'auto':
        accelerator = 'cuda' if torch.cuda.is_available() else 'cpu'
    if accelerator == 'cpu' and config.precision == '16-mixed':
        raise ConfigError(
            "precision = '16-mixed': torch has no such training on the CPU; use bf16-mixed"
        )
    for option in ('devices', 'nodes'):
        if getattr(given, option) < 1:
            raise ConfigError(f'--{option} {getattr(given, option)}: must be at least 1')
    started = int(os.environ.get(COUNT_VARIABLE, given.devices * given.nodes))
    if started != given.devices * given.nodes:
        raise ConfigError(
            f'--devices {given.devices} --nodes {given.nodes}: {started} processes were started; '
            'give the numbers that torchrun was given'
        )
    if accelerator == 'cuda' and given.devices > torch.cuda.device_count():
        raise ConfigError(
            f'--devices {given.devices}: this machine has {torch.cuda.device_count()} GPUs'
        )
    strategy: Any = 'auto'
    if given.devices * given.nodes > 1:
        # Statistics are not needed at every step: the trainer shares them before it validates.
        strategy = DDPStrategy(broadcast_buffers=False)
    return Fabric(
        accelerator=accelerator,
        devices=given.devices,
        num_nodes=given.nodes,
        precision=config.precision,
        strategy=strategy,
    )


def _data(given: argparse.Namespace, config: TrainConfig) -> TrainData:
    size = {'width': config.data.width, 'height': config.data.height}
    crop = RandomCrop(
        **size,
        min_share=config.data.min_share,
        flip_probability=config.data.flip_probability,
    )
    needs: FrameNeeds = config.recipe.options.needs
    labels = {'label_share': config.label_share}
    train = DepthDataset(given.data, 'train', **needs.training(), **labels, augment=crop)
    whole = Resize(**size)
    val = None
    if given.validation:
        try:
            val = DepthDataset(given.data, 'val', labelled=True, **needs.looking(), augment=whole)
        except DatasetError as error:
            raise DatasetError(f'{error}; or train with --no-validation') from error
    pictures = val or DepthDataset(
        given.data, 'train', labelled=needs.labelled, **needs.looking(), **labels, augment=whole
    )
    identity = {'manifest_sha256': manifest_hash(given.data), 'frames': len(train)}
    if train.labels is not None:
        identity['labels_sha256'] = train.labels.identity
    return TrainData(
        train=train,
        val=val,
        pictures=pictures,
        identity=identity,
    )


def _check_batch(given: argparse.Namespace, config: TrainConfig, data: TrainData) -> None:
    """Refuse, before any process is started, a batch that cannot be shared."""
    processes = given.devices * given.nodes
    make_sampler(
        data.train.is_labelled_N.tolist(),
        config.recipe.options.needs.mix,
        batch_size=config.batch_size,
        seed=0,
        processes=processes,
    )


def _check_data(path: Path, start: Checkpoint, data: TrainData) -> None:
    for key, old in start.data.items():
        if data.identity[key] != old:
            raise ConfigError(
                f"'{path}' was trained on another dataset ({key}: {old!r}, now "
                f'{data.identity[key]!r}): give the same --data'
            )


def _claim(out: Path, start: Checkpoint | None) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"folder '{out}' cannot be made: {error.strerror}") from error
    if start is None and (out / LAST).exists() and _is_first():
        raise ConfigError(
            f"'{out}' holds a training already: go on with --resume, or choose another --out"
        )


def _is_first() -> bool:
    return int(os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0'))) == 0


def _train(trainer: Trainer, program: Program, given: argparse.Namespace) -> int:
    log = _log(trainer, given) if trainer.ranks.is_first else None
    try:
        number = trainer.run(log)
        if log is not None and program.finish is not None and not number:
            log.say(program.finish(given.out))
    finally:
        if log is not None:
            log.close()
    if number:
        step = trainer.position.step
        told = f'stopped after step {step}; go on with the same command and --resume'
        _say(f'{program.name}: {told}', 'yellow')
    # See main.
    return EXIT_SIGNAL + number if number and trainer.ranks.is_first else 0


def _log(trainer: Trainer, given: argparse.Namespace) -> TrainLog:
    _write_facts(given, trainer.config, trainer.data, trainer.fabric)
    step, steps = trainer.position.step, trainer.total_steps
    log = TrainLog(given.out, step, steps, Console(stderr=True))
    val = trainer.data.val
    log.say(
        f'{trainer.config.recipe.name}: {trainer.sampler.frames} frames, '
        f'{0 if val is None else len(val)} for validation, {trainer.config.epochs} epochs of '
        f'{trainer.sampler.batches} steps, {trainer.ranks.count} processes with '
        f'{torch.get_num_threads()} threads on {_device_name(trainer.fabric)}'
        + (f', from step {step}' if step else '')
    )
    return log


def _write_facts(
    given: argparse.Namespace, config: TrainConfig, data: TrainData, fabric: Fabric
) -> None:
    text = yaml.safe_dump(config.stored(), sort_keys=False)
    write_whole(given.out / CONFIG_FILE, text.encode())
    facts = {
        'versions': {
            'depth_ros': __version__,
            'python': platform.python_version(),
            'torch': torch.__version__,
            'lightning_fabric': version('lightning-fabric'),
            'numpy': np.__version__,
            'opencv': cv2.__version__,
        },
        'machine': platform.machine(),
        'system': platform.system(),
        'device': _device_name(fabric),
        'processes': fabric.world_size,
        'threads': torch.get_num_threads(),
        'data': {'folder': str(given.data), **data.identity},
    }
    write_whole(given.out / RUN_FILE, json_bytes(facts))


def _device_name(fabric: Fabric) -> str:
    is_gpu = fabric.device.type == 'cuda'
    return torch.cuda.get_device_name(fabric.device) if is_gpu else f'cpu, {os.cpu_count()} cores'


def _parser(program: Program) -> argparse.ArgumentParser:
    prog = f'python -m training.{program.name}'
    parser = argparse.ArgumentParser(prog=prog, description=program.description)
    parser.add_argument('--config', type=Path, help='YAML file; with --resume not needed')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='folder of this run')
    parser.add_argument('--resume', action='store_true', help=f'go on from {LAST} in --out')
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='change the config'
    )
    parser.set_defaults(validation=program.validates)
    if program.validates:
        parser.add_argument(
            '--no-validation', dest='validation', action='store_false', help='skip the val split'
        )
    parser.add_argument('--accelerator', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--devices', type=int, default=1, help='processes on each node')
    parser.add_argument('--nodes', type=int, default=1)
    return parser


if __name__ == '__main__':
    leave(main())
