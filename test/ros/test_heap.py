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
"""The heaps of a process are counted by the C library itself."""

import os
import subprocess
import sys

from depth_ros.ros.heap import ARENAS
import pytest

THREADS = 8
# Eight threads hold memory at the same time, then the C library describes its heaps.
PROGRAM = f"""
import ctypes, threading
from depth_ros.ros.heap import share_heaps
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
took_effect = share_heaps()
barrier = threading.Barrier({THREADS})
def hold():
    libc.malloc(1000)
    barrier.wait()
threads = [threading.Thread(target=hold) for _ in range({THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc.fdopen.restype = ctypes.c_void_p
print(took_effect, flush=True)
stream = ctypes.c_void_p(libc.fdopen(1, b'w'))
libc.malloc_info(0, stream)
libc.fflush(stream)
"""


def heaps(**environment: str) -> tuple[bool, int]:
    """Return what share_heaps said, and how many heaps eight threads used."""
    clean = {
        k: v for k, v in os.environ.items() if k not in ('MALLOC_ARENA_MAX', 'GLIBC_TUNABLES')
    }
    result = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        env=clean | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said, _, description = result.stdout.partition('\n')
    return said == 'True', description.count('<heap nr=')


def test_threads_share_two_heaps():
    took_effect, count = heaps()
    assert took_effect
    assert count <= ARENAS


@pytest.mark.parametrize(
    ('name', 'value'),
    [('MALLOC_ARENA_MAX', '5'), ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=5')],
)
def test_choice_of_the_user_stays(name, value):
    took_effect, count = heaps(**{name: value})
    assert not took_effect
    assert ARENAS < count <= 5
