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
The weights of one encoder in one file, for ``network.weights`` of any recipe.

The tensors have the names of our module, whatever the published files call theirs.
"""

from __future__ import annotations

import os
from pathlib import Path
import pickle
from typing import Any
import zipfile

from depth_ros.errors import ModelError
import torch
from torch import nn
from training.weights import load_strictly

FORMAT = 'depth_ros encoder'
VERSION = 1
PARTIAL_SUFFIX = '.partial'


def write_encoder(path: Path, name: str, encoder: nn.Module) -> None:
    """
    Replace the file by the weights of the encoder ``name``.

    :raises ModelError: the disk refuses it.
    """
    state = {key: tensor.detach().cpu().clone() for key, tensor in encoder.state_dict().items()}
    content = {'format': FORMAT, 'version': VERSION, 'encoder': name, 'state': state}
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open('wb') as stream:
            torch.save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        reason = getattr(error, 'strerror', None) or str(error).splitlines()[0]
        raise ModelError(f"encoder weights '{path}' cannot be written: {reason}") from error


def read_encoder(path: Path) -> dict[str, Any] | None:
    """
    Return what ``write_encoder`` wrote; None: the file is something else, or none.

    :raises ModelError: it is of another version.
    """
    # Published files may be of older forms, and are read by who knows them.
    if not path.is_file() or not zipfile.is_zipfile(path):
        return None
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError):
        return None
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        return None
    if content.get('version') != VERSION:
        raise ModelError(
            f"encoder weights '{path}' have version {content.get('version')!r}: this program "
            f'reads {VERSION}'
        )
    return content


def load_encoder(encoder: nn.Module, name: str, content: dict[str, Any], path: str) -> None:
    """
    Load all tensors into a fresh encoder ``name``.

    :raises ModelError: they are of another encoder, or do not fit; lists the first ten.
    """
    if content['encoder'] != name:
        raise ModelError(
            f"encoder weights '{path}' are of '{content['encoder']}' and not of '{name}': choose "
            'that encoder, or other weights'
        )
    load_strictly(encoder, content['state'], path)
