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

"""The config of a training: the shipped files, round trips, and what may change on the way."""

from __future__ import annotations

from pathlib import Path
from test.project import ROOT
from test.training import runs
from typing import Any

from depth_ros.errors import ConfigError
import pytest
from training.recipes.registry import RECIPES
from training.settings import read_yaml
from training.train_config import check_resumable, config_from, differences, read_config
import yaml

SHIPPED = [
    path
    for path in sorted((ROOT / 'training' / 'configs').glob('**/*.yaml'))
    if 'recipe' in yaml.safe_load(path.read_text(encoding='utf-8'))
]


def content(**changes: Any) -> dict[str, Any]:
    return {**runs.CONFIG, **changes}


def test_debug_config_is_among_the_shipped() -> None:
    assert ROOT / 'training' / 'configs' / 'debug.yaml' in SHIPPED


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_shipped_config_is_valid_and_named_by_its_file(path: Path) -> None:
    config = read_config(path)
    assert config.name == path.stem
    assert config_from(config.stored()) == config


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_has_defaults_that_survive_storing(name: str) -> None:
    config = config_from(content(recipe={'name': name}))
    stored = config.stored()
    assert stored['recipe']['name'] == name
    # YAML has no tuples, and a checkpoint only plain values.
    assert yaml.safe_load(yaml.safe_dump(stored)) == stored
    assert config_from(stored) == config


def test_changes_replace_values_of_the_file(tmp_path: Path) -> None:
    path = runs.config_file(tmp_path)
    changes = ['optimiser.encoder_learning_rate=1e-5', 'ema_decay=0.99', 'network.scales=[0, 1]']
    config = read_config(path, changes)
    assert config.optimiser.encoder_learning_rate == 1e-5
    assert config.ema_decay == 0.99
    assert config.network.scales == (0, 1)
    assert config.optimiser.learning_rate == runs.CONFIG['optimiser']['learning_rate']


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'epochs': 0}, 'epochs = 0: must be at least 1'),
        ({'seed': -1}, 'seed = -1: must be 0 or more'),
        ({'workers': -1}, 'workers = -1: must be 0 or more'),
        ({'ema_decay': 1.0}, 'ema_decay = 1.0: must be between 0 and 1'),
        ({'focal_px': 0}, 'focal_px = 0.0: must be positive'),
        ({'save_every_minutes': 0}, 'save_every_minutes = 0.0: must be positive'),
        ({'precision': '64'}, "precision = '64': must be one of 32-true, bf16-mixed, 16-mixed"),
        ({'batch_norm': 'off'}, "batch_norm = 'off': must be one of train, frozen"),
        ({'data': {'width': 64}}, 'data.height is missing'),
        ({'data': {'width': 64, 'height': 31}}, 'data.height = 31: must be a multiple of 32'),
        (
            {'data': {'width': 64, 'height': 32, 'min_share': 0}},
            'data.min_share = 0.0: must be above 0',
        ),
        (
            {'data': {'width': 64, 'height': 32, 'flip_probability': 2}},
            'data.flip_probability = 2.0: must be 0 to 1',
        ),
        ({'optimiser': {'learning_rate': 0}}, 'optimiser.learning_rate = 0.0: must be positive'),
        (
            {'optimiser': {'learning_rate': 1, 'weight_decay': -1}},
            'optimiser.weight_decay = -1.0: must be 0 or more',
        ),
        (
            {'optimiser': {'learning_rate': 1, 'max_grad_norm': 0}},
            'optimiser.max_grad_norm = 0.0: must be positive',
        ),
        ({'validation': {'every_epochs': 0}}, 'validation.every_epochs = 0: must be at least 1'),
        ({'validation': {'alignment': 'mean'}}, "validation.alignment = 'mean': must be one of"),
        ({'recipe': {}}, 'recipe.name is missing'),
        ({'recipe': 'supervised'}, "recipe = 'supervised': must be keys with values"),
        ({'recipe': {'name': ['a']}}, r"recipe.name = \['a'\]: must be one of supervised"),
        ({'recipe': {'name': 'supervised', 'bta': 1}}, 'recipe.bta = 1: there is no such key'),
        ({'schedule': {'name': 'wave'}}, "schedule.name = 'wave': must be one of constant"),
        ({'network': {'encoder': 'x'}}, 'network.weights is missing'),
    ],
)
def test_wrong_value_is_refused_by_key_path(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        config_from(content(**changes))


@pytest.mark.parametrize('key', ['name', 'epochs', 'recipe', 'network', 'schedule', 'focal_px'])
def test_missing_key_is_named(key: str) -> None:
    given = content()
    del given[key]
    with pytest.raises(ConfigError, match=f'^{key} is missing: give it a value'):
        config_from(given)


@pytest.mark.parametrize('change', ['epochs', 'a..b=1', '=3'])
def test_change_without_key_or_value_is_refused(change: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f'^--set {change}: must be KEY=VALUE'):
        read_config(runs.config_file(tmp_path), [change])


def test_differences_name_every_path() -> None:
    one = {'a': 1, 'b': {'c': 2, 'd': 3}, 'e': [1]}
    other = {'a': 1, 'b': {'c': 4}, 'e': [2], 'f': None}
    assert differences(one, other) == [
        'b.c: 2, now 4',
        "b.d: 3, now 'absent'",
        'e: [1], now [2]',
        "f: 'absent', now None",
    ]
    assert differences(one, one) == []


def test_resuming_allows_only_what_leaves_the_result_alone(tmp_path: Path) -> None:
    old = config_from(content()).stored()
    free = config_from(content(epochs=9, workers=4, save_every_minutes=1, name='x')).stored()
    check_resumable(old, free, 'last.ckpt')
    with pytest.raises(
        ConfigError, match=r'last.ckpt was made with another config \(seed: 3, now 4'
    ):
        check_resumable(old, {**old, 'seed': 4}, 'last.ckpt')


def test_read_yaml_keeps_what_the_writer_wrote(tmp_path: Path) -> None:
    assert read_yaml(runs.config_file(tmp_path)) == runs.CONFIG
