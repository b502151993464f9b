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

"""Contrastive pre-training: what follows what, what is compared, and what is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from test.training.recipes.batches import FOCAL, LATE, part, plane_batch
from typing import Any

from depth_ros.errors import ConfigError
from lightning_fabric import Fabric
import pytest
import torch
from torch import Tensor
from training.losses.contrastive import info_nce
from training.models.encoder_net import EncoderNet, EncoderNetConfig, follow
from training.optimisation import make_optimiser
from training.ranks import Ranks
from training.recipes.gradient_field import GradientField, GradientFieldConfig
from training.recipes.key_queue import picture_number
from training.recipes.registry import make_recipe
from training.samples import Batch
from training.train_config import OptimiserConfig
from training.train_step import StepResult, TrainStep

NETWORK = EncoderNetConfig(encoder='efficientnet_lite0', weights='random', dimensions=8)
OPTIONS = {'queue_size': 6, 'momentum': 0.9}


def pictures(count: int, first: int = 0) -> Batch:
    """Return different pictures with strong edges; float32."""
    generator = torch.Generator().manual_seed(first)
    blocks = torch.rand(count, 3, 4, 6, generator=generator)
    image = blocks.repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)
    return replace(
        plane_batch(count),
        image_B3HW=(image * 255).round() / 255,
        stamps_ns=tuple(range(first, first + count)),
    )


def blank(batch: Batch, *rows: int) -> Batch:
    """Return the batch with pictures of one colour in these rows."""
    image = batch.image_B3HW.clone()
    image[list(rows)] = 0.4
    return replace(batch, image_B3HW=image)


class Bench:
    """The recipe with everything that a step needs."""

    def __init__(
        self,
        optimiser: Mapping[str, Any] | None = None,
        *,
        network: EncoderNetConfig = NETWORK,
        **options: Any,
    ) -> None:
        torch.manual_seed(0)
        recipe = make_recipe('gradient_field', {**OPTIONS, **options}, network, FOCAL)
        assert isinstance(recipe, GradientField)
        self.recipe = recipe.train()
        config = OptimiserConfig(**(optimiser or {'learning_rate': 1e-2}))
        self.optimiser = make_optimiser(recipe, config, fused=True)
        fabric = Fabric(accelerator='cpu', devices=1)
        self.ranks = Ranks()
        self._step = TrainStep(
            fabric, self.ranks, recipe, self.optimiser, max_grad_norm=None, averaged=None
        )

    def step(self, batch: Batch) -> StepResult:
        return self._step(batch, LATE, 0)

    def parameters(self, key: bool) -> dict[str, Tensor]:
        network = self.recipe.key_network if key else self.recipe.network
        return {name: p.detach().clone() for name, p in network.named_parameters()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_follower_moves_exactly_by_the_formula() -> None:
    torch.manual_seed(0)
    own, leader = (torch.nn.Linear(3, 2) for _ in range(2))
    expected = [
        0.999 * a.double() + 0.001 * b.double()
        for a, b in zip(own.parameters(), leader.parameters(), strict=True)
    ]
    with torch.no_grad():
        follow(own, leader, 0.999)
    for moved, wanted in zip(own.parameters(), expected, strict=True):
        torch.testing.assert_close(moved.double(), wanted, rtol=1e-7, atol=1e-8)


def test_both_encoders_begin_alike_and_the_keys_follow_after_each_step(bench: Bench) -> None:
    queries, keys = bench.parameters(False), bench.parameters(True)
    for name, tensor in queries.items():
        assert torch.equal(keys[name], tensor)
    bench.step(pictures(3))
    for first in (3, 6):
        before = bench.parameters(True)
        bench.step(pictures(3, first))
        leader, after = bench.parameters(False), bench.parameters(True)
        for name, tensor in after.items():
            expected = 0.9 * before[name] + 0.1 * leader[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-7)
    changed = [name for name, p in bench.parameters(False).items() if not p.equal(queries[name])]
    assert len(changed) == len(queries)


def test_keys_get_no_gradient_and_are_in_no_optimiser(bench: Bench) -> None:
    bench.step(pictures(3))
    terms = bench.recipe(pictures(3, 3), LATE)
    terms['contrast'].value.backward()
    assert all(p.grad is None for p in bench.recipe.key_network.parameters())
    assert not any(p.requires_grad for p in bench.recipe.key_network.parameters())
    own = [float(p.grad.abs().sum()) for p in bench.recipe.network.parameters() if p.dim() > 1]
    assert min(own) > 0
    held = {id(p) for group in bench.optimiser.param_groups for p in group['params']}
    assert not held & {id(p) for p in bench.recipe.key_network.parameters()}
    assert not bench.recipe.queue.keys_ND.requires_grad


def test_queries_are_normalised_and_keys_are_the_field_of_the_same_pixels(bench: Bench) -> None:
    batch, seen = pictures(2), {}
    for name in ('network', 'key_network'):
        encoder = getattr(bench.recipe, name).encoder
        encoder.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0].clone()})
        )
    bench.recipe(batch, LATE)
    spec = bench.recipe.network.encoder.spec
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in (spec.mean, spec.std))
    torch.testing.assert_close(seen['network'], (batch.image_B3HW - mean) / std)
    keys = seen['key_network']
    assert (float(keys.min()), float(keys.max())) == (0.0, 1.0)
    assert torch.equal(keys, bench.recipe.fields(batch).expand(-1, 3, -1, -1))
    # Edges lie where the blocks of the picture meet: nothing moved.
    rows, cols = torch.nonzero(keys[0, 0], as_tuple=True)
    at_seam = ((rows + 2) % 16 < 4) | ((cols + 2) % 16 < 4)
    assert bool(at_seam.all())


def test_codes_are_positive_and_of_length_one() -> None:
    torch.manual_seed(0)
    codes = EncoderNet(NETWORK)(pictures(4).image_B3HW)
    assert codes.shape == (4, 8)
    assert float(codes.detach().min()) >= 0
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(4))


def test_loss_is_that_of_codes_against_the_queue(bench: Bench) -> None:
    bench.step(pictures(4))
    bench.recipe.eval()
    batch = pictures(2, 10)
    term = bench.recipe(batch, LATE)['contrast']
    query = bench.recipe.network(batch.image_B3HW)
    key = bench.recipe.key_network.code(bench.recipe.fields(batch).expand(-1, 3, -1, -1))
    others = bench.recipe.queue.keys_ND[:4]
    logits = torch.cat(((query * key).sum(1, keepdim=True), query @ others.T), dim=1) / 0.07
    assert term.count == 2
    torch.testing.assert_close(term.value, info_nce(logits))


def test_queue_takes_keys_after_the_loss_and_is_refreshed_as_a_whole(bench: Bench) -> None:
    queue = bench.recipe.queue
    assert bench.step(pictures(4)).loss == 0.0
    assert len(queue) == 4
    for first in (4, 8):
        bench.step(pictures(4, first))
    held = {picture_number('plane', stamp) for stamp in range(6, 12)}
    assert {int(number) for number in queue.pictures_N} == held
    assert queue.keys_ND.shape == (6, 8)
    torch.testing.assert_close(queue.keys_ND.norm(dim=1), torch.ones(6))


def test_batch_larger_than_the_queue_leaves_its_last_keys(bench: Bench) -> None:
    bench.step(pictures(8))
    held = {picture_number('plane', stamp) for stamp in range(2, 8)}
    assert {int(number) for number in bench.recipe.queue.pictures_N} == held


def test_own_older_key_is_no_counter_example(bench: Bench) -> None:
    batch = pictures(3)
    bench.step(batch)
    terms = bench.recipe(batch, LATE)
    # Each has the two others against it, not three.
    bench.recipe.queue.pictures_N.zero_()
    told = bench.recipe(batch, LATE)['contrast'].value.detach()
    assert float(told) > float(terms['contrast'].value.detach())


def test_picture_without_edges_is_left_out_and_counted(bench: Bench) -> None:
    bench.step(pictures(4))
    bench.recipe.eval()
    batch = pictures(4, 10)
    expected = bench.recipe(part(batch, (0, 2, 3)), LATE)
    found = bench.recipe(blank(batch, 1), LATE)
    assert found['contrast'].count == expected['contrast'].count == 3
    torch.testing.assert_close(found['contrast'].value, expected['contrast'].value)
    bench.recipe.train()
    bench.step(blank(batch, 1))
    assert (int(bench.recipe.used), int(bench.recipe.dropped)) == (4 + 3, 1)
    assert picture_number('plane', 11) not in bench.recipe.queue.pictures_N.tolist()


def test_constant_pictures_teach_nothing_and_change_no_weight(bench: Bench) -> None:
    bench.step(pictures(3))
    before = {key: bench.parameters(key) for key in (False, True)}
    moments = [state['exp_avg'].clone() for state in bench.optimiser.state.values()]
    result = bench.step(blank(pictures(2, 3), 0, 1))
    assert (result.loss, result.gradient_norm, result.terms) == (None, None, {})
    for key, parameters in before.items():
        for name, tensor in bench.parameters(key).items():
            assert torch.equal(tensor, parameters[name])
    after = [state['exp_avg'] for state in bench.optimiser.state.values()]
    assert all(torch.equal(a, b) for a, b in zip(moments, after, strict=True))
    assert (int(bench.recipe.used), int(bench.recipe.dropped)) == (3, 2)
    assert len(bench.recipe.queue) == 3


def test_batch_of_one_learns_from_the_queue(bench: Bench) -> None:
    losses = [bench.step(pictures(1, first)).loss for first in range(3)]
    assert losses[0] == 0.0
    assert min(loss for loss in losses[1:] if loss is not None) > 0


@pytest.mark.parametrize('name', ['resnet50', 'densenet161'])
def test_encoders_of_the_paper_learn(name: str) -> None:
    bench = Bench({'learning_rate': 1e-4}, network=replace(NETWORK, encoder=name))
    before = bench.parameters(False)
    for first in (0, 2):
        result = bench.step(pictures(2, first))
    assert result.loss is not None
    assert result.loss > 0
    after = bench.parameters(False)
    assert not any(torch.equal(tensor, before[key]) for key, tensor in after.items())
    assert len(bench.recipe.queue) == 4


def test_pictures_are_told_apart_after_some_steps() -> None:
    wide = replace(NETWORK, dimensions=64)
    bench = Bench({'learning_rate': 1e-3}, network=wide, momentum=0.5)
    batch = pictures(6)
    matched = [bench.step(batch).terms['matched'] for _ in range(10)]
    # At first there is nothing to mistake it for.
    assert matched[0] == 1.0
    assert matched[1] < 0.5
    assert matched[-3:] == [1.0, 1.0, 1.0]


def test_shown_picture_is_the_field(bench: Bench) -> None:
    batch = pictures(1)
    (shown,) = bench.recipe.pictures(batch).values()
    assert torch.equal(shown, bench.recipe.fields(batch).expand(-1, 3, -1, -1))
    assert bench.recipe.predictions(batch) == {}


def test_frames_without_lidar_take_part() -> None:
    needs = GradientFieldConfig().needs
    assert (needs.labelled, needs.neighbours) == (None, False)


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'queue_size': 0}, r'recipe\.queue_size = 0: must be a positive number'),
        ({'queue_size': 2.5}, r'recipe\.queue_size = 2\.5: must be a whole number'),
        ({'temperature': 0.0}, r'recipe\.temperature = 0\.0: must be a positive number'),
        ({'momentum': 1.0}, r'recipe\.momentum = 1\.0: must be below 1'),
        ({'high_threshold': 40.0}, r'recipe\.high_threshold = 40\.0: must not be below low_thr'),
        ({'tau': 0.07}, r'recipe\.tau = 0\.07: there is no such key'),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        make_recipe('gradient_field', options, NETWORK, FOCAL)


def test_wrong_network_is_refused() -> None:
    with pytest.raises(ConfigError, match='recipe or network: dimensions 0: must be at least 1'):
        make_recipe('gradient_field', {}, replace(NETWORK, dimensions=0), FOCAL)
    with pytest.raises(ConfigError, match=r'data\.width = 32, data.height = 32: the coarsest'):
        NETWORK.check_size(32, 32)
    with pytest.raises(ConfigError, match=r'data\.height = 40: must be a multiple of 32'):
        NETWORK.check_size(32, 40)
