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

"""The keys of the latest pictures, first in, first out; part of a recipe's state."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib

import torch
from torch import nn, Tensor

# Of a picture's number; so many bits fit into int64.
BITS = 63


def picture_number(sequence: str, stamp_ns: int) -> int:
    """Return a number that two pictures hardly ever share."""
    digest = hashlib.blake2b(f'{stamp_ns} {sequence}'.encode(), digest_size=8).digest()
    return int.from_bytes(digest, 'big') >> (64 - BITS)


class KeyQueue(nn.Module):
    """
    At most ``size`` keys; the oldest give way.

    It is empty at first, not full of noise: every key in it is that of a picture.
    """

    keys_ND: Tensor
    pictures_N: Tensor
    # Where the next key goes, and how many there are.
    place: Tensor
    filled: Tensor

    def __init__(self, size: int, dimensions: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer('keys_ND', torch.zeros(size, dimensions))
        self.register_buffer('pictures_N', torch.zeros(size, dtype=torch.int64))
        self.register_buffer('place', torch.zeros((), dtype=torch.int64))
        self.register_buffer('filled', torch.zeros((), dtype=torch.int64))

    def __len__(self) -> int:
        return int(self.filled)

    def present(self) -> tuple[Tensor, Tensor]:
        """Return all keys (N, D) and the numbers of their pictures (N,)."""
        return self.keys_ND[: len(self)], self.pictures_N[: len(self)]

    @torch.no_grad()
    def push(self, keys_BD: Tensor, pictures: Sequence[int]) -> None:
        """Take in keys, in their order; of more than fit only the last stay."""
        skipped = max(0, len(keys_BD) - self.size)
        begin, count = int(self.place) + skipped, len(keys_BD) - skipped
        places = torch.arange(begin, begin + count, device=self.keys_ND.device) % self.size
        self.keys_ND[places] = keys_BD[skipped:].to(self.keys_ND)
        self.pictures_N[places] = torch.tensor(pictures[skipped:], dtype=torch.int64).to(places)
        self.place.fill_((begin + count) % self.size)
        self.filled.fill_(min(self.size, len(self) + len(keys_BD)))
