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

"""A stereo pair as a source: its pose is known, so depth is metric without any motion."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import (
    alone,
    constant,
    FOCAL,
    gradient_norms,
    HEIGHT,
    IDENTITY,
    LATE,
    plane_batch,
    POSE_NET,
    SCENE,
    SmallNet,
    TrueMotion,
    truth,
    WIDTH,
)
from test.training.scenes import motion
from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from torch import Tensor
from training.recipes.mutual_distillation import MutualDistillationConfig
from training.recipes.naive_sum import NaiveSumConfig
from training.recipes.options import VideoOptions
from training.recipes.recipe import FrameNeeds
from training.recipes.self_supervised import SelfSupervised, SelfSupervisedConfig
from training.recipes.tc_depth import TcDepthConfig
from training.samples import Batch

BASELINE_M = 0.5
RIGHT_T_LEFT = motion((0.0, 0.0, 0.0), (-BASELINE_M, 0.0, 0.0))
STEREO: dict[str, Any] = {'sources': 'stereo', 'auto_mask': False, 'travel_weight': 0.0}
PIXELS = HEIGHT * WIDTH


def stereo_batch(count: int = 2, **changes: Any) -> Batch:
    """Return frames of the plane, with what a camera half a metre to the right sees of it."""
    return plane_batch(
        count,
        right_B3HW=SCENE.picture(RIGHT_T_LEFT).repeat(count, 1, 1, 1),
        right_T_this_B44=RIGHT_T_LEFT.repeat(count, 1, 1),
        has_right_B=torch.ones(count, dtype=torch.bool),
        **changes,
    )


def recipe_of(network: Any, **options: Any) -> SelfSupervised:
    given = SelfSupervisedConfig(**{**STEREO, 'colors': 'off', **options})
    return SelfSupervised(given, lambda: network, FOCAL)


def test_true_depth_costs_nothing_without_neighbours_or_poses() -> None:
    batch = alone(stereo_batch(), 0, 1)
    right = recipe_of(truth())(batch, LATE)
    assert list(right) == ['photometric', 'smoothness']
    assert right['photometric'].value.item() < 2e-3
    # The left border is seen by nobody else.
    assert PIXELS < right['photometric'].count < 2 * PIXELS
    for depth_m in (4.0, 16.0):
        wrong = recipe_of(constant(depth_m))(batch, LATE)['photometric'].value.item()
        assert wrong > 5 * right['photometric'].value.item()


def test_baseline_gives_the_metre() -> None:
    batch, twice = stereo_batch(), RIGHT_T_LEFT.clone()
    twice[0, 3] *= 2
    farther = replace(batch, right_T_this_B44=twice.repeat(2, 1, 1))
    network = truth()
    with torch.no_grad():
        network.depths[0] *= 2
    assert recipe_of(network)(farther, LATE)['photometric'].value.item() < 2e-3
    assert recipe_of(truth())(farther, LATE)['photometric'].value.item() > 0.02
    assert recipe_of(truth()).output_kind == 'metric_depth'


def test_frames_without_a_right_image_have_no_part() -> None:
    batch = stereo_batch(3)
    one = replace(batch, has_right_B=torch.tensor([False, True, False]))
    found = recipe_of(truth())(one, LATE)
    assert (
        found['photometric'].count
        == recipe_of(truth())(stereo_batch(1), LATE)['photometric'].count
    )
    assert recipe_of(truth())(plane_batch(), LATE) == {}


def test_both_take_the_best_of_three_sources_and_want_all() -> None:
    options = {'sources': 'both', 'pose': 'odometry'}
    network, batch = constant(5.0), stereo_batch(1)
    both = recipe_of(network, **options)(batch, LATE)['photometric']
    # All sources together see more than the pair or the neighbours do.
    assert both.count == PIXELS
    video = recipe_of(network, **{**options, 'sources': 'video'})(batch, LATE)['photometric']
    assert both.value.item() < video.value.item()
    recipe = recipe_of(network, **options)
    assert recipe(alone(batch, 0), LATE) == {}
    assert recipe(plane_batch(1), LATE) == {}
    assert recipe_of(truth(), **options)(batch, LATE)['photometric'].value.item() < 2e-3


def test_motion_of_both_is_learned_and_that_of_the_pair_is_not() -> None:
    recipe = recipe_of(SmallNet(), sources='both', **POSE_NET)
    recipe.video.pose_net = TrueMotion()
    terms = recipe(stereo_batch(), LATE)
    assert list(terms) == ['photometric', 'smoothness']
    assert gradient_norms(recipe, terms['photometric'].value)['video.pose_net.scale'] > 0
    assert recipe_of(SmallNet()).video.pose_net is None
    assert not recipe_of(SmallNet()).video.sees_neighbours


@pytest.mark.parametrize(
    ('options', 'needs'),
    [
        (SelfSupervisedConfig(**STEREO), FrameNeeds(labelled=None, neighbours=False, stereo=True)),
        (NaiveSumConfig(**STEREO), FrameNeeds(labelled=None, neighbours=False, stereo=None)),
        (
            NaiveSumConfig(sources='both', auto_mask=False),
            FrameNeeds(labelled=None, neighbours=None, stereo=None),
        ),
        (
            MutualDistillationConfig(**STEREO),
            FrameNeeds(labelled=None, neighbours=False, stereo=None),
        ),
        (
            MutualDistillationConfig(branches='UU', sources='both', auto_mask=False),
            FrameNeeds(labelled=None, neighbours=True, stereo=True),
        ),
        (NaiveSumConfig(), FrameNeeds(labelled=None, neighbours=None)),
        (MutualDistillationConfig(branches='UU'), FrameNeeds(labelled=None, neighbours=True)),
        (MutualDistillationConfig(branches='SS'), FrameNeeds(labelled=None, neighbours=False)),
    ],
)
def test_recipes_ask_for_the_frames_of_their_sources(options: Any, needs: FrameNeeds) -> None:
    assert options.needs == needs


def test_window_of_one_camera_refuses_a_pair() -> None:
    with pytest.raises(ConfigError, match="sources = 'stereo': must be one of video"):
        TcDepthConfig(**{**STEREO, 'photometric': 'plain'})


def test_identity_is_no_stereo_pose() -> None:
    assert VideoOptions(**STEREO).output_kind == 'metric_depth'
    still: Tensor = IDENTITY
    batch = replace(stereo_batch(1), right_T_this_B44=still.repeat(1, 1, 1))
    # Without a baseline no depth explains the pair.
    assert recipe_of(truth())(batch, LATE)['photometric'].value.item() > 0.02
