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
One training state in one file of plain tensors and values.

A file is replaced in one step, after it is whole and on the disk: whatever stops the program, the
previous one or the new one is there. The chance of a step comes from its number (see
``training.sampler``), so that no state of random generators has to be kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
import os
from pathlib import Path
import pickle
from typing import Any, BinaryIO, cast
import zipfile

from depth_ros.errors import ModelError
import torch
from torch import Tensor
from training.ranks import TrainingError

FORMAT = 'depth_ros training checkpoint'
VERSION = 1
PARTIAL_SUFFIX = '.partial'
LAST, BEST = 'last.ckpt', 'best.ckpt'


class CheckpointError(TrainingError):
    """A checkpoint cannot be written; the previous one is untouched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """
    Where a training stands.

    Fields:
        step: batches done since the beginning.
        epoch: the present one, from 0.
        batch: batches of this epoch that are done; all of them: it awaits its validation.

    """

    step: int = 0
    epoch: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """
    Everything that a run needs to go on.

    Fields:
        config: ``TrainConfig.stored()``.
        data: what identifies the dataset, by name.
        recipe: state dict of the networks.
        averaged: running mean of the weights by the same names; None without.
        optimiser: state dict.
        scaler: of 16-mixed precision, else empty.
        best: the best validation score so far, None before the first.

    """

    config: dict[str, Any]
    data: dict[str, Any]
    position: Position
    best: float | None
    recipe: dict[str, Tensor]
    averaged: dict[str, Tensor] | None
    optimiser: dict[str, Any]
    scaler: dict[str, Any]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """
    Replace the file by a new one.

    :raises CheckpointError: the disk refuses it; the previous file is untouched.
    """
    content = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    content |= {'position': asdict(checkpoint.position), 'format': FORMAT, 'version': VERSION}
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open('wb') as stream:
            _save(content, stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        kept = f"the previous '{path.name}' is kept" if path.exists() else 'there was none before'
        raise CheckpointError(
            f"checkpoint '{path}' cannot be written: {error.strerror or error}; {kept}; make "
            'room and go on with --resume'
        ) from error


class _Recorder:
    """A stream that remembers why writing failed: torch tells it as another error."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._stream.write(data)
        except OSError as error:
            self.error = self.error or error
            raise

    def flush(self) -> None:
        self._stream.flush()


def _save(content: Mapping[str, Any], stream: BinaryIO) -> None:
    recorder = _Recorder(stream)
    try:
        torch.save(dict(content), cast(BinaryIO, recorder))
    except (OSError, RuntimeError):
        if recorder.error is not None:
            raise recorder.error from None
        raise


def is_checkpoint(path: Path) -> bool:
    """Tell whether a file says that it is a checkpoint, of whatever version."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        content = torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError):
        return False
    return isinstance(content, dict) and content.get('format') == FORMAT


def read_checkpoint(path: Path) -> Checkpoint:
    """
    Return what ``write_checkpoint`` wrote, on the CPU.

    :raises ModelError: the file cannot be read, is damaged, or is something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError as error:
        raise ModelError(f"checkpoint '{path}' cannot be read: {error.strerror}") from error
    except zipfile.BadZipFile as error:
        raise ModelError(f"checkpoint '{path}' is damaged or none: {error}") from error
    if damaged is not None:
        raise ModelError(f"checkpoint '{path}' is damaged: the sum of '{damaged}' is wrong")
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise ModelError(f"checkpoint '{path}' is damaged or none: {error}") from error
    return _checked(path, content)


def _checked(path: Path, content: Any) -> Checkpoint:
    if not isinstance(content, dict) or content.get('format') != FORMAT:
        raise ModelError(f"'{path}' is no checkpoint of training.train")
    if content['version'] != VERSION:
        raise ModelError(
            f"checkpoint '{path}' has version {content['version']!r}: this program reads {VERSION}"
        )
    missing = [field.name for field in fields(Checkpoint) if field.name not in content]
    if missing:
        raise ModelError(f"checkpoint '{path}' lacks {', '.join(missing)}")
    values = {field.name: content[field.name] for field in fields(Checkpoint)}
    return Checkpoint(**{**values, 'position': Position(**values['position'])})
