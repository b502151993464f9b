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

"""The configs to start from: each is valid, whole, and says what the code does by default."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from training.models.networks import make_network
from training.recipes.registry import recipe_classes, RECIPES
from training.settings import read_yaml
from training.train_config import read_config

CONFIGS = Path(__file__).parents[3] / 'training' / 'configs'
# Options that have no effect beside the defaults, so that they cannot be shown with them.
UNSHOWN = {
    *('l1_weight', 'loss_space', 'detach_depth'),
    *('weighting_share', 'max_sigma_m', 'max_sigma_photometric'),
}
# Weights that install with the package, where the default is fetched over the network.
CHOSEN = {'pose_encoder'}
NOT_DEPTH = {'feature_network', 'gradient_field'}
# The file of a recipe has its name, or that of its own program.
FILES = {'gradient_field': 'pretrain'}


def path_of(name: str) -> Path:
    return CONFIGS / f'{FILES.get(name, name)}.yaml'


@pytest.mark.parametrize('name', RECIPES)
def test_config_shows_every_option_at_its_default(name: str) -> None:
    shown = dict(read_yaml(path_of(name))['recipe'])
    assert shown.pop('name') == name
    options = fields(recipe_classes(name)[0])
    assert shown.keys() == {option.name for option in options} - UNSHOWN
    config = read_config(path_of(name))
    for option in options:
        if option.name not in CHOSEN:
            assert getattr(config.recipe.options, option.name) == option.default, option.name


@pytest.mark.parametrize('name', [name for name in RECIPES if name not in NOT_DEPTH])
def test_config_builds_and_answers(name: str) -> None:
    has_pose = 'pose_weights' in read_yaml(path_of(name))['recipe']
    config = read_config(
        path_of(name),
        ['network.weights=random', *(['recipe.pose_weights=random'] * has_pose)],
    )
    make = recipe_classes(name)[1]
    recipe = make(config.recipe.options, lambda: make_network(config.network), config.focal_px)
    with torch.inference_mode():
        depths = recipe.deployed().eval()(torch.rand(1, 3, 64, 96)).depths
    assert [tuple(depth.shape[2:]) for depth in depths] == [(64 >> s, 96 >> s) for s in range(4)]


def test_focal_length_is_that_of_the_camera_at_the_size_of_the_network() -> None:
    for name in RECIPES:
        config = read_config(path_of(name))
        assert config.focal_px == pytest.approx(721.5377 * config.data.width / 1242, rel=1e-6)


def test_published_tc_depth_is_valid_and_has_three_layers() -> None:
    config = read_config(CONFIGS / 'tc_depth_paper.yaml')
    assert config.network.attention.layers == 3
    assert config.recipe.options.offsets == (-1, 1)
    assert config.schedule.options.epochs == (15, 20)
    assert config.recipe.options.motion.epochs == 20
