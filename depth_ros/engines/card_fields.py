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
Frozen dataclasses to plain dictionaries and back, strictly.

One rule for every key: it must be there, it must be known, and its value must be of the type of
the dataclass field. Nothing is filled in, so that a card states everything that acts on depth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, MISSING
from difflib import get_close_matches
import math
from types import NoneType, UnionType
from typing import (
    Any,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    Literal,
    NoReturn,
    TypeVar,
    Union,
)

from depth_ros.errors import ModelError

T = TypeVar('T')

# JSON and YAML names of what a value is and should be.
KIND_NAMES: dict[type, str] = {
    str: 'a string',
    int: 'a whole number',
    float: 'a finite number',
    bool: 'true or false',
}


def to_plain(value: Any) -> Any:
    """Return dataclasses as dictionaries and tuples as lists, recursively."""
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def from_plain(kind: type[T], data: Any, where: str, prefix: str = '') -> T:
    """
    Build the dataclass ``kind`` from a dictionary.

    :param where: the file, for messages.
    :param prefix: key of ``data`` inside the card, with a dot at its end.
    :raises ModelError: naming key, value and file.
    """
    if not isinstance(data, Mapping):
        _refuse(where, prefix.rstrip('.') or 'the card', data, 'must be a mapping of keys')
    names = [field.name for field in fields(cast(Any, kind))]
    refuse_unknown_keys(data, names, where, prefix)
    _refuse_missing_keys(kind, data, where, prefix)
    hints = get_type_hints(kind)
    values = {n: _value(hints[n], data[n], where, f'{prefix}{n}') for n in names}
    try:
        return kind(**values)
    except ModelError as error:
        # The dataclass knows its key, but not the file.
        raise ModelError(f'{where}: {error}') from None


def refuse_unknown_keys(
    data: Mapping[Any, Any], known: Iterable[str], where: str, prefix: str
) -> None:
    """Raise ModelError for the first key of ``data`` that is not known."""
    names = list(known)
    for key in data:
        if key not in names:
            close = get_close_matches(str(key), names, n=1)
            hint = f"did you mean '{prefix}{close[0]}'?" if close else f'known are {names}'
            _refuse(where, f'{prefix}{key}', data[key], f'unknown key; {hint}')


def differences(first: Any, second: Any, prefix: str = '') -> list[str]:
    """Return 'key (value against value)' for every key in which two plain values differ."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        pairs = ((key, first.get(key), second.get(key)) for key in {**first, **second})
        return [d for key, a, b in pairs for d in differences(a, b, f'{prefix}{key}.')]
    return [] if first == second else [f'{prefix.rstrip(".")} ({first!r} against {second!r})']


def _refuse(where: str, key: str, value: object, rule: str) -> NoReturn:
    raise ModelError(f'{where}: {key} = {value!r}: {rule}')


def _refuse_missing_keys(kind: Any, data: Mapping[str, Any], where: str, prefix: str) -> None:
    missing = [field for field in fields(kind) if field.name not in data]
    if missing:
        keys = ', '.join(prefix + field.name + _usual_value(field.default) for field in missing)
        raise ModelError(f'{where}: the card lacks {keys}')


def _usual_value(default: object) -> str:
    return '' if default is MISSING else f' (usually {default!r})'


def _value(hint: Any, value: Any, where: str, key: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _optional(arguments, value, where, key)
    if origin is Literal:
        return _choice(arguments, value, where, key)
    if origin is tuple:
        return _tuple(arguments, value, where, key)
    if is_dataclass(hint):
        return from_plain(cast(Any, hint), value, where, f'{key}.')
    return _scalar(hint, value, where, key)


def _optional(arguments: tuple[Any, ...], value: Any, where: str, key: str) -> Any:
    if value is None:
        return None
    (hint,) = (argument for argument in arguments if argument is not NoneType)
    return _value(hint, value, where, key)


def _choice(choices: tuple[str, ...], value: Any, where: str, key: str) -> Any:
    if value not in choices:
        close = get_close_matches(str(value), choices, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else ''
        _refuse(where, key, value, f'must be one of {choices}{hint}')
    return value


def _tuple(arguments: tuple[Any, ...], value: Any, where: str, key: str) -> tuple[Any, ...]:
    is_open = arguments[-1] is Ellipsis
    if not isinstance(value, (list, tuple)) or not (is_open or len(value) == len(arguments)):
        length = '' if is_open else f' of {len(arguments)} values'
        _refuse(where, key, value, f'must be a list{length}')
    hints = [arguments[0]] * len(value) if is_open else list(arguments)
    pairs = enumerate(zip(hints, value, strict=True))
    return tuple(_value(hint, item, where, f'{key}[{i}]') for i, (hint, item) in pairs)


def _scalar(kind: type, value: Any, where: str, key: str) -> Any:
    if kind is float and type(value) is int and abs(value) <= 2**53:
        return float(value)
    # bool is an int to Python, but not to a reader of the card.
    if type(value) is not kind or (isinstance(value, float) and not math.isfinite(value)):
        _refuse(where, key, value, f'must be {KIND_NAMES[kind]}')
    return value
