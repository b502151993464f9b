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

"""What `make` and CI do where something is missing or fails."""

from __future__ import annotations

import os
from pathlib import Path
import platform
import subprocess
import sys
from test.project import ROOT

import pytest

SECONDS = 60


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in command],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def executable(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o755)
    return path


needs_wheels = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ('Linux', 'x86_64'),
    reason='the ROS 2 wheels, and so tools/venv.sh, are for Linux x86-64',
)


@needs_wheels
def test_environment_without_a_fitting_python_says_which_were_tried(tmp_path: Path) -> None:
    result = run('tools/venv.sh', tmp_path / 'venv', PYTHON='no-such-python')
    assert result.returncode == 1
    assert 'no Python 3.10 to 3.13 among: no-such-python' in result.stderr
    assert not (tmp_path / 'venv').exists()


@needs_wheels
def test_environment_without_venv_and_virtualenv_names_the_package(tmp_path: Path) -> None:
    # A Python as Debian ships it without python3-venv: both imports fail.
    refuse = 'case "$*" in *ensurepip*|*virtualenv*) exit 1;; esac'
    body = f'#!/bin/sh\n{refuse}\nexec {sys.executable} "$@"\n'
    python = executable(tmp_path / 'python', body)
    result = run('tools/venv.sh', tmp_path / 'venv', PYTHON=str(python))
    assert result.returncode == 1
    assert 'sudo apt install python3.' in result.stderr


@needs_wheels
def test_environment_on_another_machine_names_it(tmp_path: Path) -> None:
    executable(
        tmp_path / 'uname', '#!/bin/sh\ncase $1 in -s) echo Linux;; -m) echo aarch64;; esac\n'
    )
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    result = run('tools/venv.sh', tmp_path / 'venv', PATH=path)
    assert result.returncode == 1
    assert 'this is Linux aarch64' in result.stderr


@pytest.mark.parametrize('failing', ['lint', 'test'])
def test_ci_fails_when_a_target_fails(tmp_path: Path, failing: str) -> None:
    executable(tmp_path / 'make', f'#!/bin/sh\necho "make $1"\n[ "$1" != {failing} ]\n')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    result = run('bash', '.ci/run', CI='true', PATH=path)
    assert result.returncode == 1


def test_ci_runs_the_two_commands_of_the_documents(tmp_path: Path) -> None:
    executable(tmp_path / 'make', '#!/bin/sh\necho "make $*"\n')
    path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
    result = run('bash', '.ci/run', CI='true', PATH=path)
    assert result.returncode == 0
    assert result.stdout.splitlines() == ['make lint', 'make test']
