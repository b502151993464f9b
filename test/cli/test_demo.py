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

"""The demo as a person runs it, and what it says when something is wrong."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

import pytest

DEMO_SECONDS = 240


def demo(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, '-m', 'depth_ros.cli.demo', *map(str, options)],
        capture_output=True,
        text=True,
        timeout=DEMO_SECONDS,
        check=False,
    )


@pytest.mark.dds
@pytest.mark.slow
@pytest.mark.timeout(DEMO_SECONDS + 20)
def test_demo_publishes_records_and_scores_the_clip(tmp_path: Path) -> None:
    # Half the speed: what is tested is the road, not how busy this machine is.
    result = demo('--output', tmp_path, '--rate', '0.5')
    assert result.returncode == 0, result.stdout + result.stderr
    page = tmp_path / 'evaluation/report.html'
    assert str(page) in result.stdout
    assert page.stat().st_size > 0
    assert list((tmp_path / 'evaluation/pictures').glob('*.png'))
    metrics = json.loads((tmp_path / 'evaluation/metrics.json').read_text())
    # Far from what the model reaches, far from what chance reaches.
    assert metrics['depth']['abs_rel'] < 0.2
    assert metrics['depth']['a1'] > 0.7


@pytest.mark.dds
@pytest.mark.slow
def test_demo_node_that_does_not_start_is_told_with_its_reason(tmp_path: Path) -> None:
    result = demo('--output', tmp_path, '--model', tmp_path / 'absent.onnx')
    assert result.returncode == 1
    assert 'mono_depth_node' in result.stderr
    assert 'absent.onnx' in result.stderr


def test_demo_missing_clip_is_named(tmp_path: Path) -> None:
    result = demo('--output', tmp_path / 'out', '--bag', tmp_path / 'absent')
    assert result.returncode == 1
    assert str(tmp_path / 'absent') in result.stderr
    assert 'Traceback' not in result.stderr


def test_demo_output_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').touch()
    result = demo('--output', tmp_path / 'file' / 'out')
    assert result.returncode == 1
    assert f'--output {tmp_path}/file/out' in result.stderr
    assert 'Traceback' not in result.stderr
