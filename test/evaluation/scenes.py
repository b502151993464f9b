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

"""
A miniature drive with exact answers, as a bag, and a network that sees depth in grey values.

The network's depth is 100 m times the brightness and its Laplace scale b a tenth of the depth.
The picture is 51 on the left and 102 on the right, so 20 m and 40 m; the LiDAR measures 20 m and
31 m there, on as many pixels. Hence for each frame AbsRel 9/62, RMSE 9/sqrt(2), a1 1/2.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
import math
from pathlib import Path
from test.synthetic import intrinsics, model_spec
from typing import Any

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import OdometrySample
from depth_ros.bags.streams import frames
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.config import PipelineConfig
from depth_ros.core.geometry import invert, transform_from
from depth_ros.core.model_spec import UncertaintySpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
import numpy as np
from onnx import helper, numpy_helper, save, TensorProto

WIDTH, HEIGHT = 64, 32
CAMERA = intrinsics(WIDTH, HEIGHT, 50.0)
LEFT, RIGHT = 51, 102
LEFT_M, RIGHT_M = 20.0, 31.0
PERIOD_NS = 100_000_000
START_NS = 1_600_000_000_000_000_000
SWEEP_DELAY_NS = 4_000_000
CAM_T_LIDAR = transform_from([[0, -1, 0], [0, 0, -1], [1, 0, 0]], [0.0, -0.1, -0.3])

EXPECTED = {
    'abs_rel': 9 / 31 / 2,
    'sq_rel': 81 / 31 / 2,
    'rmse': 9 / math.sqrt(2),
    'rmse_log': math.log(40 / 31) / math.sqrt(2),
    'silog': 100 * math.log(40 / 31) / 2,
    'mae': 4.5,
    'a1': 0.5,
    'a2': 1.0,
    'a3': 1.0,
}


@dataclass(frozen=True, kw_only=True)
class Drive:
    """What the bag holds; the defaults are a bag where all is well."""

    frames: int = 4
    has_lidar: bool = True
    has_transform: bool = True
    image_topics: tuple[str, ...] = ('/camera/image_rect',)
    # By frame: these images have an encoding that nobody knows.
    damaged: tuple[int, ...] = ()
    # By frame: no sweep comes with these.
    without_sweep: tuple[int, ...] = ()
    # Metres per second that the car drives while the LiDAR stands for one instant before.
    speed: float = 0.0
    # The first image comes once more at the end, with its old stamp.
    repeats_first: bool = False
    sweep_delay_ns: int = SWEEP_DELAY_NS
    # The recorder takes each message so much after its stamp.
    transport_ns: int = 0
    # The LiDAR's clock is so much ahead of the camera's.
    lidar_ahead_ns: int = 0


def picture() -> Any:
    image = np.full((HEIGHT, WIDTH, 3), LEFT, np.uint8)
    middle = WIDTH // 2
    image[:, middle:] = RIGHT
    return image


def lidar_points(ahead_m: float = 0.0) -> dict[str, Any]:
    """Return a point on every second pixel, two without return, and the walls ``ahead_m`` off."""
    rows, cols = (axis.ravel() for axis in np.mgrid[0:HEIGHT:2, 0:WIDTH:2])
    depth = np.where(cols < WIDTH // 2, LEFT_M, RIGHT_M) + 0.0
    x, y = (cols - CAMERA.cx) / CAMERA.fx * depth, (rows - CAMERA.cy) / CAMERA.fy * depth
    points = (invert(CAM_T_LIDAR) @ np.stack([x, y, depth, np.ones_like(x)]))[:3]
    points[0] += ahead_m
    points = np.concatenate([points, np.zeros((3, 1)), np.full((3, 1), np.nan)], axis=1)
    return dict(zip('xyz', points.astype(np.float32), strict=True))


def stamp_of(frame: int) -> int:
    return START_NS + frame * PERIOD_NS


def write_drive(path: Path, drive: Drive | None = None) -> Path:
    drive = drive or Drive()
    make = MessageFactory()
    camera = CameraModel.pinhole(CAMERA)
    with BagWriter(path) as bag:
        if drive.has_transform:
            edges = [('base_link', 'lidar', np.eye(4)), ('lidar', 'camera', invert(CAM_T_LIDAR))]
            bag.write('/tf_static', START_NS, make.transforms(START_NS, edges))
        for frame in range(drive.frames):
            stamp = stamp_of(frame)
            bag.write('/camera/camera_info', stamp, make.camera_info(stamp, 'camera', camera))
            image = make.image(stamp, 'camera', picture())
            if frame in drive.damaged:
                image = replace(image, encoding='mystery7')
            for topic in drive.image_topics:
                bag.write(topic, stamp + drive.transport_ns, image)
            if drive.speed:
                write_odometry(bag, make, stamp - PERIOD_NS // 2, frame - 0.5, drive.speed)
            if drive.repeats_first and frame == drive.frames - 1:
                again = make.image(stamp_of(0), 'camera', picture())
                bag.write(drive.image_topics[0], stamp + 1, again)
            if drive.has_lidar and frame not in drive.without_sweep:
                write_sweep(bag, make, stamp, drive)
        if drive.speed:
            last = stamp_of(drive.frames)
            write_odometry(bag, make, last - PERIOD_NS // 2, drive.frames - 0.5, drive.speed)
    return path


def write_sweep(bag: BagWriter, make: MessageFactory, stamp: int, drive: Drive) -> None:
    stamp += drive.sweep_delay_ns
    # After the delay the car is nearer to the walls by what it has driven.
    ahead = -drive.speed * drive.sweep_delay_ns * 1e-9
    own_stamp = stamp + drive.lidar_ahead_ns
    message = make.point_cloud(own_stamp, 'lidar', lidar_points(ahead))
    bag.write('/lidar', stamp + drive.transport_ns, message)


def write_odometry(
    bag: BagWriter, make: MessageFactory, stamp: int, periods: float, speed: float
) -> None:
    sample = OdometrySample(
        stamp_ns=stamp,
        frame_id='odom',
        child_frame_id='base_link',
        world_T_body_44=transform_from(np.eye(3), (speed * periods * PERIOD_NS * 1e-9, 0, 0)),
        twist=np.array([speed, 0, 0, 0, 0, 0]),
    )
    bag.write('/odometry', stamp, make.odometry(sample, 0.1))


def write_model(path: Path, *, has_sigma: bool = True) -> Path:
    """Write the network; its two outputs are 100 times the brightness and ln of a tenth of it."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'gain'], ['depth']),
    ]
    shape = ['batch', 1, HEIGHT, WIDTH]
    outputs = [helper.make_tensor_value_info('depth', TensorProto.FLOAT, shape)]
    constants = [numpy_helper.from_array(np.array(100.0, np.float32), 'gain')]
    card = model_spec()
    if has_sigma:
        nodes += [
            # A black picture would have a scale of zero and a logarithm of -Inf.
            helper.make_node('Max', ['depth', 'least'], ['bright']),
            helper.make_node('Mul', ['bright', 'tenth'], ['scale']),
            helper.make_node('Log', ['scale'], ['log_scale']),
        ]
        outputs.append(helper.make_tensor_value_info('log_scale', TensorProto.FLOAT, shape))
        for name, value in (('tenth', 0.1), ('least', 0.01)):
            constants.append(numpy_helper.from_array(np.array(value, np.float32), name))
        uncertainty = UncertaintySpec(kind='log_laplace_scale', name='log_scale')
        card = model_spec(uncertainty=uncertainty)
    image = helper.make_tensor_value_info('image', TensorProto.FLOAT, ['batch', 3, HEIGHT, WIDTH])
    graph = helper.make_graph(nodes, 'brightness', [image], outputs, constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8), path)
    write_card(path, card)
    return path


def record(
    bag: Path,
    model: Path,
    path: Path,
    *,
    published: Container[int] = range(100),
    in_mm: bool = False,
) -> Path:
    """Store what the node would publish: depth, uncertainty and camera_info with equal stamps."""
    make = MessageFactory()
    with (
        load_model(str(model), engine='onnxruntime', threads=1) as loaded,
        BagReader(bag) as reader,
    ):
        pipeline = DepthPipeline(loaded.engine, loaded.card, PipelineConfig())
        stream = frames(reader, '/camera/image_rect', '/camera/camera_info', rectify=True)
        with BagWriter(path) as recording:
            for index, frame in enumerate(stream):
                estimate = pipeline.process(frame)
                if index not in published:
                    continue
                stamp, frame_id = estimate.stamp_ns, estimate.frame_id
                camera = CameraModel.pinhole(estimate.intrinsics)
                for name, pixels in (
                    ('image_rect', estimate.depth_HW),
                    ('uncertainty', estimate.uncertainty_HW),
                ):
                    if in_mm:
                        pixels = np.rint(pixels * 1000).astype(np.uint16)
                    encoding = '16UC1' if in_mm else '32FC1'
                    message = make.image(stamp, frame_id, pixels, encoding)
                    recording.write(f'/mono/depth/{name}', stamp, message)
                info = make.camera_info(stamp, frame_id, camera)
                recording.write('/mono/depth/camera_info', stamp, info)
    return path
