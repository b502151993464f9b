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

"""The feature network: what is rewarded, what is punished, and that it trains without depth."""

from __future__ import annotations

from pathlib import Path
from test.training import runs
from test.training.recipes.batches import FOCAL, gradient_norms, LATE, plane_batch, total

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from torch import nn, Tensor
from training.checkpoint import load_recipe
from training.deployment import read_deployment
from training.models.autoencoder import AutoEncoder, AutoEncoderConfig, Rebuilt
from training.recipes.feature_network import (
    FeatureNetwork,
    FeatureNetworkConfig,
    gradients,
    reconstruction,
)
from training.recipes.registry import make_recipe

NETWORK = {
    'kind': 'autoencoder',
    'encoder': 'efficientnet_lite0',
    'weights': 'random',
    'widths': [4, 4, 4, 4, 4],
}
CONFIG = AutoEncoderConfig(encoder='efficientnet_lite0', weights='random', widths=(4,) * 5)


class Said(nn.Module):
    """A network that rebuilds every picture as it is told, from features it is told."""

    def __init__(self, features: Tensor, pictures: tuple[Tensor, ...]) -> None:
        super().__init__()
        self.features, self.said = nn.Parameter(features), pictures

    def forward(self, image_B3HW: Tensor) -> Rebuilt:
        return Rebuilt((self.features,), self.said)


def test_perfect_reconstruction_costs_nothing_at_every_scale() -> None:
    image = plane_batch(2).image_B3HW
    pictures = [image, nn.functional.avg_pool2d(image, 2), nn.functional.avg_pool2d(image, 4)]
    assert reconstruction(pictures, image).item() < 1e-9
    assert reconstruction([image.flip(3), *pictures[1:]], image).item() > 0.05


def test_terms_are_weighted_with_opposite_signs_and_can_be_left_out() -> None:
    batch = plane_batch(2)
    image = batch.image_B3HW
    ramp = torch.linspace(0, 1, 48, dtype=torch.float64).expand(2, 5, 32, 48).contiguous()
    make = FeatureNetwork(
        FeatureNetworkConfig(discriminative_weight=0.5, convergent_weight=0.25),
        lambda: Said(ramp, (image,)),
        FOCAL,
    )
    terms = make(batch, LATE)
    assert {name: (t.count, t.weight) for name, t in terms.items()} == {
        'reconstruction': (2, 1.0),
        'discriminative': (2, -0.5),
        'convergent': (2, 0.25),
    }
    first, second = gradients([ramp], image)
    assert terms['discriminative'].value.item() == pytest.approx(first.item())
    assert terms['convergent'].value.item() == pytest.approx(second.item(), abs=1e-12)
    # A steeper ramp is rewarded; the ramp itself does not bend.
    assert 0 < first.item() <= 1 / 47
    assert second.item() < 1e-12
    (gradient,) = torch.autograd.grad(total(terms), make.network.features)
    assert (gradient * ramp).sum() < 0
    off = FeatureNetworkConfig(discriminative_weight=0.0, convergent_weight=0.0)
    assert list(FeatureNetwork(off, lambda: make.network, FOCAL)(batch, LATE)) == [
        'reconstruction'
    ]


def test_maps_count_half_each_and_too_small_ones_not() -> None:
    image = torch.full((1, 3, 16, 32), 0.5, dtype=torch.float64)
    x = torch.arange(16.0, dtype=torch.float64).square().expand(1, 1, 8, 16)
    first, second = gradients([x], image)
    twice = gradients([x, x, x[..., :2, :]], image)
    assert twice[0].item() == pytest.approx(1.5 * first.item() / 3)
    assert twice[1].item() == pytest.approx(1.5 * second.item() / 3)
    assert second.item() == 2


def test_encoder_and_decoder_learn() -> None:
    torch.manual_seed(0)
    recipe = FeatureNetwork(FeatureNetworkConfig(), lambda: AutoEncoder(CONFIG), FOCAL).double()
    batch = plane_batch(2)
    terms = recipe(batch, LATE)
    norms = gradient_norms(recipe, terms['reconstruction'].value)
    assert norms['network.encoder.stem.weight'] > 0
    assert norms['network.heads.3.weight'] > 0
    assert gradient_norms(recipe, terms['discriminative'].value)['network.heads.0.weight'] == 0
    assert recipe.predictions(batch) == {}
    shown = recipe.pictures(batch)
    assert list(shown) == ['rebuilt', 'features at 1/2', 'features at 1/8']
    assert all(x.shape[:2] == (2, 3) and 0 <= x.min() <= x.max() <= 1 for x in shown.values())


def test_training_makes_a_checkpoint_that_is_no_depth_model(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    config = runs.config_file(
        tmp_path, network=NETWORK, recipe={'name': 'feature_network'}, epochs=1
    )
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 0
    last = tmp_path / 'run' / 'last.ckpt'
    assert isinstance(load_recipe(last)[0].deployed(), AutoEncoder)
    # There is nothing to choose the best by.
    assert not (tmp_path / 'run' / 'best.ckpt').exists()
    with pytest.raises(ModelError, match='deploys a AutoEncoder: only a DepthNetwork'):
        read_deployment(last)


@pytest.mark.parametrize(('recipe', 'fit'), [('supervised', 'unet'), ('self_supervised', 'unet')])
def test_recipe_of_depth_refuses_an_autoencoder(recipe: str, fit: str) -> None:
    with pytest.raises(ConfigError, match=f"'autoencoder': recipe '{recipe}' trains one of {fit}"):
        make_recipe(recipe, {}, CONFIG, FOCAL)


def test_bad_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r'convergent_weight = -1.0: must be zero or more'):
        FeatureNetworkConfig(convergent_weight=-1.0)
