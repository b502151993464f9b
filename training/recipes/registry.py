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

"""The recipes by name; each is imported when it is chosen."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from depth_ros.errors import ConfigError
from training.models.network import AnyNetworkConfig
from training.models.networks import KINDS, make_network, network_class
from training.recipes.recipe import Recipe
from training.settings import settings

# Name -> class in the module of that name; its options are the class <Name>Config beside it.
RECIPES: dict[str, str] = {
    'supervised': 'Supervised',
    'self_supervised': 'SelfSupervised',
    'naive_sum': 'NaiveSum',
    'mutual_distillation': 'MutualDistillation',
    'tc_depth': 'TcDepth',
    'depth_anything': 'DepthAnything',
    'metric_finetune': 'MetricFinetune',
    'feature_network': 'FeatureNetwork',
    'gradient_field': 'GradientField',
}


def recipe_classes(name: object) -> tuple[type[Any], type[Recipe]]:
    """
    Return the frozen dataclass of a recipe's options, and the recipe's class.

    :raises ConfigError: there is no such recipe.
    """
    if not isinstance(name, str) or name not in RECIPES:
        raise ConfigError(f'recipe.name = {name!r}: must be one of {", ".join(RECIPES)}')
    module = import_module(f'training.recipes.{name}')
    return getattr(module, f'{RECIPES[name]}Config'), getattr(module, RECIPES[name])


def read_options(name: object, options: Mapping[str, Any]) -> Any:
    """
    Return a recipe's options.

    :raises ConfigError: there is no such recipe, or a key or value of it is wrong.
    """
    return settings(recipe_classes(name)[0], options, 'recipe')


def make_recipe(
    name: str, options: Mapping[str, Any], network: AnyNetworkConfig, focal_px: float
) -> Recipe:
    """
    Return the recipe with its networks.

    :param focal_px: focal length [px] at the input size for which the network's metres hold.
    :raises ConfigError: the recipe, one of its options, or a value of the network's.
    :raises ModelError: an encoder or its weights.
    """
    config = read_options(name, options)
    recipe = recipe_classes(name)[1]
    _check_network(name, recipe, network)
    _check_focal(network, focal_px)
    try:
        return recipe(config, lambda: make_network(network), focal_px)
    except ValueError as error:
        raise ConfigError(f'recipe or network: {error}') from error


def _check_network(name: str, recipe: type[Recipe], network: AnyNetworkConfig) -> None:
    if issubclass(network_class(network), recipe.network_type):
        return
    fit = [kind for kind, (_, built) in KINDS.items() if issubclass(built, recipe.network_type)]
    kind = network.kind
    raise ConfigError(f'network.kind = {kind!r}: recipe {name!r} trains one of {", ".join(fit)}')


def _check_focal(network: AnyNetworkConfig, focal_px: float) -> None:
    """Networks that know where points are in space are told the focal length themselves."""
    stated = getattr(network, 'focal_px', focal_px)
    if stated != focal_px:
        raise ConfigError(
            f'network.focal_px = {stated}: must be focal_px, {focal_px}, for which depths hold'
        )
