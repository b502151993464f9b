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
End an MCAP file whose writing was interrupted, so that readers accept it.

MCAP specification, mcap.dev/spec: magic, then records of opcode (1 byte), length (8 bytes) and
content, then magic again. Data end and footer are the last two records.
"""

from __future__ import annotations

from pathlib import Path
import struct
from typing import BinaryIO

MAGIC = b'\x89MCAP0\r\n'
RECORD_HEAD = struct.Struct('<BQ')
FOOTER, DATA_END = 0x02, 0x0F
# Data end without a checksum; a footer that says that there is no index.
TAIL = (
    RECORD_HEAD.pack(DATA_END, 4)
    + struct.pack('<I', 0)
    + RECORD_HEAD.pack(FOOTER, 20)
    + struct.pack('<QQI', 0, 0, 0)
    + MAGIC
)


# A footer record and the magic after it.
FOOTER_BYTES = RECORD_HEAD.size + 20 + len(MAGIC)


def has_index(bag: Path) -> bool:
    """
    Tell whether every MCAP file of a bag ends with an index; bags of other storages have one.

    :raises OSError: a file cannot be read.

    """
    files = [bag] if bag.is_file() else bag.glob('*.mcap')
    return all(_index_of(file) for file in files if file.suffix == '.mcap')


def _index_of(path: Path) -> int:
    """Return where the index of a file begins; 0: it has none."""
    with path.open('rb') as file:
        file.seek(max(path.stat().st_size - FOOTER_BYTES, 0))
        end = file.read()
    if len(end) < FOOTER_BYTES or end[0] != FOOTER or not end.endswith(MAGIC):
        return 0
    return int.from_bytes(end[slice(RECORD_HEAD.size, RECORD_HEAD.size + 8)], 'little')


def end_after_last_record(path: Path) -> None:
    """
    Cut a file after its last whole data record and end it there, without an index.

    The result is never longer than the file plus 50 bytes. A file that is no MCAP stays as it is.

    :raises OSError: not even those bytes can be written.

    """
    with path.open('r+b') as file:
        if file.read(len(MAGIC)) != MAGIC:
            return
        end = _end_of_data(file, path.stat().st_size)
        file.truncate(end)
        file.seek(end)
        file.write(TAIL)


def _end_of_data(file: BinaryIO, size: int) -> int:
    end = file.tell()
    while len(head := file.read(RECORD_HEAD.size)) == RECORD_HEAD.size:
        opcode, length = RECORD_HEAD.unpack(head)
        after = end + RECORD_HEAD.size + length
        if opcode in (FOOTER, DATA_END) or after > size:
            break
        end = file.seek(after)
    return end
