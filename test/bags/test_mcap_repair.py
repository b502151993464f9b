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

"""An MCAP file that was cut anywhere is ended so that its whole records are read."""

from __future__ import annotations

from pathlib import Path
from test.bags import mini_bags as mini

from depth_ros.bags.mcap_repair import end_after_last_record, MAGIC, TAIL
from depth_ros.bags.reader import BagReader
from depth_ros.bags.writer import BagWriter
from hypothesis import given, HealthCheck, settings, strategies
import pytest

MESSAGES = 6
# Two of these fill a chunk of rosbags' writer, which closes chunks at 1 MiB.
MESSAGE_BYTES = 600_000
# Magic, header record: whatever comes before is not yet an MCAP file.
SHORTEST = 100


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    bag = tmp_path_factory.mktemp('whole') / 'bag'
    with BagWriter(bag) as writer:
        for index in range(MESSAGES):
            data = bytes([0, 1, 0, 0]) + bytes([index]) * MESSAGE_BYTES
            writer.write_raw('/blob', 'sensor_msgs/msg/Image', index, data)
    return mini.storage_file(bag).read_bytes()


def numbers(file: Path) -> list[int]:
    with BagReader(file) as reader:
        return [raw.data[-1] for raw in reader.raw_messages()]


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=strategies.data())
def test_cut_file_is_ended_and_holds_a_prefix(
    tmp_path: Path, whole: bytes, data: strategies.DataObject
) -> None:
    length = data.draw(strategies.integers(SHORTEST, len(whole)))
    file = tmp_path / 'cut.mcap'
    file.write_bytes(whole[:length])
    end_after_last_record(file)
    found = numbers(file)
    assert found == list(range(len(found)))
    # Every chunk that lies wholly before the cut is there.
    assert len(found) >= 2 * (length // (2 * MESSAGE_BYTES + 10_000))
    assert file.stat().st_size <= length + len(TAIL)


def test_cut_after_the_last_chunk_keeps_all(tmp_path: Path, whole: bytes) -> None:
    file = tmp_path / 'cut.mcap'
    file.write_bytes(whole[:-1])
    end_after_last_record(file)
    assert numbers(file) == list(range(MESSAGES))


def test_other_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / 'notes.mcap'
    file.write_bytes(b'not an MCAP file')
    end_after_last_record(file)
    assert file.read_bytes() == b'not an MCAP file'


def test_file_with_magic_alone_becomes_an_empty_file_of_records(tmp_path: Path) -> None:
    file = tmp_path / 'short.mcap'
    file.write_bytes(MAGIC + b'\x01\x05')
    end_after_last_record(file)
    assert file.read_bytes() == MAGIC + TAIL
