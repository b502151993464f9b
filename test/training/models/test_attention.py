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

"""Attention without maps of N x N is the attention that the formulas say, and learns alike."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from training.models.attention import (
    GeometryAttention,
    look_up,
    nearby_mean,
    TemporalAttention,
    to_grid,
    to_tokens,
)

SIGMA_M = 0.25
# More tokens than fit into one piece, and not a multiple of the rows of one.
TOKENS = 150


@pytest.fixture(autouse=True)
def _same_chance() -> None:
    torch.manual_seed(0)


def materialised_mean(values: Tensor, points: Tensor, sigma_m: float) -> Tensor:
    distances = (points[:, :, None] - points[:, None]).pow(2).sum(-1).sqrt()
    weights = (-distances / (2 * sigma_m)).exp()
    return weights @ values / weights.sum(-1, keepdim=True)


def materialised_look_up(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    scores = queries[:, None] @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
    return (scores.softmax(-1) @ values).sum(1)


def test_nearby_mean_is_the_mean_over_the_whole_map() -> None:
    values, points = torch.rand(2, TOKENS, 5), 2 * torch.rand(2, TOKENS, 3)
    wanted = materialised_mean(values, points, SIGMA_M)
    torch.testing.assert_close(nearby_mean(values, points, SIGMA_M), wanted)


def test_nearby_mean_of_two_points_is_the_closed_form() -> None:
    values = torch.tensor([[[1.0], [3.0]]])
    points = torch.tensor([[[0.0, 0.0, 50.0], [0.3, 0.4, 50.0]]])
    other = math.exp(-0.5 / (2 * SIGMA_M))
    wanted = torch.tensor([[[1 + 3 * other], [3 + other]]]) / (1 + other)
    torch.testing.assert_close(nearby_mean(values, points, SIGMA_M), wanted)


def test_nearby_mean_of_the_far_is_as_exact_as_of_the_near() -> None:
    values, points = torch.rand(1, TOKENS, 2).double(), torch.rand(1, TOKENS, 3).double()
    far = (points + torch.tensor([60.0, -20.0, 95.0])).float()
    wanted = materialised_mean(values, far.double(), SIGMA_M)
    torch.testing.assert_close(
        nearby_mean(values.float(), far, SIGMA_M).double(), wanted, rtol=1e-5, atol=1e-6
    )


def test_nearby_mean_has_the_gradient_of_the_whole_map() -> None:
    points = torch.rand(2, TOKENS, 3)
    values = torch.rand(2, TOKENS, 4).requires_grad_()
    weight = torch.rand(2, TOKENS, 4)
    gradients = [
        torch.autograd.grad((mean(values, points, SIGMA_M) * weight).sum(), values)[0]
        for mean in (nearby_mean, materialised_mean)
    ]
    torch.testing.assert_close(*gradients)


def test_nearby_mean_gives_the_points_no_gradient() -> None:
    points = torch.rand(1, 4, 3).requires_grad_()
    values = torch.rand(1, 4, 2).requires_grad_()
    nearby_mean(values, points, SIGMA_M).sum().backward()
    assert points.grad is None
    assert values.grad is not None


def test_mixed_precision_does_not_reach_the_weights() -> None:
    values, points = torch.rand(1, TOKENS, 4), torch.rand(1, TOKENS, 3) + 80
    wanted = nearby_mean(values, points, SIGMA_M)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert torch.equal(nearby_mean(values, points, SIGMA_M), wanted)


@pytest.mark.parametrize('sources', [1, 2])
def test_look_up_is_one_softmax_for_each_frame(sources: int) -> None:
    queries = torch.randn(2, TOKENS, 8)
    keys, values = torch.randn(2, sources, TOKENS, 8), torch.randn(2, sources, TOKENS, 6)
    wanted = materialised_look_up(queries, keys, values)
    torch.testing.assert_close(look_up(queries, keys, values), wanted)


def test_look_up_has_the_gradients_of_the_whole_map() -> None:
    inputs = [
        torch.randn(1, *size).requires_grad_() for size in ((TOKENS, 8),) + ((2, TOKENS, 8),) * 2
    ]
    weight = torch.randn(1, TOKENS, 8)
    got, wanted = (
        torch.autograd.grad((form(*inputs) * weight).sum(), inputs)
        for form in (look_up, materialised_look_up)
    )
    for ours, theirs in zip(got, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_look_up_in_zeros_finds_exactly_nothing() -> None:
    memory = torch.zeros(1, 2, TOKENS, 8)
    assert torch.equal(
        look_up(torch.randn(1, TOKENS, 8), memory, memory), torch.zeros(1, TOKENS, 8)
    )


def test_temporal_attention_takes_a_memory_of_zeros_for_none() -> None:
    layer = TemporalAttention(6, key_width=4, value_width=5).eval()
    features = torch.randn(1, 6, 3, 4)
    own = layer.memory(features)
    past = torch.zeros(1, 2, 12, 4), torch.zeros(1, 2, 12, 5)
    found = look_up(own.keys_BNk, *past)
    assert torch.equal(layer(features, found), layer(features, None))


def test_temporal_attention_adds_what_a_past_frame_held() -> None:
    """With keys that leave no doubt, each token finds the same token of the past frame."""
    layer = TemporalAttention(4, key_width=4, value_width=4).eval()
    with torch.no_grad():
        for conv in (layer.key[0], layer.value, layer.back):
            conv.weight.copy_(torch.eye(4)[:, :, None, None])
        layer.own.weight.zero_()
        layer.own.bias.zero_()
    features = 100 * torch.eye(4).reshape(1, 4, 2, 2)
    own = layer.memory(features)
    found = look_up(own.keys_BNk, own.keys_BNk[:, None], own.values_BNv[:, None])
    torch.testing.assert_close(layer(features, found), 2 * features)


@pytest.mark.parametrize('build', [GeometryAttention, TemporalAttention])
def test_a_gate_of_zero_leaves_the_features_alone_and_can_open(build: type) -> None:
    layer = build(6, gate=0.0)
    features, points = torch.randn(2, 6, 3, 4), torch.rand(2, 12, 3)
    own = None if build is GeometryAttention else layer.memory(features)
    extra = points if own is None else look_up(own[0], own[0][:, None], own[1][:, None])
    result = layer(features, extra)
    assert torch.equal(result, features)
    result.pow(2).sum().backward()
    assert layer.gate.grad.abs() > 0


def test_geometry_attention_can_be_narrower_than_its_features() -> None:
    wide, narrow = GeometryAttention(32), GeometryAttention(32, width=8)
    features, points = torch.randn(1, 32, 3, 4), torch.rand(1, 12, 3)
    assert narrow(features, points).shape == features.shape
    count = [sum(p.numel() for p in layer.parameters()) for layer in (narrow, wide)]
    assert count[0] < 0.4 * count[1]


def test_geometry_attention_does_not_reach_across_an_edge_in_depth() -> None:
    """Two halves 10 m apart: what changes in one does not change the other."""
    layer = GeometryAttention(4).eval()
    points = torch.zeros(1, 16, 3)
    points[:, 8:, 2] = 10.0
    features = torch.randn(1, 4, 4, 4)
    changed = features.clone()
    changed[:, :, 2:] += 1
    difference = (layer(changed, points) - layer(features, points)).abs()
    assert difference[:, :, :2].max() < 1e-6 < difference[:, :, 2:].min()


def test_every_parameter_of_both_learns() -> None:
    spatial, temporal = GeometryAttention(6), TemporalAttention(6)
    features = spatial(torch.randn(2, 6, 3, 4), torch.rand(2, 12, 3))
    own = temporal.memory(features)
    found = look_up(own.keys_BNk, own.keys_BNk[:, None], own.values_BNv[:, None])
    temporal(features, found).pow(3).sum().backward()
    for layer in (spatial, temporal):
        assert all(p.grad is not None for p in layer.parameters())


def test_a_sigma_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match='sigma_m = 0'):
        GeometryAttention(4, sigma_m=0.0)


def test_tokens_go_by_rows_and_come_back() -> None:
    features = torch.rand(2, 3, 4, 5)
    tokens = to_tokens(features)
    assert torch.equal(tokens[:, 7], features[:, :, 1, 2])
    assert torch.equal(to_grid(tokens, features), features)
