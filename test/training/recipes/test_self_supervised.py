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

"""Self-supervised: works without LiDAR, sigma in photometric units, motion by network or poses."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import (
    alone,
    constant,
    FOCAL,
    gradient_norms,
    HEIGHT,
    LATE,
    plane_batch,
    POSE_NET,
    SmallNet,
    total,
    truth,
    unlabelled,
    WIDTH,
)
from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from training.recipes.recipe import FrameNeeds
from training.recipes.self_supervised import SelfSupervised, SelfSupervisedConfig

ODOMETRY = SelfSupervisedConfig(pose='odometry', travel_weight=0.0, colors='off')


def test_truth_costs_nothing_with_odometry_whatever_the_focal_length_of_the_network() -> None:
    network = truth()
    with torch.no_grad():
        network.depths[0] /= 3
    recipe = SelfSupervised(ODOMETRY, lambda: network, FOCAL / 3)
    terms = recipe(plane_batch(), LATE)
    assert list(terms) == ['photometric', 'smoothness']
    assert terms['photometric'].value.item() < 2e-3
    assert terms['photometric'].count == 2 * HEIGHT * WIDTH


def test_lidar_is_not_looked_at() -> None:
    recipe = SelfSupervised(ODOMETRY, SmallNet, FOCAL)
    batch = plane_batch()
    nothing = torch.full_like(batch.depth_B1HW, torch.nan)
    blind = replace(unlabelled(batch, 0, 1), depth_B1HW=nothing)
    for name, term in recipe(batch, LATE).items():
        assert term.value.item() == recipe(blind, LATE)[name].value.item()
    assert recipe.needs == FrameNeeds(labelled=None, neighbours=True)


def test_both_networks_learn_and_see_the_same_colours() -> None:
    options = SelfSupervisedConfig(**POSE_NET, colors='noise')
    recipe = SelfSupervised(options, SmallNet, FOCAL).double()
    assert recipe.video.pose_net is not None
    seen = {}
    recipe.network.register_forward_pre_hook(lambda _, x: seen.update(depth=x[0]))
    recipe.video.pose_net.register_forward_pre_hook(lambda _, x: seen.update(pose=x))
    batch = plane_batch()
    terms = recipe(batch, LATE)
    assert set(terms) == {'photometric', 'smoothness', 'travel'}
    norms = gradient_norms(recipe, total(terms))
    assert norms['network.first.weight'] > 0
    assert norms['video.pose_net.motion.weight'] > 0
    earlier, later = seen['pose']
    assert torch.equal(earlier[2:], seen['depth'])
    assert torch.equal(later[:2], seen['depth'])
    assert not torch.equal(earlier[:2], batch.neighbour_BN3HW[:, 0])
    norms = gradient_norms(recipe, terms['travel'].value)
    assert norms['network.first.weight'] == 0


def test_sigma_is_in_photometric_units_and_does_not_scale_with_metres() -> None:
    options = SelfSupervisedConfig(pose='odometry', travel_weight=0.0, photometric='nll')
    recipe = SelfSupervised(options, lambda: constant(4.0, -1.0), FOCAL / 2)
    (said,) = recipe.predictions(plane_batch(1)).values()
    assert said.depths[0].unique().tolist() == [8.0]
    assert said.log_sigmas[0].unique().tolist() == [-1.0]


def test_batch_without_any_neighbours_gives_no_term() -> None:
    recipe = SelfSupervised(SelfSupervisedConfig(**POSE_NET), SmallNet, FOCAL).double()
    assert recipe(alone(plane_batch(), 0, 1), LATE) == {}


def test_result_repeats_with_the_seeds_and_changes_with_them() -> None:
    recipe = SelfSupervised(replace(ODOMETRY, colors='noise'), SmallNet, FOCAL)
    batch = plane_batch()
    first, again = (total(recipe(batch, LATE)).item() for _ in range(2))
    assert first == again
    assert total(recipe(replace(batch, seeds=(7, 8)), LATE)).item() != first


def test_bad_option_is_named() -> None:
    with pytest.raises(ConfigError, match="colors = 'sepia'"):
        SelfSupervisedConfig(colors='sepia')
    with pytest.raises(ConfigError, match="pose = 'gps'"):
        SelfSupervisedConfig(pose='gps')


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        ({'pose': 'odometry', 'travel_weight': 0.0}, 'metric_depth'),
        ({**POSE_NET, 'travel_weight': 0.05}, 'metric_depth'),
        ({**POSE_NET, 'travel_weight': 0.0}, 'affine_inverse_depth'),
    ],
)
def test_depth_without_any_source_of_scale_has_no_metres(
    options: dict[str, Any], kind: str
) -> None:
    recipe = SelfSupervised(SelfSupervisedConfig(**options), SmallNet, FOCAL)
    assert (recipe.output_kind, recipe.has_sigma) == (kind, False)
