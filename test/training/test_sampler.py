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

"""Batches by arithmetic: the same for any number of processes, from any point on."""

from __future__ import annotations

import itertools

from depth_ros.errors import ConfigError
from hypothesis import given
from hypothesis import strategies as st
import pytest
from training.sampler import derived_seed, Sampler

# Resuming with a newer version must draw what the older one would have drawn.
SEED_OF_1_3 = 8789938331783242616


@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 40), st.integers(0, 9), st.integers(0, 99)
)
def test_processes_share_the_batches_of_one(
    processes: int, share: int, more: int, epoch: int, seed: int
) -> None:
    batch_size = processes * share
    frames = batch_size + more
    whole = [*Sampler(frames=frames, batch_size=batch_size, seed=seed).epoch(epoch)]
    parts = [
        [
            *Sampler(
                frames=frames, batch_size=batch_size, seed=seed, rank=rank, processes=processes
            ).epoch(epoch)
        ]
        for rank in range(processes)
    ]
    shared = [[*itertools.chain(*batch)] for batch in zip(*parts, strict=True)]
    assert shared == whole
    assert all(len(part) == share for own in parts for part in own)


@given(st.integers(0, 9), st.integers(0, 7))
def test_epoch_from_the_middle_is_the_rest_of_the_whole(epoch: int, first: int) -> None:
    sampler = Sampler(frames=23, batch_size=3, seed=1)
    assert [*sampler.epoch(epoch, first)] == [*sampler.epoch(epoch)][first:]


def test_frames_come_at_most_once_in_an_epoch_and_all_in_time() -> None:
    sampler = Sampler(frames=10, batch_size=4, seed=0)
    epochs = [[index for batch in sampler.epoch(e) for index, _ in batch] for e in range(12)]
    assert all(len(set(indices)) == len(indices) == 8 for indices in epochs)
    assert {index for indices in epochs for index in indices} == {*range(10)}
    assert len({tuple(indices) for indices in epochs}) == 12


def test_seed_of_an_item_depends_on_seed_epoch_and_index_alone() -> None:
    def seeds(seed: int, epoch: int, batch_size: int) -> dict[int, int]:
        sampler = Sampler(frames=12, batch_size=batch_size, seed=seed)
        return {index: item for batch in sampler.epoch(epoch) for index, item in batch}

    assert seeds(1, 2, 3) == seeds(1, 2, 6)
    assert seeds(1, 2, 3) != seeds(1, 3, 3)
    assert seeds(1, 2, 3) != seeds(2, 2, 3)
    assert len({*seeds(1, 2, 3).values()}) == 12


def test_derived_seed_stays_what_it_was() -> None:
    assert derived_seed(1, 3) == SEED_OF_1_3
    assert derived_seed(2, 0, 1, 0) != derived_seed(2, 0, 0, 1)


@pytest.mark.parametrize(
    ('frames', 'batch_size', 'processes', 'sentence'),
    [
        (9, 4, 3, 'batch_size = 4: 3 processes cannot share it equally; choose a multiple'),
        (3, 4, 1, 'batch_size = 4: the dataset has only 3 frames that this recipe can use'),
    ],
)
def test_batch_that_cannot_be_made_is_refused(
    frames: int, batch_size: int, processes: int, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        Sampler(frames=frames, batch_size=batch_size, seed=0, processes=processes)
