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
The verdict of the parity gate on one engine, and when an earlier one still holds.

It holds for the same plan, driver, device, reference, card, measure, tolerance and pictures; a
change of any of them asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from typing import Any, Protocol, runtime_checkable

from depth_ros.core.engine_api import Engine
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.parity import (
    compare_engines,
    MEASURE,
    ParityTolerance,
    worst_figures,
)
import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Remembering(Protocol):
    """An engine whose verdict is kept from start to start."""

    @property
    def circumstances(self) -> str:
        """Return what the plan's numbers depend on besides the plan: device and driver."""
        ...

    def recall(self) -> Mapping[str, Any] | None:
        """Return what was remembered of exactly this plan."""
        ...

    def remember(self, verdict: Mapping[str, Any]) -> bool:
        """Keep a verdict beside the plan; False where that cannot be written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """
    What engines are compared on.

    Fields:
        tensors: image tensors in order of time.
        source: 'drawn pictures', or where the real ones come from.

    """

    tensors: Sequence[NDArray[np.float32]]
    source: str

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of all of them."""
        digest = hashlib.sha256()
        for tensor in self.tensors:
            digest.update(np.ascontiguousarray(tensor).data)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What the gate says.

    Fields:
        failures: each a sentence with its figures; none: admitted.
        figures: the worst of each measure over all outputs and pictures.
        pictures: what it was asked on.
        is_recalled: it was asked at an earlier start.

    """

    failures: tuple[str, ...]
    figures: Mapping[str, float]
    pictures: str
    is_recalled: bool


def judge(
    reference: Engine,
    candidate: Engine,
    card: ModelSpec,
    pictures: Pictures,
    tolerance: ParityTolerance,
) -> Verdict:
    """
    Compare two engines, or recall the verdict if it still holds.

    :raises ModelError: one of them does not run, or breaks a promise of the card.
    """
    asked = _asked(reference, candidate, card, pictures, tolerance)
    if isinstance(candidate, Remembering):
        known = candidate.recall()
        if known is not None and known.get('asked') == asked:
            return _recalled(known)
    report = compare_engines(reference, candidate, card, pictures.tensors, tolerance)
    verdict = Verdict(
        failures=report.failures,
        figures=worst_figures(report),
        pictures=pictures.source,
        is_recalled=False,
    )
    if isinstance(candidate, Remembering):
        plain = {
            'passed': not verdict.failures,
            'failures': list(verdict.failures),
            'figures': dict(verdict.figures),
            'pictures': verdict.pictures,
        }
        candidate.remember({'asked': asked, **plain})
    return verdict


def _asked(
    reference: Engine,
    candidate: Engine,
    card: ModelSpec,
    pictures: Pictures,
    tolerance: ParityTolerance,
) -> str:
    """Return everything that the verdict depends on, as text that JSON keeps as it is."""
    plain = {
        'circumstances': candidate.circumstances if isinstance(candidate, Remembering) else '',
        'reference': f'{reference.spec.backend} {reference.spec.version}',
        # What is fed and compared, which a YAML beside the same graph may change.
        'card': hashlib.sha256(repr(card).encode()).hexdigest(),
        'measure': MEASURE,
        'pictures': pictures.sha256,
        'tolerance': asdict(tolerance),
    }
    return json.dumps(plain, sort_keys=True)


def _recalled(known: Mapping[str, Any]) -> Verdict:
    return Verdict(
        failures=tuple(known['failures']),
        figures=known['figures'],
        pictures=known['pictures'],
        is_recalled=True,
    )
