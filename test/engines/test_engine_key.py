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

"""Keys: every field counts, and what is not a key is not taken for one."""

from dataclasses import asdict, fields
from test.engines.engine_process import engine_key

from depth_ros.engines.engine_key import EngineKey, key_from
import pytest


@pytest.mark.parametrize('name', [each.name for each in fields(EngineKey)])
def test_digest_any_field_changed_is_another(name):
    assert engine_key().digest != engine_key(**{name: 'other'}).digest


def test_digest_of_equal_keys_is_equal_and_short_enough_for_a_name():
    assert engine_key().digest == engine_key().digest
    assert len(engine_key().digest) == 32


def test_differences_name_field_and_both_values():
    other = engine_key(gpu='RTX 4090', library_version='10.16.1.11')
    assert engine_key().differences(other) == [
        "library_version ('10.3.0.30' against '10.16.1.11')",
        "gpu ('Orin' against 'RTX 4090')",
    ]


def test_key_from_reads_back_what_asdict_wrote():
    assert key_from(asdict(engine_key())) == engine_key()


@pytest.mark.parametrize(
    'data',
    [
        None,
        [],
        {},
        {**asdict(engine_key()), 'driver': '1'},
        {**asdict(engine_key()), 'gpu': None},
        {k: v for k, v in asdict(engine_key()).items() if k != 'gpu'},
    ],
)
def test_key_from_anything_else_is_refused(data):
    with pytest.raises(ValueError, match=r'of the key|the key has not'):
        key_from(data)
