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

"""Metres of a camera, scales, and losses out of reach of mixed precision."""

from __future__ import annotations

from dataclasses import replace
import math
from test.training.recipes.batches import constant, FOCAL, HEIGHT, plane_batch, truth, WIDTH

import torch
from training.models.depth_net import Prediction
from training.recipes.branches import exactly, full_size, in_metres
from training.recipes.recipe import focal_ratio
from training.recipes.supervised import Supervised, SupervisedConfig


def test_metres_scale_depth_and_sigma_alike() -> None:
    ratio = torch.tensor([2.0, 0.5]).view(2, 1, 1, 1)
    depth, log_sigma = torch.full((2, 1, 3, 4), 6.0), torch.full((2, 1, 3, 4), 0.25)
    result = in_metres(Prediction((depth,), (log_sigma,)), ratio)
    assert result.depths[0][:, 0, 0, 0].tolist() == [12.0, 3.0]
    torch.testing.assert_close(result.log_sigmas[0].exp(), log_sigma.exp() * ratio)
    kept = in_metres(Prediction((depth,), (log_sigma,)), ratio, with_sigma=False)
    assert kept.log_sigmas[0] is log_sigma


def test_full_size_enlarges_every_scale_by_pixel_centres() -> None:
    small = torch.tensor([[[[1.0, 3.0]]]])
    result = full_size(Prediction((small,), (small,)), torch.zeros(1, 3, 1, 4))
    assert result.depths[0].flatten().tolist() == [1.0, 1.5, 2.5, 3.0]
    assert result.log_sigmas[0].shape == (1, 1, 1, 4)


def test_prediction_is_in_metres_of_each_camera() -> None:
    recipe = Supervised(SupervisedConfig(), lambda: constant(5.0, 1.0, scales=2), FOCAL)
    batch = plane_batch()
    wide = batch.K_B33.clone()
    wide[1, 0, 0] *= 2
    (name, said), *others = recipe.predictions(replace(batch, K_B33=wide)).items()
    assert (name, others) == ('depth', [])
    assert said.depths[0][:, 0, 0, 0].tolist() == [5.0, 10.0]
    torch.testing.assert_close(
        said.log_sigmas[1][:, 0, 0, 0], torch.tensor([1.0, 1 + math.log(2)]).double()
    )
    assert said.depths[1].shape == (2, 1, HEIGHT // 2, WIDTH // 2)
    torch.testing.assert_close(focal_ratio(wide, FOCAL).flatten(), torch.tensor([1.0, 2.0]))


def test_deployed_network_is_the_trained_one() -> None:
    network = truth()
    assert Supervised(SupervisedConfig(), lambda: network, FOCAL).deployed() is network


def test_losses_are_computed_without_mixed_precision() -> None:
    batch = plane_batch(1)
    a = torch.rand(8, 8)
    with torch.autocast('cpu', torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16
        with exactly(batch):
            assert (a @ a).dtype == torch.float32
