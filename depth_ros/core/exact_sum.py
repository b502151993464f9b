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
Sums of floats without rounding: the order and the grouping of the terms never show.

Every finite float64 is an integer multiple of 2^-1074, and Python's integers have no limit. So
workers can score parts of the data and the merged result has the bytes of a serial run.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
import math

# The exponent of the smallest float64 above zero: 2^-1074.
SMALLEST_EXPONENT = 1074


class ExactVector:
    """A vector of exact sums."""

    __slots__ = ('_totals',)

    def __init__(self, size: int) -> None:
        self._totals = [0] * size

    def add(self, values: Sequence[float]) -> None:
        """
        Add one term to each sum.

        :raises ValueError: a value is not finite, or there are too many or too few.
        """
        if not all(math.isfinite(value) for value in values):
            raise ValueError(f'cannot sum {list(values)}: must be finite')
        for index, (total, value) in enumerate(zip(self._totals, values, strict=True)):
            self._totals[index] = total + _as_multiple(value)

    def merge(self, other: ExactVector) -> None:
        """Add the sums of another vector."""
        pairs = zip(self._totals, other._totals, strict=True)
        self._totals = [mine + theirs for mine, theirs in pairs]

    def values(self) -> list[float]:
        """Return the sums, each rounded once."""
        return self.means(1)

    def means(self, count: int) -> list[float]:
        """Return the sums divided by ``count``, each rounded once; NaN when it is zero."""
        if count == 0:
            return [math.nan] * len(self._totals)
        unit = count << SMALLEST_EXPONENT
        return [float(Fraction(total, unit)) for total in self._totals]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExactVector) and self._totals == other._totals

    def __hash__(self) -> int:
        return hash(tuple(self._totals))


def _as_multiple(value: float) -> int:
    numerator, denominator = float(value).as_integer_ratio()
    return numerator << (SMALLEST_EXPONENT - denominator.bit_length() + 1)
