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

"""Low texture as it is used: terms by config in every recipe of video, and what bags may hold."""

from __future__ import annotations

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
    SmallNet,
    total,
    truth,
    WIDTH,
)
from test.training.recipes.test_features import NAMES, NETWORK, Slopes, stored
from test.training.recipes.test_stereo import STEREO, stereo_batch
from test.training.recipes.windows import SmallSequence, window_batch
from typing import Any

from depth_ros.errors import ModelError
import pytest
import torch
from training.checkpoint import build_recipe
from training.models.autoencoder import AutoEncoder, AutoEncoderConfig
from training.models.iresnet import IResNet
from training.models.nested_decoder import NestedDecoder
from training.recipes.feature_network import FeatureNetwork, FeatureNetworkConfig
from training.recipes.features import load_feature_network
from training.recipes.recipe import FrameNeeds, Recipe, Term
from training.recipes.registry import read_options, recipe_classes
from training.samples import Batch
from training.train_config import read_config

CONFIGS = Path(__file__).parents[3] / 'training' / 'configs'
WIDTHS = [4, 4, 4, 4, 4]
KNOWN_MOTION = {'pose': 'odometry', 'travel_weight': 0.0}
# Recipe -> what its terms of video begin with, and options that keep chance out.
OF_VIDEO = {
    'self_supervised': ('', {'colors': 'off'}),
    'naive_sum': ('', {'colors': 'off'}),
    'mutual_distillation': ('u_', {'noise': 'off'}),
    'tc_depth': ('', {'colors': 'off'}),
}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('low_texture') / 'last.ckpt'
    network = {**NETWORK, 'widths': WIDTHS}
    return stored(path, network=network, recipe={'name': 'feature_network'})


def recipe_of(name: str, checkpoint: Path | None, **options: Any) -> Recipe:
    """Return a recipe as its section of a config says, around a small network."""
    given = {**KNOWN_MOTION, **OF_VIDEO[name][1], **options}
    if checkpoint is not None:
        given['feature_metric'] = {'checkpoint': str(checkpoint)}
    network = SmallSequence if name == 'tc_depth' else SmallNet
    recipe = recipe_classes(name)[1](read_options(name, given), network, FOCAL)
    return recipe.double().eval()


def batch_of(name: str, count: int = 2) -> Batch:
    return window_batch(count) if name == 'tc_depth' else plane_batch(count)


def without_noise(terms: dict[str, Term]) -> dict[str, float]:
    return {name: term.value.item() for name, term in terms.items()}


# --- Combined by config ----------------------------------------------------------------------


@pytest.mark.parametrize('name', OF_VIDEO)
def test_config_alone_adds_the_terms_and_changes_no_other(name: str, checkpoint: Path) -> None:
    prefix, _ = OF_VIDEO[name]
    recipe = recipe_of(name, checkpoint)
    terms = recipe(batch_of(name), LATE)
    added = {f'{prefix}{term}' for term in NAMES}
    plain = without_noise(recipe_of(name, None)(batch_of(name), LATE))
    assert terms.keys() - plain.keys() == added
    assert {term: without_noise(terms)[term] for term in plain} == pytest.approx(plain, rel=1e-9)
    assert {terms[term].weight for term in added} == {1e-3 / 3}
    # They train the depth network, and nothing of the frozen one is part of the recipe.
    value = torch.stack([terms[term].value for term in sorted(added)]).sum()
    norms = gradient_norms(recipe, value)
    assert max(norms.values()) > 0
    assert not any('encoder' in key or 'features' in key for key in recipe.state_dict())


@pytest.mark.parametrize('name', ['self_supervised', 'naive_sum', 'tc_depth'])
def test_features_alone_replace_colours(name: str, checkpoint: Path) -> None:
    terms = recipe_of(name, checkpoint, photometric_weight=0.0)(batch_of(name), LATE)
    assert {*NAMES, 'smoothness'} <= terms.keys()
    assert 'photometric' not in terms
    assert {terms[term].weight for term in NAMES} == {1 / 3}


@pytest.mark.parametrize('name', ['self_supervised', 'naive_sum', 'mutual_distillation'])
def test_second_order_smoothness_is_an_option_of_each(name: str) -> None:
    key = OF_VIDEO[name][0] + 'smoothness'
    first, both = (
        recipe_of(name, None, smoothness_order=order)(batch_of(name), LATE)[key].value.item()
        for order in (1, 2)
    )
    assert both > first


@pytest.mark.parametrize(
    ('config', 'needs'),
    [
        ('low_texture', FrameNeeds(labelled=None, neighbours=True)),
        ('low_texture_stereo', FrameNeeds(labelled=None, neighbours=False, stereo=True)),
    ],
)
def test_config_has_all_that_the_paper_has(
    config: str, needs: FrameNeeds, checkpoint: Path
) -> None:
    keys = ['network.widths=[4,4,4,4,4]', f'recipe.feature_metric.checkpoint={checkpoint}']
    keys += ['recipe.pose_weights=random'] * (config == 'low_texture')
    read = read_config(CONFIGS / f'{config}.yaml', keys)
    options = read.recipe.options
    assert (options.feature_weight, options.feature_metric.scales) == (1e-3, 3)
    assert (options.smoothness_order, options.smoothness_weight) == (2, 1e-3)
    assert options.auto_mask == (not options.sees_stereo)
    assert options.needs == needs
    recipe = build_recipe(read)
    assert isinstance(recipe.deployed().encoder, IResNet)
    assert isinstance(recipe.deployed().decoder, NestedDecoder)


# --- Bad input -------------------------------------------------------------------------------


def constant_picture(batch: Batch) -> Batch:
    """Return the batch with pictures of a single colour."""
    grey = torch.full_like(batch.image_B3HW, 0.4)
    return replace(
        batch, image_B3HW=grey, neighbour_BN3HW=torch.full_like(batch.neighbour_BN3HW, 0.4)
    )


def learned(recipe: Recipe, terms: dict[str, Term]) -> dict[str, float]:
    """Return the gradients of what is minimised; all of them are finite."""
    values = without_noise(terms)
    assert all(map(torch.isfinite, map(torch.tensor, values.values()))), values
    norms = gradient_norms(recipe, total(terms))
    assert all(value < float('inf') for value in norms.values())
    return norms


def feature_network() -> Recipe:
    torch.manual_seed(0)
    config = AutoEncoderConfig(
        encoder='efficientnet_lite0', weights='random', widths=tuple(WIDTHS)
    )
    return FeatureNetwork(FeatureNetworkConfig(), lambda: AutoEncoder(config), FOCAL).double()


def test_constant_picture_trains_the_feature_network_without_nan() -> None:
    batch = constant_picture(plane_batch(2))
    recipe = feature_network()
    norms = learned(recipe, recipe(batch, LATE))
    assert norms['network.heads.0.bias'] > 0
    assert all(torch.isfinite(picture).all() for picture in recipe.pictures(batch).values())


@pytest.mark.parametrize('name', OF_VIDEO)
def test_constant_picture_teaches_no_depth_and_no_nan(name: str, checkpoint: Path) -> None:
    recipe = recipe_of(name, checkpoint)
    terms = recipe(constant_picture(batch_of(name)), LATE)
    learned(recipe, terms)
    # Features of the zeros around the picture differ from those inside, and nothing else does.
    finest = terms[f'{OF_VIDEO[name][0]}feature_metric_2']
    textured = recipe(batch_of(name), LATE)[f'{OF_VIDEO[name][0]}feature_metric_2']
    assert finest.value < textured.value


def test_few_valid_pixels_still_teach_and_none_leave_the_terms_out(checkpoint: Path) -> None:
    recipe = recipe_of('self_supervised', checkpoint)
    seen = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    seen[..., 32:40, 40:46] = True
    assert seen.float().mean() < 0.01
    terms = recipe(plane_batch(1, seen_B1HW=seen), LATE)
    # 4 x 3 features at 1/2, 2 x 1 at 1/4, none at 1/8 that is seen whole.
    counts = {name: terms[name].count for name in terms if name in NAMES}
    assert counts == {'feature_metric_2': 12, 'feature_metric_4': 2}
    learned(recipe, terms)
    blind = recipe(plane_batch(1, seen_B1HW=torch.zeros_like(seen)), LATE)
    assert list(blind) == ['smoothness']


def test_few_frames_of_a_batch_count_as_a_batch_of_them(checkpoint: Path) -> None:
    recipe = recipe_of('self_supervised', checkpoint)
    some = recipe(alone(plane_batch(3), 0, 2), LATE)
    one = recipe(plane_batch(1), LATE)
    assert {name: term.count for name, term in some.items()} == {
        name: term.count for name, term in one.items()
    }
    assert without_noise(some) == pytest.approx(without_noise(one), rel=1e-4)


def test_batch_of_one_trains_features_and_then_depth(tiny_dataset: Path, tmp_path: Path) -> None:
    one = {'batch_size': 1, 'epochs': 1, 'batch_norm': 'train'}
    network = {**NETWORK, 'widths': WIDTHS}
    made = runs.config_file(tmp_path, network=network, recipe={'name': 'feature_network'}, **one)
    features = tmp_path / 'features'
    assert runs.train(made, tiny_dataset, features, '--no-validation') == 0
    rows = runs.rows(features / 'log.csv')
    assert len(rows) == runs.TRAIN_FRAMES
    recipe = {
        'name': 'self_supervised',
        **KNOWN_MOTION,
        'feature_metric': {'checkpoint': str(features / 'last.ckpt')},
        'smoothness_order': 2,
    }
    made = runs.config_file(tmp_path, recipe=recipe, **one)
    assert runs.train(made, tiny_dataset, tmp_path / 'depth', '--no-validation') == 0
    rows = runs.rows(tmp_path / 'depth' / 'log.csv')
    assert all(float(row['term_feature_metric_2']) > 0 for row in rows)


def test_weights_that_do_not_match_are_refused_and_ten_are_listed(
    checkpoint: Path, tmp_path: Path
) -> None:
    read = torch.load(checkpoint, weights_only=True)
    gone = list(read['recipe'])[:25]
    for key in gone:
        read['recipe'].pop(key)
    torch.save(read, tmp_path / 'part.ckpt')
    with pytest.raises(ModelError) as error:
        load_feature_network(tmp_path / 'part.ckpt')
    text = str(error.value)
    assert text.count(' is missing') == 10
    assert all(f'{key} is missing' in text for key in gone[:10])
    assert 'and 15 more' in text


# --- From a stereo pair ----------------------------------------------------------------------


def test_features_of_the_right_image_tell_the_true_depth_alone() -> None:
    values = {}
    for label, network in (('true', truth()), ('near', constant(4.0)), ('far', constant(16.0))):
        options = {**STEREO, 'colors': 'off', 'feature_metric': {'checkpoint': 'not read'}}
        _, made = recipe_classes('self_supervised')
        recipe = made(read_options('self_supervised', options), lambda net=network: net, FOCAL)
        recipe.video.features.__dict__['_network'] = Slopes()
        # Neither neighbours nor poses are needed.
        values[label] = recipe(alone(stereo_batch(1), 0), LATE)['feature_metric_2'].value.item()
    assert values['true'] < 0.02
    assert min(values['near'], values['far']) > 3 * values['true']
