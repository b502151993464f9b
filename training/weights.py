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

"""Files of network weights: read without running code from them, loaded whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
import pickle
import zipfile

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor

MAX_LISTED_KEYS = 10


def _disagreements(expected: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f'{key} is missing' for key in expected if key not in given]
    unknown = [f'{key} is unknown' for key in given if key not in expected]
    shapes = [
        f'{key} is {tuple(given[key].shape)} and not {tuple(tensor.shape)}'
        for key, tensor in expected.items()
        if key in given and given[key].shape != tensor.shape
    ]
    return missing + unknown + shapes


def require_same(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    """
    Compare names and shapes.

    :raises ModelError: they differ; the sentence lists the first ten.
    """
    wrong = _disagreements(expected, given)
    if wrong:
        listed = '; '.join(wrong[:MAX_LISTED_KEYS])
        raise ModelError(f'{where}: {len(wrong)} tensors do not fit the network: {listed}')


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """
    Load every tensor of ``state``, or nothing.

    :raises ModelError: names or shapes differ; the sentence lists the first ten.
    """
    require_same(network.state_dict(), state, where)
    network.load_state_dict(dict(state), strict=True)


def read_state(path: Path) -> dict[str, Tensor]:
    """
    Read a file of tensors that ``torch.save`` wrote, running no code from it.

    :raises ModelError: the file is missing, damaged, or holds something else.
    """
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f'{path}: there is no such weights file') from error
    except OSError as error:
        raise ModelError(f'{path}: cannot be read as weights: {error.strerror}') from error
    except (pickle.UnpicklingError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else 'empty'
        raise ModelError(f'{path}: cannot be read as weights: {first_line}') from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f'{path}: holds a {type(state).__name__}, not named tensors')
    return state
