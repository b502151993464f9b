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

"""One running node for the tests that do not need their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from test.nodes import depth_graph as graph  # noqa: E402, I100


@pytest.fixture(scope='session')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return graph.write_model(tmp_path_factory.mktemp('model') / 'brightness.onnx')


@pytest.fixture(scope='module')
def live(
    model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[graph.NodeProcess, graph.DepthGraph]]:
    """Yield a node and a camera on a domain that one test file shares."""
    domain_id = graph.domain()
    log = tmp_path_factory.mktemp('node') / 'node.log'
    parameters: dict[str, Any] = {'model': model}
    with (
        graph.NodeProcess(log, domain_id=domain_id, parameters=parameters) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        node.wait_for('model synthetic')
        yield node, camera
        assert node.stop() == 0, node.output()
