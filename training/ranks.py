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
What the processes of one training tell each other: small Python values, and why one has to stop.

Every ``exchange`` is met by one of every other process. A process that cannot go on tells the
others in their next exchange, so that all end with the same sentence instead of waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import gc
import os
import sys
from typing import Any, Generic, NoReturn, TypeVar

from depth_ros.errors import DepthRosError
import torch
from torch import distributed, Tensor

ValueT = TypeVar('ValueT')
# Of torchrun and Fabric: how many processes train together.
COUNT_VARIABLE = 'WORLD_SIZE'


class TrainingError(DepthRosError):
    """The training cannot go on: it stops, and what was saved before is kept."""


@dataclass(frozen=True, slots=True)
class _Message(Generic[ValueT]):
    value: ValueT
    error: DepthRosError | None


class Ranks:
    """
    The processes that train together; with one process an exchange is no work.

    ``is_agreed`` says that all of them know why they stop.
    """

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self.is_agreed = False
        self._group: Any = None
        if distributed.is_available() and distributed.is_initialized():
            self.rank, self.count = distributed.get_rank(), distributed.get_world_size()
            # Python values go through the CPU, whatever carries the gradients.
            self._group = distributed.new_group(backend='gloo')

    @property
    def is_first(self) -> bool:
        """Return True in the one process that writes files and prints."""
        return self.rank == 0

    def exchange(self, value: ValueT) -> list[ValueT]:
        """
        Return what every process has given, in the order of the ranks.

        :raises DepthRosError: of the first process that has called ``abort`` instead.
        """
        messages = self._gather(_Message(value, None))
        for message in messages:
            if message.error is not None:
                self.is_agreed = True
                raise message.error
        return [message.value for message in messages]

    def abort(self, error: DepthRosError) -> None:
        """Let the others raise this error in their next exchange, unless they know already."""
        if not self.is_agreed:
            self._gather(_Message(None, error))
            self.is_agreed = True

    def wait(self) -> None:
        """Wait until all processes are here."""
        self._gather(_Message(None, None))

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the values of the first one, in place."""
        for tensor in tensors if self.count > 1 else ():
            distributed.broadcast(tensor, 0)

    def _gather(self, message: _Message[Any]) -> list[_Message[Any]]:
        if self.count == 1:
            return [message]
        messages: list[Any] = [None] * self.count
        distributed.all_gather_object(messages, message, group=self._group)
        return messages


def leave(status: int) -> NoReturn:
    """
    End the program; one that has trained with others ends without Python's own clearing up.

    The threads of gloo drop the tensors of the last exchange some time after it is over, and
    need Python for it. A Python that is being cleared up ends them in the middle of that, upon
    which the C++ library aborts the process, with another status.
    """
    if int(os.environ.get(COUNT_VARIABLE, '1')) == 1:
        sys.exit(status)
    # What somebody forgot to close closes itself here: readers, and the processes they started.
    gc.collect()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
