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

"""A camera, listeners and a real mono_depth_node in a process of its own, for the node's tests."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping
import itertools
import os
from pathlib import Path
import signal
import subprocess
import sys
from test.engines.graphs import brightness_file, HEIGHT, info, save_graph, weights, WIDTH
from test.synthetic import intrinsics, model_spec
import time
from types import TracebackType
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.core.model_spec import OutputSpec, UncertaintySpec
from depth_ros.engines.model_card import write_card
from depth_ros.nodes.outputs import TYPES
from depth_ros.ros.convert import camera_info_of
from depth_ros.ros.qos import (
    camera_qos,
    FASTDDS2_VARIABLE,
    FASTDDS3_VARIABLE,
    load_fastdds_profile,
    output_qos,
)
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from onnx import helper, TensorProto
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

MAX_DEPTH_M, SIGMA_SHARE = 80.0, 0.1
START_S, ANSWER_S = 30.0, 10.0
NS_PER_S = 1_000_000_000
FRAME_ID = 'camera_optical_frame'
SIZE = intrinsics(128, 96, focal=100.0)
PERIOD_S = 0.1
_numbers = itertools.count()


def domain() -> int:
    """Return a ROS domain of its own for each call; above 100 ports meet those of clients."""
    return 1 + (os.getpid() * 7 + next(_numbers)) % 100


def write_model(path: Path, **changes: Any) -> Path:
    """Write a network with depth = 100 m times brightness and sigma = a tenth of the depth."""
    output = OutputSpec(
        name='depth',
        kind='metric_depth',
        scale=1.0,
        min_depth_m=1.0,
        max_depth_m=MAX_DEPTH_M,
        focal_px=None,
    )
    sigma = UncertaintySpec(kind='flip', flip_gain=1.0, flip_relative=SIGMA_SHARE)
    write_card(
        brightness_file(path), model_spec(**{'output': output, 'uncertainty': sigma, **changes})
    )
    return path


def grey(value: int, size: Intrinsics = SIZE) -> np.ndarray[Any, Any]:
    return np.full((size.height, size.width, 3), value, np.uint8)


def image_message(pixels: np.ndarray[Any, Any], stamp_ns: int, **changes: Any) -> Image:
    height, width = pixels.shape[:2]
    data = array('B')
    data.frombytes(np.ascontiguousarray(pixels).tobytes())
    step = len(data) // height if height else 0
    fields = {'height': height, 'width': width, 'step': step, 'encoding': 'bgr8', **changes}
    message = Image(header=header(stamp_ns), **fields)
    message.data = fields.get('data', data)
    return message


def header(stamp_ns: int) -> Header:
    message = Header(frame_id=FRAME_ID)
    message.stamp.sec, message.stamp.nanosec = divmod(stamp_ns, NS_PER_S)
    return message


def camera_info(stamp_ns: int, size: Intrinsics = SIZE, **changes: Any) -> CameraInfo:
    message = camera_info_of(header(stamp_ns), size)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def pixels_of(message: Image) -> np.ndarray[Any, Any]:
    dtype = {'32FC1': '<f4', '16UC1': '<u2', 'bgr8': 'u1'}[message.encoding]
    shape = (message.height, message.width, *([3] if message.encoding == 'bgr8' else []))
    return np.frombuffer(message.data, dtype).reshape(shape)


def stamp_of(message: Any) -> int:
    return message.header.stamp.sec * NS_PER_S + message.header.stamp.nanosec


class NodeProcess:
    """The node, started as a user starts it."""

    def __init__(
        self,
        log: Path,
        *,
        domain_id: int,
        parameters: Mapping[str, Any] | None = None,
        arguments: tuple[str, ...] = (),
        module: str = 'depth_ros.nodes.mono_depth_node',
    ) -> None:
        given = {'engine': 'onnxruntime', 'diagnostics_period_s': 0.3, **(parameters or {})}
        pairs = [f'{name}:={_yaml(value)}' for name, value in given.items()]
        options = [part for pair in pairs for part in ('-p', pair)]
        environment = {**os.environ, 'ROS_DOMAIN_ID': str(domain_id)}
        # The node has to bring its own profile.
        environment.pop(FASTDDS2_VARIABLE, None)
        environment.pop(FASTDDS3_VARIABLE, None)
        self.log = log
        with log.open('wb') as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, '-u', '-m', module),
                    *('--ros-args', *options, *arguments),
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = START_S) -> None:
        stop_at = time.monotonic() + timeout_s
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < stop_at, f'no "{text}" in: {self.output()}'
            time.sleep(0.02)

    def ended(self, timeout_s: float = START_S) -> int:
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.ended()


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class DepthGraph:
    """
    The test's side of the graph: it publishes a camera and listens to the outputs.

    :param reliable: the camera offers reliable instead of best effort.
    """

    def __init__(
        self, *, domain_id: int, reliable: bool = False, image_type: type = Image
    ) -> None:
        load_fastdds_profile()
        self._context = Context()
        rclpy.init(
            context=self._context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.node = rclpy.create_node(f'test_camera_{next(_numbers)}', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        qos = output_qos(1) if reliable else camera_qos()
        topic = 'image' if image_type is Image else 'image/compressed'
        self.images = self.node.create_publisher(image_type, topic, qos)
        self.infos = self.node.create_publisher(CameraInfo, 'camera_info', qos)
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.diagnostics: dict[str, Any] = {}
        self._listening: dict[str, Any] = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, 5)

    def __enter__(self) -> DepthGraph:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.diagnostics[status.name.split(': ')[1]] = status

    def listen(self, *topics: str) -> None:
        """Subscribe to these outputs, and to no others."""
        for topic in set(self._listening) - set(topics):
            self.node.destroy_subscription(self._listening.pop(topic))
        for topic in set(topics) - set(self._listening):
            self._listening[topic] = self.node.create_subscription(
                TYPES[topic], topic, self.received[topic].append, output_qos(5)
            )

    def spin_until(self, condition: Callable[[], bool], timeout_s: float = ANSWER_S) -> bool:
        stop_at = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > stop_at:
                return False
            self._executor.spin_once(timeout_sec=0.01)
        return True

    def spin(self, duration_s: float) -> None:
        self.spin_until(lambda: False, duration_s)

    def send(self, message: Any, info: CameraInfo | None = None) -> int:
        """Publish calibration and image; return the stamp."""
        if info is not None:
            self.infos.publish(info)
        self.images.publish(message)
        return stamp_of(message)

    def send_grey(self, value: int, size: Intrinsics = SIZE) -> int:
        now_ns = time.time_ns()
        return self.send(image_message(grey(value, size), now_ns), camera_info(now_ns, size))

    def answer_to(self, stamp_ns: int, topics: tuple[str, ...]) -> dict[str, Any]:
        """Return the outputs with this stamp, received within a while."""
        found: dict[str, Any] = {}

        def is_complete() -> bool:
            for topic in topics:
                for message in self.received[topic]:
                    if stamp_of(message) == stamp_ns:
                        found[topic] = message
            return len(found) == len(topics)

        assert self.spin_until(is_complete), f'only {sorted(found)} of {topics} answered'
        return found

    def connect(self, *topics: str) -> None:
        """Listen to these outputs and send frames until each of them has answered."""
        self.listen(*topics)
        stop_at = time.monotonic() + START_S
        self.forget()
        while any(not self.received[topic] for topic in topics):
            assert time.monotonic() < stop_at, f'received: {self.counts()}, {self.diagnostics}'
            self.send_grey(100)
            self.spin(PERIOD_S)
        self.spin(2 * PERIOD_S)
        self.forget()

    def forget(self) -> None:
        for messages in self.received.values():
            messages.clear()

    def counts(self) -> dict[str, int]:
        return {topic: len(messages) for topic, messages in self.received.items()}

    def value(self, status: str, key: str) -> str:
        """Return a value of the newest diagnostics."""
        found = [pair.value for pair in self.diagnostics[status].values if pair.key == key]
        return str(found[0]) if found else ''

    def value_or(self, status: str, key: str, default: str = '') -> str:
        """Return a value of the newest diagnostics, or this before there are any."""
        return self.value(status, key) if status in self.diagnostics else default

    def until_message(self, status: str, text: str) -> Any:
        """Wait until a diagnostic status says this, and return the status."""

        def says() -> bool:
            return status in self.diagnostics and text in self.diagnostics[status].message

        assert self.spin_until(says), f'"{text}" is not in {self.diagnostics.get(status)}'
        return self.diagnostics[status]


def write_model_that_fails_on(path: Path, *, brightness: int) -> Path:
    """Write a network whose run fails on an image that is brighter than this everywhere."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'gain'], ['depth_all']),
        # Index 1 of one element is out of bounds: the back end reports a failed run.
        helper.make_node('ReduceMin', ['image'], ['darkest'], keepdims=0),
        helper.make_node('Greater', ['darkest', 'limit'], ['is_bright']),
        helper.make_node('Cast', ['is_bright'], ['index'], to=TensorProto.INT64),
        helper.make_node('Gather', ['one', 'index'], ['factor'], axis=0),
        helper.make_node('Mul', ['depth_all', 'factor'], ['depth']),
    ]
    save_graph(
        path,
        nodes,
        [info('image', ['batch', 3, HEIGHT, WIDTH])],
        [info('depth', ['batch', 1, HEIGHT, WIDTH])],
        [weights('gain', 100.0), weights('limit', brightness / 255), weights('one', [1.0])],
    )
    write_card(path, model_spec())
    return path
