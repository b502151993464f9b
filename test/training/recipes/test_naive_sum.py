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

"""The sum of both objectives on one network: exactly their terms, on the same colours."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import (
    alone,
    FOCAL,
    gradient_norms,
    LATE,
    mixed_batch,
    plane_batch,
    SmallNet,
    unlabelled,
)

from depth_ros.errors import ConfigError
import pytest
from training.recipes.naive_sum import NaiveSum, NaiveSumConfig
from training.recipes.recipe import FrameNeeds
from training.recipes.self_supervised import SelfSupervised, SelfSupervisedConfig
from training.recipes.supervised import Supervised, SupervisedConfig

VIDEO = {'pose': 'odometry', 'travel_weight': 0.0, 'photometric_weight': 0.5}
LIDAR = {'loss': 'l1_nll', 'beta': 0.3}


@pytest.mark.parametrize('colors', ['off', 'noise'])
def test_terms_are_those_of_both_recipes(colors: str) -> None:
    both = NaiveSum(NaiveSumConfig(**VIDEO, **LIDAR, colors=colors), SmallNet, FOCAL)
    lidar = Supervised(SupervisedConfig(**LIDAR, colors=colors), SmallNet, FOCAL)
    video = SelfSupervised(SelfSupervisedConfig(**VIDEO, colors=colors), SmallNet, FOCAL)
    batch = mixed_batch()
    wanted = {**lidar(batch, LATE), **video(batch, LATE)}
    got = both(batch, LATE)
    assert got.keys() == wanted.keys()
    assert {'lidar_nll', 'lidar_l1', 'filter', 'photometric', 'smoothness'} == got.keys()
    for name, term in got.items():
        assert term.value.item() == pytest.approx(wanted[name].value.item(), rel=1e-9)
        assert (term.count, term.weight) == (wanted[name].count, wanted[name].weight)


def test_each_kind_of_frame_gives_what_it_has() -> None:
    recipe = NaiveSum(NaiveSumConfig(**VIDEO), SmallNet, FOCAL)
    assert recipe.needs == FrameNeeds(labelled=None, neighbours=None)
    batch = plane_batch()
    assert set(recipe(alone(batch, 0, 1), LATE)) == {'lidar_nll', 'filter'}
    assert set(recipe(unlabelled(batch, 0, 1), LATE)) == {'photometric', 'smoothness'}
    assert recipe(alone(unlabelled(batch, 0, 1), 0, 1), LATE) == {}


def test_one_network_learns_from_both() -> None:
    recipe = NaiveSum(NaiveSumConfig(**VIDEO), SmallNet, FOCAL)
    terms = recipe(plane_batch(), LATE)
    for name in ('lidar_nll', 'photometric'):
        assert gradient_norms(recipe, terms[name].value)['network.first.weight'] > 0


def test_options_of_both_are_checked() -> None:
    with pytest.raises(ConfigError, match='photometric = nll: one network has one sigma'):
        NaiveSumConfig(photometric='nll')
    with pytest.raises(ConfigError, match='beta'):
        NaiveSumConfig(beta=-1)
    with pytest.raises(ConfigError, match='pose = '):
        replace(NaiveSumConfig(), pose='gps')
    with pytest.raises(ConfigError, match='colors'):
        NaiveSumConfig(colors='x')
