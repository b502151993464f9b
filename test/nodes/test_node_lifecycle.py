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

"""Lifecycle, live parameters, and clean stops of the node's process."""

from __future__ import annotations

from pathlib import Path
import signal
from test.nodes import depth_graph as graph
import time
from typing import Any

from depth_ros.nodes.outputs import DEPTH, POINTS
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, SetParameters

pytestmark = pytest.mark.dds

Live = tuple[graph.NodeProcess, graph.DepthGraph]
NODE = '/mono_depth_node'
REPETITIONS = 3


def call(camera: graph.DepthGraph, kind: type, name: str, request: Any) -> Any:
    client = camera.node.create_client(kind, f'{NODE}/{name}')
    assert camera.spin_until(client.service_is_ready, graph.START_S)
    future = client.call_async(request)
    assert camera.spin_until(future.done, graph.START_S)
    camera.node.destroy_client(client)
    return future.result()


def change(camera: graph.DepthGraph, transition_id: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition_id))
    return bool(call(camera, ChangeState, 'change_state', request).success)


def state(camera: graph.DepthGraph) -> int:
    return int(call(camera, GetState, 'get_state', GetState.Request()).current_state.id)


def set_parameter(camera: graph.DepthGraph, name: str, value: Any) -> Any:
    kinds = {
        bool: ('bool_value', ParameterType.PARAMETER_BOOL),
        int: ('integer_value', ParameterType.PARAMETER_INTEGER),
        float: ('double_value', ParameterType.PARAMETER_DOUBLE),
        str: ('string_value', ParameterType.PARAMETER_STRING),
    }
    field, kind = kinds[type(value)]
    message = Parameter(name=name, value=ParameterValue(type=kind, **{field: value}))
    request = SetParameters.Request(parameters=[message])
    return call(camera, SetParameters, 'set_parameters', request).results[0]


def test_live_changes_are_applied(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH, POINTS)
    for name, value in (
        ('depth.encoding', '16UC1'),
        ('points.stride', 4),
        ('points.organized', False),
        ('points.max_depth_m', 60),
    ):
        assert set_parameter(camera, name, value).successful
    found = camera.answer_to(camera.send_grey(128), (DEPTH, POINTS))
    assert found[DEPTH].encoding == '16UC1'
    assert (found[POINTS].height, found[POINTS].width) == (1, 24 * 32)
    assert set_parameter(camera, 'points.max_depth_m', 40.0).successful
    found = camera.answer_to(camera.send_grey(128), (DEPTH, POINTS))
    assert found[POINTS].width == 0


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('model', 'other.onnx', "model = 'other.onnx': the node runs with"),
        ('queue_size', 3, 'queue_size = 3: the node runs with 2'),
        ('points.stride', 100, '100'),
        ('points.max_depth_m', -1.0, '-1.0'),
        ('points.max_depth_m', 'far', "points.max_depth_m = 'far': must be a number"),
        ('diagnostics_period_s', 0.0, '0.0'),
        ('autostart', False, 'read-only'),
    ],
)
def test_changes_that_cannot_be_applied_are_refused_with_a_reason(
    live: Live, name: str, value: Any, words: str
) -> None:
    _, camera = live
    result = set_parameter(camera, name, value)
    assert not result.successful
    assert words in result.reason


def test_descriptors_tell_meaning_and_range(live: Live) -> None:
    _, camera = live
    request = DescribeParameters.Request(names=['points.stride', 'autostart'])
    stride, autostart = call(
        camera, DescribeParameters, 'describe_parameters', request
    ).descriptors
    assert (stride.integer_range[0].from_value, stride.integer_range[0].to_value) == (1, 64)
    assert '[pixels]' in stride.description
    assert autostart.read_only


def test_lifecycle_runs_through_all_states(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    parameters = {'model': '/nowhere.onnx', 'autostart': False}
    with (
        graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        assert state(camera) == State.PRIMARY_STATE_UNCONFIGURED
        assert not change(camera, Transition.TRANSITION_CONFIGURE)
        camera.until_message('model', "'/nowhere.onnx' does not exist")
        assert state(camera) == State.PRIMARY_STATE_UNCONFIGURED
        assert set_parameter(camera, 'model', str(model)).successful
        for _ in range(2):
            assert change(camera, Transition.TRANSITION_CONFIGURE)
            camera.until_message('input', 'node is inactive')
            assert change(camera, Transition.TRANSITION_ACTIVATE)
            camera.connect(DEPTH)
            assert change(camera, Transition.TRANSITION_DEACTIVATE)
            camera.send_grey(100)
            camera.spin(0.3)
            assert not camera.received[DEPTH]
            assert camera.images.get_subscription_count() == 0
            assert change(camera, Transition.TRANSITION_CLEANUP)
            assert camera.node.count_publishers('/depth/image_rect') == 0
        assert change(camera, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert node.stop() == 0


SIGNALS = {
    'one_sigint': [(signal.SIGINT, 0.0)],
    'two_sigints_5_ms': [(signal.SIGINT, 0.005), (signal.SIGINT, 0.0)],
    'two_sigints_20_ms': [(signal.SIGINT, 0.02), (signal.SIGINT, 0.0)],
    'sigterm': [(signal.SIGTERM, 0.0)],
    'sigint_sigterm': [(signal.SIGINT, 0.01), (signal.SIGTERM, 0.0)],
}


@pytest.mark.parametrize('case', SIGNALS)
def test_signals_end_a_busy_node_cleanly(model: Path, tmp_path: Path, case: str) -> None:
    for repetition in range(REPETITIONS):
        domain_id = graph.domain()
        log = tmp_path / f'log{repetition}'
        with (
            graph.NodeProcess(log, domain_id=domain_id, parameters={'model': model}) as node,
            graph.DepthGraph(domain_id=domain_id) as camera,
        ):
            camera.connect(DEPTH)
            for number, pause_s in SIGNALS[case]:
                node.process.send_signal(number)
                time.sleep(pause_s)
            assert node.ended(5.0) == 0, node.output()
            assert 'Traceback' not in node.output()


def test_an_engine_that_fails_ends_the_process(tmp_path: Path) -> None:
    domain_id = graph.domain()
    broken = graph.write_model_that_fails_on(tmp_path / 'fails.onnx', brightness=200)
    with (
        graph.NodeProcess(
            tmp_path / 'log', domain_id=domain_id, parameters={'model': broken}
        ) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        camera.connect(DEPTH)
        camera.send_grey(255)
        camera.spin(0.5)
        assert node.ended() == 1
        assert 'the node ends' in node.output()
