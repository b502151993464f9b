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

"""Bad images, calibrations, stamps and settings: what stops, what goes on, and what is said."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from test.nodes import depth_graph as graph
from test.synthetic import intrinsics
import time
from typing import Any

from depth_ros.nodes.outputs import DEPTH
import pytest
from std_msgs.msg import Header

pytestmark = pytest.mark.dds

Live = tuple[graph.NodeProcess, graph.DepthGraph]
Spoil = Callable[[Any, Any], None]
HOUR_NS = 3600 * graph.NS_PER_S


def set_fields(**values: Any) -> Spoil:
    def spoil(message: Any, _info: Any) -> None:
        for name, value in values.items():
            setattr(message, name, value)

    return spoil


def set_info(**values: Any) -> Spoil:
    def spoil(_message: Any, info: Any) -> None:
        set_fields(**values)(info, None)

    return spoil


K = [100.0, 0.0, 63.5, 0.0, 100.0, 47.5, 0.0, 0.0, 1.0]
BAD_INPUT: dict[str, tuple[Spoil, str, str]] = {
    'unknown_encoding': (set_fields(encoding='pal8'), 'bad image', "'pal8'"),
    'sixteen_bit': (set_fields(encoding='mono16'), 'bad image', "'mono16'"),
    'float_image': (set_fields(encoding='32FC1'), 'bad image', "'32FC1'"),
    'short_data': (set_fields(data=array('B', bytes(100))), 'bad image', 'data has 100 bytes'),
    'no_data': (set_fields(data=array('B')), 'bad image', 'data has 0 bytes'),
    'zero_size': (set_fields(width=0, height=0), 'bad image', 'size 0x0'),
    'small_step': (set_fields(step=5), 'bad image', 'step 5'),
    'k_zero': (set_info(k=[0.0] * 9, p=[0.0] * 12), 'bad camera_info', 'fx = 0.0'),
    'k_nan': (set_info(k=[float('nan'), *K[1:]]), 'bad camera_info', 'nan'),
    'bad_model': (set_info(distortion_model='magic'), 'bad camera_info', "'magic'"),
    'other_frame': (
        set_info(header=Header(frame_id='rear_optical')),
        'image and camera_info disagree',
        "is for 'rear_optical'",
    ),
    'wrong_size': (set_info(width=640, height=480), 'image and camera_info disagree', '640x480'),
}


@pytest.mark.parametrize('case', BAD_INPUT)
def test_bad_input_is_dropped_counted_and_named(live: Live, case: str) -> None:
    node, camera = live
    spoil, reason, words = BAD_INPUT[case]
    camera.connect(DEPTH)
    camera.spin(0.4)
    key = f'dropped: {reason}'
    before = int(camera.value('depth', key))
    now_ns = time.time_ns()
    image, info = graph.image_message(graph.grey(99), now_ns), graph.camera_info(now_ns)
    spoil(image, info)
    camera.infos.publish(info)
    camera.spin(0.1)
    camera.send(image)
    assert camera.spin_until(lambda: int(camera.value('depth', key)) == before + 1)
    assert words in camera.value('depth', 'last problem')
    assert not camera.received[DEPTH]
    # The stream goes on.
    camera.connect(DEPTH)
    assert node.process.poll() is None


def test_frame_that_the_image_leaves_empty_is_that_of_camera_info(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH)
    now_ns = time.time_ns()
    image = graph.image_message(graph.grey(99), now_ns)
    image.header.frame_id = ''
    camera.send(image, graph.camera_info(now_ns))
    depth = camera.answer_to(now_ns, (DEPTH,))[DEPTH]
    assert depth.header.frame_id == graph.FRAME_ID


def test_a_flood_of_bad_frames_warns_at_most_once_a_second(live: Live) -> None:
    node, camera = live
    camera.connect(DEPTH)
    before = node.output().count('frame dropped')
    for _ in range(30):
        camera.send(graph.image_message(graph.grey(9), time.time_ns(), encoding='pal8'))
        camera.spin(0.05)
    warnings = node.output().count('frame dropped') - before
    assert 1 <= warnings <= 3
    camera.until_message('depth', 'no image could be used')


def test_camera_info_that_changes_mid_stream_is_followed(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH)
    other = intrinsics(64, 48, focal=70.0)
    for _ in range(3):
        stamp_ns = camera.send_grey(128, other)
        camera.spin(0.1)
    depth = graph.pixels_of(camera.answer_to(stamp_ns, (DEPTH,))[DEPTH])
    assert depth.shape == (48, 64)
    camera.spin(0.4)
    assert int(camera.value('depth', 'reset: size_change')) >= 1


@pytest.mark.parametrize(('shift_ns', 'reason'), [(-HOUR_NS, 'jump_back'), (3 * HOUR_NS, 'gap')])
def test_stamps_that_jump_are_processed_after_a_reset(
    live: Live, shift_ns: int, reason: str
) -> None:
    _, camera = live
    camera.connect(DEPTH)
    camera.spin(0.4)
    before = int(camera.value('depth', f'reset: {reason}') or 0)
    stamp_ns = time.time_ns() + shift_ns
    camera.send(graph.image_message(graph.grey(128), stamp_ns), graph.camera_info(stamp_ns))
    camera.answer_to(stamp_ns, (DEPTH,))
    status = camera.until_message('depth', 'stamps and the node')
    hours = -shift_ns / graph.NS_PER_S
    assert f'disagree by {hours:.0f}'[:-3] in status.message
    assert int(camera.value('depth', f'reset: {reason}')) == before + 1
    latency = camera.value('depth', 'stamp to publish p50 / p95 / p99 [ms]')
    assert all(float(each) < 5000 for each in latency.split(' / '))


def test_images_without_camera_info_are_dropped_and_named(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    with (
        graph.NodeProcess(
            tmp_path / 'log', domain_id=domain_id, parameters={'model': model}
        ) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        node.wait_for('model synthetic')
        camera.until_message('input', 'has a publisher but no image')
        camera.node.destroy_publisher(camera.infos)
        camera.listen(DEPTH)
        for _ in range(10):
            stamp_ns = camera.send(graph.image_message(graph.grey(128), time.time_ns()))
            camera.spin(0.1)
        camera.until_message('input', 'nobody publishes /camera_info')
        node.wait_for('no camera_info has arrived on /camera_info')
        assert not camera.received[DEPTH]
        # The image that waits is used as soon as the calibration comes.
        camera.infos = camera.node.create_publisher(type(graph.camera_info(0)), 'camera_info', 1)
        # The node may discover this publisher later than the publisher discovers the node.
        stop_at = time.monotonic() + graph.START_S
        while not camera.received[DEPTH] and time.monotonic() < stop_at:
            camera.infos.publish(graph.camera_info(stamp_ns))
            camera.spin(0.1)
        camera.answer_to(stamp_ns, (DEPTH,))


def test_missing_and_incompatible_publishers_are_told(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    parameters = {'model': model, 'qos_overrides./image.subscription.reliability': 'reliable'}
    with (
        graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters),
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        camera.until_message('input', '/image is published with incompatible QoS')
        camera.node.destroy_publisher(camera.images)
        camera.until_message('input', 'nobody publishes /image')


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    'unknown_key': ({'points.strid': 2}, "'points.strid' does not exist: did you mean 'points"),
    'out_of_range': ({'points.stride': 0}, 'points.stride = 0: must be between 1 and 64'),
    'wrong_type': ({'points.stride': 'two'}, "points.stride = 'two': must be an integer"),
    'wrong_choice': ({'depth.encoding': '8UC1'}, "depth.encoding = '8UC1': must be one of"),
    'no_model': ({'model': '/nowhere/net.onnx'}, "'/nowhere/net.onnx' does not exist"),
    'no_engine': ({'engine': 'abacus'}, "engine = 'abacus': must be one of"),
    'contradiction': (
        {'depth.color_min_m': 9, 'depth.color_max_m': 3},
        'depth.color_min_m, depth.color_max_m = (9.0, 3.0)',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_wrong_settings_end_the_node_with_one_sentence(
    model: Path, tmp_path: Path, case: str
) -> None:
    changes, sentence = REFUSED[case]
    parameters = {'model': model, **changes}
    domain_id = graph.domain()
    with graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters) as node:
        assert node.ended() == 1
        assert sentence in node.output()
        assert 'Traceback' not in node.output()


def test_unknown_key_of_a_parameter_file_ends_the_node(model: Path, tmp_path: Path) -> None:
    file = tmp_path / 'car.yaml'
    file.write_text(f'/**:\n  ros__parameters:\n    model: {model}\n    points:\n      max: 3.0\n')
    with graph.NodeProcess(
        tmp_path / 'log', domain_id=graph.domain(), arguments=('--params-file', str(file))
    ) as node:
        assert node.ended() == 1
        assert "parameter 'points.max' does not exist" in node.output()


ARGUMENTS = {
    'stray': (('--', '--stride', '2'), "arguments ['--stride', '2'] are not understood"),
    'no_file': (('--params-file', '/nowhere.yaml'), '/nowhere.yaml'),
}


@pytest.mark.parametrize('case', ARGUMENTS)
def test_arguments_that_rclpy_would_ignore_end_the_node(tmp_path: Path, case: str) -> None:
    arguments, sentence = ARGUMENTS[case]
    with graph.NodeProcess(
        tmp_path / 'log', domain_id=graph.domain(), arguments=arguments
    ) as node:
        assert node.ended() == 1
        assert sentence in node.output()
        assert 'Traceback' not in node.output()


def test_a_truncated_model_ends_the_node_with_its_name(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(model.read_bytes()[:100])
    with graph.NodeProcess(
        tmp_path / 'log', domain_id=graph.domain(), parameters={'model': broken}
    ) as node:
        assert node.ended() == 1
        assert 'broken.onnx' in node.output()
        assert 'Traceback' not in node.output()
