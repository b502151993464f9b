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

"""The launch files' decisions, without launch."""

from __future__ import annotations

from pathlib import Path

from depth_ros.cli.replay_bag import parser
from depth_ros.errors import ConfigError
from depth_ros.ros import launch_choices as choices
import pytest


def given(**arguments: str) -> dict[str, str]:
    """Return what launch hands over: every argument's default, and those that are given."""
    defaults = {name: argument.default for name, argument in choices.ARGUMENTS.items()}
    return {**defaults, **arguments}


def test_overrides_nothing_given_are_none() -> None:
    assert choices.parameter_overrides(given()) == {}


def test_overrides_text_takes_the_type_of_its_parameter() -> None:
    overrides = choices.parameter_overrides(
        given(model='7', threads='2', rectify='False', points_max_depth_m='50')
    )
    assert overrides == {
        'model': '7',
        'threads': 2,
        'rectify': False,
        'points.max_depth_m': 50.0,
    }
    assert [type(value) for value in overrides.values()] == [str, int, bool, float]


@pytest.mark.parametrize(
    ('name', 'text'),
    [('points_stride', '2.5'), ('points_max_depth_m', 'far'), ('rectify', 'maybe')],
)
def test_overrides_text_of_another_type_is_refused_by_name(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f'{name}:={text}'):
        choices.parameter_overrides(given(**{name: text}))


@pytest.mark.parametrize(
    ('image', 'info'),
    [
        ('/camera/image_raw', '/camera/camera_info'),
        ('camera/color/image_rect', 'camera/color/camera_info'),
        ('image', 'camera_info'),
        ('/image', '/camera_info'),
    ],
)
def test_camera_info_not_given_is_beside_the_image(image: str, info: str) -> None:
    assert choices.camera_info_topic(given(image_topic=image)) == info


def test_remappings_cover_both_transports_and_the_given_camera_info() -> None:
    arguments = given(image_topic='/a/b', camera_info_topic='/c/info', lidar_topic='/velodyne')
    assert choices.remappings(arguments) == [
        ('image', '/a/b'),
        ('image/compressed', '/a/b/compressed'),
        ('camera_info', '/c/info'),
        ('lidar', '/velodyne'),
    ]


@pytest.mark.parametrize(
    ('namespace', 'image', 'points', 'seen'),
    [
        ('', 'image', '/points', '/image'),
        ('front', 'image', '/front/points', '/front/image'),
        ('/a/b', '/cam/image', '/a/b/points', '/cam/image'),
    ],
)
def test_rviz_remappings_follow_the_namespace(
    namespace: str, image: str, points: str, seen: str
) -> None:
    pairs = dict(choices.rviz_remappings(given(namespace=namespace, image_topic=image)))
    assert pairs['/points'] == points
    assert pairs['/image'] == seen


def test_parameter_file_not_given_is_the_installed_one(tmp_path: Path) -> None:
    installed = tmp_path / 'installed.yaml'
    installed.touch()
    assert choices.parameter_file(given(), installed) == str(installed)


def test_parameter_file_missing_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'params_file:=absent\.yaml'):
        choices.parameter_file(given(params_file='absent.yaml'), tmp_path)


def test_misspelt_argument_is_told_and_foreign_ones_are_not() -> None:
    arguments = given(image_topics='/a', robot_name='r', **{'launch-prefix': 'echo'})
    assert choices.misspelt(arguments) == [
        'launch argument image_topics is not used: did you mean image_topic?'
    ]


def test_recorded_topics_are_in_the_namespace_of_the_node() -> None:
    assert choices.recorded_topics(given(namespace='front')) == [
        '/front/depth/image_rect',
        '/front/depth/camera_info',
        '/front/depth/uncertainty',
    ]


def test_replay_arguments_do_not_hide_those_of_the_node() -> None:
    assert not set(choices.REPLAY_ARGUMENTS) & set(choices.ARGUMENTS)
    assert choices.misspelt(given(**dict.fromkeys(choices.REPLAY_ARGUMENTS, 'x'))) == []


def replayed(**arguments: str) -> list[str]:
    defaults = {name: a.default for name, a in choices.REPLAY_ARGUMENTS.items()}
    return choices.replay_command({**defaults, 'bag': 'drive', **arguments})


def test_replay_command_plays_once_unless_told_to_loop() -> None:
    assert replayed(rate='0.5') == ['drive', '--rate', '0.5']
    looped = replayed(loop='true', evaluation='false')
    assert looped == ['drive', '--rate', '1.0', '--loop']
    assert parser().parse_args(looped).loop is True


def test_replay_without_end_is_not_scored() -> None:
    with pytest.raises(ConfigError, match='loop:=True: a replay without end has no score'):
        replayed(loop='True')
    with pytest.raises(ConfigError, match='loop:=forever: must be true or false'):
        replayed(loop='forever', evaluation='false')


def test_image_arguments_of_a_raw_topic_name_it() -> None:
    assert choices.image_arguments('/cam/image', is_compressed=False) == {
        'image_topic': '/cam/image',
        'image_transport': 'raw',
    }


def test_image_arguments_of_a_compressed_topic_name_its_base() -> None:
    arguments = choices.image_arguments('/cam/image/compressed', is_compressed=True)
    assert arguments == {'image_topic': '/cam/image', 'image_transport': 'compressed'}
    assert ('image/compressed', '/cam/image/compressed') in choices.remappings(given(**arguments))


def test_image_arguments_of_a_compressed_topic_without_the_suffix_are_refused() -> None:
    with pytest.raises(ConfigError, match='/cam/jpeg'):
        choices.image_arguments('/cam/jpeg', is_compressed=True)
