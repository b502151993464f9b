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
Everything random that a recipe draws, from the seeds of the frames alone.

So neither the number of processes nor a resumed run changes what a frame gets.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor
from training.losses.photometric import TIE_BREAK

SEED_BYTES = 8


def generator(seed: int, stream: str) -> torch.Generator:
    """Return the chance of one frame for one use; streams of other names are independent."""
    text = f'{seed} {stream}'.encode()
    digest = hashlib.blake2b(text, digest_size=SEED_BYTES).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, 'little') >> 1)


def tie_break(seeds: list[int], sources: int, like_B3HW: Tensor) -> Tensor:
    """Return ``losses.photometric.tie_break_noise`` of each frame, (B, sources, H, W)."""
    shape = (sources, *like_B3HW.shape[-2:])
    noise = [torch.randn(shape, generator=generator(seed, 'tie break')) for seed in seeds]
    return TIE_BREAK * torch.stack(noise).to(like_B3HW)
