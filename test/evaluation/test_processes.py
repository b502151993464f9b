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

"""Programs as real processes: ended well, ended badly, and hanging."""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import DepthRosError
from depth_ros.evaluation import processes
from depth_ros.evaluation.processes import local_graph, Program
import pytest

START_SECONDS = 20.0
POLITE = """
import signal, sys, time
signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
print('ready', flush=True)
time.sleep(60)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print('ready', flush=True)
time.sleep(60)
"""
BROKEN = """
print('about to fail')
raise SystemExit(3)
"""
BRIEF = "print('done')"


def start(tmp_path: Path, source: str) -> Program:
    (tmp_path / 'program_under_test.py').write_text(source)
    environment = {'PYTHONPATH': str(tmp_path)}
    return Program('program_under_test', [], tmp_path / 'log.txt', environment)


def test_stop_polite_program_ends_well(tmp_path: Path) -> None:
    with start(tmp_path, POLITE) as program:
        program.wait_for_text('ready', START_SECONDS)
        program.check_running()
        program.stop()
    assert program.output() == 'ready\n'


def test_stop_program_that_has_ended_is_an_error(tmp_path: Path) -> None:
    with start(tmp_path, BRIEF) as program:
        program.wait(START_SECONDS)
        with pytest.raises(DepthRosError, match=r'ended too early \(exit status 0\)'):
            program.stop()


def test_stop_deaf_program_is_told_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, 'STOP_SECONDS', 0.2)
    with start(tmp_path, DEAF) as program:
        program.wait_for_text('ready', START_SECONDS)
        with pytest.raises(DepthRosError, match=r'did not end within 0 s \(still running\)'):
            program.stop()
    with pytest.raises(DepthRosError, match='exit status -9'):
        program.check_running()


def test_wait_failure_shows_status_and_last_lines(tmp_path: Path) -> None:
    with start(tmp_path, BROKEN) as program, pytest.raises(DepthRosError) as caught:
        program.wait(START_SECONDS)
    assert 'failed (exit status 3)' in str(caught.value)
    assert 'about to fail' in str(caught.value)


def test_wait_other_program_dies_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / 'other').mkdir()
    with (
        start(tmp_path / 'other', BROKEN) as other,
        start(tmp_path, POLITE) as program,
        pytest.raises(DepthRosError, match='about to fail'),
    ):
        program.wait(START_SECONDS, others=[other])


def test_wait_for_text_that_never_comes_is_an_error(tmp_path: Path) -> None:
    with (
        start(tmp_path, POLITE) as program,
        pytest.raises(DepthRosError, match='did not print "never"'),
    ):
        program.wait_for_text('never', 0.3)


def test_local_graph_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    assert local_graph()['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert 1 <= int(local_graph()['ROS_DOMAIN_ID']) <= 100
    assert 'ROS_LOCALHOST_ONLY' not in local_graph()
    monkeypatch.setenv('ROS_DISTRO', 'humble')
    assert local_graph()['ROS_LOCALHOST_ONLY'] == '1'
