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

"""Chance comes from the seed of a frame and the name of its use, and from nothing else."""

from __future__ import annotations

import torch
from training.losses.photometric import TIE_BREAK
from training.recipes.chance import generator, tie_break


def draw(seed: int, stream: str) -> list[float]:
    return torch.rand(4, generator=generator(seed, stream)).tolist()


def test_same_seed_and_stream_repeat_and_others_differ() -> None:
    assert draw(7, 'a') == draw(7, 'a')
    draws = [draw(7, 'a'), draw(8, 'a'), draw(7, 'b'), draw(2**62, 'a'), draw(-1, 'a')]
    assert len({tuple(values) for values in draws}) == len(draws)


def test_stream_is_not_that_of_the_plain_seed() -> None:
    # With which the dataset draws crops.
    plain = torch.rand(4, generator=torch.Generator().manual_seed(7)).tolist()
    assert draw(7, 'colors') != plain


def test_tie_break_of_a_frame_does_not_depend_on_the_batch() -> None:
    like = torch.zeros(2, 3, 40, 50, dtype=torch.float64)
    both = tie_break([3, 4], 2, like)
    assert both.shape == (2, 2, 40, 50)
    assert both.dtype == torch.float64
    assert torch.equal(both[1:], tie_break([4], 2, like[1:]))
    assert 0.9 < float(both.std()) / TIE_BREAK < 1.1
    assert not torch.equal(both[0, 0], both[0, 1])
