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
From a mapping, as YAML gives it, to a frozen dataclass: strict, and every error has its key path.

Fields may be bool, int, float, str, Literal, tuples of one of them, other dataclasses, and any of
these or None. A dataclass may refuse values in ``__post_init__`` by ConfigError or ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, MISSING
import math
from pathlib import Path
import re
import types
from typing import Any, cast, get_args, get_origin, get_type_hints, Literal, TypeVar, Union

from depth_ros.errors import ConfigError
import yaml

SettingsT = TypeVar('SettingsT')

BOOL = 'tag:yaml.org,2002:bool'
NAMES = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}


class _Loader(yaml.SafeLoader):
    """
    YAML 1.2's numbers and truth values, and no key twice.

    1e-4 is a number; off, on, yes and no are texts.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, form) for tag, form in resolvers if tag != BOOL]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f'the key {key!r} stands twice', node.start_mark
                )
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    BOOL, re.compile('(true|false|True|False|TRUE|FALSE)$'), list('tTfF')
)
_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float',
    re.compile(r'[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$'),
    list('-+.0123456789'),
)


def parse_yaml(text: str, where: str) -> Any:
    """
    Return what a YAML text says.

    :raises ConfigError: it is no YAML, or has a key twice.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f'{where} is no YAML: {" ".join(str(error).split())}') from error


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Return the mapping in a YAML file.

    :raises ConfigError: it cannot be read, is no YAML, or no mapping.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config '{path}' cannot be read: {error}") from error
    content = parse_yaml(text, f"config '{path}'")
    if not isinstance(content, dict):
        raise ConfigError(f"config '{path}' holds {content!r}: must be keys with values")
    return content


def replace_key(content: dict[str, Any], key: str, value: Any) -> None:
    """Set ``a.b.c`` in nested mappings; whether it exists is for the dataclass to say."""
    *parents, last = key.split('.')
    for name in parents:
        inner = content.setdefault(name, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"'{key}': {name} is {inner!r} and has no keys")
        content = inner
    content[last] = value


def settings(kind: type[SettingsT], content: Any, where: str = '') -> SettingsT:
    """
    Return the dataclass ``kind`` made of ``content``.

    :param where: key path of ``content``; '' for the whole file.
    :raises ConfigError: a key is unknown or missing, or a value has another type or is refused.
    """
    if not isinstance(content, Mapping):
        raise ConfigError(f'{where or "config"} = {content!r}: must be keys with values')
    known = {field.name: field for field in fields(cast(Any, kind))}
    unknown = [key for key in content if key not in known]
    if unknown:
        raise ConfigError(
            f'{_path(where, unknown[0])} = {content[unknown[0]]!r}: there is no such key; '
            f'{where or "the config"} has {", ".join(known)}'
        )
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        if name not in content and not optional:
            raise ConfigError(f'{_path(where, name)} is missing: give it a value')
    hints = get_type_hints(kind)
    values = {
        name: convert(hints[name], value, _path(where, name)) for name, value in content.items()
    }
    try:
        return kind(**values)
    except ValueError as error:
        raise ConfigError(f'{where or "config"}: {error}') from error
    except ConfigError as error:
        raise ConfigError(f'{where}.{error}' if where else str(error)) from error


def convert(hint: Any, value: Any, where: str) -> Any:
    """
    Return the value as the annotation wants it.

    :raises ConfigError: it has another type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (inner,) = (argument for argument in arguments if argument is not type(None))
        return convert(inner, value, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f'{where} = {value!r}: must be one of {", ".join(arguments)}')
        return value
    if origin is tuple:
        return _tuple(arguments, value, where)
    if is_dataclass(hint):
        kind = cast(type[Any], hint)
        return value if isinstance(value, kind) else settings(kind, value, where)
    return _scalar(hint, value, where)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f'{where} = {value!r}: must be a list')
    kinds = arguments
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds = (arguments[0],) * len(value)
    if len(kinds) != len(value):
        raise ConfigError(f'{where} = {value!r}: must have {len(kinds)} values')
    return tuple(
        convert(kind, item, f'{where}[{number}]')
        for number, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint not in NAMES:
        raise TypeError(f'{where}: settings of type {hint} are not supported')
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and is_number and math.isfinite(value):
        return float(value)
    if hint is float or not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ConfigError(f'{where} = {value!r}: must be {NAMES[hint]}')
    return value


def _path(where: str, key: object) -> str:
    return f'{where}.{key}' if where else str(key)
