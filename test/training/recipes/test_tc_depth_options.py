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

"""What TC-Depth's recipe asks of trainer and network, gives back, and refuses."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import FOCAL, POSE_NET
from test.training.recipes.windows import (
    config_of,
    Knowing,
    ODOMETRY,
    recipe_of,
    shortened,
    SmallSequence,
    window_batch,
)
from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from training.models.depth_net import DepthNetConfig
from training.recipes.recipe import FrameNeeds
from training.recipes.registry import make_recipe
from training.recipes.tc_depth import TcDepth


def test_needs_are_windows_of_any_frames() -> None:
    assert config_of().needs == FrameNeeds(
        labelled=None,
        neighbours=None,
        offsets=(-1, -2),
        window=True,
        neighbour_depths=True,
    )
    assert config_of(past=3).needs.offsets == (-1, -2, -3)
    centred = config_of(views='centred', lidar_frames='current').needs
    assert (centred.offsets, centred.neighbour_depths) == ((-1, 1), False)


def test_predictions_are_metres_on_each_camera_with_the_past() -> None:
    batch = window_batch(2)
    K = batch.K_B33.clone()
    K[1, 0, 0] *= 2
    network = SmallSequence()
    said = recipe_of(network).predictions(replace(batch, K_B33=K))['depth']
    images = torch.stack((*batch.neighbour_BN3HW.unbind(1)[::-1], batch.image_B3HW), dim=1)
    expected = network.sequence_views(images, torch.zeros(2, 4))[-1].prediction
    torch.testing.assert_close(said.depths[0][:1], expected.depths[0][:1])
    torch.testing.assert_close(said.depths[0][1:], 2 * expected.depths[0][1:])
    alone = shortened(batch, {0: 0, 1: 0})
    first = recipe_of(network).predictions(alone)['depth']
    assert not torch.allclose(first.depths[0][:1], said.depths[0][:1])


def test_colours_are_drawn_for_every_picture_or_once() -> None:
    batch = window_batch(8)
    same = batch.image_B3HW[:, None].repeat(1, 2, 1, 1, 1)
    batch = replace(batch, neighbour_BN3HW=same)
    for apart in (True, False):
        recipe = recipe_of(Knowing(), colors='jitter', colors_apart=apart)
        seen = recipe._colored(batch)
        equal = (seen.neighbour_BN3HW[:, 0] == seen.image_B3HW).flatten(1).all(1)
        both = (seen.image_B3HW != batch.image_B3HW).flatten(1).any(1)
        assert both.any()
        if apart:
            assert not equal[both].any()
        else:
            assert torch.allclose(seen.neighbour_BN3HW[:, 0], seen.image_B3HW)


def test_network_that_does_not_remember_is_refused() -> None:
    unet = DepthNetConfig(encoder='efficientnet_lite0', weights='random')
    with pytest.raises(ConfigError, match='tc_depth'):
        make_recipe('tc_depth', ODOMETRY, unet, FOCAL)


def test_window_shorter_than_the_memory_is_refused() -> None:
    with pytest.raises(ValueError, match='past = 1: the network remembers 2 frames'):
        recipe_of(Knowing(), past=1)
    recipe_of(Knowing(memory=0), past=1)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'views': 'future'}, "views = 'future': must be one of causal, centred"),
        ({'lidar_frames': 'some'}, "lidar_frames = 'some': must be one of window, current, off"),
        ({'past': 0}, 'past = 0: must be 1 or more'),
        ({'views': 'centred', 'past': 3}, 'past = 3: has no effect with views = centred'),
        ({'colors_apart': False}, 'colors_apart = False: has no effect with colors = off'),
        ({'photometric': 'nll'}, 'photometric = nll: sigma is in metres, by LiDAR'),
        (
            {'lidar_frames': 'off', 'beta': 2.0},
            'beta = 2.0: has no effect with lidar_frames = off',
        ),
        ({'cycle_share': 0.0}, 'cycle_share = 0.0: must be above 0, up to 1'),
        ({'cycle_mask': False, 'cycle_share': 0.5}, 'cycle_share = 0.5: has no effect with'),
        ({'temporal_limit': 0.2}, 'temporal_limit = 0.2: has no effect with no temporal weight'),
        (
            {'geometric_weight': 0.0, 'consistency_scales': 2},
            'consistency_scales = 2: has no effect with geometric_weight = 0',
        ),
        ({'reference_weight': -1.0}, 'reference_weight = -1.0: must be zero or more'),
        ({'motion': {'labels': 'x', 'epochs': 0.0}}, 'epochs = 0.0: must be a positive number'),
        ({'motion': {}}, 'give exactly one of them'),
        (
            {'motion': {'labels': 'x'}, 'teacher': {'labels': 'y'}},
            'motion.labels and teacher.labels are x and y',
        ),
        (
            {'photometric_weight': 0.0, 'lidar_frames': 'off', 'photometric': 'hard'},
            'photometric_weight = 0: without feature_metric nothing would train the depth',
        ),
        (
            {'pose': 'network', 'temporal_weight': 0.1},
            'temporal_weight = 0.1: needs to know how the camera moved; use pose = odometry',
        ),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config_of(**options)


def test_output_has_metres_where_something_gives_them() -> None:
    video = {'pose': 'network', 'lidar_frames': 'off', 'colors': 'jitter', **POSE_NET}
    cases = [
        ({}, 'metric_depth', True),
        ({'lidar_frames': 'off'}, 'metric_depth', False),
        ({**video, 'travel_weight': 0.05}, 'metric_depth', False),
        (video, 'affine_inverse_depth', False),
        ({**video, 'teacher': {'labels': 'x', 'loss': 'affine'}}, 'affine_inverse_depth', False),
        ({**video, 'teacher': {'labels': 'x'}}, 'metric_depth', False),
    ]
    for options, kind, has_sigma in cases:
        recipe = TcDepth(config_of(**options), Knowing, FOCAL)
        assert (recipe.output_kind, recipe.has_sigma) == (kind, has_sigma)
