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

"""The node while an engine is built, and with engines that this machine cannot run."""

from __future__ import annotations

from pathlib import Path
from test.nodes import depth_graph as graph
from test.nodes.slow_start_node import SECONDS_VARIABLE

from depth_ros.nodes.outputs import DEPTH
import pytest

pytestmark = pytest.mark.dds

SLOW_NODE = 'test.nodes.slow_start_node'


def test_building_is_told_in_log_and_diagnostics_and_then_depth_comes(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than two processes need to find each other on a busy machine.
    monkeypatch.setenv(SECONDS_VARIABLE, '10')
    domain_id = graph.domain()
    with (
        graph.DepthGraph(domain_id=domain_id) as camera,
        graph.NodeProcess(
            tmp_path / 'log', domain_id=domain_id, parameters={'model': model}, module=SLOW_NODE
        ) as node,
    ):
        status = camera.until_message('model', 'building the engine: ')
        assert status.message.endswith(' %')
        node.wait_for('building the engine: ')
        node.wait_for('model synthetic')
        # Fifty steps in ten seconds are a few lines in the log.
        assert 1 <= node.output().count('building the engine') <= 4
        camera.until_message('model', 'synthetic on onnxruntime')
        camera.connect(DEPTH)
        assert node.stop() == 0, node.output()


def test_a_stop_while_building_ends_the_node_cleanly(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, '60')
    with graph.NodeProcess(
        tmp_path / 'log',
        domain_id=graph.domain(),
        parameters={'model': model},
        module=SLOW_NODE,
    ) as node:
        node.wait_for('building the engine: ')
        assert node.stop() == 0, node.output()
        assert 'building was cancelled' in node.output()
        assert 'FATAL' not in node.output()


@pytest.mark.parametrize('engine', ['tensorrt', 'tensorrt_rtx', 'onnxruntime_cuda'])
def test_engine_that_this_machine_cannot_run_is_refused_with_what_to_do(
    model: Path, tmp_path: Path, engine: str
) -> None:
    if any(Path('/dev').glob('nvidia[0-9]*')):
        pytest.skip('there is a GPU here')
    with graph.NodeProcess(
        tmp_path / 'log',
        domain_id=graph.domain(),
        parameters={'model': model, 'engine': engine},
    ) as node:
        assert node.ended() == 1
        said = node.output()
        assert 'pip install' in said or 'install its driver' in said
