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
What a built engine depends on. Two engines with equal keys are interchangeable, no others are.

The driver is not part of the key: a plan outlives a driver update, its kernels' numbers need not.
So the driver belongs to the verdict of the parity gate, which is then asked again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
import hashlib
import json
from typing import Any

# Raised when the same key would no longer mean the same plan.
KEY_VERSION = 1
DIGEST_CHARACTERS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """
    Everything on which the bytes and the use of a plan depend.

    Fields:
        model_sha256: of the ONNX file and of the files that hold its weights.
        precision: what the graph computes in: 'fp32', 'fp16' or 'int8'.
        shapes: smallest, usual and largest shape of every input.
        library, library_version: 'tensorrt' or 'tensorrt_rtx', and its full version.
        gpu: name of the device, or of the architecture that was built for without one.
        compute_capability: '8.7' for an Orin.
        options: of the builder, as text.

    """

    model_sha256: str
    precision: str
    shapes: str
    library: str
    library_version: str
    gpu: str
    compute_capability: str
    options: str

    @property
    def digest(self) -> str:
        """Return the name under which the plan is stored."""
        text = json.dumps([KEY_VERSION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARACTERS]

    def differences(self, other: EngineKey) -> list[str]:
        """Return 'field (own against other)' for every field that differs."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return [
            f'{name} ({own!r} against {theirs!r})' for name, own, theirs in pairs if own != theirs
        ]


def key_from(data: Any) -> EngineKey:
    """
    Return the key that JSON held.

    :raises ValueError: it is not one.
    """
    names = {each.name for each in fields(EngineKey)}
    if not isinstance(data, Mapping) or set(data) != names:
        raise ValueError(f'the key has not exactly the fields {sorted(names)}')
    if not all(isinstance(value, str) for value in data.values()):
        raise ValueError('a field of the key is not text')
    return EngineKey(**data)
