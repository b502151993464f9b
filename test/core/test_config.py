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

"""Settings out of range are refused by their parameter name, value and rule."""

import math

from depth_ros.core.config import (
    AlignmentConfig,
    DepthConfig,
    NodeConfig,
    PipelineConfig,
    PointsConfig,
)
from depth_ros.errors import ConfigError
import pytest


def test_defaults_are_valid_and_publish_the_camera_grid():
    config = NodeConfig()
    assert config.pipeline == PipelineConfig(resolution='camera')
    assert config.points.organized
    assert config.model == 'default'


def test_pipeline_part_follows_the_depth_resolution():
    assert NodeConfig(depth=DepthConfig(resolution='model')).pipeline.resolution == 'model'


@pytest.mark.parametrize(
    ('make', 'named'),
    [
        (lambda: PipelineConfig(resolution='half'), "depth.resolution = 'half'"),
        (lambda: PointsConfig(stride=0), 'points.stride = 0'),
        (lambda: PointsConfig(stride=65), 'points.stride = 65'),
        (
            lambda: PointsConfig(min_depth_m=5.0, max_depth_m=5.0),
            r'points.min_depth_m.*\(5.0, 5.0\)',
        ),
        (lambda: PointsConfig(min_depth_m=-1.0), 'points.min_depth_m'),
        (lambda: PointsConfig(max_depth_m=math.nan), 'points.max_depth_m'),
        (lambda: PointsConfig(max_uncertainty_m=0.0), 'points.max_uncertainty_m = 0.0'),
        (
            lambda: PointsConfig(max_relative_uncertainty=math.nan),
            'max_relative_uncertainty = nan',
        ),
        (lambda: DepthConfig(encoding='mono8'), "depth.encoding = 'mono8'"),
        (lambda: DepthConfig(color_min_m=9.0, color_max_m=3.0), 'depth.color_min_m'),
        (lambda: DepthConfig(color_max_m=math.inf), 'depth.color_max_m'),
        (lambda: NodeConfig(model=' '), "model = ' '"),
        (lambda: NodeConfig(engine=''), "engine = ''"),
        (lambda: NodeConfig(threads=-1), 'threads = -1'),
        (lambda: NodeConfig(image_transport='theora'), "image_transport = 'theora'"),
        (lambda: NodeConfig(queue_size=6), 'queue_size = 6'),
        (lambda: NodeConfig(diagnostics_period_s=0.0), 'diagnostics_period_s = 0.0'),
    ],
)
def test_value_out_of_range_is_refused(make, named):
    with pytest.raises(ConfigError, match=named):
        make()


def test_declared_alignment_needs_a_positive_scale():
    assert AlignmentConfig(method='declared', scale=0.1, shift=-0.01).scale == 0.1
    for scale, shift in ((0.0, 0.0), (-1.0, 0.0), (math.inf, 0.0), (1.0, math.nan)):
        with pytest.raises(ConfigError, match='declare a positive scale and a finite shift'):
            AlignmentConfig(method='declared', scale=scale, shift=shift)


@pytest.mark.parametrize('method', ['none', 'lidar'])
def test_declared_scale_is_not_ignored_by_another_method(method):
    with pytest.raises(ConfigError, match=f"not used with alignment.method = '{method}'"):
        AlignmentConfig(method=method, scale=0.1)


def test_pose_of_the_lidar_is_seven_numbers():
    config = AlignmentConfig(method='lidar', lidar_pose='1 2 3 0 0 0 1')
    assert config.camera_T_lidar[:3, 3].tolist() == [1.0, 2.0, 3.0]
    assert AlignmentConfig(method='lidar').camera_T_lidar is None
    for text in ('1 2 3', '1 2 3 0 0 0 x', '1 2 3 0 0 0 2', '1 2 3 0 0 0 1 0', '1 nan 3 0 0 0 1'):
        with pytest.raises(ConfigError, match=r'alignment.lidar_pose = .* seven numbers'):
            AlignmentConfig(method='lidar', lidar_pose=text)
    with pytest.raises(ConfigError, match=r"not used with alignment\.method = 'none'"):
        AlignmentConfig(lidar_pose='1 2 3 0 0 0 1')


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('method', 'radar'),
        ('max_time_difference_s', 0.0),
        ('max_age_s', math.nan),
        ('smoothing_s', -0.1),
        ('min_points', 9),
    ],
)
def test_alignment_value_out_of_range_is_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=f'alignment.{key} = '):
        AlignmentConfig(**{key: value})
