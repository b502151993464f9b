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

"""Recipes by name: built with their options, and refused with the path of the key."""

from __future__ import annotations

from typing import Any

from depth_ros.errors import ConfigError, ModelError
import pytest
from training.models.depth_net import DepthNetConfig
from training.models.tc_depth import TcDepthConfig
from training.recipes.recipe import FrameNeeds, Recipe
from training.recipes.registry import make_recipe, read_options, recipe_classes, RECIPES

NETWORK = DepthNetConfig(encoder='efficientnet_lite0', weights='random', scales=(0,))


@pytest.mark.parametrize('name', RECIPES)
def test_every_name_leads_to_options_and_a_recipe(name: str) -> None:
    options_class, recipe_class = recipe_classes(name)
    assert issubclass(recipe_class, Recipe)
    assert isinstance(options_class().needs, FrameNeeds)
    assert read_options(name, {}) == options_class()


def test_recipe_is_built_with_its_options_and_network() -> None:
    recipe = make_recipe('supervised', {'beta': 0.3, 'colors': 'off'}, NETWORK, 100.0)
    assert recipe.options.beta == 0.3
    assert recipe.deployed().config == NETWORK
    assert recipe.focal_px == 100.0


@pytest.mark.parametrize(
    ('name', 'options', 'sentence'),
    [
        (
            'semi',
            {},
            "recipe.name = 'semi': must be one of supervised, self_",
        ),
        ('supervised', {'bet': 1}, 'recipe.bet = 1: there is no such key; recipe has'),
        ('supervised', {'beta': 'x'}, "recipe.beta = 'x': must be a number"),
        ('supervised', {'beta': 0}, 'recipe.beta = 0.0: must be a positive number'),
    ],
)
def test_wrong_recipe_is_refused(name: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        make_recipe(name, options, NETWORK, 100.0)


@pytest.mark.parametrize(
    ('network', 'kind', 'sentence'),
    [
        ({'encoder': 'vgg'}, ModelError, "encoder 'vgg': must be one of"),
        ({'scales': (3, 1)}, ConfigError, r'recipe or network: scales \(3, 1\): must rise'),
        ({'min_depth_m': 9.0, 'max_depth_m': 3.0}, ConfigError, 'network: depth range 9.0 to 3.0'),
    ],
)
def test_wrong_network_is_refused(
    network: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    given = DepthNetConfig(**{'encoder': 'efficientnet_lite0', 'weights': 'random', **network})
    with pytest.raises(kind, match=sentence):
        make_recipe('supervised', {}, given, 100.0)


def test_network_for_another_focal_length_is_refused() -> None:
    network = TcDepthConfig(encoder='efficientnet_lite0_dilated', weights='random', focal_px=50.0)
    make_recipe('supervised', {}, network, 50.0)
    with pytest.raises(ConfigError, match=r'^network\.focal_px = 50\.0: must be focal_px, 100\.0'):
        make_recipe('supervised', {}, network, 100.0)
