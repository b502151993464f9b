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
Pair two stamped streams one to one: each item with the other's nearest in time.

The rule is mutual: a pair exists when each is the nearest of the other (of two equally near
ones the earlier) and the gap is within the limit. It looks one item ahead on either side, so
streams of any length pair in constant memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_STAMP_NS = np.iinfo(np.int64).max


class Stamped(Protocol):
    """Anything with an acquisition time."""

    @property
    def stamp_ns(self) -> int:
        """Acquisition time [ns]."""
        ...


FirstT = TypeVar('FirstT', bound=Stamped)
SecondT = TypeVar('SecondT', bound=Stamped)


def associate(a_ns: ArrayLike, b_ns: ArrayLike, *, max_gap_ns: int) -> NDArray[np.int64]:
    """
    Return (K, 2) indices (into a, into b) of the pairs, sorted by time.

    Stamps [ns] may be in any order; equal stamps count as in the order given. O(n log n).
    """
    a, b = np.asarray(a_ns, np.int64), np.asarray(b_ns, np.int64)
    if a.size == 0 or b.size == 0:
        return np.empty((0, 2), np.int64)
    order_a, order_b = np.argsort(a, kind='stable'), np.argsort(b, kind='stable')
    a, b = a[order_a], b[order_b]
    a_to_b, b_to_a = _nearest(a, b), _nearest(b, a)
    index = np.arange(a.size)
    is_pair = (b_to_a[a_to_b] == index) & (np.abs(a - b[a_to_b]) <= max_gap_ns)
    return np.stack([order_a[is_pair], order_b[a_to_b[is_pair]]], axis=1)


def _nearest(of: NDArray[np.int64], among: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each sorted stamp the first of its nearest among the sorted others."""
    after = np.searchsorted(among, of, side='left')
    right = np.minimum(after, among.size - 1)
    left = np.searchsorted(among, among[np.maximum(after - 1, 0)], side='left')
    is_left = np.abs(of - among[left]) <= np.abs(among[right] - of)
    return np.where(is_left, left, right)


def increasing(items: Iterable[FirstT], on_drop: Callable[[FirstT], None]) -> Iterator[FirstT]:
    """Pass items whose stamp is later than every one before; hand the others to ``on_drop``."""
    last_ns: int | None = None
    for item in items:
        if last_ns is not None and item.stamp_ns <= last_ns:
            on_drop(item)
            continue
        last_ns = item.stamp_ns
        yield item


def pair_streams(
    left: Iterable[FirstT], right: Iterable[SecondT], *, max_gap_ns: int
) -> Iterator[tuple[FirstT, SecondT | None]]:
    """
    Yield every left item in order, with its partner or None; the rule is that of ``associate``.

    Stamps of each stream must increase (see ``increasing``). At most two items of each are held.

    :raises ValueError: a stamp does not increase.
    """
    neighbours = _Neighbours(right)
    stream = _checked(left)
    previous_ns: int | None = None
    item = next(stream, None)
    while item is not None:
        following = next(stream, None)
        partner = neighbours.nearest(item.stamp_ns)
        following_ns = None if following is None else following.stamp_ns
        if partner is not None:
            gap_ns = abs(partner.stamp_ns - item.stamp_ns)
            is_taken = _is_nearer(previous_ns, partner, gap_ns, wins_tie=True) or _is_nearer(
                following_ns, partner, gap_ns, wins_tie=False
            )
            partner = None if is_taken or gap_ns > max_gap_ns else partner
        yield item, partner
        previous_ns, item = item.stamp_ns, following


def _is_nearer(other_ns: int | None, partner: Stamped, gap_ns: int, *, wins_tie: bool) -> bool:
    if other_ns is None:
        return False
    other_gap_ns = abs(partner.stamp_ns - other_ns)
    return other_gap_ns < gap_ns or (wins_tie and other_gap_ns == gap_ns)


def _checked(items: Iterable[FirstT]) -> Iterator[FirstT]:
    last_ns: int | None = None
    for item in items:
        if last_ns is not None and item.stamp_ns <= last_ns:
            raise ValueError(f'stamp {item.stamp_ns} ns comes after {last_ns} ns')
        last_ns = item.stamp_ns
        yield item


class _Neighbours(list[SecondT]):
    """The last item at or before a rising time, and the first one after it."""

    def __init__(self, items: Iterable[SecondT]) -> None:
        super().__init__()
        self._items = _checked(items)

    def nearest(self, stamp_ns: int) -> SecondT | None:
        while (item := self._next_if_needed(stamp_ns)) is not None:
            self[:] = [*self[-1:], item]
        if not self:
            return None
        return min(self, key=lambda item: abs(item.stamp_ns - stamp_ns))

    def _next_if_needed(self, stamp_ns: int) -> SecondT | None:
        return None if self and self[-1].stamp_ns > stamp_ns else next(self._items, None)
