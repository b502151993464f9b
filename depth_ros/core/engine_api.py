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

"""The one call that touches a device, as the core sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorSpec:
    """Name, shape (None = any size) and numpy dtype name of one graph input or output."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """
    What runs the graph, and the graph's own inputs and outputs.

    ``gives_new_arrays`` says that outputs belong to the caller, who may keep them without a copy.
    """

    backend: str
    version: str
    device: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    gives_new_arrays: bool = False


class Engine(Protocol):
    """A loaded graph. One thread at a time may call ``infer``."""

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        ...

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once.

        The returned arrays are valid until the next call, unless ``spec.gives_new_arrays``: a
        back end may reuse its buffers.

        :raises ModelError: an input is missing, or has another shape or dtype than the graph.

        """
        ...

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""
        ...


@runtime_checkable
class OverlappingEngine(Engine, Protocol):
    """An engine that computes beside the CPU: ``infer`` in two steps, one inference at a time."""

    def submit(self, inputs: Tensors) -> None:
        """
        Start an inference and return at once; ``inputs`` may be changed afterwards.

        The arrays of the last ``collect`` are valid no longer.

        :raises ModelError: an input is wrong, or the last inference was not collected.
        """
        ...

    def collect(self) -> dict[str, NDArray[Any]]:
        """Wait for the inference that was started and return its outputs."""
        ...
