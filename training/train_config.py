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
Everything that a training run is told, from a YAML file and ``--set``; docs/train.md explains it.

How many processes share the work is no part of it: it does not change the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from depth_ros.errors import ConfigError
from training.label_share import LabelShare
from training.models.network import AnyNetworkConfig
from training.models.networks import read_network
from training.recipes.registry import read_options
from training.schedules import make_schedule
from training.settings import parse_yaml, read_yaml, replace_key, settings

Precision = Literal['32-true', 'bf16-mixed', '16-mixed']
BatchNorm = Literal['train', 'frozen']
OptimiserName = Literal['adam', 'adamw', 'sgd']
ScoreAlignment = Literal['none', 'median', 'scale_shift_inverse']

# What may differ when a run is resumed: how long it goes on, and what does not touch the result.
FREE_KEYS = frozenset({'epochs', 'workers', 'save_every_minutes', 'name'})


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: {rule}')


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """
    Size of the network's input [px], the random crop of training images, and their labels.

    ``label_share`` of the training frames with LiDAR keep it, every k-th, from the config's seed.
    """

    width: int
    height: int
    min_share: float = 1.0
    flip_probability: float = 0.5
    label_share: float = 1.0

    def __post_init__(self) -> None:
        for key in ('width', 'height'):
            _require(getattr(self, key) > 0, key, getattr(self, key), 'must be positive')
        for key in ('min_share', 'label_share'):
            value = getattr(self, key)
            _require(0 < value <= 1, key, value, 'must be above 0, up to 1')
        _require(
            0 <= self.flip_probability <= 1,
            'flip_probability',
            self.flip_probability,
            'must be 0 to 1',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserConfig:
    """
    How gradients become steps.

    Fields:
        encoder_learning_rate: of all encoders; null: the same as of the rest; 0: they stay as
            they are.
        weight_decay: of matrices and kernels, not of biases and normalisation.
        max_grad_norm: longer gradients are shortened to it; null: never.
        momentum: of sgd; null with the others, which have their own.

    """

    name: OptimiserName = 'adamw'
    learning_rate: float
    encoder_learning_rate: float | None = None
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    momentum: float | None = None

    def __post_init__(self) -> None:
        has_momentum = self.momentum is not None
        rule = 'is for sgd alone' if has_momentum else 'sgd needs one; 0: none'
        _require(has_momentum == (self.name == 'sgd'), 'momentum', self.momentum, rule)
        _require(0 <= (self.momentum or 0) < 1, 'momentum', self.momentum, 'must be 0 to below 1')
        for key in ('learning_rate', 'max_grad_norm'):
            value = getattr(self, key)
            _require(value is None or value > 0, key, value, 'must be positive')
        for key in ('encoder_learning_rate', 'weight_decay'):
            value = getattr(self, key)
            _require(value is None or value >= 0, key, value, 'must be 0 or more')


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationConfig:
    """Score every so many epochs; the alignments are for branches without metric scale."""

    every_epochs: int = 1
    alignment: ScoreAlignment = 'none'

    def __post_init__(self) -> None:
        _require(self.every_epochs >= 1, 'every_epochs', self.every_epochs, 'must be at least 1')


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One of several kinds, with the options that this kind has."""

    name: str
    options: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """
    One training run; the field names are the keys of the YAML file.

    Fields:
        batch_size: of all processes together.
        workers: processes that read images, for each training process; 0: none.
        batch_norm: frozen: keep the stored statistics; scale and shift are trained all the same.
        ema_decay: validate, choose and export a running mean of the weights; null: do not.
        focal_px: focal length [px] at the network's input size for which its metres hold.
        schedule, recipe: one of ``SCHEDULES`` and of ``RECIPES``, with its own options.

    """

    name: str
    seed: int = 0
    epochs: int
    batch_size: int
    precision: Precision = '32-true'
    workers: int = 2
    batch_norm: BatchNorm = 'train'
    channels_last: bool = True
    ema_decay: float | None = None
    save_every_minutes: float = 10.0
    focal_px: float
    data: DataConfig
    optimiser: OptimiserConfig
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    network: AnyNetworkConfig
    schedule: Named
    recipe: Named

    def __post_init__(self) -> None:
        for key in ('epochs', 'batch_size'):
            _require(getattr(self, key) >= 1, key, getattr(self, key), 'must be at least 1')
        for key in ('seed', 'workers'):
            _require(getattr(self, key) >= 0, key, getattr(self, key), 'must be 0 or more')
        decay = self.ema_decay
        _require(decay is None or 0 < decay < 1, 'ema_decay', decay, 'must be between 0 and 1')
        for key in ('focal_px', 'save_every_minutes'):
            _require(getattr(self, key) > 0, key, getattr(self, key), 'must be positive')
        self.network.check_size(self.data.width, self.data.height)

    @property
    def label_share(self) -> LabelShare:
        """Return which training frames keep their LiDAR."""
        return LabelShare(self.data.label_share, self.seed)

    def stored(self) -> dict[str, Any]:
        """Return the config as plain values, in the form of the YAML file, defaults filled in."""
        content = asdict(self)
        for key in ('schedule', 'recipe'):
            content[key] = {'name': content[key]['name'], **content[key]['options']}
        return {key: _plain(value) for key, value in content.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def config_from(content: Mapping[str, Any]) -> TrainConfig:
    """
    Return the config that a YAML file, or a checkpoint, holds.

    :raises ConfigError: with the path of the key.
    """
    rest = dict(content)
    # Their names decide which other keys there are.
    for key, read in (('schedule', make_schedule), ('recipe', read_options)):
        if key in rest:
            rest[key] = _named(rest[key], read, key)
    if 'network' in rest:
        rest['network'] = read_network(rest['network'])
    return settings(TrainConfig, rest)


def _named(content: Any, read: Callable[[str, Mapping[str, Any]], Any], key: str) -> Named:
    if not isinstance(content, Mapping):
        raise ConfigError(f'{key} = {content!r}: must be keys with values')
    if 'name' not in content:
        raise ConfigError(f'{key}.name is missing: give it a value')
    options = {name: value for name, value in content.items() if name != 'name'}
    return Named(name=content['name'], options=read(content['name'], options))


def read_config(path: Path, changes: Iterable[str] = ()) -> TrainConfig:
    """
    Return the config in a YAML file.

    :param changes: texts ``a.b=value`` that replace its values.
    :raises ConfigError: with the path of the key.
    """
    return config_from(changed(read_yaml(path), changes))


def changed(content: dict[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """
    Return ``content`` with the values of texts ``key.path=value`` in it.

    :raises ConfigError: a text has no such form.
    """
    for change in changes:
        key, equals, value = change.partition('=')
        if not equals or not all(key.split('.')):
            raise ConfigError(f"--set {change}: must be KEY=VALUE, such as 'data.width=320'")
        replace_key(content, key, parse_yaml(value, f'--set {change}'))
    return content


def differences(old: Mapping[str, Any], new: Mapping[str, Any], where: str = '') -> list[str]:
    """Return a text 'key: old, now new' for every value that differs between stored configs."""
    found = []
    for key in dict.fromkeys((*old, *new)):
        path = f'{where}.{key}' if where else key
        one, other = old.get(key, 'absent'), new.get(key, 'absent')
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += differences(one, other, path)
        elif one != other:
            found.append(f'{path}: {one!r}, now {other!r}')
    return found


def check_resumable(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> None:
    """
    Check that a run goes on with the config it began with.

    :raises ConfigError: a value differs that is not in ``FREE_KEYS``.
    """
    before, now = (
        {key: value for key, value in content.items() if key not in FREE_KEYS}
        for content in (old, new)
    )
    found = differences(before, now)
    if found:
        raise ConfigError(
            f'{where} was made with another config ({"; ".join(found)}): use the same, or begin '
            f'anew in another folder; only {", ".join(sorted(FREE_KEYS))} may change'
        )
