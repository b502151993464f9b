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

"""Supervised: LiDAR terms on changed colours, and a teacher for the rest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.engines.graphs import brightness_file
from test.synthetic import model_spec
from test.training.recipes.batches import (
    constant,
    FOCAL,
    LATE,
    mixed_batch,
    plane_batch,
    SmallNet,
    truth,
    unlabelled,
)

from depth_ros.engines.model_card import write_card
from depth_ros.errors import ConfigError
import pytest
import torch
from training.recipes.recipe import FrameNeeds
from training.recipes.supervised import Supervised, SupervisedConfig
from training.recipes.teacher import TeacherOptions


def recipe_of(options: SupervisedConfig, network: torch.nn.Module | None = None) -> Supervised:
    return Supervised(options, lambda: network or SmallNet(), FOCAL)


def test_truth_in_another_focal_length_is_the_truth() -> None:
    # The network's metres hold for half the focal length of the scene.
    network = truth(log_sigma=-2.0)
    with torch.no_grad():
        network.depths[0] /= 2
    recipe = Supervised(SupervisedConfig(filtering='off'), lambda: network, FOCAL / 2)
    (term,) = recipe(plane_batch(), LATE).values()
    # Sigma grows with the metre.
    assert term.value.item() == pytest.approx(-2.0 + torch.tensor(2.0).log().item(), rel=1e-5)


@pytest.mark.parametrize('colors', ['off', 'jitter', 'noise'])
def test_network_sees_the_colours_that_were_asked_for(colors: str) -> None:
    pictures = []
    recipe, batch = recipe_of(SupervisedConfig(colors=colors)), plane_batch(12)
    recipe.network.register_forward_pre_hook(lambda _, inputs: pictures.append(inputs[0]))
    recipe(batch, LATE)
    recipe.predictions(batch)
    trained, validated = pictures
    changed = int((trained != batch.image_B3HW).flatten(1).any(1).sum())
    limits = {'off': (0, 0), 'jitter': (2, 10), 'noise': (9, 12)}[colors]
    assert limits[0] <= changed <= limits[1]
    assert torch.equal(validated, batch.image_B3HW)


def test_result_repeats_with_the_seeds_and_changes_with_them() -> None:
    recipe, batch = recipe_of(SupervisedConfig(colors='noise')), plane_batch()
    first, again = (recipe(batch, LATE)['lidar_nll'].value.item() for _ in range(2))
    assert first == again
    other = replace(batch, seeds=(7, 8))
    assert recipe(other, LATE)['lidar_nll'].value.item() != first


def test_unlabelled_batch_gives_no_term() -> None:
    recipe = recipe_of(SupervisedConfig())
    assert recipe(unlabelled(plane_batch(), 0, 1), LATE) == {}
    assert recipe.needs == FrameNeeds(labelled=True, neighbours=False)


def test_teacher_labels_the_frames_without_lidar(tmp_path: Path) -> None:
    path = brightness_file(tmp_path / 'model.onnx')
    write_card(path, model_spec())
    teacher = TeacherOptions(model=str(path), engine='onnxruntime', weight=0.3)
    recipe = recipe_of(SupervisedConfig(teacher=teacher, filtering='off'), constant(10.0))
    assert recipe.needs == FrameNeeds(labelled=None, neighbours=False)
    terms = recipe(mixed_batch(), LATE)
    assert list(terms) == ['lidar_nll', 'teacher']
    assert terms['teacher'].weight == 0.3
    assert 0 < terms['teacher'].count <= mixed_batch().image_B3HW[0, 0].numel()
    (gradient,) = torch.autograd.grad(terms['teacher'].value, recipe.network.depths[0])
    assert gradient.abs().max() > 0
    assert not any('teacher' in key for key in recipe.state_dict())
    assert list(recipe(unlabelled(plane_batch(), 0, 1), LATE)) == ['teacher']


def test_bad_option_is_named() -> None:
    with pytest.raises(ConfigError, match="colors = 'sepia': must be one of off, jitter, noise"):
        SupervisedConfig(colors='sepia')
    with pytest.raises(ConfigError, match='beta = 0'):
        SupervisedConfig(beta=0)
