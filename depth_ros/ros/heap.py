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
Keep the memory of a long-running process flat.

Images, clouds and their serialised copies are allocated and freed in half a dozen threads. By
default glibc gives each thread a heap of its own, and each grows once to the size of the largest
messages, minutes or hours after the start: steps of 13 MB with the demo's clip.
"""

from __future__ import annotations

import ctypes
import os

# glibc: malloc.h.
M_ARENA_MAX = -8
# One for the worker and one for the rest: with two, memory grew by 0.4 MB in five minutes after
# the first one, with the default by 16 MB (python -m benchmarks.node_memory).
ARENAS = 2
CHOSEN_BY_USER = ('MALLOC_ARENA_MAX', 'GLIBC_TUNABLES')


def share_heaps() -> bool:
    """
    Let all threads of this process share two heaps; call it before the first thread starts.

    A choice of the user's, by MALLOC_ARENA_MAX or GLIBC_TUNABLES, stays.

    :returns: True when it took effect; False with another C library, or by the user's choice.
    """
    if any(os.environ.get(name) for name in CHOSEN_BY_USER):
        return False
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return mallopt is not None and mallopt(M_ARENA_MAX, ARENAS) == 1
