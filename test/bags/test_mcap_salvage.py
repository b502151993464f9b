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

"""A damaged MCAP file gives back every chunk that is whole, and its losses are counted."""

from __future__ import annotations

from pathlib import Path
from test.bags import mini_bags as mini
import zlib

from depth_ros.bags.mcap_salvage import salvage, salvage_bag
from depth_ros.bags.reader import BagReader
from depth_ros.bags.writer import BagWriter
from depth_ros.errors import BagError
import pytest

MESSAGES = 6
# Two of these fill a chunk of rosbags' writer, which closes chunks at 1 MiB.
MESSAGE_BYTES = 600_000
# Of a record and of a message, and the four bytes before its content.
HEAD_BYTES = 9 + 22 + 4


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('whole') / 'bag'
    with BagWriter(path) as writer:
        for index in range(MESSAGES):
            data = bytes([0, 1, 0, 0]) + bytes([index]) * MESSAGE_BYTES
            writer.write_raw('/blob', 'sensor_msgs/msg/Image', index, data)
    return path


def numbers(file: Path) -> list[int]:
    with BagReader(file) as reader:
        return [raw.data[-1] for raw in reader.raw_messages()]


def head_of_chunk(whole: bytes, number: int) -> int:
    """Return where a chunk begins, by walking over the records."""
    place, seen = 8, 0
    while True:
        opcode, length = whole[place], int.from_bytes(whole[slice(place + 1, place + 9)], 'little')
        if opcode == 6 and seen == number:
            return place
        seen += opcode == 6
        place += 9 + length


def with_checksums(whole: bytes) -> bytes:
    """Return the file with the checksums of its chunks, which other writers write."""
    data, number = bytearray(whole), 0
    for number in range(MESSAGES // 2):
        body = head_of_chunk(whole, number) + 9
        start = body + 28 + 4 + len('') + 8
        length = int.from_bytes(whole[slice(start - 8, start)], 'little')
        checksum = zlib.crc32(whole[slice(start, start + length)])
        data[slice(body + 24, body + 28)] = checksum.to_bytes(4, 'little')
    return bytes(data)


def damaged(bag: Path, folder: Path, place: int, data: bytes) -> Path:
    whole = with_checksums(mini.storage_file(bag).read_bytes())
    end = place + len(data)
    file = folder / 'damaged.mcap'
    file.write_bytes(whole[:place] + data + whole[end:])
    return file


def test_salvage_of_a_whole_file_loses_nothing(bag, tmp_path):
    target, found = salvage_bag(bag, tmp_path / 'new')
    assert numbers(target) == list(range(MESSAGES))
    assert (found.lost_bytes, found.lost) == (0, ())
    assert found.sentence().startswith('nothing was lost (3 chunks have no checksum')


def test_salvage_of_a_whole_file_with_checksums_vouches_for_it(bag, tmp_path):
    whole = tmp_path / 'whole.mcap'
    whole.write_bytes(with_checksums(mini.storage_file(bag).read_bytes()))
    assert salvage(whole, tmp_path / 'new.mcap').sentence() == 'nothing was lost'
    assert numbers(tmp_path / 'new.mcap') == list(range(MESSAGES))


@pytest.mark.parametrize('place', [900_000, 1_800_000])
def test_salvage_of_flipped_bytes_loses_that_chunk_alone(bag, tmp_path, place):
    file = damaged(bag, tmp_path, place, b'\xff' * 100)
    found = salvage(file, tmp_path / 'new.mcap')
    kept = numbers(tmp_path / 'new.mcap')
    lost = sorted(set(range(MESSAGES)) - set(kept))
    assert lost == ([0, 1] if place < 1_000_000 else [2, 3])
    assert 1_000_000 < found.lost_bytes < 1_400_000
    assert 'checksum' in found.sentence()


def test_salvage_without_checksums_finds_the_next_message_in_the_chunk(bag, tmp_path):
    whole = mini.storage_file(bag).read_bytes()
    # In front of the second message of the second chunk: its head is gone, and with it only it.
    place = head_of_chunk(whole, 2)
    found = [at for at in range(place - 700_000, place) if whole[slice(at, at + 3)] == b'\x03' * 3]
    head = found[0] - HEAD_BYTES
    file = tmp_path / 'damaged.mcap'
    tail = head + HEAD_BYTES
    file.write_bytes(whole[:head] + bytes(HEAD_BYTES) + whole[tail:])
    salvaged = salvage(file, tmp_path / 'new.mcap')
    assert numbers(tmp_path / 'new.mcap') == [0, 1, 2, 4, 5]
    assert MESSAGE_BYTES - 100 < salvaged.lost_bytes < MESSAGE_BYTES + 100
    assert 'no records there' in salvaged.sentence()


def test_salvage_without_checksums_goes_on_behind_a_broken_message(bag, tmp_path):
    whole = mini.storage_file(bag).read_bytes()
    start = head_of_chunk(whole, 1)
    head = whole.index(b'\x02' * 3, start) - HEAD_BYTES
    file = tmp_path / 'damaged.mcap'
    tail = head + HEAD_BYTES
    file.write_bytes(whole[:head] + bytes(HEAD_BYTES) + whole[tail:])
    salvage(file, tmp_path / 'new.mcap')
    assert numbers(tmp_path / 'new.mcap') == [0, 1, 3, 4, 5]


def test_salvage_of_a_damaged_record_head_finds_the_next_chunk(bag, tmp_path):
    whole = mini.storage_file(bag).read_bytes()
    file = damaged(bag, tmp_path, head_of_chunk(whole, 1), b'\xee' * 9)
    found = salvage(file, tmp_path / 'new.mcap')
    assert numbers(tmp_path / 'new.mcap') == [0, 1, 4, 5]
    assert 'no record there' in found.sentence()


def test_salvage_of_a_cut_file_keeps_the_chunks_before(bag, tmp_path):
    whole = mini.storage_file(bag).read_bytes()
    (tmp_path / 'cut.mcap').write_bytes(whole[: len(whole) // 2])
    found = salvage(tmp_path / 'cut.mcap', tmp_path / 'new.mcap')
    assert numbers(tmp_path / 'new.mcap') == [0, 1]
    assert found.lost_bytes > 0


def test_salvage_of_what_is_no_mcap_is_refused(tmp_path):
    (tmp_path / 'a.mcap').write_bytes(b'a picture')
    with pytest.raises(BagError, match='does not begin as an MCAP file'):
        salvage(tmp_path / 'a.mcap', tmp_path / 'b.mcap')
    with pytest.raises(BagError, match='0 MCAP files'):
        salvage_bag(tmp_path / 'nowhere', tmp_path / 'new')
