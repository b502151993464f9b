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

"""What mono_depth_node publishes, received in another process over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import signal
from test.nodes import depth_graph as graph
from test.synthetic import intrinsics
import time
from typing import Any

import cv2
from depth_ros.core.message_fields import read_field, read_xyz
from depth_ros.nodes.outputs import COLOR, DEPTH, DEPTH_INFO, POINTS, TYPES, UNCERTAINTY
import numpy as np
import pytest
import rclpy.subscription
from sensor_msgs.msg import CompressedImage

pytestmark = pytest.mark.dds

ALL = tuple(TYPES)
VGA = intrinsics(640, 480, focal=400.0)
HD = intrinsics(1280, 720, focal=900.0)
Live = tuple[graph.NodeProcess, graph.DepthGraph]
# Brightness 128 of 255 at 100 m for white.
MIDDLE_M = 100 * 128 / 255
# rclpy before Kilted does not tell who sent a message.
MessageInfo = getattr(rclpy.subscription, 'MessageInfo', None)
TELLS_PUBLISHER = 'publisher_gid' in MessageInfo.__annotations__ if MessageInfo else False


def banded() -> np.ndarray[Any, Any]:
    """Return black (too close), middle grey and white (beyond the model's range) thirds."""
    pixels = graph.grey(128)
    pixels[:32], pixels[64:] = 0, 255
    return pixels


def answers(camera: graph.DepthGraph, message: Any, topics: tuple[str, ...] = ALL) -> Any:
    info = graph.camera_info(graph.stamp_of(message))
    return camera.answer_to(camera.send(message, info), topics)


def test_every_output_has_stamp_and_frame_of_the_image(live: Live) -> None:
    _, camera = live
    camera.connect(*ALL)
    stamp_ns = time.time_ns() - 3_000_000
    for message in answers(camera, graph.image_message(graph.grey(128), stamp_ns)).values():
        assert graph.stamp_of(message) == stamp_ns
        assert message.header.frame_id == graph.FRAME_ID


def test_depth_is_metres_with_rep_117_values(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH)
    message = answers(camera, graph.image_message(banded(), time.time_ns()), (DEPTH,))[DEPTH]
    depth = graph.pixels_of(message)
    assert message.encoding == '32FC1'
    assert depth.shape == (96, 128)
    assert np.all(depth[:24] == -np.inf)
    assert depth[44:52] == pytest.approx(MIDDLE_M, rel=1e-5)
    assert np.all(depth[72:] == np.inf)


def test_uncertainty_is_metres_and_nan_exactly_where_depth_is(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH, UNCERTAINTY)
    now_ns = time.time_ns()
    # A barrel lens leaves corners of the rectified image unseen.
    bent = graph.camera_info(now_ns, d=[-0.4, 0.1, 0.0, 0.0, 0.0])
    bent.p = [60.0, 0.0, bent.k[2], 0.0, 0.0, 60.0, bent.k[5], 0.0, 0.0, 0.0, 1.0, 0.0]
    camera.send(graph.image_message(graph.grey(128), now_ns), bent)
    # The calibration may arrive after the image: the second image surely has it.
    camera.spin(0.3)
    stamp_ns = camera.send(graph.image_message(graph.grey(128), time.time_ns()))
    found = camera.answer_to(stamp_ns, (DEPTH, UNCERTAINTY))
    depth, sigma = graph.pixels_of(found[DEPTH]), graph.pixels_of(found[UNCERTAINTY])
    assert found[UNCERTAINTY].encoding == '32FC1'
    assert 0 < np.isnan(depth).sum() < depth.size
    assert np.array_equal(np.isnan(depth), np.isnan(sigma))
    centre = (slice(40, 56), slice(48, 80))
    assert depth[centre] == pytest.approx(MIDDLE_M, rel=1e-4)
    assert sigma[centre] == pytest.approx(graph.SIGMA_SHARE * MIDDLE_M, rel=1e-3)


def test_points_lie_on_the_rays_with_colour_and_uncertainty(live: Live) -> None:
    _, camera = live
    camera.connect(POINTS)
    message = answers(camera, graph.image_message(banded(), time.time_ns()), (POINTS,))[POINTS]
    assert (message.height, message.width, message.point_step) == (96, 128, 20)
    assert [field.name for field in message.fields] == ['x', 'y', 'z', 'rgb', 'uncertainty']
    assert not message.is_dense
    xyz = read_xyz(message).reshape(96, 128, 3)
    assert np.isnan(xyz[:24]).all()
    assert np.isnan(xyz[72:]).all()
    size = graph.SIZE
    expected = [(100 - size.cx) / size.fx, (48 - size.cy) / size.fy, 1.0]
    assert xyz[48, 100] == pytest.approx(np.array(expected) * MIDDLE_M, rel=1e-4)
    rgb = read_field(message, 'rgb')
    sigma = read_field(message, 'uncertainty')
    assert rgb is not None
    assert sigma is not None
    assert rgb.reshape(96, 128)[48, 100].view(np.uint32) == 0x808080
    assert sigma.reshape(96, 128)[48, 100] == pytest.approx(graph.SIGMA_SHARE * MIDDLE_M, rel=1e-3)


def test_reused_messages_keep_each_frame_apart(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH, POINTS)
    values = {camera.send_grey(value): value for value in _paced(camera, range(50, 200, 15))}
    camera.spin(0.3)
    assert len(camera.received[DEPTH]) >= len(values) // 2
    for message in camera.received[DEPTH]:
        expected = 100 * values[graph.stamp_of(message)] / 255
        assert graph.pixels_of(message) == pytest.approx(expected, rel=1e-4)
    for message in camera.received[POINTS]:
        expected = 100 * values[graph.stamp_of(message)] / 255
        assert read_xyz(message)[:, 2] == pytest.approx(expected, rel=1e-4)


def _paced(camera: graph.DepthGraph, values: range) -> Iterator[int]:
    """Yield the values in quick succession, receiving in between."""
    for value in values:
        yield value
        camera.spin(0.01)


def test_camera_info_repeats_k_at_camera_resolution(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH_INFO)
    message = graph.image_message(graph.grey(128), time.time_ns())
    info = answers(camera, message, (DEPTH_INFO,))[DEPTH_INFO]
    size = graph.SIZE
    assert (info.width, info.height) == (size.width, size.height)
    assert list(info.k) == pytest.approx(size.K_33.ravel().tolist())
    assert list(info.p) == pytest.approx([*_row(info.k, 0), *_row(info.k, 1), *_row(info.k, 2)])
    assert not any(info.d)
    assert list(info.r) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]


def _row(k: Any, row: int) -> list[float]:
    return [*np.reshape(k, (3, 3))[row].tolist(), 0.0]


def test_image_color_is_a_picture(live: Live) -> None:
    _, camera = live
    camera.connect(COLOR)
    message = answers(camera, graph.image_message(banded(), time.time_ns()), (COLOR,))[COLOR]
    assert message.encoding == 'bgr8'
    picture = graph.pixels_of(message)
    near, far = picture[5, 5].astype(int), picture[90, 5].astype(int)
    assert near[2] > near[0]
    assert far[0] > far[2]


def test_a_720p_image_arrives_from_a_best_effort_camera(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH)
    stamps = set()
    for _ in range(10):
        stamps.add(camera.send_grey(90, HD))
        camera.spin(0.2)
    # Without the shared-memory profile not one arrives; a busy machine loses some.
    arrived = {graph.stamp_of(message) for message in camera.received[DEPTH]} & stamps
    assert len(arrived) >= 3
    assert graph.pixels_of(camera.received[DEPTH][-1]).shape == (720, 1280)


def test_nobody_listening_means_no_inference(live: Live) -> None:
    _, camera = live
    camera.listen()
    camera.spin(0.7)
    before = int(camera.value('depth', 'published'))
    for _ in range(3):
        camera.send_grey(100)
        camera.spin(0.1)
    camera.until_message('depth', 'nobody subscribes')
    camera.spin(0.7)
    assert int(camera.value('depth', 'published')) == before
    assert int(camera.value('depth', 'dropped: nobody listens')) >= 3


@pytest.mark.parametrize('encoding', ['rgb8', 'bgra8', 'rgba8', 'mono8', 'bayer_rggb8'])
def test_encodings_of_one_grey_give_the_same_depth(live: Live, encoding: str) -> None:
    _, camera = live
    camera.connect(DEPTH)
    channels = {'rgb8': 3, 'mono8': 1, 'bayer_rggb8': 1}.get(encoding, 4)
    pixels = np.full((96, 128, channels), 128, np.uint8)
    message = graph.image_message(pixels, time.time_ns(), encoding=encoding)
    depth = graph.pixels_of(answers(camera, message, (DEPTH,))[DEPTH])
    assert depth == pytest.approx(MIDDLE_M, rel=1e-4)


def test_everything_received_is_accounted_for(live: Live) -> None:
    _, camera = live
    camera.connect(DEPTH)
    camera.spin(0.7)
    counted = [int(camera.value('depth', 'published'))]
    counted += [
        int(pair.value)
        for pair in camera.diagnostics['depth'].values
        if pair.key.startswith('dropped')
    ]
    assert sum(counted) == int(camera.value('depth', 'received')) > 0


def test_a_burst_leaves_the_newest_and_counts_the_overwritten(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    parameters = {'model': model, 'qos_overrides./image.subscription.depth': 50}
    with (
        graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters),
        graph.DepthGraph(domain_id=domain_id, reliable=True) as camera,
    ):
        camera.connect(*ALL)
        camera.spin(0.7)
        camera.forget()
        before = busy_drops(camera)
        # Five outputs of a VGA image take milliseconds; the next images come faster than that.
        stamps = [camera.send_grey(100, VGA) for _ in range(20)]
        camera.answer_to(stamps[-1], (DEPTH,))
        assert camera.spin_until(lambda: busy_drops(camera) > before)
        camera.spin(0.7)
        of_burst = {graph.stamp_of(message) for message in camera.received[DEPTH]} & set(stamps)
        assert len(of_burst) + busy_drops(camera) - before <= len(stamps)


def busy_drops(camera: graph.DepthGraph) -> int:
    return int(camera.value('depth', 'dropped: overwritten by a newer frame (busy)'))


def test_images_overtaken_in_the_middleware_are_counted(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    with (
        graph.NodeProcess(
            tmp_path / 'log', domain_id=domain_id, parameters={'model': model}
        ) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        camera.connect(DEPTH)
        camera.spin(0.7)
        received = int(camera.value('depth', 'received'))
        # While the process stands still its queue of one keeps the newest image only.
        node.process.send_signal(signal.SIGSTOP)
        sent = [camera.send_grey(100) for _ in range(6)]
        camera.spin(0.3)
        node.process.send_signal(signal.SIGCONT)
        camera.answer_to(camera.send_grey(100), (DEPTH,))
        camera.spin(0.7)
        if TELLS_PUBLISHER:
            assert int(camera.value('depth', 'received')) == received + len(sent) + 1


@pytest.mark.parametrize('is_reliable', [False, True], ids=['best_effort', 'reliable'])
def test_compressed_images_reach_the_node(model: Path, tmp_path: Path, is_reliable: bool) -> None:
    domain_id = graph.domain()
    parameters = {'model': model, 'image_transport': 'compressed', 'depth.encoding': '16UC1'}
    with (
        graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters) as node,
        graph.DepthGraph(
            domain_id=domain_id, reliable=is_reliable, image_type=CompressedImage
        ) as camera,
    ):
        node.wait_for('model synthetic')
        camera.listen(DEPTH)
        pixels = graph.grey(128)
        jpeg = cv2.imencode('.png', pixels)[1].tobytes()
        while not camera.received[DEPTH]:
            now_ns = time.time_ns()
            image = CompressedImage(header=graph.header(now_ns), format='png', data=jpeg)
            camera.send(image, graph.camera_info(now_ns))
            camera.spin(0.1)
        message = camera.received[DEPTH][0]
        assert message.encoding == '16UC1'
        assert np.all(graph.pixels_of(message) == round(1000 * MIDDLE_M))


def test_reliable_camera_and_model_resolution_scale_k(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    parameters = {'model': model, 'depth.resolution': 'model', 'points.organized': False}
    with (
        graph.NodeProcess(tmp_path / 'log', domain_id=domain_id, parameters=parameters),
        graph.DepthGraph(domain_id=domain_id, reliable=True) as camera,
    ):
        camera.connect(*ALL)
        found = answers(camera, graph.image_message(banded(), time.time_ns()))
        info, depth = found[DEPTH_INFO], graph.pixels_of(found[DEPTH])
        assert depth.shape == (info.height, info.width) == (32, 64)
        assert list(info.k) == pytest.approx(graph.SIZE.resized(64, 32).K_33.ravel().tolist())
        assert list(info.k)[2] == pytest.approx((graph.SIZE.cx + 0.5) / 2 - 0.5)
        cloud = found[POINTS]
        assert cloud.is_dense
        assert cloud.height == 1
        assert cloud.width == np.isfinite(depth).sum()


def test_remapped_topics_and_a_namespace_are_followed(model: Path, tmp_path: Path) -> None:
    domain_id = graph.domain()
    remaps = ('-r', 'image:=/image', '-r', 'camera_info:=/camera_info', '-r', '__ns:=/car')
    with (
        graph.NodeProcess(
            tmp_path / 'log', domain_id=domain_id, parameters={'model': model}, arguments=remaps
        ) as node,
        graph.DepthGraph(domain_id=domain_id) as camera,
    ):
        node.wait_for('model synthetic')
        topics = dict(camera.node.get_topic_names_and_types())
        assert camera.spin_until(
            lambda: (
                camera.node.count_publishers('/car/depth/image_rect') == 1
                and camera.node.count_subscribers('/image') == 1
            )
        ), topics
