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

"""Messages to frames and estimates to messages: exact values, layouts, and no copies."""

from __future__ import annotations

from array import array
from test.synthetic import intrinsics
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PointsConfig
from depth_ros.core.datatypes import DepthEstimate, StageTimes
from depth_ros.core.message_fields import read_field, read_xyz
from depth_ros.core.point_cloud import POINT_DTYPE
from depth_ros.errors import FrameError
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.ros import convert  # noqa: E402, I100
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image, PointCloud2  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

SIZE = intrinsics(8, 6, focal=10.0)
STAMP_NS = 12_345_678_901
CHANNELS = {'bgr8': 3, 'rgb8': 3, 'bgra8': 4, 'rgba8': 4, 'mono8': 1}


def estimate(depth: Any = 2.0, sigma: Any = 0.5) -> DepthEstimate:
    shape = (SIZE.height, SIZE.width)
    return DepthEstimate(
        depth_HW=np.broadcast_to(np.float32(depth), shape).copy(),
        uncertainty_HW=np.broadcast_to(np.float32(sigma), shape).copy(),
        image_HW3=np.full((*shape, 3), (10, 20, 30), np.uint8),
        intrinsics=SIZE,
        stamp_ns=STAMP_NS,
        frame_id='optical',
        reset=None,
        frames_since_reset=0,
        is_warm=True,
        is_held=False,
        times=StageTimes(rectify_ns=0, preprocess_ns=0, infer_ns=0, postprocess_ns=0),
    )


def image(pixels_HWC: Any, encoding: str, padding: int = 0) -> Image:
    height, width, channels = pixels_HWC.shape
    rows = np.zeros((height, width * channels + padding), np.uint8)
    rows[:, : width * channels] = pixels_HWC.reshape(height, -1)
    message = Image(height=height, width=width, step=rows.shape[1], encoding=encoding)
    message.data = array('B', rows.tobytes())
    message.header.stamp.sec, message.header.stamp.nanosec = 12, 345_678_901
    message.header.frame_id = 'optical'
    return message


def camera(width: int, height: int) -> CameraModel:
    return CameraModel.pinhole(intrinsics(width, height))


@settings(max_examples=60, deadline=None)
@given(
    encoding=st.sampled_from(sorted(CHANNELS)),
    width=st.integers(1, 9),
    height=st.integers(1, 9),
    padding=st.integers(0, 5),
    seed=st.integers(0, 1000),
)
def test_frame_from_any_encoding_and_padding_has_the_bgr_of_the_pixels(
    encoding: str, width: int, height: int, padding: int, seed: int
) -> None:
    shape = (height, width, CHANNELS[encoding])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    frame = convert.frame_from(image(pixels, encoding, padding), camera(width, height), 'optical')
    order = [2, 1, 0] if encoding.startswith('rgb') else [0, 1, 2]
    expected = pixels.repeat(3, axis=2) if encoding == 'mono8' else pixels[:, :, order]
    assert np.array_equal(frame.image_HW3, expected)
    assert (frame.stamp_ns, frame.frame_id) == (STAMP_NS, 'optical')


def test_frame_from_bgr8_without_padding_is_not_copied() -> None:
    message = image(np.zeros((4, 5, 3), np.uint8), 'bgr8')
    frame = convert.frame_from(message, camera(5, 4), 'optical')
    message.data[0] = 77
    assert frame.image_HW3[0, 0, 0] == 77


def test_frame_from_compressed_image_is_decoded() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = CompressedImage(format='png', data=cv2.imencode('.png', pixels)[1].tobytes())
    assert np.array_equal(convert.frame_from(message, camera(8, 6), 'optical').image_HW3, pixels)


def test_frame_from_broken_compressed_image_is_refused() -> None:
    with pytest.raises(FrameError, match='compressed image of 3 bytes'):
        convert.frame_from(CompressedImage(format='jpeg', data=b'abc'), camera(8, 6), 'optical')


def test_camera_info_states_a_rectified_image_and_is_new_each_time() -> None:
    header = convert.header_of(estimate())
    info = convert.camera_info_of(header, SIZE)
    assert list(info.k) == SIZE.K_33.ravel().tolist()
    assert np.array(info.p).reshape(3, 4)[:, :3].tolist() == SIZE.K_33.tolist()
    assert list(info.d) == [0.0] * 5
    assert (info.header.stamp.sec, info.header.stamp.nanosec) == (12, 345_678_901)
    info.k[0] = 0.0
    assert convert.camera_info_of(header, SIZE).k[0] == SIZE.fx


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1', 'bgr8'])
def test_image_buffer_writes_into_the_message_itself(encoding: str) -> None:
    buffer = convert.ImageBuffer(encoding)
    pixels = buffer.pixels(SIZE)
    pixels[...] = 7
    read = np.frombuffer(buffer.message.data, pixels.dtype)
    assert np.all(read == 7)
    assert buffer.message.step == pixels.strides[0]
    assert len(buffer.message.data) == buffer.message.step * SIZE.height
    address = buffer.pixels(SIZE).__array_interface__['data']
    assert address == pixels.__array_interface__['data']


def test_image_buffer_follows_a_new_size() -> None:
    buffer = convert.ImageBuffer('32FC1')
    buffer.pixels(SIZE)
    assert buffer.pixels(intrinsics(20, 10)).shape == (10, 20)
    assert (buffer.message.width, buffer.message.height, buffer.message.step) == (20, 10, 80)


@pytest.mark.parametrize('checks', [True, False])
def test_image_buffer_needs_no_copy_with_and_without_field_checks(checks: bool) -> None:
    buffer = convert.ImageBuffer('32FC1')
    # The generated setters look at this attribute (Jazzy and later; Humble always checks).
    if hasattr(buffer.message, '_check_fields'):
        buffer.message._check_fields = checks
    buffer.pixels(SIZE)[...] = 3.5
    received = deserialize_message(serialize_message(buffer.message), Image)
    assert np.all(np.frombuffer(received.data, np.float32) == 3.5)


def test_image_buffer_may_be_refilled_once_the_message_is_serialised() -> None:
    buffer = convert.ImageBuffer('32FC1')
    buffer.pixels(SIZE)[...] = 1.0
    sent = serialize_message(buffer.message)
    buffer.pixels(SIZE)[...] = 2.0
    received = deserialize_message(sent, Image)
    assert np.all(np.frombuffer(received.data, np.float32) == 1.0)


def test_millimetres_are_rounded_and_zero_where_they_do_not_fit() -> None:
    depth = np.array([[1.2344, 1.2346, np.nan, np.inf, -np.inf, 65.535, 65.54]], np.float32)
    out = np.full(depth.shape, 9, np.uint16)
    with np.errstate(invalid='raise'):
        convert.to_millimetres(depth, out)
    assert out.tolist() == [[1234, 1235, 0, 0, 0, 65535, 0]]


def test_organized_cloud_is_written_into_its_message() -> None:
    buffer = convert.CloudBuffer(PointsConfig())
    depth = np.full((6, 8), 2.0, np.float32)
    depth[0] = np.nan
    header = Header(frame_id='optical')
    message = buffer.fill(header, estimate(depth))
    assert (message.height, message.width, message.row_step) == (6, 8, 160)
    assert len(message.data) == 6 * 8 * 20
    assert not message.is_dense
    xyz = read_xyz(message).reshape(6, 8, 3)
    assert np.isnan(xyz[0]).all()
    expected = ((5 - SIZE.cx) / SIZE.fx * 2.0, (3 - SIZE.cy) / SIZE.fy * 2.0, 2.0)
    assert xyz[3, 5] == pytest.approx(expected)
    assert read_field(message, 'uncertainty') == pytest.approx(np.full(48, 0.5))
    assert buffer.fill(header, estimate(depth)) is message


def test_dense_cloud_has_the_finite_points_only() -> None:
    depth = np.full((6, 8), 2.0, np.float32)
    depth[:2], depth[2:3] = np.nan, np.inf
    buffer = convert.CloudBuffer(PointsConfig(organized=False))
    message = buffer.fill(Header(), estimate(depth))
    assert (message.height, message.width, message.is_dense) == (1, 24, True)
    assert np.isfinite(read_xyz(message)).all()


def test_flat_cloud_agrees_with_sensor_msgs_py() -> None:
    point_cloud2 = pytest.importorskip('sensor_msgs_py.point_cloud2', reason='not on PyPI')
    points = np.zeros(5, POINT_DTYPE)
    points['x'] = np.arange(5)
    theirs = point_cloud2.create_cloud(Header(), convert.POINT_FIELDS, points)
    theirs.is_dense = True
    assert convert._flat_cloud_of_our_own(Header(), points) == theirs


def test_flat_cloud_of_nothing_is_empty() -> None:
    message = convert.flat_cloud(Header(), np.zeros(0, POINT_DTYPE))
    assert (message.width, len(message.data)) == (0, 0)


def test_colorize_is_red_near_blue_far_and_black_where_unknown() -> None:
    depth = np.array([[1.0, 80.0, np.nan, np.inf, -np.inf]], np.float32)
    near, far, unknown, beyond, close = convert.colorize(depth, min_m=1.0, max_m=80.0)[0].tolist()
    assert near[2] > near[0]
    assert far[0] > far[2]
    assert (unknown, beyond, close) == ([0, 0, 0], far, near)


def test_color_message_holds_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    message = convert.color_message(Header(), picture, convert.ImageBuffer('bgr8'))
    assert (message.encoding, message.height, message.width, message.step) == ('bgr8', 6, 8, 24)
    assert bytes(message.data) == picture.tobytes()


def test_color_message_agrees_with_cv_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    cv_bridge = pytest.importorskip('cv_bridge', reason='not on PyPI for ROS 2')
    picture = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    theirs = cv_bridge.CvBridge().cv2_to_imgmsg(picture, encoding='bgr8', header=Header())
    monkeypatch.setattr(convert, 'CvBridge', None)
    assert convert.color_message(Header(), picture, convert.ImageBuffer('bgr8')) == theirs


def test_filling_a_cloud_message_again_keeps_its_bytes_where_they_are() -> None:
    buffer = convert.CloudBuffer(PointsConfig())
    message = buffer.fill(Header(), estimate())
    data = message.data
    buffer.fill(Header(), estimate(4.0))
    assert isinstance(message, PointCloud2)
    assert message.data is data
    assert read_xyz(message)[:, 2] == pytest.approx(np.full(48, 4.0))
