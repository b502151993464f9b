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
Settings with their only defaults. Field names are the ROS parameter names.

Nested fields are written with a dot: ``PointsConfig.stride`` is the parameter
``points.stride``. What a model card states is never a setting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from typing import get_args, Literal

from depth_ros.core.geometry import Matrix, transform_from
from depth_ros.errors import ConfigError, FrameError

Resolution = Literal['camera', 'model']
DepthEncoding = Literal['32FC1', '16UC1']
ImageTransport = Literal['raw', 'compressed']
AlignmentMethod = Literal['none', 'lidar', 'declared']

POSE_NUMBERS = 7


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: {rule}')


def _require_choice(key: str, value: str, choices: object) -> None:
    _require(value in get_args(choices), key, value, f'must be one of {get_args(choices)}')


def _require_between(key: str, value: float, low: float, high: float) -> None:
    _require(low <= value <= high, key, value, f'must be between {low} and {high}')


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentConfig:
    """
    How the output of a relative model (``affine_inverse_depth``) becomes metres.

    1 / depth = scale * output + shift. Metric models need none of this.

    Fields:
        method: 'none' there is no relative model; 'lidar' scale and shift follow the LiDAR;
            'declared' they are those below.
        scale: [1/m per unit of the output]; 0: not declared.
        shift: [1/m].
        lidar_pose: position [m] and quaternion of the LiDAR in the optical frame of the camera,
            'x y z qx qy qz qw'; empty: from /tf_static.
        max_time_difference_s: largest gap between a sweep and its image [s].
        max_age_s: frames later than the newest usable sweep by more are dropped [s].
        smoothing_s: sweeps before the newest fade with this time [s]; 0: each stands alone.
        min_points: fewest LiDAR points in the image that give scale and shift.

    """

    method: AlignmentMethod = 'none'
    scale: float = 0.0
    shift: float = 0.0
    lidar_pose: str = ''
    max_time_difference_s: float = 0.05
    max_age_s: float = 1.0
    smoothing_s: float = 0.3
    min_points: int = 100

    def __post_init__(self) -> None:
        _require_choice('alignment.method', self.method, AlignmentMethod)
        self._check_declared()
        _require_between('alignment.max_time_difference_s', self.max_time_difference_s, 0.001, 1.0)
        _require_between('alignment.max_age_s', self.max_age_s, 0.05, 60.0)
        _require_between('alignment.smoothing_s', self.smoothing_s, 0.0, 60.0)
        _require_between('alignment.min_points', self.min_points, 10, 100_000)
        if self.lidar_pose:
            _require(
                self.method == 'lidar',
                'alignment.lidar_pose',
                self.lidar_pose,
                f"is not used with alignment.method = '{self.method}': leave it empty",
            )
            self.camera_T_lidar  # noqa: B018  # raises when it is none

    def _check_declared(self) -> None:
        line = (self.scale, self.shift)
        key = 'alignment.scale, alignment.shift'
        if self.method == 'declared':
            _require(
                0 < self.scale < math.inf and math.isfinite(self.shift),
                key,
                line,
                'declare a positive scale and a finite shift, in 1/m',
            )
        else:
            rule = f"are not used with alignment.method = '{self.method}': leave them at 0"
            _require(line == (0.0, 0.0), key, line, rule)

    @property
    def camera_T_lidar(self) -> Matrix | None:
        """Return the pose that ``lidar_pose`` states; None when it is empty."""
        if not self.lidar_pose:
            return None
        rule = "must be 'x y z qx qy qz qw': seven numbers, the quaternion of norm 1"
        try:
            numbers = [float(word) for word in self.lidar_pose.split()]
            if len(numbers) != POSE_NUMBERS:
                raise ValueError(f'{len(numbers)} numbers')
            return transform_from(numbers[3:], numbers[:3])
        except (ValueError, FrameError) as error:
            raise ConfigError(
                f'alignment.lidar_pose = {self.lidar_pose!r}: {rule} ({error})'
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """
    How frames become depth, apart from what the model card and the calibration state.

    Fields:
        resolution: publish depth on the grid of the camera image or of the network output.
    """

    resolution: Resolution = 'camera'

    def __post_init__(self) -> None:
        _require_choice('depth.resolution', self.resolution, Resolution)


@dataclass(frozen=True, slots=True, kw_only=True)
class PointsConfig:
    """
    Which pixels become points. Infinity switches a limit off.

    Fields:
        organized: H x W cloud with NaN; else a dense list of finite points.
        stride: keep every n-th row and column.
        min_depth_m, max_depth_m: depth range kept [m].
        max_uncertainty_m: drop points whose one sigma is larger [m].
        max_relative_uncertainty: drop points whose sigma / depth is larger.

    """

    organized: bool = True
    stride: int = 1
    min_depth_m: float = 0.0
    max_depth_m: float = math.inf
    max_uncertainty_m: float = math.inf
    max_relative_uncertainty: float = math.inf

    def __post_init__(self) -> None:
        _require_between('points.stride', self.stride, 1, 64)
        limits = (self.min_depth_m, self.max_depth_m)
        _require(
            0 <= limits[0] < limits[1],
            'points.min_depth_m, points.max_depth_m',
            limits,
            'must be 0 <= min < max, in metres',
        )
        for key in ('max_uncertainty_m', 'max_relative_uncertainty'):
            value = getattr(self, key)
            _require(value > 0, f'points.{key}', value, 'must be positive')


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthConfig:
    """The depth images: encoding, and the fixed colour range of ``depth/image_color`` [m]."""

    encoding: DepthEncoding = '32FC1'
    resolution: Resolution = 'camera'
    color_min_m: float = 1.0
    color_max_m: float = 80.0

    def __post_init__(self) -> None:
        _require_choice('depth.encoding', self.encoding, DepthEncoding)
        _require_choice('depth.resolution', self.resolution, Resolution)
        limits = (self.color_min_m, self.color_max_m)
        _require(
            0 < limits[0] < limits[1] < math.inf,
            'depth.color_min_m, depth.color_max_m',
            limits,
            'must be 0 < min < max, in metres',
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """
    Everything that ``mono_depth_node`` can be told.

    Fields:
        model: a shipped model's name, or the path of an ONNX file.
        engine: 'auto', or the name of a back end.
        threads: of the engine; 0 = one per physical core.
        image_transport: 'raw' or 'compressed' (subscribes to ``image/compressed``).
        rectify: rectify images of a distorted camera. False: the topic carries rectified
            images already, whatever the distortion in its camera_info.
        queue_size: depth of the output queues, 1-5 messages.
        diagnostics_period_s: seconds between messages on /diagnostics.
        autostart: configure and activate without being asked.

    """

    model: str = 'default'
    engine: str = 'auto'
    threads: int = 0
    image_transport: ImageTransport = 'raw'
    rectify: bool = True
    queue_size: int = 2
    diagnostics_period_s: float = 1.0
    autostart: bool = True
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    points: PointsConfig = field(default_factory=PointsConfig)

    def __post_init__(self) -> None:
        _require(bool(self.model.strip()), 'model', self.model, 'must name a model or a file')
        _require(bool(self.engine.strip()), 'engine', self.engine, 'must name an engine')
        _require_between('threads', self.threads, 0, 1024)
        _require_choice('image_transport', self.image_transport, ImageTransport)
        _require_between('queue_size', self.queue_size, 1, 5)
        _require_between('diagnostics_period_s', self.diagnostics_period_s, 0.1, 60.0)

    @property
    def pipeline(self) -> PipelineConfig:
        """Return the part that the pipeline needs."""
        return PipelineConfig(resolution=self.depth.resolution)
