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

"""Which frames are drawn."""

from depth_ros.evaluation.album import Album
import pytest


def chosen(errors, size):
    album = Album(size)
    for index, abs_rel in enumerate(errors):
        album.offer(index, abs_rel)
    return [(pick.role, pick.index) for pick in album.chosen()]


def test_chosen_holds_best_middle_and_worst():
    assert chosen([0.5, 0.1, 0.3, 0.9, 0.4], 3) == [('best', 1), ('middle', 4), ('worst', 3)]


def test_chosen_others_are_spread_in_the_order_of_time():
    picks = chosen([0.1, *[0.5] * 98, 0.9], 6)
    assert picks[0] == ('best', 0)
    assert picks[2] == ('worst', 99)
    spread = [index for role, index in picks if role == 'spread']
    assert len(picks) == 6
    assert spread == sorted(spread)
    assert spread[-1] - spread[0] > 30


@pytest.mark.parametrize('size', [0, 1, 2, 5, 50])
def test_chosen_never_draws_more_than_asked_nor_a_frame_twice(size):
    picks = chosen([0.3, 0.2, 0.1, 0.5], size)
    assert len(picks) == min(size, 4)
    assert len({index for _, index in picks}) == len(picks)


def test_chosen_of_one_frame_is_that_frame():
    assert chosen([0.3], 4) == [('best', 0)]


def test_chosen_of_nothing_is_nothing():
    assert chosen([], 4) == []


def test_album_holds_a_bounded_number_of_frames():
    album = Album(4)
    for index in range(10_000):
        album.offer(index, float(index % 97))
        assert len(album.held()) <= 10
    indices = sorted(album.held() - {0, 96})
    assert len(indices) > 2
    assert indices[-1] > 5000
