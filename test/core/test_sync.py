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

"""Pairing of stamps: closed forms, a brute-force oracle, and streams in constant memory."""

from dataclasses import dataclass

from depth_ros.core.sync import associate, increasing, pair_streams
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

stamps = st.lists(st.integers(0, 60), max_size=25, unique=True).map(sorted)


@dataclass
class Item:
    stamp_ns: int


def brute_force(a, b, max_gap_ns):
    """Return the mutual nearest neighbours by looking at every pair."""
    pairs = []
    for i, stamp in enumerate(a):
        if not b:
            continue
        j = min(range(len(b)), key=lambda k: (abs(b[k] - stamp), b[k]))
        back = min(range(len(a)), key=lambda k: (abs(a[k] - b[j]), a[k]))
        if back == i and abs(b[j] - stamp) <= max_gap_ns:
            pairs.append((i, j))
    return pairs


def streamed(a, b, max_gap_ns):
    pairs = pair_streams(map(Item, a), map(Item, b), max_gap_ns=max_gap_ns)
    return [(item.stamp_ns, partner and partner.stamp_ns) for item, partner in pairs]


def test_associate_ten_hertz_with_offset_pairs_one_to_one():
    pairs = associate([0, 100, 200, 300], [7, 108, 290], max_gap_ns=20)
    assert pairs.tolist() == [[0, 0], [1, 1], [3, 2]]


def test_associate_one_sweep_between_two_images_goes_to_the_nearer():
    assert associate([0, 10], [6], max_gap_ns=100).tolist() == [[1, 0]]


def test_associate_tie_goes_to_the_earlier():
    assert associate([0, 10], [5], max_gap_ns=100).tolist() == [[0, 0]]
    assert associate([5], [0, 10], max_gap_ns=100).tolist() == [[0, 0]]


def test_associate_gap_limit_is_inclusive():
    assert len(associate([0], [50], max_gap_ns=50)) == 1
    assert len(associate([0], [50], max_gap_ns=49)) == 0


def test_associate_unsorted_input_returns_indices_into_it():
    assert associate([200, 0], [1, 201], max_gap_ns=5).tolist() == [[1, 0], [0, 1]]


def test_associate_nothing_on_one_side_pairs_nothing():
    assert associate([], [1], max_gap_ns=5).shape == (0, 2)
    assert associate([1], [], max_gap_ns=5).shape == (0, 2)


@given(stamps, stamps, st.integers(0, 30))
def test_associate_equals_brute_force(a, b, max_gap_ns):
    pairs = [tuple(pair) for pair in associate(a, b, max_gap_ns=max_gap_ns).tolist()]
    assert pairs == brute_force(a, b, max_gap_ns)
    assert len({j for _, j in pairs}) == len(pairs)


@given(stamps, stamps, st.integers(0, 30))
def test_pair_streams_equals_associate(a, b, max_gap_ns):
    partner_of = {a[i]: b[j] for i, j in associate(a, b, max_gap_ns=max_gap_ns)}
    assert streamed(a, b, max_gap_ns) == [(stamp, partner_of.get(stamp)) for stamp in a]


def test_pair_streams_reads_at_most_one_item_ahead():
    read = {'left': 0, 'right': 0}

    def source(side):
        for stamp in range(0, 1000, 10):
            read[side] += 1
            yield Item(stamp)

    pairs = pair_streams(source('left'), source('right'), max_gap_ns=1)
    for index, (item, partner) in enumerate(pairs):
        assert partner.stamp_ns == item.stamp_ns
        assert max(read.values()) <= index + 2


def test_pair_streams_stamp_that_goes_back_is_refused():
    with pytest.raises(ValueError, match='10 ns comes after 20 ns'):
        streamed([0, 20, 10], [0], 5)


def test_increasing_hands_back_what_is_late_and_passes_the_rest():
    late = []
    kept = increasing(
        map(Item, [5, 3, 5, 9, 9, 12]), on_drop=lambda item: late.append(item.stamp_ns)
    )
    assert [item.stamp_ns for item in kept] == [5, 9, 12]
    assert late == [3, 5, 9]


def test_associate_large_stamps_keep_every_nanosecond():
    base = 1_700_000_000_000_000_000
    pairs = associate(np.array([base + 1]), np.array([base, base + 2]), max_gap_ns=1)
    assert pairs.tolist() == [[0, 0]]
