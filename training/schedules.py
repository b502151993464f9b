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
How the learning rate goes: a factor on it for every optimiser step.

All begin with a linear warm-up of ``warmup_steps``; a schedule has no state, so that it resumes
from the number of the step alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any, Protocol

from depth_ros.errors import ConfigError
from training.settings import settings


class Schedule(Protocol):
    """The settings of one kind of schedule, and what they mean."""

    warmup_steps: int

    def factor(self, share: float, epochs: float) -> float:
        """
        Return the factor on the learning rate, after the warm-up.

        :param share: of all steps that are done, 0 to 1.
        :param epochs: done, with their fraction.
        """


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: {rule}')


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """The same all the time."""

    warmup_steps: int = 0

    def factor(self, share: float, epochs: float) -> float:
        return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Times ``gamma`` after every ``every_epochs``; Monodepth2: 0.1 after 15 of 20."""

    warmup_steps: int = 0
    every_epochs: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        _require(self.every_epochs >= 1, 'every_epochs', self.every_epochs, 'must be at least 1')
        _require(0 < self.gamma <= 1, 'gamma', self.gamma, 'must be above 0, up to 1')

    def factor(self, share: float, epochs: float) -> float:
        return float(self.gamma ** int(epochs // self.every_epochs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Milestones:
    """Times ``gamma`` after each of ``epochs``; TC-Depth: 0.25 after 15 and 20 of 30."""

    warmup_steps: int = 0
    epochs: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        epochs = self.epochs
        rises = all(early < late for early, late in zip((0, *epochs), epochs, strict=False))
        _require(bool(epochs) and rises, 'epochs', list(epochs), 'must be some, rising, from 1')
        _require(0 < self.gamma <= 1, 'gamma', self.gamma, 'must be above 0, up to 1')

    def factor(self, share: float, epochs: float) -> float:
        return float(self.gamma ** sum(epochs >= epoch for epoch in self.epochs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosine:
    """Half a cosine, from 1 to ``final_factor`` (Loshchilov and Hutter 2017, arXiv:1608.03983)."""

    warmup_steps: int = 0
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        _require_share('final_factor', self.final_factor)

    def factor(self, share: float, epochs: float) -> float:
        half = 0.5 * (1.0 + math.cos(math.pi * share))
        return self.final_factor + (1.0 - self.final_factor) * half


@dataclass(frozen=True, slots=True, kw_only=True)
class Poly:
    """(1 - share)^power from 1 to ``final_factor``."""

    warmup_steps: int = 0
    power: float = 0.9
    final_factor: float = 0.0

    def __post_init__(self) -> None:
        _require_share('final_factor', self.final_factor)
        _require(self.power > 0, 'power', self.power, 'must be positive')

    def factor(self, share: float, epochs: float) -> float:
        rest = (1.0 - share) ** self.power
        return float(self.final_factor + (1.0 - self.final_factor) * rest)


SCHEDULES: dict[str, type[Any]] = {
    'constant': Constant,
    'cosine': Cosine,
    'poly': Poly,
    'step': Step,
    'milestones': Milestones,
}


def _require_share(key: str, value: float) -> None:
    _require(0 <= value <= 1, key, value, 'must be 0 to 1')


def make_schedule(name: str, options: Mapping[str, Any]) -> Schedule:
    """
    Return the schedule of that name with its own values.

    :raises ConfigError: the name, a key or a value.
    """
    if name not in SCHEDULES:
        raise ConfigError(f'schedule.name = {name!r}: must be one of {", ".join(SCHEDULES)}')
    schedule: Schedule = settings(SCHEDULES[name], options, 'schedule')
    if schedule.warmup_steps < 0:
        raise ConfigError(f'schedule.warmup_steps = {schedule.warmup_steps}: must be 0 or more')
    return schedule


def learning_factor(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """
    Return the factor of the learning rate for the optimiser step number ``step``, from 0.

    The warm-up rises to the schedule's own value, which runs from the start of training.
    """
    share = min(step / steps, 1.0)
    factor = schedule.factor(share, step / steps_per_epoch)
    if step < schedule.warmup_steps:
        factor *= (step + 1) / (schedule.warmup_steps + 1)
    return factor
