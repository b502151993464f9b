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

"""An engine that is built before the first frame is told: on terminals, in pipes, by workers."""

from __future__ import annotations

import io
from pathlib import Path
from test.engines.simulated_gpu import SimulatedRuntime, SimulatedTensorRt
from test.evaluation.scenes import Drive, write_drive, write_model
import time
from typing import Any

from depth_ros.cli.evaluate import main
from depth_ros.cli.progress_rows import progress_rows
from depth_ros.engines import cuda_memory, tensorrt_store
from depth_ros.engines.engine_cache import BuiltPlan, FOLDER_VARIABLE
from depth_ros.engines.tensorrt_library import Library
from depth_ros.evaluation.progress_lines import ProgressLines
import pytest
from rich.console import Console

BUILDING = 'building the tensorrt engine of brightness.onnx'


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Let a simulated TensorRT build slowly; return what it has built."""
    runtime = SimulatedRuntime()
    tensorrt = SimulatedTensorRt(runtime)
    built: list[str] = []

    def build(library: Any, file: Any, *given: Any) -> BuiltPlan:
        built.append(file.path.name)
        progress = given[-1]
        for share in (0, 42, 99):
            assert progress(f'{BUILDING}: {share} %')
        return BuiltPlan(plan=tensorrt.plan(file.path), facts={})

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / 'engines'))
    monkeypatch.setattr(cuda_memory, '_import', lambda: runtime)
    monkeypatch.setattr(
        tensorrt_store, 'open_library', lambda name: Library(name=name, api=tensorrt)
    )
    monkeypatch.setattr(tensorrt_store, 'build_plan', build)
    return built


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path, Path]:
    bags = [write_drive(tmp_path / name, Drive(frames=3)) for name in ('one', 'two')]
    return (*bags, write_model(tmp_path / 'brightness.onnx'))


def evaluate(model: Path, output: Path, *bags: Path) -> int:
    options = ['--model', model, '--engine', 'tensorrt', '--output', output, '--crop', 'none']
    return main([str(word) for word in [*bags, *options, '--checks', '--pictures', '0']])


def test_evaluate_tells_of_an_engine_that_it_builds_once(
    builds: list[str],
    inputs: tuple[Path, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, _, model = inputs
    assert evaluate(model, tmp_path / 'out', one) == 0
    told = capsys.readouterr()
    assert f'loading: {BUILDING}: 0 %' in told.err
    assert 'tensorrt 10.3' in told.out
    assert evaluate(model, tmp_path / 'again', one) == 0
    assert 'building' not in capsys.readouterr().err
    assert builds == ['brightness.onnx']


def test_evaluate_of_many_bags_tells_which_one_builds(
    builds: list[str],
    inputs: tuple[Path, Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two, model = inputs
    assert evaluate(model, tmp_path / 'out', one, two) == 0
    assert f'one: {BUILDING}: 0 %' in capsys.readouterr().err
    assert len(builds) == 1


def test_row_on_a_terminal_says_what_is_done_until_frames_come() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120)
    with progress_rows(console) as show:
        show('drive', 0, 0, 'building the engine: 42 %')
        shown(stream, 'drive: building the engine: 42 %')
        show('drive', 1, 5)
        shown(stream, '1/5')
        assert 'building' not in stream.getvalue().rpartition('1/5')[0].rpartition('drive')[2]


def shown(stream: io.StringIO, text: str) -> None:
    """Wait until the terminal shows it: it is drawn ten times a second."""
    deadline = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, stream.getvalue()
        time.sleep(0.05)


def test_lines_come_at_once_and_then_now_and_then() -> None:
    lines: list[str] = []
    rare, all_of_them = ProgressLines(lines.append), ProgressLines(lines.append, 0.0)
    assert all(rare(f'{share} %') for share in range(3))
    assert lines == ['0 %']
    assert all(all_of_them(f'{share} %') for share in range(3))
    assert lines == ['0 %', '0 %', '1 %', '2 %']
