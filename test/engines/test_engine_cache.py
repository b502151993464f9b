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

"""The cache on a real disk, with real processes that wait, die and leave damage behind."""

from __future__ import annotations

from collections.abc import Callable
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from test.engines.engine_process import engine_key, PLAN
import time

from depth_ros.engines.engine_cache import (
    BuiltPlan,
    cache_folder,
    EngineCache,
    ENTRY_FILE,
    FOLDER_VARIABLE,
    PLAN_FILE,
    VERDICT_FILE,
)
from depth_ros.errors import ConfigError, ModelError
import pytest

PROCESS_TIMEOUT_S = 60
KEY = engine_key()
NOBODY = 65534


class Builder:
    """Counts how often it had to build."""

    def __init__(self, plan: bytes = PLAN) -> None:
        self.calls = 0
        self.plan = plan

    def __call__(self) -> BuiltPlan:
        self.calls += 1
        return BuiltPlan(plan=self.plan, facts={'seconds': 1.5})


class Said(list[str]):
    """Keeps the sentences; goes on."""

    def __call__(self, sentence: str) -> bool:
        self.append(sentence)
        return True


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / 'engines')


def obtain(cache: EngineCache, build: Callable[[], BuiltPlan], key=KEY) -> bytes:
    return cache.obtain(key, build, Said()).plan


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, '-m', 'test.engines.engine_process', str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_obtain_builds_once_and_reads_back(cache):
    build = Builder()
    plan = cache.obtain(KEY, build, Said())
    assert (plan.plan, plan.key, plan.facts) == (PLAN, KEY, {'seconds': 1.5})
    assert obtain(cache, build) == PLAN
    assert build.calls == 1
    assert cache.find(KEY) == plan


def test_find_unknown_key_is_none_and_makes_no_folder(cache):
    assert cache.find(KEY) is None
    assert not cache.folder.exists()


@pytest.mark.parametrize('field', ['gpu', 'library_version', 'model_sha256', 'shapes', 'options'])
def test_obtain_other_key_builds_its_own(cache, field):
    build = Builder()
    obtain(cache, build)
    obtain(cache, build, engine_key(**{field: 'other'}))
    assert build.calls == 2
    assert len(cache.entries()) == 2


def truncate(folder: Path) -> None:
    path = folder / PLAN_FILE
    path.write_bytes(path.read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    data = bytearray((folder / PLAN_FILE).read_bytes())
    data[1000] ^= 1
    (folder / PLAN_FILE).write_bytes(data)


def lose_the_plan(folder: Path) -> None:
    (folder / PLAN_FILE).unlink()


def lose_the_entry(folder: Path) -> None:
    (folder / ENTRY_FILE).unlink()


def spoil_the_entry(folder: Path) -> None:
    (folder / ENTRY_FILE).write_text('{"key": ')


def wrong_types(folder: Path) -> None:
    data = json.loads((folder / ENTRY_FILE).read_text())
    (folder / ENTRY_FILE).write_text(json.dumps({**data, 'facts': 3}))


def another_gpus(folder: Path) -> None:
    data = json.loads((folder / ENTRY_FILE).read_text())
    data['key']['gpu'] = 'RTX 4090'
    (folder / ENTRY_FILE).write_text(json.dumps(data))


DAMAGES = {
    truncate: 'has 16383 bytes with SHA-256',
    flip_a_bit: 'has 16384 bytes with SHA-256',
    lose_the_plan: 'plan.engine cannot be read (No such file or directory)',
    lose_the_entry: 'entry.json cannot be read (No such file or directory)',
    spoil_the_entry: 'entry.json cannot be understood',
    wrong_types: 'entry.json cannot be understood (facts is of a wrong type)',
    another_gpus: "it is another engine: gpu ('Orin' against 'RTX 4090')",
}


@pytest.mark.parametrize('damage', DAMAGES, ids=lambda damage: damage.__name__)
def test_obtain_damaged_or_foreign_plan_is_never_loaded_but_built_again(cache, damage):
    build, said = Builder(), Said()
    obtain(cache, build)
    damage(cache.folder / KEY.digest)
    assert cache.find(KEY) is None
    assert cache.obtain(KEY, build, said).plan == PLAN
    assert build.calls == 2
    assert len(said) == 1
    assert DAMAGES[damage] in said[0]
    assert cache.find(KEY) is not None


def test_obtain_build_that_fails_leaves_nothing(cache):
    def fail() -> BuiltPlan:
        raise ModelError('no such operator')

    with pytest.raises(ModelError, match='no such operator'):
        obtain(cache, fail)
    assert cache.entries() == []
    assert obtain(cache, Builder()) == PLAN


def test_obtain_two_processes_one_builds_the_other_waits(cache):
    first = start(cache.folder, 2.0)
    assert first.stdout is not None
    assert first.stdout.readline() == 'builds\n'
    second = start(cache.folder, 0.0)
    second_words = second.communicate(timeout=PROCESS_TIMEOUT_S)[0].splitlines()
    first_words = first.communicate(timeout=PROCESS_TIMEOUT_S)[0].splitlines()
    assert first_words[-1] == second_words[-1] == f'has {len(PLAN)}'
    assert 'builds' not in second_words
    assert second_words[0] == 'another process builds this engine: waiting for 0 s'


def test_obtain_builder_killed_half_way_the_next_builds(cache):
    killed = start(cache.folder, PROCESS_TIMEOUT_S)
    assert killed.stdout is not None
    assert killed.stdout.readline() == 'builds\n'
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=PROCESS_TIMEOUT_S)
    build = Builder()
    assert obtain(cache, build) == PLAN
    assert build.calls == 1


def test_obtain_leftover_of_a_write_half_way_is_no_engine_and_is_swept(cache):
    leftover = cache.folder / f'.new-{KEY.digest}'
    leftover.mkdir(parents=True)
    (leftover / PLAN_FILE).write_bytes(PLAN[:100])
    assert cache.find(KEY) is None
    assert cache.entries() == []
    assert obtain(cache, Builder()) == PLAN
    assert not leftover.exists()


def test_prune_leaves_what_a_living_process_writes(cache):
    building = start(cache.folder, 3.0)
    assert building.stdout is not None
    assert building.stdout.readline() == 'builds\n'
    unfinished = cache.folder / f'.new-{KEY.digest}'
    unfinished.mkdir()
    cache.prune(0)
    assert unfinished.is_dir()
    assert building.communicate(timeout=PROCESS_TIMEOUT_S)[0].endswith(f'has {len(PLAN)}\n')
    cache.prune(0)
    assert cache.entries() == []


def test_obtain_wait_that_is_cancelled_says_so(cache):
    building = start(cache.folder, 30.0)
    assert building.stdout is not None
    assert building.stdout.readline() == 'builds\n'
    with pytest.raises(ModelError, match='was cancelled'):
        cache.obtain(KEY, Builder(), lambda sentence: False)
    building.kill()
    building.communicate(timeout=PROCESS_TIMEOUT_S)


def test_obtain_folder_that_cannot_be_made_names_it_and_the_variable(tmp_path):
    (tmp_path / 'file').touch()
    build = Builder()
    with pytest.raises(ModelError) as caught:
        obtain(EngineCache(tmp_path / 'file' / 'engines'), build)
    assert f'{tmp_path}/file/engines cannot be written (Not a directory)' in str(caught.value)
    assert f'set {FOLDER_VARIABLE} to a folder that can' in str(caught.value)
    # Nobody waits minutes for an engine that cannot be kept.
    assert build.calls == 0


def test_obtain_read_only_folder_is_read_and_refused_for_writing(cache):
    obtain(cache, Builder())
    for path in (cache.folder, cache.folder / KEY.digest):
        path.chmod(0o555)
    child = os.fork()
    if child == 0:
        # Root writes everywhere; nobody does not.
        code = 1
        try:
            if os.geteuid() == 0:
                for path in cache.folder.parents:
                    with_access = path.stat().st_uid == 0 and path != Path('/')
                    if with_access and not path.stat().st_mode & 0o001:
                        path.chmod(path.stat().st_mode | 0o011)
                os.setuid(NOBODY)
            plan = cache.find(KEY)
            assert plan is not None
            assert plan.plan == PLAN
            assert not cache.store_verdict(plan, {'passed': True})
            with pytest.raises(ModelError, match=r'cannot be written \(Permission denied\)'):
                obtain(cache, Builder(), engine_key(gpu='other'))
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_prune_removes_the_least_recently_used_first(cache):
    keys = [engine_key(gpu=name) for name in ('a', 'b', 'c')]
    for age, key in enumerate(keys):
        obtain(cache, Builder(), key)
        stamp = time.time() - 1000 + age
        os.utime(cache.folder / key.digest / ENTRY_FILE, (stamp, stamp))
    # Use makes the oldest the youngest.
    assert cache.find(keys[0]) is not None
    assert [entry.key for entry in cache.entries()] == [keys[0], keys[2], keys[1]]
    size = cache.entries()[0].size_bytes
    assert [entry.key for entry in cache.prune(2 * size)] == [keys[1]]
    assert [entry.key for entry in cache.prune(0)] == [keys[0], keys[2]]
    assert cache.entries() == []


def test_obtain_limit_drops_the_old_but_never_the_new(tmp_path):
    cache = EngineCache(tmp_path, max_bytes=100)
    first, second = engine_key(gpu='a'), engine_key(gpu='b')
    obtain(cache, Builder(), first)
    obtain(cache, Builder(), second)
    assert [entry.key for entry in cache.entries()] == [second]


def test_prune_removes_what_is_damaged_whatever_its_size(cache):
    obtain(cache, Builder())
    truncate(cache.folder / KEY.digest)
    (entry,) = cache.entries()
    assert entry.problem == 'plan.engine has 16383 bytes, stored were 16384'
    assert [e.digest for e in cache.prune(1 << 40)] == [KEY.digest]
    assert cache.entries() == []


def test_verdict_is_kept_beside_its_plan_and_goes_with_it(cache):
    plan = cache.obtain(KEY, Builder(), Said())
    assert cache.verdict(plan) is None
    assert cache.store_verdict(plan, {'passed': True, 'driver': '570'})
    stored = cache.verdict(plan)
    assert stored is not None
    assert (stored['passed'], stored['driver']) == (True, '570')
    assert cache.entries()[0].verdict == stored
    lose_the_entry(cache.folder / KEY.digest)
    rebuilt = cache.obtain(KEY, Builder(PLAN[::-1]), Said())
    assert cache.verdict(rebuilt) is None


def test_verdict_of_another_plan_or_damaged_counts_as_none(cache):
    plan = cache.obtain(KEY, Builder(), Said())
    path = cache.folder / KEY.digest / VERDICT_FILE
    for text in ('{', '[]', '{"plan_sha256": "x", "passed": true}'):
        path.write_text(text)
        assert cache.verdict(plan) is None


def test_cache_folder_follows_the_variables(monkeypatch, tmp_path):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv(FOLDER_VARIABLE, 'engines')
    with pytest.raises(ConfigError, match="'engines': must be an absolute path"):
        cache_folder()
    monkeypatch.delenv(FOLDER_VARIABLE)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'depth_ros/engines'
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert cache_folder() == Path.home() / '.cache/depth_ros/engines'
