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

"""The network inside a checkpoint of ``training.train``, as the weights of another one."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor


def trained_network(path: Path) -> dict[str, Tensor] | None:
    """
    Return all tensors of the network that a checkpoint deploys; None: the file is no checkpoint.

    :raises ModelError: the checkpoint is damaged or of another version.
    :raises ConfigError: its config is not one that this version knows.
    """
    # A checkpoint knows its networks, and a network may begin with a checkpoint.
    from training.checkpoint import is_checkpoint, load_recipe

    if not is_checkpoint(path):
        return None
    recipe, _ = load_recipe(path)
    return dict(recipe.deployed().state_dict())
