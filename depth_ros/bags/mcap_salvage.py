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
Copy what can be read of a damaged MCAP file, and say what cannot.

MCAP specification, mcap.dev/spec: records of opcode (1 byte), length (8 bytes) and content;
messages lie in chunks, each with its own checksum and compression. A chunk that is damaged is
left out; after bytes that are no record the search goes on for the next whole chunk. The copy
has no index, as a file whose writing was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
import struct
from typing import Any, BinaryIO
import zlib

from depth_ros.bags.mcap_repair import DATA_END, FOOTER, MAGIC, RECORD_HEAD, TAIL
from depth_ros.errors import BagError

SCHEMA, CHANNEL, MESSAGE, CHUNK = 0x03, 0x04, 0x05, 0x06
# Schema, channel, message, attachment, metadata: copied. Indices point into the old file, and the
# header is written anew.
COPIED = (SCHEMA, CHANNEL, MESSAGE, 0x09, 0x0C)
SKIPPED = (0x01, 0x07, 0x08, 0x0A, 0x0B, 0x0D, 0x0E)
# Profile 'ros2' and a library without name.
HEADER_BODY = struct.pack('<I4sI', 4, b'ros2', 0)
HEADER = RECORD_HEAD.pack(0x01, len(HEADER_BODY)) + HEADER_BODY
# The module that has zstd depends on the version of Python and of rosbags.
ZSTD_MODULES = ('compression.zstd', 'backports.zstd', 'zstandard')
CHUNK_HEAD = struct.Struct('<QQQII')
# Channel, number, time of recording [ns], time of publishing [ns].
MESSAGE_HEAD = struct.Struct('<HIQQ')
FOOTER_BODY = struct.Struct('<QQI')
LENGTH = struct.Struct('<Q')
COMPRESSIONS = ('', 'lz4', 'zstd')
SEARCH_BYTES = 1 << 22
# Longer records do not exist; a length beyond is damage.
MAX_RECORD_BYTES = 1 << 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvage:
    """
    What became of a file.

    Fields:
        lost: reasons by place.
        unchecked: chunks whose writer has made no checksum.

    """

    size_bytes: int
    lost_bytes: int
    lost: tuple[str, ...]
    unchecked: int = 0

    def sentence(self) -> str:
        """Return it for a reader."""
        return f'{self._lost()}{self._unchecked()}'

    def _unchecked(self) -> str:
        if not self.unchecked:
            return ''
        count = f'{self.unchecked} chunks have no checksum'
        return f' ({count}: damage within their messages is not seen)'

    def _lost(self) -> str:
        if not self.lost:
            return 'nothing was lost'
        share = 100.0 * self.lost_bytes / max(self.size_bytes, 1)
        return f'{self.lost_bytes} of {self.size_bytes} bytes ({share:.2f} %) were lost: ' + (
            '; '.join(self.lost)
        )


def salvage(source: Path, target: Path) -> Salvage:
    """
    Write the readable part of ``source`` to ``target``.

    :raises BagError: the source is no MCAP file, or a file cannot be read or written.
    """
    try:
        with source.open('rb') as file, target.open('wb') as out:
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f"'{source}' does not begin as an MCAP file: nothing to recover")
            out.write(MAGIC + HEADER)
            copy = _Copy(file, out, source.stat().st_size)
            copy.run()
            out.write(TAIL)
    except OSError as error:
        raise BagError(
            f"'{source}' cannot be recovered to '{target}': {error.strerror}"
        ) from error
    return Salvage(
        size_bytes=copy.size,
        lost_bytes=sum(copy.lost_bytes),
        lost=tuple(copy.reasons),
        unchecked=copy.unchecked,
    )


class _Copy:
    """One pass over a file."""

    def __init__(self, file: BinaryIO, out: BinaryIO, size: int) -> None:
        self.size = size
        self.lost_bytes: list[int] = []
        self.reasons: list[str] = []
        self.unchecked = 0
        self._file = file
        self._out = out

    def run(self) -> None:
        for record in self._definitions():
            self._out.write(record)
        place = len(MAGIC)
        while place < self.size:
            head = self._read(place, RECORD_HEAD.size)
            if len(head) < RECORD_HEAD.size:
                self._lose(place, self.size, 'the file ends within a record')
                return
            opcode, length = RECORD_HEAD.unpack(head)
            if opcode in (FOOTER, DATA_END):
                return
            after = place + RECORD_HEAD.size + length
            is_record = opcode in (*COPIED, *SKIPPED, CHUNK) and length < MAX_RECORD_BYTES
            if not is_record or after > self.size:
                found = self._next_chunk(place + 1)
                self._lose(place, found, 'no record there')
                place = found
                continue
            if opcode not in SKIPPED:
                self._copy(opcode, place, head, length)
            place = after

    def _copy(self, opcode: int, place: int, head: bytes, length: int) -> None:
        body = self._read(place + RECORD_HEAD.size, length)
        reason = _chunk_damage(body) if opcode == CHUNK else None
        if reason is not None:
            self._lose(place, place + len(head) + length, reason)
        elif opcode == CHUNK and not _checksum_of(body):
            self._copy_records(place, head, body)
        else:
            self._out.write(head + body)

    def _copy_records(self, place: int, head: bytes, body: bytes) -> None:
        """Copy the whole records of a chunk that has no checksum to vouch for them."""
        self.unchecked += 1
        first_ns, last_ns, size, _, _ = CHUNK_HEAD.unpack_from(body)
        data = _decompressed(body)
        whole = b''.join(_whole_records(data, first_ns, last_ns))
        if len(whole) == size:
            self._out.write(head + body)
            return
        new = CHUNK_HEAD.pack(first_ns, last_ns, len(whole), zlib.crc32(whole), 0)
        new += LENGTH.pack(len(whole)) + whole
        self._out.write(RECORD_HEAD.pack(CHUNK, len(new)) + new)
        self.lost_bytes.append(size - len(whole))
        self.reasons.append(f'{size - len(whole)} bytes of the chunk at {place}, no records there')

    def _lose(self, place: int, after: int, reason: str) -> None:
        self.lost_bytes.append(after - place)
        self.reasons.append(f'{after - place} bytes at {place}, {reason}')

    def _read(self, place: int, count: int) -> bytes:
        self._file.seek(place)
        return self._file.read(count)

    def _next_chunk(self, place: int) -> int:
        """Return where the next whole chunk begins, or the end of the file."""
        while place < self.size:
            block = self._read(place, SEARCH_BYTES)
            at = block.find(bytes([CHUNK]))
            while at >= 0:
                if self._is_chunk(place + at):
                    return place + at
                at = block.find(bytes([CHUNK]), at + 1)
            place += len(block)
        return self.size

    def _is_chunk(self, place: int) -> bool:
        head = self._read(place, RECORD_HEAD.size + CHUNK_HEAD.size)
        if len(head) < RECORD_HEAD.size + CHUNK_HEAD.size:
            return False
        _, length = RECORD_HEAD.unpack_from(head)
        if place + RECORD_HEAD.size + length > self.size or length > MAX_RECORD_BYTES:
            return False
        name_length = CHUNK_HEAD.unpack_from(head, RECORD_HEAD.size)[4]
        if name_length > max(map(len, COMPRESSIONS)):
            return False
        return _chunk_damage(self._read(place + RECORD_HEAD.size, length)) is None

    def _definitions(self) -> list[bytes]:
        """Return schemas and channels of the summary: the chunk that held them may be lost."""
        tail = len(MAGIC) + RECORD_HEAD.size + FOOTER_BODY.size
        end = self._read(max(self.size - tail, 0), tail)
        if len(end) < tail or not end.endswith(MAGIC) or end[0] != FOOTER:
            return []
        place = FOOTER_BODY.unpack_from(end, RECORD_HEAD.size)[0]
        found = []
        while 0 < place < self.size - tail:
            head = self._read(place, RECORD_HEAD.size)
            opcode, length = RECORD_HEAD.unpack(head)
            if place + len(head) + length > self.size:
                return []
            if opcode in (SCHEMA, CHANNEL):
                found.append(head + self._read(place + len(head), length))
            place += len(head) + length
        return found


def _whole_records(data: bytes, first_ns: int, last_ns: int) -> Iterator[bytes]:
    """Yield the records of a chunk; after bytes that are none, go on with the next message."""
    place = 0
    while place < len(data):
        after = _end_of_record(data, place, first_ns, last_ns)
        if after is None:
            place = _next_message(data, place + 1, first_ns, last_ns)
            continue
        yield data[slice(place, after)]
        place = after


def _next_message(data: bytes, place: int, first_ns: int, last_ns: int) -> int:
    at = data.find(bytes([MESSAGE]), place)
    while at >= 0 and _end_of_record(data, at, first_ns, last_ns) is None:
        at = data.find(bytes([MESSAGE]), at + 1)
    return at if at >= 0 else len(data)


def _end_of_record(data: bytes, place: int, first_ns: int, last_ns: int) -> int | None:
    """Return where the record at a place ends; None: there is none."""
    if place + RECORD_HEAD.size > len(data):
        return None
    opcode, length = RECORD_HEAD.unpack_from(data, place)
    after = int(place + RECORD_HEAD.size + length)
    if opcode not in (SCHEMA, CHANNEL, MESSAGE) or after > len(data):
        return None
    if opcode == MESSAGE:
        # The chunk says when its messages were recorded: chance does not hit that.
        if length < MESSAGE_HEAD.size:
            return None
        log_ns = MESSAGE_HEAD.unpack_from(data, place + RECORD_HEAD.size)[2]
        if not first_ns <= log_ns <= last_ns:
            return None
    return after


def _checksum_of(body: bytes) -> int:
    """Return the checksum of a chunk's records; 0: the writer has made none."""
    return int(CHUNK_HEAD.unpack_from(body)[3])


def _decompressed(body: bytes) -> bytes:
    """Return the records of a chunk in which nothing was found to be wrong."""
    at = CHUNK_HEAD.size + int(CHUNK_HEAD.unpack_from(body)[4])
    name = body[slice(CHUNK_HEAD.size, at)].decode()
    return _decompressors()[name](body[slice(at + LENGTH.size, None)])


def _chunk_damage(body: bytes) -> str | None:
    """Return what is wrong with a chunk, or None."""
    if len(body) < CHUNK_HEAD.size:
        return 'a chunk is too short'
    _, _, size, checksum, name_length = CHUNK_HEAD.unpack_from(body)
    at = CHUNK_HEAD.size + name_length
    start = at + LENGTH.size
    name = body[slice(CHUNK_HEAD.size, at)].decode(errors='replace')
    if name not in COMPRESSIONS or len(body) < start:
        return 'a chunk has an unknown compression'
    records = body[start:]
    if LENGTH.unpack_from(body, at)[0] != len(records):
        return 'a chunk has another length than it says'
    try:
        data = _decompressors()[name](records)
    except BagError:
        raise
    # The libraries have exception types of their own.
    except Exception as error:
        return f'a chunk cannot be decompressed ({type(error).__name__})'
    if len(data) != size or (checksum and zlib.crc32(data) != checksum):
        return 'a chunk fails its checksum'
    return None


def _decompressors() -> dict[str, Callable[[bytes], bytes]]:
    def lz4(data: bytes) -> bytes:
        library: Any = import_module('lz4.frame')
        return bytes(library.decompress(data))

    def zstd(data: bytes) -> bytes:
        return bytes(_zstd().ZstdDecompressor().decompress(data))

    return {'': bytes, 'lz4': lz4, 'zstd': zstd}


def _zstd() -> Any:
    for name in ZSTD_MODULES:
        with suppress(ImportError):
            return import_module(name)
    raise BagError(f'a chunk is compressed by zstd: install one of {", ".join(ZSTD_MODULES)}')


def salvage_bag(bag: Path, folder: Path) -> tuple[Path, Salvage]:
    """
    Recover the MCAP file of a bag into a folder; return the new file.

    :param bag: an .mcap file, or a folder with one.
    :raises BagError: it has none or several, or cannot be recovered.
    """
    files = [bag] if bag.is_file() else sorted(bag.glob('*.mcap')) if bag.is_dir() else []
    if len(files) != 1 or files[0].suffix != '.mcap':
        raise BagError(f"bag '{bag}' has {len(files)} MCAP files: just one can be recovered")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BagError(f"'{folder}' cannot be made: {error.strerror}") from error
    target = folder / files[0].name
    return target, salvage(files[0], target)
