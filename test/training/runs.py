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

"""A dataset and a config so small that a whole training takes seconds."""

from __future__ import annotations

from collections.abc import Callable
import csv
import os
from pathlib import Path
import signal
from test.training import drives
import threading
import time
from typing import Any

import torch
from torch import Tensor
from training.checkpoint_file import Checkpoint, LAST, read_checkpoint
from training.train import main
import yaml

TRAIN_FRAMES, VAL_FRAMES = 9, 3
WIDTH, HEIGHT = 64, 32
CONFIG: dict[str, Any] = {
    'name': 'tiny',
    'seed': 3,
    'epochs': 2,
    'batch_size': 4,
    'workers': 0,
    'batch_norm': 'frozen',
    'focal_px': 50.0,
    'data': {'width': WIDTH, 'height': HEIGHT, 'min_share': 0.7},
    'optimiser': {'learning_rate': 1e-4, 'weight_decay': 0.01, 'max_grad_norm': 5.0},
    'schedule': {'name': 'cosine', 'warmup_steps': 1},
    'recipe': {'name': 'supervised'},
    'network': {
        'encoder': 'efficientnet_lite0',
        'weights': 'random',
        'widths': [8, 8, 8, 8, 8],
        'scales': [0],
    },
}
# A network that remembers, for the same config.
REMEMBERING: dict[str, Any] = {
    'kind': 'tc_depth',
    'encoder': 'efficientnet_lite0_dilated',
    'weights': 'random',
    'focal_px': 50.0,
    'widths': [4, 4, 8, 8],
    'scales': [0],
    'attention': {'value_width': 8, 'key_width': 8, 'bins': 16, 'volume_width': 8},
}
STEPS_PER_EPOCH = TRAIN_FRAMES // CONFIG['batch_size']
STEPS = STEPS_PER_EPOCH * CONFIG['epochs']
# Columns that tell of the clock, not of the training.
CLOCK = ('images_per_s',)


def make_dataset(folder: Path) -> Path:
    """Make a dataset of two drives past a wall 10 m away."""
    bags = [
        drives.drive(folder / name, count)
        for name, count in (('town', TRAIN_FRAMES), ('village', VAL_FRAMES))
    ]
    return drives.made(folder / 'dataset', *bags, val=['village'])


def config_file(folder: Path, **changes: Any) -> Path:
    """Write the config with other values in some sections or keys."""
    path = folder / 'config.yaml'
    path.write_text(yaml.safe_dump({**CONFIG, **changes}), encoding='utf-8')
    return path


def train(config: Path, data: Path, out: Path, *options: str) -> int:
    """Run the program in this process; return its exit status."""
    named = ['--config', str(config), '--data', str(data), '--out', str(out)]
    return main([*named, '--accelerator', 'cpu', *options])


def rows(path: Path) -> list[dict[str, str]]:
    """Return a table without what the clock said."""
    with path.open(encoding='utf-8') as stream:
        found = list(csv.DictReader(stream))
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in found]


def last(out: Path) -> Checkpoint:
    """Return the last checkpoint of a run."""
    return read_checkpoint(out / LAST)


def assert_equal_states(one: Any, other: Any, where: str = 'state') -> None:
    """Compare nested states to the bit."""
    assert type(one) is type(other), where
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_equal_states(one[key], other[key], f'{where}.{key}')
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_equal_states(a, b, f'{where}[{number}]')
    else:
        assert one == other, where


def assert_equal_checkpoints(one: Checkpoint, other: Checkpoint) -> None:
    """Compare everything that a checkpoint holds to the bit."""
    for name in ('recipe', 'averaged', 'optimiser', 'scaler', 'position', 'best', 'data'):
        assert_equal_states(getattr(one, name), getattr(other, name), name)


def signal_when(is_time: Callable[[], bool], number: signal.Signals, pid: int) -> None:
    """Send a signal from another thread as soon as ``is_time``."""

    def wait() -> None:
        until = time.monotonic() + 120
        while not is_time() and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(pid, number)

    threading.Thread(target=wait, daemon=True).start()


def has_rows(path: Path, count: int) -> bool:
    """Tell whether a table has at least so many rows."""
    return path.exists() and path.read_text(encoding='utf-8').count('\n') > count
