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

"""Schedules of the learning rate against their formulas."""

from __future__ import annotations

import math
from typing import Any

from depth_ros.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st
import pytest
from training.schedules import learning_factor, make_schedule, SCHEDULES

STEPS, PER_EPOCH = 200, 10


def factors(name: str, **options: Any) -> list[float]:
    schedule = make_schedule(name, options)
    return [learning_factor(schedule, step, STEPS, PER_EPOCH) for step in range(STEPS)]


def test_constant_is_one() -> None:
    assert set(factors('constant')) == {1.0}


def test_step_falls_after_whole_epochs() -> None:
    found = factors('step', every_epochs=15, gamma=0.1)
    assert found[: 15 * PER_EPOCH] == [1.0] * 150
    assert found[150:] == pytest.approx([0.1] * 50)


def test_step_falls_again_and_again() -> None:
    found = factors('step', every_epochs=5, gamma=0.5)
    assert [found[epoch * PER_EPOCH] for epoch in (0, 5, 10, 15)] == [1.0, 0.5, 0.25, 0.125]


def test_milestones_fall_after_the_epochs_that_they_name() -> None:
    found = factors('milestones', epochs=[12, 15], gamma=0.25)
    assert [found[epoch * PER_EPOCH] for epoch in (0, 11, 12, 14, 15, 19)] == [
        *(1.0, 1.0, 0.25, 0.25, 0.0625, 0.0625)
    ]
    assert found[12 * PER_EPOCH - 1] == 1.0


@pytest.mark.parametrize('epochs', [[], [0, 3], [3, 3], [5, 2]])
def test_milestones_that_do_not_rise_are_refused(epochs: list[int]) -> None:
    with pytest.raises(ConfigError, match='must be some, rising, from 1'):
        make_schedule('milestones', {'epochs': epochs})


def test_cosine_is_half_in_the_middle_and_ends_at_its_last_factor() -> None:
    found = factors('cosine', final_factor=0.2)
    assert found[0] == 1.0
    assert found[STEPS // 2] == pytest.approx(0.6)
    assert found[STEPS // 4] == pytest.approx(0.2 + 0.8 * (0.5 + math.sqrt(0.125)))
    assert found[-1] == pytest.approx(0.2, abs=1e-3)


def test_poly_is_the_power_of_what_is_left() -> None:
    found = factors('poly', power=2.0)
    assert found[STEPS // 2] == pytest.approx(0.25)
    assert found[-1] == pytest.approx((1 / STEPS) ** 2)


def test_warm_up_rises_in_equal_steps_to_the_schedule() -> None:
    found = factors('constant', warmup_steps=4)
    assert found[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


@given(
    st.sampled_from(['constant', 'cosine', 'poly']), st.integers(0, 50), st.integers(0, STEPS - 1)
)
def test_factor_is_always_above_zero_up_to_one(name: str, warmup: int, step: int) -> None:
    schedule = make_schedule(name, {'warmup_steps': warmup})
    assert 0 < learning_factor(schedule, step, STEPS, PER_EPOCH) <= 1


def test_all_kinds_are_tested_here() -> None:
    assert {*SCHEDULES} == {'constant', 'cosine', 'milestones', 'poly', 'step'}


@pytest.mark.parametrize(
    ('name', 'options', 'sentence'),
    [
        ('linear', {}, "schedule.name = 'linear': must be one of constant, cosine, poly, step"),
        ('step', {}, 'schedule.every_epochs is missing'),
        ('step', {'every_epochs': 0}, 'schedule.every_epochs = 0: must be at least 1'),
        ('step', {'every_epochs': 1, 'gamma': 0}, 'schedule.gamma = 0.0: must be above 0'),
        ('cosine', {'power': 1}, 'schedule.power = 1: there is no such key'),
        ('cosine', {'final_factor': 2}, 'schedule.final_factor = 2.0: must be 0 to 1'),
        ('poly', {'power': 0}, 'schedule.power = 0.0: must be positive'),
        ('constant', {'warmup_steps': -1}, 'schedule.warmup_steps = -1: must be 0 or more'),
        ('constant', {'warmup_steps': 1.5}, 'schedule.warmup_steps = 1.5: must be a whole'),
    ],
)
def test_wrong_schedule_is_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        make_schedule(name, options)
