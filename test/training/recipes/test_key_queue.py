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

"""The queue holds the latest keys: as many as it is told, none of them noise."""

from __future__ import annotations

from hypothesis import given, strategies
import pytest
import torch
from training.recipes.key_queue import KeyQueue, picture_number

DIMENSIONS = 3


def pushed(queue: KeyQueue, first: int, count: int) -> None:
    """Push keys that are known by their number."""
    numbers = range(first, first + count)
    keys = torch.tensor(numbers, dtype=torch.float32)[:, None].expand(-1, DIMENSIONS)
    queue.push(keys, [1000 + number for number in numbers])


def held(queue: KeyQueue) -> list[int]:
    keys, pictures = queue.present()
    assert keys.shape == (len(queue), DIMENSIONS)
    numbers = [int(value) for value in keys[:, 0]]
    assert keys.tolist() == [[number] * DIMENSIONS for number in numbers]
    assert pictures.tolist() == [1000 + number for number in numbers]
    return sorted(numbers)


def test_new_queue_is_empty_and_not_full_of_noise() -> None:
    queue = KeyQueue(5, DIMENSIONS)
    assert len(queue) == 0
    assert held(queue) == []
    assert queue.keys_ND.shape == (5, DIMENSIONS)


@given(
    size=strategies.integers(1, 12),
    counts=strategies.lists(strategies.integers(0, 15), max_size=12),
)
def test_queue_holds_exactly_the_latest_keys(size: int, counts: list[int]) -> None:
    queue, total = KeyQueue(size, DIMENSIONS), 0
    for count in counts:
        pushed(queue, total, count)
        total += count
        assert held(queue) == list(range(max(0, total - size), total))
    assert queue.keys_ND.shape == (size, DIMENSIONS)


@pytest.mark.parametrize('count', [1, 3, 4, 5, 8])
def test_every_key_has_given_way_after_size_new_ones(count: int) -> None:
    """Also where the number of keys of a step does not divide the size."""
    queue = KeyQueue(8, DIMENSIONS)
    pushed(queue, 0, 8)
    first = 8
    while first < 16:
        pushed(queue, first, count)
        first += count
    assert min(held(queue)) >= 8
    assert len(queue) == 8


def test_state_goes_on_where_it_was() -> None:
    queue, other = KeyQueue(5, DIMENSIONS), KeyQueue(5, DIMENSIONS)
    pushed(queue, 0, 7)
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        pushed(each, 7, 2)
    assert held(queue) == held(other) == [4, 5, 6, 7, 8]
    assert torch.equal(queue.keys_ND, other.keys_ND)


def test_pictures_have_numbers_of_their_own() -> None:
    stamps = (0, 1, 10, 1_000_000_000_000_000_000)
    numbers = {picture_number(name, stamp) for name in ('a', 'b', '') for stamp in stamps}
    assert len(numbers) == 12
    assert all(0 <= number < 2**63 for number in numbers)
    assert picture_number('a', 1) == picture_number('a', 1)
