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

"""A relative model in the node: metres by real LiDAR sweeps over real DDS, or not at all."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from test.nodes import depth_graph as graph
from test.project import ROOT
from test.relative_models import SCALE, SHIFT, write_relative_model
from typing import Any

from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import COMPRESSED_IMAGE, POINT_CLOUD, RawMessage, TF_MESSAGE
from depth_ros.bags.streams import frames, static_transforms
from depth_ros.core.config import PipelineConfig
from depth_ros.core.geometry import quaternion_from_rotation
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.nodes.message_classes import message_class
from depth_ros.nodes.outputs import DEPTH
from depth_ros.ros.qos import latched_qos, output_qos
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, PointCloud2

pytestmark = pytest.mark.dds

BAG = ROOT / 'demo' / 'kitti_0005'
FRAMES = 6
NOT_ALIGNED = 'dropped: no scale and shift for a relative model'
TF_CLASS = message_class(TF_MESSAGE)


@pytest.fixture(scope='module')
def relative(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_relative_model(tmp_path_factory.mktemp('model') / 'relative.onnx')


@pytest.fixture(scope='module')
def clip() -> dict[str, list[RawMessage]]:
    """Return the first messages of the clip as they were recorded, by topic."""
    with BagReader(BAG) as reader:
        return {
            info.name: list(islice(reader.raw_messages([info.name]), FRAMES))
            for info in reader.topics
        }


@pytest.fixture(scope='module')
def metric_depths() -> list[Any]:
    """Return what the metric model makes of the clip, without a node."""
    with BagReader(BAG) as reader, load_model('default', engine='onnxruntime') as loaded:
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        image, info = '/camera/image_rect/compressed', '/camera/camera_info'
        stream = islice(frames(reader, image, info, rectify=True), FRAMES)
        return [pipeline.process(each, with_uncertainty=False).depth_HW for each in stream]


def lidar_pose() -> str:
    """Return the pose that the clip's /tf_static states, as the parameter wants it."""
    with BagReader(BAG) as reader:
        tree = static_transforms(reader)
        names = {info.msgtype: info.name for info in reader.topics}
        camera, lidar = (
            next(iter(reader.messages([names[kind]]))).message.header.frame_id
            for kind in (COMPRESSED_IMAGE, POINT_CLOUD)
        )
    pose = tree.lookup(camera, lidar)
    numbers = [*pose[:3, 3], *quaternion_from_rotation(pose[:3, :3])]
    return ' '.join(repr(float(number)) for number in numbers)


class Robot:
    """Plays the clip by hand: each message when the test says so."""

    def __init__(self, camera: graph.DepthGraph, clip: dict[str, list[RawMessage]]) -> None:
        self.camera, self._clip = camera, clip
        self.lidar = camera.node.create_publisher(PointCloud2, 'lidar', output_qos(5))
        self._tf: Any = None

    def tell_tf(self) -> None:
        assert TF_CLASS is not None
        self._tf = self.camera.node.create_publisher(TF_CLASS, '/tf_static', latched_qos())
        self._tf.publish(bytes(self._clip['/tf_static'][0].data))

    def show(self, index: int, *, with_lidar: bool = True) -> int:
        """Send sweep, calibration and image of a moment; return the stamp of the image."""
        if with_lidar:
            self.lidar.publish(bytes(self._clip['/velodyne_points'][index].data))
            self.camera.spin(0.2)
        self.camera.infos.publish(bytes(self._clip['/camera/camera_info'][index].data))
        self.camera.spin(0.05)
        data = self._clip['/camera/image_rect/compressed'][index].data
        self.camera.images.publish(bytes(data))
        stamp_ns = header_stamp_ns(data)
        assert stamp_ns is not None
        return stamp_ns

    def connect(self) -> None:
        """Listen to the depth, and wait until the node knows and listens too."""
        camera = self.camera
        camera.listen(DEPTH)

        def is_connected() -> bool:
            heard = all(each.get_subscription_count() for each in (camera.images, camera.infos))
            return heard and camera.value_or('depth', 'subscribed outputs') == DEPTH

        assert camera.spin_until(is_connected, graph.START_S)

    def is_lidar_connected(self) -> bool:
        return bool(self.lidar.get_subscription_count())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / 'node.log'


def parameters(model: Path, **alignment: Any) -> dict[str, Any]:
    named = {f'alignment.{name}': value for name, value in alignment.items()}
    return {'model': model, 'image_transport': 'compressed', 'threads': 1, **named}


NO_TF = 'tf2_msgs is not installed: it is not on PyPI'
SOURCES = (
    'lidar_pose',
    pytest.param('tf_static', marks=pytest.mark.skipif(TF_CLASS is None, reason=NO_TF)),
)


@pytest.mark.parametrize('source', SOURCES)
def test_relative_model_comes_out_as_metres_of_the_lidar(
    relative: Path,
    clip: dict[str, list[RawMessage]],
    metric_depths: list[Any],
    log: Path,
    source: str,
) -> None:
    domain_id = graph.domain()
    # In quotes: ROS would read the numbers as YAML.
    pose = {'lidar_pose': f'"{lidar_pose()}"'} if source == 'lidar_pose' else {}
    given = parameters(relative, method='lidar', **pose)
    with (
        graph.NodeProcess(log, domain_id=domain_id, parameters=given) as node,
        graph.DepthGraph(domain_id=domain_id, reliable=True, image_type=CompressedImage) as camera,
    ):
        node.wait_for('model meter_xxs_sigma_kitti_relative')
        robot = Robot(camera, clip)
        robot.connect()
        assert camera.spin_until(robot.is_lidar_connected, graph.START_S)
        if source == 'tf_static':
            robot.tell_tf()
        # Before the first sweep there are no metres: the frame is dropped and counted.
        robot.show(0, with_lidar=False)
        assert camera.spin_until(lambda: camera.value_or('depth', NOT_ALIGNED) == '1')
        camera.until_message('alignment', 'no scale and shift yet')
        ratios = []
        for index in range(1, FRAMES):
            answer = camera.answer_to(robot.show(index), (DEPTH,))[DEPTH]
            depth = graph.pixels_of(answer)
            both = np.isfinite(depth) & np.isfinite(metric_depths[index])
            assert both.mean() > 0.6
            ratios.append(np.abs(depth[both] / metric_depths[index][both] - 1.0))
        # The metric model has an error of its own, which the LiDAR corrects in the mean.
        assert np.median(np.concatenate(ratios)) < 0.04
        assert np.mean(np.concatenate(ratios)) < 0.08
        camera.until_message('alignment', 'scale 0.02')
        used = str(FRAMES - 1)
        assert camera.spin_until(lambda: camera.value('alignment', 'sweeps used') == used)
        assert float(camera.value('alignment', 'shift [1/m]')) == pytest.approx(SHIFT, abs=0.004)
        assert node.stop() == 0, node.output()


def test_declared_line_gives_the_metric_depth_back(
    relative: Path, clip: dict[str, list[RawMessage]], metric_depths: list[Any], log: Path
) -> None:
    domain_id = graph.domain()
    # The card of the metric model holds for another focal length.
    ratio = focal_ratio()
    given = parameters(relative, method='declared', scale=SCALE / ratio, shift=SHIFT / ratio)
    with (
        graph.NodeProcess(log, domain_id=domain_id, parameters=given) as node,
        graph.DepthGraph(domain_id=domain_id, reliable=True, image_type=CompressedImage) as camera,
    ):
        node.wait_for('model meter_xxs_sigma_kitti_relative')
        robot = Robot(camera, clip)
        robot.connect()
        answer = camera.answer_to(robot.show(0, with_lidar=False), (DEPTH,))[DEPTH]
        depth, wanted = graph.pixels_of(answer), metric_depths[0]
        both = np.isfinite(depth) & np.isfinite(wanted) & (wanted < 60.0)
        np.testing.assert_allclose(depth[both], wanted[both], rtol=1e-3)
        camera.until_message('alignment', f'scale {SCALE / ratio:.4g} 1/m per unit')
        assert node.stop() == 0, node.output()


def focal_ratio() -> float:
    """Return what the metric model's depth is multiplied by on the camera of the clip."""
    with BagReader(BAG) as reader, load_model('default', engine='onnxruntime') as loaded:
        image, info = '/camera/image_rect/compressed', '/camera/camera_info'
        camera = next(iter(frames(reader, image, info, rectify=True))).camera.intrinsics
        spec = loaded.card
        assert spec.output.focal_px is not None
        return camera.fx * spec.input.width / camera.width / spec.output.focal_px


@pytest.mark.parametrize(
    ('alignment', 'words'),
    [
        ({}, "has no metres without scale and shift: set alignment.method to 'lidar'"),
        ({'method': 'declared'}, 'alignment.scale, alignment.shift = (0.0, 0.0): declare'),
        ({'scale': 0.1}, "are not used with alignment.method = 'none'"),
        ({'method': 'radar'}, "alignment.method = 'radar': must be one of"),
    ],
)
def test_relative_model_without_a_usable_alignment_does_not_start(
    relative: Path, log: Path, alignment: dict[str, Any], words: str
) -> None:
    given = parameters(relative, **alignment)
    with graph.NodeProcess(log, domain_id=graph.domain(), parameters=given) as node:
        assert node.ended() == 1
        assert words in node.output()


def test_metric_model_with_alignment_does_not_start(model: Path, log: Path) -> None:
    given = parameters(model, method='declared', scale=0.1)
    with graph.NodeProcess(log, domain_id=graph.domain(), parameters=given) as node:
        assert node.ended() == 1
        assert (
            "answers metric_depth, whose scale its card states: set it to 'none'" in node.output()
        )


@pytest.mark.skipif(TF_CLASS is not None, reason='tf2_msgs is installed: /tf_static is received')
def test_lidar_without_tf2_msgs_asks_for_its_pose(relative: Path, log: Path) -> None:
    given = parameters(relative, method='lidar')
    with graph.NodeProcess(log, domain_id=graph.domain(), parameters=given) as node:
        assert node.ended() == 1
        assert 'tf2_msgs is not installed: state the pose of the LiDAR' in node.output()
