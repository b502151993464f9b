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

"""Options: every wrong value, and every value that would do nothing, is named."""

from __future__ import annotations

from typing import Any

from depth_ros.errors import ConfigError
import pytest
from training.recipes.options import FeatureMetricOptions, LidarOptions, VideoOptions

FEATURES = FeatureMetricOptions(checkpoint='features.ckpt')


@pytest.mark.parametrize('kind', [LidarOptions, VideoOptions])
def test_defaults_are_valid(kind: Any) -> None:
    kind()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'loss': 'l2'}, "loss = 'l2': must be one of nll, l1_nll"),
        ({'loss': 'l1_nll', 'loss_space': 'feet'}, "loss_space = 'feet': must be one of metres"),
        ({'filtering': 'on'}, "filtering = 'on': must be one of off, fixed_residual, hinge"),
        ({'loss': 'l1_nll', 'l1_weight': 0.0}, 'l1_weight = 0.0: must be a positive number'),
        ({'beta': -1.0}, 'beta = -1.0: must be a positive number'),
        ({'max_lidar_m': float('inf')}, 'max_lidar_m = inf: must be a positive number'),
        ({'filter_residual_m': 0.0}, 'filter_residual_m = 0.0: must be a positive number'),
        ({'filter_weight': 0.0}, 'filter_weight = 0.0: must be a positive number'),
        ({'filter_radius_px': -1}, 'filter_radius_px = -1: must be zero or more'),
        ({'detach_depth': True}, 'detach_depth = True: with loss = nll nothing would train'),
        ({'l1_weight': 2.0}, 'l1_weight = 2.0: has no effect with loss = nll'),
        ({'loss_space': 'log'}, 'loss_space = log: has no effect with loss = nll'),
        (
            {'filtering': 'off', 'filter_weight': 0.2},
            'filter_weight = 0.2: has no effect with filtering = off',
        ),
    ],
)
def test_bad_lidar_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LidarOptions(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'pose': 'gps'}, "pose = 'gps': must be one of network, odometry"),
        ({'photometric': 'ssim'}, "photometric = 'ssim': must be one of plain, hard, nll"),
        ({'photometric_weight': -1.0}, 'photometric_weight = -1.0: must be zero or more'),
        ({'photometric_weight': 0.0}, 'photometric_weight = 0: without feature_metric nothing'),
        (
            {'photometric_weight': 0.0, 'feature_metric': FEATURES, 'photometric': 'nll'},
            'photometric_weight = 0: with photometric = nll nothing would train sigma',
        ),
        (
            {'photometric_weight': 0.0, 'feature_metric': FEATURES, 'auto_mask': False},
            'auto_mask = False: has no effect with photometric_weight = 0',
        ),
        (
            {'photometric': 'hard', 'auto_mask': False},
            'photometric = hard: has no mask with auto_mask = False; use plain',
        ),
        (
            {'photometric_weight': 0.0, 'feature_metric': FEATURES, 'photometric': 'hard'},
            'photometric = hard: has no effect with photometric_weight = 0',
        ),
        ({'sources': 'sound'}, "sources = 'sound': must be one of video, stereo, both"),
        (
            {'sources': 'both'},
            'auto_mask = True: with sources = both nothing stands still between the cameras',
        ),
        (
            {'sources': 'stereo', 'auto_mask': False, 'pose': 'odometry'},
            'pose = odometry: has no effect with sources = stereo',
        ),
        (
            {'sources': 'stereo', 'auto_mask': False},
            'travel_weight = 0.05: with sources = stereo there is no motion to learn',
        ),
        ({'smoothness_order': 3}, 'smoothness_order = 3: must be 1 or 2'),
        (
            {'smoothness_weight': 0.0, 'smoothness_order': 2},
            'smoothness_order = 2: has no effect with smoothness_weight = 0',
        ),
        ({'smoothness_weight': -1.0}, 'smoothness_weight = -1.0: must be zero or more'),
        ({'travel_weight': float('nan')}, 'travel_weight = nan: must be zero or more'),
        (
            {'pose': 'odometry'},
            'travel_weight = 0.05: with pose = odometry there is no motion to learn',
        ),
        (
            {'pose': 'odometry', 'travel_weight': 0.0, 'pose_encoder': 'resnet50'},
            'pose_encoder = resnet50: has no effect with pose = odometry',
        ),
    ],
)
def test_bad_video_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoOptions(**options)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'checkpoint': ' '}, "checkpoint = '': must name a file"),
        ({'checkpoint': 'a', 'weight': 0.0}, 'weight = 0.0: must be a positive number'),
        ({'checkpoint': 'a', 'scales': 0}, 'scales = 0: must be 1 to 3'),
        ({'checkpoint': 'a', 'scales': 4}, 'scales = 4: must be 1 to 3'),
    ],
)
def test_bad_option_of_features_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FeatureMetricOptions(**options)


def test_features_count_little_beside_the_photometric_error_and_fully_alone() -> None:
    assert VideoOptions().feature_weight == 0
    assert VideoOptions(feature_metric=FEATURES).feature_weight == 1e-3
    assert VideoOptions(feature_metric=FEATURES, photometric_weight=0.0).feature_weight == 1
    given = FeatureMetricOptions(checkpoint='a', weight=0.2)
    assert VideoOptions(feature_metric=given).feature_weight == 0.2
