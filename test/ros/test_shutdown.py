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

"""One flag for every way to stop; real signals are tested on the node's own process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.ros.shutdown import spin, StopRequest  # noqa: E402, I100

PROGRAM = """
import sys, time
from depth_ros.ros.shutdown import ignore_stop_signals, install_stop_signals, StopRequest
stop = StopRequest()
install_stop_signals(stop)
print('ready', flush=True)
stop.wait(20.0)
time.sleep(0.3)
ignore_stop_signals()
print('stopped', stop.is_set, flush=True)
sys.exit(stop.exit_code)
"""


class CountingExecutor:
    """Ask for the stop after some rounds."""

    def __init__(self, stop: StopRequest, rounds: int) -> None:
        self._stop, self.left = stop, rounds

    def spin_once(self, timeout_sec: float) -> None:
        self.left -= 1
        if self.left == 0:
            self._stop.set(exit_code=3)


def test_spin_returns_the_exit_code_once_the_stop_is_set() -> None:
    stop = StopRequest()
    executor = CountingExecutor(stop, 5)
    assert spin(executor, stop) == 3
    assert executor.left == 0


def test_the_first_failure_stays_whatever_follows() -> None:
    stop = StopRequest()
    stop.set(exit_code=1)
    stop.set()
    assert (stop.is_set, stop.exit_code, stop.wait(0.0)) == (True, 1, True)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_many_signals_are_one_stop(number: signal.Signals) -> None:
    program = subprocess.Popen(
        [sys.executable, '-c', PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    assert program.stdout is not None
    assert program.stdout.readline() == 'ready\n'
    for _ in range(5):
        program.send_signal(number)
        time.sleep(0.01)
    out, errors = program.communicate(timeout=20.0)
    assert (program.returncode, out, errors) == (0, 'stopped True\n', '')
