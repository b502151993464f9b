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

"""Mappings to dataclasses: what is taken, and that every refusal names the path of the key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from depth_ros.errors import ConfigError
import pytest
from training.settings import parse_yaml, read_yaml, replace_key, settings


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: tuple[int, int] = (4, 8)
    names: tuple[str, ...] = ()
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit <= 0:
            raise ConfigError(f'limit = {self.limit}: must be positive')
        if self.names == ('bad',):
            raise ValueError('names must not be bad')


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    rate: float = 0.5
    flag: bool = False
    kind: Literal['one', 'two'] = 'one'
    inner: Inner = field(default_factory=Inner)
    maybe: Inner | None = None


def test_settings_of_all_types_are_converted() -> None:
    given = {
        'count': 3,
        'rate': 2,
        'flag': True,
        'kind': 'two',
        'inner': {'size': [1, 2], 'names': ['a', 'b'], 'limit': 1},
        'maybe': {'limit': None},
    }
    found = settings(Outer, given)
    inner = Inner(size=(1, 2), names=('a', 'b'), limit=1.0)
    assert found == Outer(count=3, rate=2.0, flag=True, kind='two', inner=inner, maybe=Inner())
    assert isinstance(found.rate, float)
    assert isinstance(found.inner.size, tuple)


def test_settings_left_out_have_their_defaults() -> None:
    assert settings(Outer, {'count': 1}) == Outer(count=1)


@pytest.mark.parametrize(
    ('given', 'sentence'),
    [
        ({}, 'count is missing: give it a value'),
        ({'count': 1, 'cuont': 2}, 'cuont = 2: there is no such key; the config has count, rate'),
        ({'count': True}, 'count = True: must be a whole number'),
        ({'count': 1.0}, 'count = 1.0: must be a whole number'),
        ({'count': None}, 'count = None: must be a whole number'),
        ({'count': 1, 'rate': '1'}, "rate = '1': must be a number"),
        ({'count': 1, 'rate': True}, 'rate = True: must be a number'),
        ({'count': 1, 'rate': float('nan')}, 'rate = nan: must be a number'),
        ({'count': 1, 'rate': float('inf')}, 'rate = inf: must be a number'),
        ({'count': 1, 'flag': 1}, 'flag = 1: must be true or false'),
        ({'count': 1, 'kind': 'three'}, "kind = 'three': must be one of one, two"),
        ({'count': 1, 'inner': 5}, 'inner = 5: must be keys with values'),
        (
            {'count': 1, 'inner': {'sizes': 1}},
            'inner.sizes = 1: there is no such key; inner has size',
        ),
        ({'count': 1, 'inner': {'size': 7}}, 'inner.size = 7: must be a list'),
        ({'count': 1, 'inner': {'size': [7]}}, r'inner.size = \[7\]: must have 2 values'),
        ({'count': 1, 'inner': {'size': [7, 'x']}}, r"inner.size\[1\] = 'x': must be a whole"),
        ({'count': 1, 'inner': {'names': 'ab'}}, "inner.names = 'ab': must be a list"),
        ({'count': 1, 'inner': {'limit': -1}}, 'inner.limit = -1.0: must be positive'),
        ({'count': 1, 'inner': {'names': ['bad']}}, 'inner: names must not be bad'),
        ({'count': 1, 'maybe': {'limit': 'x'}}, "maybe.limit = 'x': must be a number"),
        (['count'], r"config = \['count'\]: must be keys with values"),
    ],
)
def test_wrong_settings_are_refused_by_key_path(given: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        settings(Outer, given)


def test_unsupported_annotation_is_a_mistake_of_the_program() -> None:
    @dataclass(frozen=True)
    class Odd:
        when: complex

    with pytest.raises(TypeError, match=r'when: settings of type .*complex'):
        settings(Odd, {'when': 1})


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('1e-4', 1e-4),
        ('1.5E+3', 1500.0),
        ('-2e3', -2000.0),
        ('.5', 0.5),
        ('10', 10),
        ('true', True),
        ('off', 'off'),
        ('yes', 'yes'),
        ('trueish', 'trueish'),
        ('1e4th', '1e4th'),
        ('null', None),
        ('[1, 2e-1]', [1, 0.2]),
        ('e4', 'e4'),
        ("'1e-4'", '1e-4'),
    ],
)
def test_yaml_numbers_are_those_of_version_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text, 'here')
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ('text', 'sentence'),
    [
        ('a: [1', "config '.*' is no YAML"),
        ('a: 1\nb: 2\na: 3', "the key 'a' stands twice"),
        ('[1, 2]', r'holds \[1, 2\]: must be keys with values'),
        ('', 'holds None: must be keys with values'),
        ('!!python/object/apply:os.getcwd []', 'is no YAML'),
    ],
)
def test_wrong_yaml_is_refused(text: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / 'config.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=sentence):
        read_yaml(path)


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'config.yaml'
    path.write_bytes(b'\xff\xfe\x00')
    with pytest.raises(ConfigError, match='cannot be read'):
        read_yaml(path)


def test_replace_key_reaches_and_makes_inner_mappings() -> None:
    content: dict[str, Any] = {'a': {'b': 1}}
    replace_key(content, 'a.b', 2)
    replace_key(content, 'c.d', 3)
    assert content == {'a': {'b': 2}, 'c': {'d': 3}}
    with pytest.raises(ConfigError, match=r"'a.b.c': b is 2 and has no keys"):
        replace_key(content, 'a.b.c', 4)
