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

"""The contrastive loss against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from training.losses.contrastive import info_nce, similarities

TEMPERATURE = 0.07


def codes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(count, 6, generator=generator, dtype=torch.float64)
    return functional.normalize(values, dim=1)


def nobody(queries: int, others: int) -> Tensor:
    return torch.zeros(queries, others, dtype=torch.bool)


def test_loss_is_the_formula() -> None:
    queries, keys, others = codes(3, 0), codes(3, 1), codes(5, 2)
    found = info_nce(similarities(queries, keys, others, nobody(3, 5), temperature=TEMPERATURE))
    expected = 0.0
    for query, key in zip(queries, keys, strict=True):
        own = math.exp(float(query @ key) / TEMPERATURE)
        rest = sum(math.exp(float(query @ other) / TEMPERATURE) for other in others)
        expected -= math.log(own / (own + rest)) / 3
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_keys_that_are_all_alike_leave_the_choice_open() -> None:
    same = codes(1, 0)
    similar = similarities(same, same, same.repeat(9, 1), nobody(1, 9), temperature=TEMPERATURE)
    assert float(info_nce(similar)) == pytest.approx(math.log(10))


def test_without_others_there_is_nothing_to_tell_apart() -> None:
    similar = similarities(
        codes(2, 0), codes(2, 1), codes(0, 2), nobody(2, 0), temperature=TEMPERATURE
    )
    assert float(info_nce(similar)) == 0.0


def test_older_key_of_the_same_picture_does_not_count() -> None:
    queries, keys, others = codes(2, 0), codes(2, 1), codes(4, 2)
    is_own = nobody(2, 4)
    is_own[0, 1] = True
    masked = similarities(queries, keys, others, is_own, temperature=TEMPERATURE)
    apart = similarities(
        queries[:1], keys[:1], others[[0, 2, 3]], nobody(1, 3), temperature=TEMPERATURE
    )
    assert float(info_nce(masked[:1])) == pytest.approx(float(info_nce(apart)))
    everything_own = similarities(
        queries, keys, others, torch.ones(2, 4, dtype=torch.bool), temperature=TEMPERATURE
    )
    assert float(info_nce(everything_own)) == 0.0


def test_gradient_goes_to_the_queries_and_is_the_numeric_one() -> None:
    queries = codes(2, 0).requires_grad_()
    keys, others, is_own = codes(2, 1), codes(4, 2), nobody(2, 4)
    is_own[1, 3] = True

    def loss(queries: Tensor) -> Tensor:
        return info_nce(similarities(queries, keys, others, is_own, temperature=TEMPERATURE))

    assert torch.autograd.gradcheck(loss, (queries,))
