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
Built engines on disk: what is not whole, or is not exactly what was asked for, is built again.

An engine is a folder with ``plan.engine``, ``entry.json`` (key, size and SHA-256 of the plan) and
``verdict.json`` (of the parity gate). The folder is made under another name and renamed when all
of it is on disk, so that an interrupted build leaves nothing that looks like an engine. One
process builds a given engine, the others wait: they hold a lock that the kernel frees when its
owner dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
import fcntl
import hashlib
import json
import os
from pathlib import Path
import shutil
import time
from typing import Any, IO

from depth_ros.engines.engine_key import EngineKey, key_from
from depth_ros.errors import ConfigError, ModelError

FOLDER_VARIABLE = 'DEPTH_ROS_ENGINE_CACHE'
PLAN_FILE, ENTRY_FILE, VERDICT_FILE = 'plan.engine', 'entry.json', 'verdict.json'
UNFINISHED_PREFIX, LOCK_SUFFIX = '.new-', '.lock'
# A few dozen engines of large networks; --prune and this limit drop the least recently used.
DEFAULT_MAX_BYTES = 4 << 30
LOCK_POLL_S = 0.2

# Takes a sentence; an answer of False asks to stop.
Progress = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlan:
    """A plan as the builder gave it, with what is worth knowing of it (plain values)."""

    plan: bytes
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedPlan:
    """A plan that was read back and is what ``key`` says."""

    key: EngineKey
    plan: bytes
    sha256: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One line of a listing.

    Fields:
        problem: why the engine would be built again; empty for a whole one.
        used_s: last use [s since 1970].
        verdict: of the parity gate, or None before it was asked.

    """

    digest: str
    key: EngineKey | None
    size_bytes: int
    used_s: float
    problem: str
    verdict: Mapping[str, Any] | None


class _DamagedError(Exception):
    """The engine on disk must not be loaded, for this reason."""


def cache_folder() -> Path:
    """
    Return where engines are kept: $DEPTH_ROS_ENGINE_CACHE, or depth_ros/engines in the cache.

    :raises ConfigError: the variable is a relative path.
    """
    given = os.environ.get(FOLDER_VARIABLE, '')
    if given:
        folder = Path(given).expanduser()
        if not folder.is_absolute():
            raise ConfigError(f'{FOLDER_VARIABLE} = {given!r}: must be an absolute path')
        return folder
    base = os.environ.get('XDG_CACHE_HOME', '')
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / '.cache'
    return root / 'depth_ros' / 'engines'


class EngineCache:
    """
    A folder of engines, shared by all processes.

    :param max_bytes: after a build the least recently used engines go, down to this size.
    """

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes

    def find(self, key: EngineKey) -> CachedPlan | None:
        """Return the whole engine of this key, None if there is no such."""
        try:
            return self._read(key)
        except (FileNotFoundError, _DamagedError):
            return None

    def obtain(
        self, key: EngineKey, build: Callable[[], BuiltPlan], progress: Progress
    ) -> CachedPlan:
        """
        Return the engine of this key; build and store it where there is none.

        While another process builds the same one, this one waits for it.

        :raises ModelError: the folder cannot be written, or the wait was cancelled.
        """
        try:
            return self._read(key)
        except (FileNotFoundError, _DamagedError):
            pass
        with self._lock(key.digest, progress):
            try:
                # Who waited for the lock finds what its former owner has built.
                return self._read(key)
            except FileNotFoundError:
                pass
            except _DamagedError as damage:
                progress(f'engine {self.folder / key.digest} is built again: {damage}')
            self._store(key, build())
        self.prune(self._max_bytes, keep=key.digest)
        return self._read(key)

    def verdict(self, plan: CachedPlan) -> Mapping[str, Any] | None:
        """Return what was stored with ``store_verdict`` for exactly this plan, else None."""
        return _verdict(self.folder / plan.key.digest, plan.sha256)

    def store_verdict(self, plan: CachedPlan, verdict: Mapping[str, Any]) -> bool:
        """Keep a verdict beside its plan; False where the folder cannot be written."""
        data = {'plan_sha256': plan.sha256, **verdict}
        path = self.folder / plan.key.digest / VERDICT_FILE
        temporary = path.with_name(f'.{VERDICT_FILE}.{os.getpid()}')
        try:
            _write(temporary, _json(data))
            temporary.replace(path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            return False
        return True

    def entries(self) -> list[Entry]:
        """Return what is in the folder, the most recently used first."""
        if not self.folder.is_dir():
            return []
        folders = (path for path in self.folder.iterdir() if path.is_dir())
        found = [_entry(path) for path in folders if not path.name.startswith('.')]
        return sorted(found, key=lambda entry: -entry.used_s)

    def prune(self, max_bytes: int, *, keep: str = '') -> list[Entry]:
        """
        Remove damaged engines, leftovers, and the least recently used beyond a size.

        :param keep: digest of an engine that stays whatever its size.
        :returns: what was removed.
        :raises ModelError: something cannot be removed.
        """
        removed, total = [], 0
        entries = sorted(self.entries(), key=lambda entry: entry.digest != keep)
        for entry in entries:
            total += entry.size_bytes
            if entry.digest != keep and (entry.problem or total > max_bytes):
                self._remove(self.folder / entry.digest)
                removed.append(entry)
                total -= entry.size_bytes
        self._sweep()
        return removed

    def _read(self, key: EngineKey) -> CachedPlan:
        folder = self.folder / key.digest
        if not folder.is_dir():
            raise FileNotFoundError(folder)
        stored, data = _read_entry(folder)
        if stored != key:
            raise _DamagedError(f'it is another engine: {"; ".join(key.differences(stored))}')
        plan = _read_bytes(folder / PLAN_FILE)
        sha256 = hashlib.sha256(plan).hexdigest()
        if sha256 != data['plan_sha256']:
            raise _DamagedError(
                f'{PLAN_FILE} has {len(plan)} bytes with SHA-256 {sha256[:12]}, stored were '
                f'{data["plan_bytes"]} with {data["plan_sha256"][:12]}'
            )
        with suppress(OSError):
            os.utime(folder / ENTRY_FILE)
        return CachedPlan(key=key, plan=plan, sha256=sha256, facts=data['facts'])

    @contextmanager
    def _lock(self, digest: str, progress: Progress) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            file = (self.folder / f'{digest}{LOCK_SUFFIX}').open('wb')
        except OSError as error:
            raise self._unwritable(error) from None
        with file:
            _wait(file, digest, progress)
            yield

    def _store(self, key: EngineKey, built: BuiltPlan) -> None:
        target = self.folder / key.digest
        unfinished = self.folder / f'{UNFINISHED_PREFIX}{key.digest}'
        entry = {
            'key': asdict(key),
            'plan_sha256': hashlib.sha256(built.plan).hexdigest(),
            'plan_bytes': len(built.plan),
            'built': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime()),
            'facts': dict(built.facts),
        }
        try:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            _write(unfinished / PLAN_FILE, built.plan)
            _write(unfinished / ENTRY_FILE, _json(entry))
            _sync(unfinished)
            if target.exists():
                shutil.rmtree(target)
            unfinished.rename(target)
            _sync(self.folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise self._unwritable(error) from None

    def _sweep(self) -> None:
        """Remove unfinished engines whose builder is gone."""
        for path in self.folder.glob(f'{UNFINISHED_PREFIX}*'):
            lock = self.folder / f'{path.name.removeprefix(UNFINISHED_PREFIX)}{LOCK_SUFFIX}'
            with suppress(OSError), lock.open('ab') as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)

    def _remove(self, folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            # Another process prunes as well.
            return
        except OSError as error:
            raise self._unwritable(error) from None

    def _unwritable(self, error: OSError) -> ModelError:
        return ModelError(
            f'the engine cache {self.folder} cannot be written ({error.strerror}): make room '
            f'there, or set {FOLDER_VARIABLE} to a folder that can'
        )


def _wait(file: IO[bytes], digest: str, progress: Progress) -> None:
    start_s, told_s = time.monotonic(), -1
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        waited_s = int(time.monotonic() - start_s)
        if waited_s > told_s:
            told_s = waited_s
            if not progress(f'another process builds this engine: waiting for {waited_s} s'):
                raise ModelError(f'the wait for engine {digest} was cancelled')
        time.sleep(LOCK_POLL_S)


def _read_entry(folder: Path) -> tuple[EngineKey, dict[str, Any]]:
    try:
        data = json.loads(_read_bytes(folder / ENTRY_FILE))
        key = key_from(data['key'])
        wanted = {'plan_sha256': str, 'plan_bytes': int, 'facts': dict}
        wrong = [name for name, kind in wanted.items() if not isinstance(data[name], kind)]
    except (ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f'{ENTRY_FILE} cannot be understood ({error})') from None
    if wrong:
        raise _DamagedError(f'{ENTRY_FILE} cannot be understood ({wrong[0]} is of a wrong type)')
    return key, data


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _DamagedError(f'{path.name} cannot be read ({error.strerror})') from None


def _entry(folder: Path) -> Entry:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    key, problem, verdict, used_s = None, '', None, 0.0
    try:
        used_s = (folder / ENTRY_FILE).stat().st_mtime
        key, data = _read_entry(folder)
        verdict = _verdict(folder, data['plan_sha256'])
        found = (folder / PLAN_FILE).stat().st_size
        if key.digest != folder.name or found != data['plan_bytes']:
            problem = f'{PLAN_FILE} has {found} bytes, stored were {data["plan_bytes"]}'
    except (OSError, _DamagedError) as error:
        problem = str(error)
    return Entry(
        digest=folder.name,
        key=key,
        size_bytes=size,
        used_s=used_s,
        problem=problem,
        verdict=verdict,
    )


def _verdict(folder: Path, plan_sha256: str) -> Mapping[str, Any] | None:
    try:
        data = json.loads((folder / VERDICT_FILE).read_bytes())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(data, dict) and data.get('plan_sha256') == plan_sha256
    return data if is_ours else None


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1).encode()


def _write(path: Path, data: bytes) -> None:
    with path.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Put the folder's own entries on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
