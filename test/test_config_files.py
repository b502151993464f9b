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

"""RViz and Foxglove name topics that the node has; launch arguments name its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
import importlib.util
import json
from pathlib import Path
from test.project import ROOT
from typing import Any

from depth_ros.core.config import NodeConfig
from depth_ros.core.model_spec import ModelSpec
from depth_ros.ros import launch_choices
import pytest
import yaml

INPUTS = {'image', 'camera_info'}
ROOT_TOPICS = {f'/{name}' for name in INPUTS.union(launch_choices.OUTPUTS)} | {'/diagnostics'}
LOOKED_AT = {'/image', '/depth/image_color', '/depth/uncertainty', '/points'}
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))


def parameters(config: Any, prefix: str = '') -> Iterator[tuple[str, type]]:
    """Yield every parameter of the node with the type of its default."""
    for each in fields(config):
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from parameters(value, f'{prefix}{each.name}.')
        else:
            yield prefix + each.name, type(value)


def rviz_displays() -> list[dict[str, Any]]:
    manager = yaml.safe_load((ROOT / 'config/depth_ros.rviz').read_text())['Visualization Manager']
    displays: list[dict[str, Any]] = manager['Displays']
    return displays


def foxglove() -> dict[str, Any]:
    layout: dict[str, Any] = json.loads((ROOT / 'config/foxglove.json').read_text())
    return layout


def foxglove_topics(value: Any) -> Iterator[str]:
    """Yield whatever looks like a topic, wherever the layout holds it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (text for text in (key, inner) if str(text).startswith('/'))
            yield from foxglove_topics(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from foxglove_topics(inner)


def test_rviz_shows_the_topics_of_the_node() -> None:
    topics = {display['Topic']['Value'] for display in rviz_displays() if 'Topic' in display}
    assert topics == LOOKED_AT


def test_rviz_receives_best_effort_and_never_queues() -> None:
    settings = {
        (display['Topic']['Reliability Policy'], display['Topic']['Depth'])
        for display in rviz_displays()
        if 'Topic' in display
    }
    assert settings == {('Best Effort', 1)}


def test_foxglove_shows_the_topics_of_the_node() -> None:
    topics = set(foxglove_topics(foxglove()['configById']))
    assert topics >= LOOKED_AT | {'/diagnostics'}
    assert topics <= ROOT_TOPICS


def test_foxglove_places_every_panel_once() -> None:
    def leaves(node: Any) -> Iterator[str]:
        if isinstance(node, str):
            yield node
        else:
            yield from leaves(node['first'])
            yield from leaves(node['second'])

    layout = foxglove()
    assert sorted(leaves(layout['layout'])) == sorted(layout['configById'])


def test_launch_arguments_set_parameters_of_the_node_with_their_type() -> None:
    known = {**dict(parameters(NodeConfig())), 'use_sim_time': bool}
    chosen = {a.parameter: a.kind for a in launch_choices.ARGUMENTS.values() if a.parameter}
    assert chosen == {name: known[name] for name in chosen}


def test_launch_arguments_repeat_nothing_of_the_model_card() -> None:
    stated = {each.name for each in fields(ModelSpec)}
    assert not stated & {a.parameter for a in launch_choices.ARGUMENTS.values()}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_file_makes_a_description(path: Path) -> None:
    pytest.importorskip('launch_ros', reason='ros2 launch is not on PyPI: needs ROS from apt')
    spec = importlib.util.spec_from_file_location(path.name.partition('.')[0], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.generate_launch_description().entities
