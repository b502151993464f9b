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

"""Feature-metric terms in the recipes: a frozen network of a checkpoint looks, depth learns."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from test.training import runs
from test.training.recipes.batches import (
    alone,
    constant,
    FOCAL,
    gradient_norms,
    HEIGHT,
    LATE,
    plane_batch,
    SCENE,
    SmallNet,
    total,
    truth,
    WIDTH,
)
from typing import Any

from depth_ros.errors import ModelError
import pytest
import torch
from torch import nn, Tensor
from training.checkpoint import build_recipe
from training.checkpoint_file import Checkpoint, Position, write_checkpoint
from training.models.autoencoder import AutoEncoder
from training.recipes.features import FeatureMetric, load_feature_network
from training.recipes.mutual_distillation import MutualDistillation, MutualDistillationConfig
from training.recipes.naive_sum import NaiveSum, NaiveSumConfig
from training.recipes.options import FeatureMetricOptions
from training.recipes.recipe import Term
from training.recipes.scene import Scene
from training.recipes.self_supervised import SelfSupervised, SelfSupervisedConfig
from training.train_config import config_from

NETWORK = {'kind': 'autoencoder', 'encoder': 'efficientnet_lite0', 'weights': 'random'}
ODOMETRY = {'pose': 'odometry', 'travel_weight': 0.0}
NAMES = ['feature_metric_2', 'feature_metric_4', 'feature_metric_8']


def stored(path: Path, **changes: Any) -> Path:
    """Write the checkpoint of an untrained recipe."""
    torch.manual_seed(1)
    config = config_from({**runs.CONFIG, **changes})
    recipe = build_recipe(config)
    checkpoint = Checkpoint(
        config=config.stored(),
        data={},
        position=Position(),
        best=None,
        recipe=recipe.state_dict(),
        averaged=None,
        optimiser={},
        scaler={},
    )
    write_checkpoint(path, checkpoint)
    return path


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('features') / 'last.ckpt'
    network = {**NETWORK, 'widths': [4, 4, 4, 4, 4]}
    return stored(path, network=network, recipe={'name': 'feature_network'})


class Slopes(nn.Module):
    """Features that are the picture's own colours, shrunk: they can be told in closed form."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def maps_at(self, strides: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(range(len(strides)))

    def encode(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.factor * nn.functional.avg_pool2d(image_B3HW, s) for s in (2, 4, 8))


def metric(network: nn.Module, **options: Any) -> FeatureMetric:
    """Return terms by the features of a given network."""
    result = FeatureMetric(FeatureMetricOptions(checkpoint='none', **options))
    result.__dict__['_network'] = network
    return result


def plane_scene(**changes: Any) -> Scene:
    batch = plane_batch(1)
    scene = Scene(
        target=batch.image_B3HW,
        sources=tuple(batch.neighbour_BN3HW.unbind(1)),
        poses=tuple(batch.neighbour_T_this_BN44.unbind(1)),
        K_B33=batch.K_B33,
        seen_B1HW=batch.seen_B1HW,
        seeds=list(batch.seeds),
    )
    return scene._replace(**changes)


def test_truth_costs_little_and_other_depths_more_at_every_scale() -> None:
    scene = plane_scene()
    right = metric(Slopes()).terms(scene, 1 / SCENE.depth(), 0.3)
    assert list(right) == NAMES
    # What is left is that colours are sampled between coarse pixels.
    for name, limit in zip(NAMES, (0.01, 0.02, 0.05), strict=True):
        assert right[name].weight == pytest.approx(0.1)
        assert right[name].value.item() < limit
    for depth_m in (4.0, 16.0):
        inverse = torch.full_like(SCENE.depth(), 1 / depth_m)
        wrong = metric(Slopes()).terms(scene, inverse, 0.3)
        for name, ratio in zip(NAMES[:2], (5, 2), strict=True):
            assert wrong[name].value.item() > ratio * right[name].value.item()


def test_constant_features_cost_nothing() -> None:
    inverse = torch.full_like(SCENE.depth(), 0.3)
    for term in metric(Slopes(0.0)).terms(plane_scene(), inverse, 1.0).values():
        assert term.value.item() == 0


def test_number_of_scales_is_the_option_and_shares_the_weight() -> None:
    terms = metric(Slopes(), scales=2).terms(plane_scene(), 1 / SCENE.depth(), 0.3)
    assert {name: term.weight for name, term in terms.items()} == dict.fromkeys(NAMES[:2], 0.15)


def test_features_of_unseen_pixels_do_not_count() -> None:
    inverse = 1 / SCENE.depth()
    seen = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    whole = metric(Slopes()).terms(plane_scene(), inverse, 1.0)
    seen[..., : WIDTH // 4 + 1] = False
    part = metric(Slopes()).terms(plane_scene(seen_B1HW=seen), inverse, 1.0)
    for name, stride in zip(NAMES, (2, 4, 8), strict=True):
        # A column of features goes with a single one of its pixels.
        columns = WIDTH // 4 // stride + 1
        assert part[name].count == whole[name].count - columns * HEIGHT // stride
    blind = plane_scene(seen_B1HW=torch.zeros_like(seen))
    assert metric(Slopes()).terms(blind, inverse, 1.0) == {}


def recipe_of(checkpoint: Path, **options: Any) -> SelfSupervised:
    features = FeatureMetricOptions(checkpoint=str(checkpoint))
    given = {**ODOMETRY, 'colors': 'off', 'feature_metric': features, **options}
    return SelfSupervised(SelfSupervisedConfig(**given), SmallNet, FOCAL)


def test_depth_learns_and_the_frozen_network_does_not(checkpoint: Path) -> None:
    recipe = recipe_of(checkpoint, photometric_weight=0.0, smoothness_weight=0.0)
    terms = recipe(plane_batch(), LATE)
    assert list(terms) == NAMES
    assert {term.weight for term in terms.values()} == {1 / 3}
    assert gradient_norms(recipe, total(terms))['network.first.weight'] > 0
    network = recipe.video.features._network
    assert not network.training
    assert not any(p.requires_grad or p.grad is not None for p in network.parameters())
    assert not any('features' in name for name in recipe.state_dict())
    assert copy.deepcopy(recipe).video.features is recipe.video.features


def test_terms_stand_beside_the_photometric_one_with_little_weight(checkpoint: Path) -> None:
    terms = recipe_of(checkpoint)(plane_batch(), LATE)
    assert list(terms) == ['photometric', *NAMES, 'smoothness']
    assert {terms[name].weight for name in NAMES} == {1e-3 / 3}
    plain = SelfSupervised(SelfSupervisedConfig(**ODOMETRY, colors='off'), SmallNet, FOCAL)
    without = plain(plane_batch(), LATE)
    for name, term in without.items():
        assert terms[name].value.item() == term.value.item()
    assert recipe_of(checkpoint)(alone(plane_batch(), 0, 1), LATE) == {}


def test_networks_see_clean_pictures(checkpoint: Path) -> None:
    seen: list[Tensor] = []
    recipe = recipe_of(checkpoint, colors='noise')
    maps = recipe.video.features.maps

    def watch(image_B3HW: Tensor) -> tuple[Tensor, ...]:
        seen.append(image_B3HW)
        return maps(image_B3HW)

    recipe.video.features.maps = watch
    batch = plane_batch()
    recipe(batch, LATE)
    previous, following = batch.neighbour_BN3HW.unbind(1)
    assert torch.equal(seen[0], torch.cat((batch.image_B3HW, previous, following)))


def terms_of(recipe: Any) -> dict[str, Term]:
    return recipe(plane_batch(), LATE)


def test_other_recipes_have_the_terms_by_config_alone(checkpoint: Path) -> None:
    features = FeatureMetricOptions(checkpoint=str(checkpoint))
    given = {**ODOMETRY, 'feature_metric': features}
    naive = NaiveSum(NaiveSumConfig(**given, colors='off'), SmallNet, FOCAL)
    assert {*NAMES, 'photometric', 'lidar_nll'} <= terms_of(naive).keys()
    mutual = MutualDistillation(MutualDistillationConfig(**given, noise='off'), SmallNet, FOCAL)
    names = terms_of(mutual).keys()
    assert {f'u_{name}' for name in NAMES} <= names
    assert not {f's_{name}' for name in NAMES} & names


def test_metres_of_the_network_are_those_of_the_features(checkpoint: Path) -> None:
    network = truth()
    with torch.no_grad():
        network.depths[0] /= 3
    features = FeatureMetricOptions(checkpoint=str(checkpoint))
    options = SelfSupervisedConfig(
        **ODOMETRY, colors='off', feature_metric=features, photometric_weight=0.0
    )
    values = []
    for made, focal in ((network, FOCAL / 3), (truth(), FOCAL), (constant(4.0), FOCAL)):
        recipe = SelfSupervised(options, lambda made=made: made, focal)
        recipe.video.features.__dict__['_network'] = Slopes()
        values.append(recipe(plane_batch(), LATE)['feature_metric_2'].value.item())
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    assert values[2] > 3 * values[1]


def test_network_is_loaded_strictly(checkpoint: Path, tmp_path: Path) -> None:
    assert isinstance(load_feature_network(checkpoint), AutoEncoder)
    with pytest.raises(ModelError, match='cannot be read: No such file'):
        load_feature_network(tmp_path / 'none.ckpt')
    other = stored(tmp_path / 'supervised.ckpt')
    with pytest.raises(ModelError, match="of recipe 'supervised' and has no features: give one"):
        load_feature_network(other)
    read = torch.load(checkpoint, weights_only=True)
    read['recipe'].popitem()
    torch.save(read, tmp_path / 'part.ckpt')
    with pytest.raises(ModelError, match=r'is of another network: .* is missing'):
        load_feature_network(tmp_path / 'part.ckpt')


def test_missing_checkpoint_stops_the_training_and_not_the_export(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path / 'none.ckpt')
    assert recipe.predictions(plane_batch()).keys() == {'depth'}
    with pytest.raises(ModelError, match=f"checkpoint '{tmp_path / 'none.ckpt'}' cannot be read"):
        recipe(replace(plane_batch()), LATE)
