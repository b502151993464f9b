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

"""
Which frames make which batch, by arithmetic alone.

The order of an epoch comes from (seed, epoch), the seed of an item from (seed, epoch, index). A
batch is the same set of frames however many processes share it, and a resumed run begins where it
was stopped without going through what was before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from depth_ros.errors import ConfigError
import numpy as np
import torch

# So that what is drawn for different purposes from the same numbers is independent.
ORDER, ITEM, STEP = 1, 2, 3


def derived_seed(*numbers: int) -> int:
    """Return 63 well mixed bits that depend on all numbers, each 0 or more."""
    (state,) = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return int(state >> np.uint64(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """
    The batches of every epoch.

    Fields:
        frames: of the dataset.
        batch_size: of all processes together.
        rank, processes: which equal part of each batch is this process's.

    """

    frames: int
    batch_size: int
    seed: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.processes:
            raise ConfigError(
                f'batch_size = {self.batch_size}: {self.processes} processes cannot share it '
                'equally; choose a multiple'
            )
        if self.batch_size > self.frames:
            raise ConfigError(
                f'batch_size = {self.batch_size}: the dataset has only {self.frames} frames '
                'that this recipe can use'
            )

    @property
    def batches(self) -> int:
        """Return how many whole batches an epoch has; the rest of the frames waits for others."""
        return self.frames // self.batch_size

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's part of each batch from number ``first``: (index, seed)."""
        generator = torch.Generator().manual_seed(derived_seed(ORDER, self.seed, epoch))
        order = torch.randperm(self.frames, generator=generator).tolist()
        share = self.batch_size // self.processes
        for number in range(first, self.batches):
            start = number * self.batch_size + self.rank * share
            stop = start + share
            yield [(i, derived_seed(ITEM, self.seed, epoch, i)) for i in order[start:stop]]
