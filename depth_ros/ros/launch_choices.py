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

"""
What the launch files decide, as plain functions: they can be tested where launch is not.

A launch argument that is left empty overrides nothing: the parameter file, and then the node's
own default, count. Nothing that a model card states is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from depth_ros.errors import ConfigError

NODE_NAME = 'mono_depth_node'
# Relative names of the node, and what the RViz configuration names in the root namespace.
OUTPUTS = (
    'depth/image_rect',
    'depth/camera_info',
    'depth/uncertainty',
    'depth/image_color',
    'points',
)
TRUE, FALSE = 'true', 'false'
COMPRESSED = '/compressed'
LIDAR = 'lidar'


@dataclass(frozen=True, slots=True)
class Argument:
    """One launch argument; with a parameter, its text becomes that parameter's value."""

    description: str
    default: str = ''
    parameter: str = ''
    kind: type[str] | type[bool] | type[int] | type[float] = str


ARGUMENTS: Mapping[str, Argument] = {
    'namespace': Argument('Namespace of the node and of its outputs.'),
    'image_topic': Argument('Camera topic, without "/compressed".', default='image'),
    'camera_info_topic': Argument('Empty: "camera_info" beside image_topic.'),
    'params_file': Argument('YAML of parameters; empty: the one that is installed.'),
    'model': Argument('Shipped model or path of an ONNX file.', parameter='model'),
    'engine': Argument('"auto", or the name of an engine.', parameter='engine'),
    'threads': Argument('Of the engine; 0 = all cores.', parameter='threads', kind=int),
    'image_transport': Argument('"raw" or "compressed".', parameter='image_transport'),
    'rectify': Argument('Undistort the image first.', parameter='rectify', kind=bool),
    'points_stride': Argument(
        'Keep every n-th row and column.', parameter='points.stride', kind=int
    ),
    'points_max_depth_m': Argument(
        'Points beyond are left out [m].', parameter='points.max_depth_m', kind=float
    ),
    'points_max_uncertainty_m': Argument(
        'Points less certain are left out [m].', parameter='points.max_uncertainty_m', kind=float
    ),
    'alignment': Argument(
        'Of a relative model: "lidar", or "declared" in the parameter file.',
        parameter='alignment.method',
    ),
    'lidar_topic': Argument('PointCloud2 for alignment:=lidar.', default=LIDAR),
    'lidar_pose': Argument(
        'Of the LiDAR in the optical frame, "x y z qx qy qz qw"; empty: /tf_static.',
        parameter='alignment.lidar_pose',
    ),
    'use_sim_time': Argument('Follow /clock.', parameter='use_sim_time', kind=bool),
    'autostart': Argument(
        'Configure and activate without being asked.', parameter='autostart', kind=bool
    ),
    'log_level': Argument('debug, info, warn, error or fatal.', default='info'),
    'respawn': Argument('Start the node again when it ends with an error.', default=FALSE),
    'rviz': Argument('Start RViz (package rviz2) as well.', default=FALSE),
    'rviz_frame': Argument('Fixed frame of RViz; empty: that of the configuration.'),
}
REPLAY_ARGUMENTS: Mapping[str, Argument] = {
    'bag': Argument('Bag with a camera, and with LiDAR for the score.'),
    'rate': Argument('Speed of the replay; 1 = real time.', default='1.0'),
    'loop': Argument('Start over at the end, to look at it; not with the score.', default=FALSE),
    'evaluation': Argument('Record the depth and score it.', default=TRUE),
    'output': Argument('Folder of the recording and the score.', default='replay'),
}


def is_true(name: str, text: str) -> bool:
    """
    Return the truth of an argument's text.

    :raises ConfigError: it is neither true nor false.
    """
    lowered = text.strip().lower()
    if lowered not in (TRUE, FALSE):
        raise ConfigError(f'launch argument {name}:={text}: must be {TRUE} or {FALSE}')
    return lowered == TRUE


def parameter_overrides(given: Mapping[str, str]) -> dict[str, bool | int | float | str]:
    """
    Return the parameters that the given arguments set, each with the type of its parameter.

    :raises ConfigError: a text is not of that type.
    """
    chosen = {name: given.get(name, '') for name in ARGUMENTS}
    return {
        argument.parameter: _value(name, chosen[name])
        for name, argument in ARGUMENTS.items()
        if argument.parameter and chosen[name]
    }


def _value(name: str, text: str) -> bool | int | float | str:
    kind = ARGUMENTS[name].kind
    if kind is bool:
        return is_true(name, text)
    try:
        return kind(text)
    except ValueError as error:
        raise ConfigError(
            f'launch argument {name}:={text}: must be of type {kind.__name__}'
        ) from error


def camera_info_topic(given: Mapping[str, str]) -> str:
    """Return the given topic, or the one beside the image, as image_transport names it."""
    if given.get('camera_info_topic'):
        return given['camera_info_topic']
    return str(PurePosixPath(given['image_topic']).parent / 'camera_info')


def image_arguments(topic: str, *, is_compressed: bool) -> dict[str, str]:
    """
    Return the arguments that make the node read a topic.

    :raises ConfigError: a compressed topic does not end in "/compressed": the node cannot tell
        its base topic.
    """
    if not is_compressed:
        return {'image_topic': topic, 'image_transport': 'raw'}
    base = topic.removesuffix(COMPRESSED)
    if base == topic:
        raise ConfigError(f"compressed image topic '{topic}': its name must end in {COMPRESSED}")
    return {'image_topic': base, 'image_transport': 'compressed'}


def remappings(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return where the node's inputs come from."""
    image = given['image_topic']
    return [
        ('image', image),
        (f'image{COMPRESSED}', image + COMPRESSED),
        ('camera_info', camera_info_topic(given)),
        ('lidar', given.get('lidar_topic') or LIDAR),
    ]


def rviz_remappings(given: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what turns the root topics of the RViz configuration into those of the node."""
    outputs = [(f'/{name}', _in_namespace(given, name)) for name in OUTPUTS]
    return [('/image', _in_namespace(given, given['image_topic'])), *outputs]


def _in_namespace(given: Mapping[str, str], name: str) -> str:
    return str(PurePosixPath('/', given.get('namespace', ''), name))


def parameter_file(given: Mapping[str, str], installed: Path) -> str:
    """
    Return the parameter file to load.

    :raises ConfigError: it does not exist; launch itself would only warn and go on without.
    """
    path = Path(given.get('params_file') or installed)
    if not path.is_file():
        raise ConfigError(f'launch argument params_file:={path}: there is no such file')
    return str(path)


def misspelt(given: Mapping[str, str]) -> list[str]:
    """Return one sentence for each argument that looks like a misspelt one of ours."""
    unknown = [name for name in given if name not in ARGUMENTS]
    matches = ((name, get_close_matches(name, ARGUMENTS, 1, 0.8)) for name in unknown)
    return [
        f'launch argument {name} is not used: did you mean {match[0]}?'
        for name, match in matches
        if match
    ]


def replay_command(given: Mapping[str, str]) -> list[str]:
    """
    Return the arguments of replay_bag.

    :raises ConfigError: a replay without end is to be scored, which begins at its end.
    """
    arguments = [given['bag'], '--rate', given['rate']]
    if not is_true('loop', given['loop']):
        return arguments
    if is_true('evaluation', given['evaluation']):
        raise ConfigError(
            f'launch argument loop:={given["loop"]}: a replay without end has no score, give '
            f'evaluation:={FALSE} as well'
        )
    return [*arguments, '--loop']


def recorded_topics(given: Mapping[str, str]) -> list[str]:
    """Return what the score needs of the node, in its namespace."""
    names = ('depth/image_rect', 'depth/camera_info', 'depth/uncertainty')
    return [_in_namespace(given, name) for name in names]
