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

"""Learn from a part of the labels, as if the LiDAR had measured more rarely."""

from __future__ import annotations

from dataclasses import dataclass

from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray
from training.sampler import derived_seed, LABELS

# Bits of a derived seed.
SEED_RANGE = 2.0**63


@dataclass(frozen=True, slots=True)
class LabelShare:
    """
    Which labels are kept: every k-th, so that they are spread over the drives.

    Fields:
        share: of all labels, above 0; at least one is kept.
        seed: where it begins.

    """

    share: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ConfigError(f'label_share = {self.share}: must be above 0, up to 1')

    def kept(self, count: int) -> NDArray[np.bool_]:
        """Return which of ``count`` labels, in the order of the frames, are kept."""
        is_kept = np.zeros(count, np.bool_)
        number = min(count, max(1, round(self.share * count)))
        if number:
            begin = derived_seed(LABELS, self.seed) / SEED_RANGE
            # The steps are at least 1 long, so that no label is chosen twice.
            is_kept[((np.arange(number) + begin) * count / number).astype(np.int64)] = True
        return is_kept
