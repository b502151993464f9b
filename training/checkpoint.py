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

"""The recipe, with its trained networks, that a checkpoint of ``training.train`` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from depth_ros.errors import ConfigError
from torch import Tensor
from training.checkpoint_file import Checkpoint, read_checkpoint
from training.models.encoders import RANDOM
from training.optimisation import check_state
from training.recipes.recipe import Recipe
from training.recipes.registry import make_recipe
from training.train_config import config_from, TrainConfig


def load_recipe(path: Path) -> tuple[Recipe, TrainConfig]:
    """
    Return the trained recipe in evaluation mode, and the config it was trained with.

    With the running mean of the weights where the run kept one: it is what was validated.

    :raises ModelError: the checkpoint is damaged, or its tensors do not fit its own config.
    :raises ConfigError: its config is not one that this version knows.
    """
    checkpoint = read_checkpoint(path)
    config = stored_config(checkpoint, path)
    # What training began with is replaced as a whole, so it need not be there any more.
    recipe = build_recipe(replace(config, network=replace(config.network, weights=RANDOM)))
    load_state(recipe, {**checkpoint.recipe, **(checkpoint.averaged or {})}, path)
    return recipe.eval(), config


def stored_config(checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """
    Return the config that a checkpoint was made with.

    :raises ConfigError: it is not one that this version knows; names file and key.
    """
    try:
        return config_from(checkpoint.config)
    except ConfigError as error:
        raise ConfigError(f"checkpoint '{path}': {error}") from error


def build_recipe(config: TrainConfig) -> Recipe:
    """Return the recipe of a config with its networks as they are before training."""
    options = config.stored()['recipe']
    options.pop('name')
    return make_recipe(config.recipe.name, options, config.network, config.focal_px)


def load_state(recipe: Recipe, state: Mapping[str, Tensor], path: Path) -> None:
    """
    Load all tensors into the recipe.

    :raises ModelError: it has others; names the first.
    """
    check_state(recipe.state_dict(), state, f"checkpoint '{path}'")
    recipe.load_state_dict(dict(state), strict=True)
