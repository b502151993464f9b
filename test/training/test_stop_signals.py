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

"""The first signal is a note, the second one ends the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from test.project import ROOT

import pytest
from training.stop_signals import StopSignals


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signal_is_noted_and_handlers_come_back(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    stop = StopSignals()
    with stop.caught():
        assert stop.number == 0
        os.kill(os.getpid(), number)
        assert stop.number == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


def test_second_interrupt_is_one() -> None:
    with StopSignals().caught():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


TWICE = """
import os, signal
from training.stop_signals import StopSignals
with StopSignals().caught():
    os.kill(os.getpid(), signal.SIGTERM)
    print('noted', flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
    print('never')
"""


def test_second_termination_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, '-c', TWICE], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == 'noted\n'
