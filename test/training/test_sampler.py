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
from typing import Any

from depth_ros.errors import ConfigError
from hypothesis import given, settings
from hypothesis import strategies as st
import pytest
from training.sampler import derived_seed, make_sampler, MixedSampler, Sampler

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


# Frames with and without LiDAR in one batch


def mixed(processes: int = 1, rank: int = 0, **changes: int | tuple[int, ...]) -> MixedSampler:
    given: dict[str, Any] = {
        'labelled': (0, 2, 4, 6, 8),
        'unlabelled': (1, 3, 5, 7, 9, 10, 11, 12),
    }
    given |= {'mix': (1, 2), 'batch_size': 6, 'seed': 3, **changes}
    return MixedSampler(**given, processes=processes, rank=rank)


def test_every_group_of_a_mixed_batch_has_the_ratio() -> None:
    sampler = mixed()
    assert (sampler.batches, sampler.frames) == (2, 13)
    for epoch in range(5):
        for batch in sampler.epoch(epoch):
            kinds = [index in sampler.labelled for index, _ in batch]
            assert kinds == [True, False, False] * 2


def test_mixed_epoch_is_one_pass_over_the_frames_without_lidar() -> None:
    sampler = mixed()
    epochs = [[i for batch in sampler.epoch(e) for i, _ in batch] for e in range(3)]
    for indices in epochs:
        assert sorted(i for i in indices if i not in sampler.labelled) == [*sampler.unlabelled]
    assert epochs[0] != epochs[1]


def test_frames_with_lidar_come_pass_after_pass_whatever_the_epochs() -> None:
    sampler = mixed()
    items = [item for e in range(10) for batch in sampler.epoch(e) for item in batch]
    row = [item for item in items if item[0] in sampler.labelled]
    assert len(row) == 40
    for first in range(0, 40, 5):
        one = row[first:][:5]
        assert sorted(index for index, _ in one) == [*sampler.labelled]
    # Each time it comes, a frame is cropped and coloured anew.
    assert len(set(row)) == 40
    assert len({seed for _, seed in items}) == len(items)


@given(st.integers(1, 3), st.integers(1, 2), st.integers(0, 9))
@settings(deadline=None)
def test_processes_share_mixed_batches_in_whole_groups(
    processes: int, share: int, epoch: int
) -> None:
    size = 3 * share * processes
    unlabelled = tuple(range(10, 10 + 4 * size))
    whole = [*mixed(batch_size=size, unlabelled=unlabelled).epoch(epoch)]
    parts = [
        [*mixed(processes, rank, batch_size=size, unlabelled=unlabelled).epoch(epoch)]
        for rank in range(processes)
    ]
    assert [[*itertools.chain(*batch)] for batch in zip(*parts, strict=True)] == whole
    assert all(len(part) == 3 * share for own in parts for part in own)


@given(st.integers(0, 9), st.integers(0, 2))
@settings(deadline=None)
def test_mixed_epoch_from_the_middle_is_the_rest_of_the_whole(epoch: int, first: int) -> None:
    assert [*mixed().epoch(epoch, first)] == [*mixed().epoch(epoch)][first:]


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'unlabelled': ()}, 'the dataset has no training frame without LiDAR: this recipe needs'),
        ({'labelled': ()}, 'the dataset has no training frame with LiDAR: this recipe needs'),
        ({'batch_size': 4}, r'batch_size = 4: .* on 1 processes; choose a multiple of 3'),
        ({'batch_size': 6, 'processes': 4}, r'batch_size = 6: .*; choose a multiple of 12'),
        (
            {'batch_size': 15},
            'batch_size = 15: has 10 frames without LiDAR, and the dataset',
        ),
    ],
)
def test_mixed_batch_that_cannot_be_made_is_refused(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=f'^{sentence}'):
        mixed(**changes)


def test_sampler_follows_what_the_recipe_needs() -> None:
    kinds = [True, False, False, True, False, False]
    plain = make_sampler(kinds, None, batch_size=2, seed=1)
    assert plain == Sampler(frames=6, batch_size=2, seed=1)
    both = make_sampler(kinds, (1, 2), batch_size=3, seed=1)
    assert isinstance(both, MixedSampler)
    assert (both.labelled, both.unlabelled) == ((0, 3), (1, 2, 4, 5))
