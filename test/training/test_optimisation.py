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

"""Groups of parameters, the running mean of weights, and buffers that can be put back."""

from __future__ import annotations

from test.training import runs
from typing import Any

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from training.checkpoint import build_recipe
from training.optimisation import Averaged, batch_norms, Buffers, fill_gradients, make_optimiser
from training.recipes.recipe import Recipe
from training.train_config import config_from, OptimiserConfig


@pytest.fixture
def recipe() -> Recipe:
    torch.manual_seed(0)
    return build_recipe(config_from(runs.CONFIG))


def test_groups_part_encoder_from_rest_and_kernels_from_shifts(recipe: Recipe) -> None:
    config = OptimiserConfig(learning_rate=1e-3, encoder_learning_rate=1e-4, weight_decay=0.1)
    optimiser = make_optimiser(recipe, config, fused=True)
    found = {
        id(parameter): (group['base_lr'], group['weight_decay'])
        for group in optimiser.param_groups
        for parameter in group['params']
    }
    named = dict(recipe.named_parameters())
    assert len(found) == len(named)
    for name, parameter in named.items():
        rate = 1e-4 if '.encoder.' in name else 1e-3
        decay = 0.1 if parameter.dim() > 1 else 0.0
        assert found[id(parameter)] == (rate, decay), name
    assert len({*found.values()}) == 4


def test_encoder_learns_like_the_rest_unless_told(recipe: Recipe) -> None:
    optimiser = make_optimiser(recipe, OptimiserConfig(learning_rate=1e-3), fused=False)
    assert {group['lr'] for group in optimiser.param_groups} == {1e-3}


def test_sgd_takes_its_momentum(recipe: Recipe) -> None:
    config = OptimiserConfig(name='sgd', learning_rate=0.1, momentum=0.9, weight_decay=1e-4)
    optimiser = make_optimiser(recipe, config, fused=True)
    assert isinstance(optimiser, torch.optim.SGD)
    assert {group['momentum'] for group in optimiser.param_groups} == {0.9}
    first = next(recipe.parameters())
    before = first.detach().clone()
    for _ in range(2):
        first.grad = torch.ones_like(first)
        optimiser.step()
    # 0.1 * 1, then 0.1 * (0.9 + 1); 1e-4 of the weight itself is lost in each step at most.
    torch.testing.assert_close(first.detach(), before - 0.29, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ('values', 'sentence'),
    [
        ({'name': 'sgd'}, 'momentum = None: sgd needs one; 0: none'),
        ({'name': 'adam', 'momentum': 0.9}, 'momentum = 0.9: is for sgd alone'),
        ({'name': 'sgd', 'momentum': 1.0}, 'momentum = 1.0: must be 0 to below 1'),
        ({'name': 'sgd', 'momentum': -0.1}, 'momentum = -0.1: must be 0 to below 1'),
    ],
)
def test_momentum_that_does_not_fit_is_refused(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        OptimiserConfig(learning_rate=0.1, **values)


def test_encoder_with_a_rate_of_zero_is_frozen(recipe: Recipe) -> None:
    config = OptimiserConfig(learning_rate=1e-3, encoder_learning_rate=0.0)
    optimiser = make_optimiser(recipe, config, fused=True)
    held = {id(p) for group in optimiser.param_groups for p in group['params']}
    for name, parameter in recipe.named_parameters():
        is_encoder = '.encoder.' in name
        assert parameter.requires_grad != is_encoder
        assert (id(parameter) in held) != is_encoder


def test_frozen_parameters_are_not_in_the_optimiser(recipe: Recipe) -> None:
    first = next(recipe.parameters()).requires_grad_(False)
    optimiser = make_optimiser(recipe, OptimiserConfig(learning_rate=1e-3), fused=True)
    held = {id(p) for group in optimiser.param_groups for p in group['params']}
    assert id(first) not in held


def test_parameters_without_gradient_get_zero(recipe: Recipe) -> None:
    first, second, *_ = recipe.parameters()
    first.grad = torch.ones_like(first)
    second.requires_grad_(False)
    fill_gradients(recipe)
    assert bool((first.grad == 1).all())
    assert second.grad is None
    assert all(
        p.grad is not None and not p.grad.any()
        for p in recipe.parameters()
        if p is not first and p is not second
    )


def test_mean_of_weights_follows_its_formula(recipe: Recipe) -> None:
    parameter = next(recipe.parameters())
    with torch.no_grad():
        parameter.fill_(1.0)
    averaged = Averaged(recipe, 0.5)
    with torch.no_grad():
        parameter.fill_(2.0)
    name = next(iter(dict(recipe.named_parameters())))
    # (1 + n) / (10 + n) is below 0.5 until n = 8.
    averaged.update(1)
    expected = 1.0 + (1 - 2 / 11) * (2.0 - 1.0)
    assert averaged.state_dict()[name].flatten()[0].item() == pytest.approx(expected)
    averaged.update(100)
    expected += 0.5 * (2.0 - expected)
    assert averaged.state_dict()[name].flatten()[0].item() == pytest.approx(expected)
    assert bool((parameter == 2.0).all())


def test_mean_is_in_place_only_inside_the_block(recipe: Recipe) -> None:
    averaged = Averaged(recipe, 0.9)
    old = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    with torch.no_grad():
        for parameter in recipe.parameters():
            parameter += 1.0
    new = {name: p.detach().clone() for name, p in recipe.named_parameters()}
    with averaged.in_place():
        runs.assert_equal_states({n: p.detach() for n, p in recipe.named_parameters()}, old)
    runs.assert_equal_states({n: p.detach() for n, p in recipe.named_parameters()}, new)
    runs.assert_equal_states(averaged.state_dict(), old)


def test_mean_refuses_the_state_of_another_network(recipe: Recipe) -> None:
    averaged = Averaged(recipe, 0.9)
    with pytest.raises(ModelError, match=r'the mean of the weights is of another .* is missing'):
        averaged.load_state_dict({})


def test_buffers_are_restored(recipe: Recipe) -> None:
    buffers = Buffers(recipe)
    norm = next(iter(batch_norms(recipe)))
    norm.running_mean.fill_(3.0)
    buffers.keep()
    norm.running_mean.fill_(float('nan'))
    norm.num_batches_tracked.add_(5)
    buffers.restore()
    assert bool((norm.running_mean == 3.0).all())
    assert int(norm.num_batches_tracked) == 0
