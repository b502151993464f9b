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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from depth_ros.errors import ConfigError
import numpy as np
import torch

# So that what is drawn for different purposes from the same numbers is independent.
ORDER, ITEM, STEP, PASS_ORDER, PASS_ITEM, LABELS = 1, 2, 3, 4, 5, 6


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


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedSampler:
    """
    The batches of every epoch, each with frames with and without LiDAR in one ratio.

    An epoch is one pass over the frames without LiDAR. Those with LiDAR come pass after pass, in
    another order each time, without regard to where an epoch ends.

    Fields:
        labelled, unlabelled: numbers of the frames of each kind in the dataset.
        mix: frames of each kind that stand together, first those with LiDAR; what is shared
            among processes is whole groups.
        batch_size, rank, processes: as in ``Sampler``.

    """

    labelled: tuple[int, ...]
    unlabelled: tuple[int, ...]
    mix: tuple[int, int]
    batch_size: int
    seed: int
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        for name, frames in (('with', self.labelled), ('without', self.unlabelled)):
            if not frames:
                raise ConfigError(
                    f'the dataset has no training frame {name} LiDAR: this recipe needs both '
                    'kinds in every batch; add a bag of the other kind with training.prepare'
                )
        group = sum(self.mix)
        if self.batch_size % (group * self.processes):
            raise ConfigError(
                f'batch_size = {self.batch_size}: {self.mix[0]} frames with LiDAR and '
                f'{self.mix[1]} without stay together, on {self.processes} processes; choose a '
                f'multiple of {group * self.processes}'
            )
        if not self.batches:
            raise ConfigError(
                f'batch_size = {self.batch_size}: has {self._groups * self.mix[1]} frames without '
                f'LiDAR, and the dataset only {len(self.unlabelled)}'
            )

    @property
    def frames(self) -> int:
        """Return how many frames there are."""
        return len(self.labelled) + len(self.unlabelled)

    @property
    def batches(self) -> int:
        """Return how many whole batches an epoch has."""
        return len(self.unlabelled) // (self._groups * self.mix[1])

    @property
    def _groups(self) -> int:
        return self.batch_size // sum(self.mix)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[list[tuple[int, int]]]:
        """Yield this process's part of each batch from number ``first``: (index, seed)."""
        order = _order(self.unlabelled, derived_seed(ORDER, self.seed, epoch))
        share = self._groups // self.processes
        with_lidar, without = self.mix
        for number in range(first, self.batches):
            begin = number * self._groups + self.rank * share
            batch: list[tuple[int, int]] = []
            for group in range(begin, begin + share):
                place = (epoch * self.batches * self._groups + group) * with_lidar
                batch += [self._labelled_item(place + i) for i in range(with_lidar)]
                start = group * without
                stop = start + without
                chosen = order[start:stop]
                batch += [(i, derived_seed(ITEM, self.seed, epoch, i)) for i in chosen]
            yield batch

    def _labelled_item(self, place: int) -> tuple[int, int]:
        """Return a frame with LiDAR by its place in the endless row of passes, and its seed."""
        number, offset = divmod(place, len(self.labelled))
        index = _order(self.labelled, derived_seed(PASS_ORDER, self.seed, number))[offset]
        return index, derived_seed(PASS_ITEM, self.seed, number, index)


@lru_cache(maxsize=4)
def _order(frames: tuple[int, ...], seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return [frames[i] for i in torch.randperm(len(frames), generator=generator).tolist()]


def make_sampler(
    is_labelled: Sequence[bool],
    mix: tuple[int, int] | None,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    processes: int = 1,
) -> Sampler | MixedSampler:
    """
    Return the batches of a dataset.

    :param is_labelled: of each frame of the dataset.
    :param mix: of the recipe's ``needs``.
    :raises ConfigError: such batches cannot be made.
    """
    shared = {'batch_size': batch_size, 'seed': seed, 'rank': rank, 'processes': processes}
    if mix is None:
        return Sampler(frames=len(is_labelled), **shared)
    return MixedSampler(
        labelled=tuple(i for i, labelled in enumerate(is_labelled) if labelled),
        unlabelled=tuple(i for i, labelled in enumerate(is_labelled) if not labelled),
        mix=mix,
        **shared,
    )
