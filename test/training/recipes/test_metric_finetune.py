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

"""Metric fine-tuning: SILog in the metres of each camera."""

from __future__ import annotations

from dataclasses import replace
import math
from test.training.recipes.batches import FOCAL, LATE, plane_batch, truth, unlabelled
from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from training.losses.silog import ROOT_FLOOR
from training.recipes.metric_finetune import MetricFinetune, MetricFinetuneConfig


def recipe_of(factor: float = 1.0, focal_px: float = FOCAL, **options: Any) -> MetricFinetune:
    network = truth()
    with torch.no_grad():
        network.depths[0].mul_(factor)
    return MetricFinetune(MetricFinetuneConfig(**options), lambda: network, focal_px)


def test_truth_in_another_focal_length_has_no_error() -> None:
    (term,) = recipe_of(0.5, FOCAL / 2)(plane_batch(), LATE).values()
    assert term.value.item() == pytest.approx(math.sqrt(ROOT_FLOOR))
    assert (term.count, term.weight) == (2, 1.0)


@pytest.mark.parametrize('focus', [0.0, 0.5])
def test_wrong_scale_is_forgiven_in_part(focus: float) -> None:
    (term,) = recipe_of(2.0, variance_focus=focus)(plane_batch(), LATE).values()
    wanted = math.sqrt((1 - focus) * math.log(2) ** 2 + ROOT_FLOOR)
    assert term.value.item() == pytest.approx(wanted, rel=1e-6)


def test_hits_out_of_range_and_frames_without_hits_do_not_count() -> None:
    batch = unlabelled(plane_batch(3), 2)
    depth = batch.depth_B1HW.clone()
    depth[0] = 200.0
    batch = replace(batch, depth_B1HW=depth)
    recipe = recipe_of()
    assert recipe(batch, LATE)['silog'].count == 1
    near = recipe_of(min_lidar_m=70.0, max_lidar_m=75.0)
    assert near(batch, LATE) == {}
    assert not recipe.has_sigma
    assert recipe.output_kind == 'metric_depth'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'variance_focus': 1.0}, r'variance_focus = 1\.0: must be below 1'),
        ({'variance_focus': -0.1}, r'variance_focus = -0\.1: must be zero or more'),
        ({'min_lidar_m': 90.0}, r'min_lidar_m = 90\.0: must be below max_lidar_m = 80\.0'),
        ({'colors': 'sepia'}, "colors = 'sepia': must be one of"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MetricFinetuneConfig(**options)
