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

"""The newest item wins, and none is lost without being given back."""

from __future__ import annotations

import threading

from depth_ros.nodes.frame_mailbox import Mailbox


def test_take_returns_what_was_put() -> None:
    mailbox: Mailbox[int] = Mailbox()
    assert mailbox.put(1) is None
    assert mailbox.take() == 1


def test_put_gives_the_older_item_back() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(1)
    assert mailbox.put(2) == 1
    assert mailbox.take() == 2


def test_close_ends_a_wait_and_gives_the_item_back() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int | None] = []
    waiter = threading.Thread(target=lambda: taken.append(mailbox.take()))
    waiter.start()
    assert mailbox.close() is None
    waiter.join(5.0)
    assert taken == [None]
    assert mailbox.put(3) == 3
    assert mailbox.take() is None


def test_close_returns_the_item_that_nobody_took() -> None:
    mailbox: Mailbox[int] = Mailbox()
    mailbox.put(7)
    assert mailbox.close() == 7


def test_every_item_is_taken_or_given_back() -> None:
    mailbox: Mailbox[int] = Mailbox()
    taken: list[int] = []

    def take_all() -> None:
        while (item := mailbox.take()) is not None:
            taken.append(item)

    taker = threading.Thread(target=take_all)
    taker.start()
    displaced = [old for number in range(2000) if (old := mailbox.put(number)) is not None]
    last = mailbox.close()
    taker.join(5.0)
    rest = [] if last is None else [last]
    assert sorted(taken + displaced + rest) == list(range(2000))
    assert taken == sorted(taken)
