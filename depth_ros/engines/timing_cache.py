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
Kernel timings of TensorRT's builder, kept between builds: the next one takes a fraction.

They hold for one version of the library on one GPU, which the file's name tells. TensorRT for RTX
times nothing: it compiles when it loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import fcntl
import os
from pathlib import Path
import re
from typing import TYPE_CHECKING

from depth_ros.engines.tensorrt_library import Library

if TYPE_CHECKING:
    import tensorrt as trt

NOT_FOR_NAMES = re.compile(r'[^A-Za-z0-9.]+')


class TimingCache:
    """
    The timings of one GPU in a folder; nothing depends on them but time, so damage is forgiven.

    :param gpu: name of the GPU.
    """

    def __init__(self, folder: Path, gpu: str) -> None:
        self._folder = folder
        self._gpu = gpu

    def path(self, library: Library) -> Path:
        """Return the file for a library."""
        words = (library.name, library.version, self._gpu)
        name = '_'.join(NOT_FOR_NAMES.sub('-', word) for word in words)
        return self._folder / f'timings_{name}.bin'

    @contextmanager
    def used_by(self, library: Library, config: trt.IBuilderConfig) -> Iterator[None]:
        """Let a build start from the timings, and keep what it adds."""
        if library.is_rtx:
            yield
            return
        path = self.path(library)
        attach(config, _read(path))
        yield
        with suppress(OSError), _alone(path):
            # Another process may have added to the file meanwhile.
            _replace(path, merged(config, _read(path)))


def attach(config: trt.IBuilderConfig, stored: bytes) -> bool:
    """Give timings to a build; False: they were of another version or damaged, it starts anew."""
    is_taken = bool(config.set_timing_cache(config.create_timing_cache(stored), False))
    if not is_taken:
        config.set_timing_cache(config.create_timing_cache(b''), False)
    return is_taken


def merged(config: trt.IBuilderConfig, stored: bytes) -> bytes:
    """Return the timings of a finished build together with those of others."""
    timings = config.get_timing_cache()
    if stored:
        timings.combine(config.create_timing_cache(stored), False)
    return bytes(timings.serialize())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b''


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.with_suffix('.lock').open('wb') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    temporary.write_bytes(data)
    temporary.replace(path)
