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

"""What is rebuilt from what: the input of every loss that compares frames with each other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Scene(NamedTuple):
    """
    Frames that are rebuilt and what they are rebuilt from; the same rows of the batch in all.

    ``sources`` are pictures (B, 3, H, W), ``poses`` source_T_target (B, 4, 4).
    """

    target: Tensor
    sources: tuple[Tensor, ...]
    poses: tuple[Tensor, ...]
    K_B33: Tensor
    seen_B1HW: Tensor
    seeds: list[int]
