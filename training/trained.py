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

from collections.abc import Collection
from pathlib import Path

from depth_ros.errors import ModelError
from torch import Tensor
from training.checkpoint_file import is_checkpoint, read_checkpoint


def trained_network(path: Path, names: Collection[str]) -> dict[str, Tensor] | None:
    """
    Return the tensors of the one network in a checkpoint; None: the file is no checkpoint.

    The running mean of the weights where the run kept one: it is what was validated.

    :param names: of all tensors of the network, by which it is found.
    :raises ModelError: the checkpoint is damaged, or holds no such network or several.
    """
    if not is_checkpoint(path):
        return None
    checkpoint = read_checkpoint(path)
    state = {**checkpoint.recipe, **(checkpoint.averaged or {})}
    first = next(iter(names))
    places = [name.removesuffix(first) for name in state if name.endswith(f'.{first}')]
    whole = [place for place in places if all(place + name in state for name in names)]
    if len(whole) != 1:
        found = f'several such networks ({", ".join(whole)})' if whole else 'no such network'
        raise ModelError(
            f"network.weights: checkpoint '{path}' holds {found}: it must be of a run that "
            'trained one network of this kind'
        )
    return {name: state[whole[0] + name] for name in names}
