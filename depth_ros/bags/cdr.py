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

"""The few bytes of a serialized message that can be read without its definition."""

from __future__ import annotations

import struct

NS_PER_S = 1_000_000_000
# Four bytes of encapsulation, whose second tells the byte order; then sec and nanosec.
ENCAPSULATION_BYTES = 4
STAMP_END = 12


def header_stamp_ns(data: bytes | memoryview) -> int | None:
    """Return the stamp [ns] of a CDR message that begins with a header; None if too short."""
    if len(data) < STAMP_END:
        return None
    order = '<' if data[1] & 1 else '>'
    sec, nanosec = struct.unpack_from(f'{order}iI', data, ENCAPSULATION_BYTES)
    return int(sec) * NS_PER_S + int(nanosec)
