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

"""One table of parameters: complete, typed, and judged by the settings themselves."""

from __future__ import annotations

import math
from pathlib import Path
from test.project import ROOT
from typing import Any

from depth_ros.core.config import NodeConfig
from depth_ros.errors import ConfigError
import pytest
import yaml

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.ros import parameters  # noqa: E402, I100

PARAMETER_FILE = ROOT / 'config/mono_depth.yaml'
RANGED = [name for name, row in parameters.TABLE.items() if row.note.low is not None]


def flattened(values: Any, prefix: str = '') -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            found.update(flattened(value, f'{prefix}{key}.'))
        else:
            found[prefix + key] = value
    return found


def test_every_setting_has_a_note_and_every_note_a_setting() -> None:
    assert set(parameters.TABLE) == set(parameters.NOTES)


def test_parameter_file_has_every_parameter_with_its_default() -> None:
    document = yaml.safe_load(PARAMETER_FILE.read_text())
    values = flattened(document['/**']['ros__parameters'])
    assert values == {name: row.default for name, row in parameters.TABLE.items()}
    assert [type(v) for v in values.values()] == [r.kind for r in parameters.TABLE.values()]


def test_parameter_file_tells_the_meaning_of_every_parameter() -> None:
    words = ' '.join(line.strip().lstrip('# ') for line in PARAMETER_FILE.read_text().splitlines())
    for row in parameters.TABLE.values():
        assert row.note.text + (' [live]' if row.note.is_live else '') in words


def test_documentation_has_every_parameter_with_its_default_and_meaning() -> None:
    text = (ROOT / 'docs/node.md').read_text().partition('## Parameters')[2].partition('\n## ')[0]
    told = {line.split('`')[1]: line for line in text.splitlines() if line.startswith('| `')}
    assert list(told) == list(parameters.TABLE)
    for name, row in parameters.TABLE.items():
        assert row.note.text.rstrip('.') in told[name]
        default = '.inf' if row.default == math.inf else str(row.default)
        assert f'`{default.lower() if row.kind is bool else default}`' in told[name]


def test_config_from_nothing_is_the_default() -> None:
    assert parameters.config_from({}) == NodeConfig()


def test_config_from_its_own_values_is_itself() -> None:
    config = parameters.config_from({'points.stride': 3, 'depth.encoding': '16UC1', 'threads': 2})
    assert (config.points.stride, config.depth.encoding, config.threads) == (3, '16UC1', 2)
    assert parameters.config_from(parameters.config_values(config)) == config


def test_an_integer_is_taken_for_a_number() -> None:
    limit = parameters.config_from({'points.max_depth_m': 30}).points.max_depth_m
    assert (limit, type(limit)) == (30.0, float)


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('points.stride', 1.0, 'points.stride = 1.0: must be an integer'),
        ('points.stride', True, 'points.stride = True: must be an integer'),
        ('points.max_depth_m', 'far', "points.max_depth_m = 'far': must be a number"),
        ('points.max_depth_m', True, 'points.max_depth_m = True: must be a number'),
        ('rectify', 1, 'rectify = 1: must be true or false'),
        ('model', 3, 'model = 3: must be text'),
        ('threads', None, 'threads = None: must be an integer'),
        ('points.max_uncertainty_m', float('nan'), 'points.max_uncertainty_m = nan'),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parameters.config_from({name: value})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    'name', [n for n, r in parameters.TABLE.items() if r.note.low is not None]
)
def test_the_range_of_a_descriptor_is_the_range_of_the_setting(name: str) -> None:
    row = parameters.TABLE[name]
    assert row.note.low is not None
    assert row.note.high is not None
    for end, beyond in ((row.note.low, -1), (row.note.high, 1)):
        parameters.config_from({name: row.kind(end)})
        with pytest.raises(ConfigError, match=name):
            parameters.config_from({name: row.kind(end + beyond)})


def test_descriptors_say_type_range_and_when_they_can_change() -> None:
    stride = parameters.TABLE['points.stride'].descriptor()
    assert (stride.integer_range[0].from_value, stride.integer_range[0].to_value) == (1, 64)
    assert not stride.dynamic_typing
    assert parameters.TABLE['points.max_depth_m'].descriptor().dynamic_typing
    assert parameters.TABLE['autostart'].descriptor().read_only
    assert 'unconfigured' in parameters.TABLE['model'].descriptor().additional_constraints


def test_unknown_parameters_are_named_with_the_closest_known() -> None:
    sentences = parameters.unknown_parameters(
        ['modell', 'stride', 'zzz', 'points.stride', 'qos_overrides./image.subscription.depth'],
        parameters.TABLE,
    )
    assert sentences[0] == "parameter 'modell' does not exist: did you mean 'model'?"
    assert sentences[1] == "parameter 'stride' does not exist: did you mean 'points.stride'?"
    assert sentences[2].startswith(
        "parameter 'zzz' does not exist: there are ['alignment.lidar_pose'"
    )
    assert len(sentences) == 3


def test_no_parameter_file_of_the_project_has_an_unknown_key() -> None:
    for path in sorted(Path(ROOT / 'config').glob('*.yaml')):
        values = flattened(yaml.safe_load(path.read_text())['/**']['ros__parameters'])
        assert parameters.unknown_parameters(values, parameters.TABLE) == [], path
