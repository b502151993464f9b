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
"""Python signal handlers outlive OpenVINO engines."""

import subprocess
import sys
from test.engines.graphs import network_file
from test.project import ROOT

import pytest

SIGNAL_AFTER_ENGINES = """
import os, signal, sys
from pathlib import Path
from depth_ros.engines.factory import BACKENDS
from depth_ros.engines.onnx_file import read_onnx_file
file = read_onnx_file(Path(sys.argv[1]))
first, second = (BACKENDS['openvino'].open(file, 1) for _ in range(2))
first.close(); del first
second.close(); del second
signal.signal(signal.SIGUSR1, lambda *_: print('handled'))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_openvino_engines_were_closed(tmp_path):
    # OpenVINO's CPU plugin gives its thread a signal stack of its own and takes it back when it
    # goes: with two plugins, one of them already freed, a Python signal handler then crashes.
    pytest.importorskip('openvino', reason='OpenVINO is not installed')
    path = network_file(tmp_path / 'a.onnx')
    result = subprocess.run(
        [sys.executable, '-c', SIGNAL_AFTER_ENGINES, str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, 'handled\n'), result.stderr
