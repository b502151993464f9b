# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""The one call that touches a device, as the core sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
    """What runs the graph, and the graph's own inputs and outputs."""

    backend: str
    version: str
    device: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class Engine(Protocol):
    """A loaded graph. One thread at a time may call ``infer``."""

    @property
    def spec(self) -> EngineSpec:
        """Describe the back end and the graph."""
        ...

    def infer(self, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """
        Run the graph once.

        The returned arrays are valid until the next call: a back end may reuse its buffers.

        :raises ModelError: an input is missing, or has another shape or dtype than the graph.

        """
        ...

    def close(self) -> None:
        """Free the device; the engine cannot be used afterwards."""
        ...
