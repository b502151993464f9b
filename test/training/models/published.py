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

"""Weight files in the form in which classifiers are published."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn, Tensor


def published_tensors(network: nn.Module, classifier: dict[str, tuple[int, ...]]) -> dict:
    """Return its tensors as a file of 2017 has them: with a classifier, without counters."""
    state: dict[str, Tensor] = {
        key: torch.randn_like(value)
        for key, value in network.state_dict().items()
        if not key.endswith('num_batches_tracked')
    }
    return {**state, **{key: torch.randn(shape) for key, shape in classifier.items()}}


def write(state: dict, path: Path) -> str:
    torch.save(state, path)
    return str(path)
