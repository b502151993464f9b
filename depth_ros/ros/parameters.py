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
The node's parameters: one table, made from the settings of ``core.config``.

Names and defaults come from the dataclasses, the rest from ``NOTES``. Values are judged by the
dataclasses too, so that a parameter file, a command line and a live change get one sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from depth_ros.core.config import NodeConfig
from depth_ros.errors import ConfigError
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)

Value = bool | int | float | str
# Parameters of every rclpy node, and those that QoS overrides make.
FOREIGN_PREFIXES = ('qos_overrides.',)
KIND_WORDS = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'text'}


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """
    What a parameter means.

    Fields:
        text: meaning, with the unit.
        low, high: inclusive range, where both ends are finite.
        is_live: a running node takes a new value; else only an unconfigured one does.
        is_read_only: only looked at when the node starts.

    """

    text: str
    low: float | None = None
    high: float | None = None
    is_live: bool = False
    is_read_only: bool = False


NOTES: dict[str, Note] = {
    'model': Note(text="A shipped model's name, or the path of an ONNX file."),
    'engine': Note(text="Inference engine: 'auto' (the fastest that agrees), or its name."),
    'threads': Note(
        text='Threads of the engine; 0: one per physical core.',
        low=0,
        high=1024,
    ),
    'image_transport': Note(
        text="'raw': sensor_msgs/Image on image; 'compressed': CompressedImage on "
        'image/compressed.'
    ),
    'rectify': Note(
        text='Rectify images of a distorted camera. false: the images are rectified already, '
        'whatever distortion camera_info tells.'
    ),
    'queue_size': Note(text='Queue of each output topic [messages].', low=1, high=5),
    'diagnostics_period_s': Note(
        text='Time between messages on /diagnostics [s].', low=0.1, high=60.0, is_live=True
    ),
    'autostart': Note(
        text='Configure and activate at the start. false: wait for a lifecycle manager.',
        is_read_only=True,
    ),
    'alignment.method': Note(
        text="How a relative model becomes metres: 'none' (a metric model), 'lidar' (scale and "
        "shift follow PointCloud2 on lidar) or 'declared' (by the two below)."
    ),
    'alignment.scale': Note(
        text='Declared scale [1/m per unit of the output]: 1 / depth = scale * output + shift; '
        '0: not declared.'
    ),
    'alignment.shift': Note(text='Declared shift [1/m].'),
    'alignment.lidar_pose': Note(
        text="Pose of the LiDAR in the camera's optical frame, 'x y z qx qy qz qw' [m]; empty: "
        'from /tf_static.'
    ),
    'alignment.max_time_difference_s': Note(
        text='Largest gap between a LiDAR sweep and its image [s].', low=0.001, high=1.0
    ),
    'alignment.max_age_s': Note(
        text='Frames later than the newest usable sweep by more are dropped [s].',
        low=0.05,
        high=60.0,
    ),
    'alignment.smoothing_s': Note(
        text='Sweeps before the newest fade with this time [s]; 0: each stands alone.',
        low=0.0,
        high=60.0,
    ),
    'alignment.min_points': Note(
        text='Fewest LiDAR points in the image that give scale and shift.', low=10, high=100_000
    ),
    'depth.encoding': Note(
        text="Encoding of depth/image_rect: '32FC1' [m, NaN unknown] or '16UC1' [mm, 0 unknown "
        'or beyond 65.535 m].',
        is_live=True,
    ),
    'depth.resolution': Note(
        text="Grid of every output: 'camera' (as the image) or 'model' (as the network)."
    ),
    'depth.color_min_m': Note(
        text='Depth of the nearest colour of depth/image_color [m].', is_live=True
    ),
    'depth.color_max_m': Note(
        text='Depth of the farthest colour of depth/image_color [m].', is_live=True
    ),
    'points.organized': Note(
        text='true: a cloud of image height x width with NaN; false: finite points only.',
        is_live=True,
    ),
    'points.stride': Note(
        text='Keep every n-th row and column [pixels].', low=1, high=64, is_live=True
    ),
    'points.min_depth_m': Note(text='Nearest depth that gives a point [m].', is_live=True),
    'points.max_depth_m': Note(
        text='Farthest depth that gives a point [m]; .inf: no limit.', is_live=True
    ),
    'points.max_uncertainty_m': Note(
        text='Largest one-sigma uncertainty that gives a point [m]; .inf: no limit.', is_live=True
    ),
    'points.max_relative_uncertainty': Note(
        text='Largest one-sigma uncertainty over depth that gives a point; .inf: no limit.',
        is_live=True,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One parameter."""

    name: str
    default: Value
    note: Note

    @property
    def kind(self) -> type:
        """Return the Python type of its values."""
        return type(self.default)

    def typed(self, value: object) -> Value:
        """
        Return the value in this parameter's type; an integer is taken for a number.

        :raises ConfigError: another type.
        """
        if self.kind is float and type(value) is int:
            return float(value)
        if type(value) is self.kind and isinstance(value, (bool, int, float, str)):
            return value
        raise ConfigError(f'{self.name} = {value!r}: must be {KIND_WORDS[self.kind]}')

    def descriptor(self) -> ParameterDescriptor:
        """Return the descriptor; numbers are typed by ``typed``, rclpy would refuse integers."""
        message = ParameterDescriptor(
            name=self.name,
            description=self.note.text,
            read_only=self.note.is_read_only,
            dynamic_typing=self.kind is float,
        )
        if not self.note.is_live and not self.note.is_read_only:
            message.additional_constraints = 'Changes only while the node is unconfigured.'
        self._add_range(message)
        return message

    def _add_range(self, message: ParameterDescriptor) -> None:
        low, high = self.note.low, self.note.high
        if low is None or high is None:
            return
        if self.kind is int:
            message.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
        else:
            range_ = FloatingPointRange(from_value=float(low), to_value=float(high))
            message.floating_point_range = [range_]


def _leaves(config: object, prefix: str = '') -> Iterator[tuple[str, Any]]:
    for each in fields(config):  # type: ignore[arg-type]
        value = getattr(config, each.name)
        if is_dataclass(value):
            yield from _leaves(value, f'{prefix}{each.name}.')
        else:
            yield prefix + each.name, value


TABLE: dict[str, Row] = {
    name: Row(name=name, default=default, note=NOTES[name])
    for name, default in _leaves(NodeConfig())
}


def config_values(config: NodeConfig) -> dict[str, Value]:
    """Return the settings as parameter values."""
    return dict(_leaves(config))


def config_from(values: Mapping[str, object]) -> NodeConfig:
    """
    Return the settings for these parameter values; those not named have their default.

    :raises ConfigError: naming the parameter, its value and what it must be.
    """
    typed = {name: TABLE[name].typed(value) for name, value in values.items()}
    return _built(NodeConfig(), typed)


def _built(default: Any, values: Mapping[str, Value]) -> Any:
    arguments: dict[str, Any] = {}
    for each in fields(default):
        inner = getattr(default, each.name)
        prefix = f'{each.name}.'
        if is_dataclass(inner):
            own = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
            arguments[each.name] = _built(inner, own)
        elif each.name in values:
            arguments[each.name] = values[each.name]
    return type(default)(**arguments)


def unknown_parameters(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return a sentence for each given name that is no parameter of the node."""
    names = sorted(known)
    strange = (name for name in given if name not in names)
    return [
        _unknown(name, names) for name in sorted(strange) if not name.startswith(FOREIGN_PREFIXES)
    ]


def _unknown(name: str, known: list[str]) -> str:
    close = get_close_matches(name, known, n=1) or [
        candidate for candidate in known if candidate.split('.')[-1] == name.split('.')[-1]
    ]
    advice = f"did you mean '{close[0]}'?" if close else f'there are {known}'
    return f"parameter '{name}' does not exist: {advice}"


class NodeParameters:
    """
    Declare the table on a node, and keep the settings that are in force.

    :param is_configured: tells whether settings that are not live are in use.
    :param on_change: called with the new settings after a live change.
    :raises ConfigError: a value that the node was started with is wrong, or its name is.
    """

    def __init__(
        self,
        node: Any,
        *,
        is_configured: Callable[[], bool],
        on_change: Callable[[NodeConfig], None],
    ) -> None:
        given = {name: p.value for name, p in node._parameter_overrides.items()}
        known = {*TABLE, *(name for name in given if node.has_parameter(name))}
        problems = unknown_parameters(given, known)
        if problems:
            raise ConfigError('; '.join(problems))
        self._config = config_from({name: given[name] for name in given if name in TABLE})
        self._is_configured = is_configured
        self._on_change = on_change
        for row in TABLE.values():
            node.declare_parameter(row.name, row.default, row.descriptor())
        node.add_on_set_parameters_callback(self._on_set)

    @property
    def config(self) -> NodeConfig:
        """Return the settings in force."""
        return self._config

    def _on_set(self, parameters: Iterable[Any]) -> SetParametersResult:
        ours = {p.name: p.value for p in parameters if p.name in TABLE}
        try:
            changed = config_from({**config_values(self._config), **ours})
            self._refuse_late(ours)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        if changed != self._config:
            self._config = changed
            self._on_change(changed)
        return SetParametersResult(successful=True)

    def _refuse_late(self, changes: Mapping[str, object]) -> None:
        now = config_values(self._config)
        for name, value in changes.items():
            if value != now[name] and not TABLE[name].note.is_live and self._is_configured():
                raise ConfigError(
                    f'{name} = {value!r}: the node runs with {now[name]!r}; it can only change '
                    'while the node is unconfigured: deactivate and clean up first'
                )
