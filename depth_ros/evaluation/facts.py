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

"""What metrics.json says beside scores and protocol: model, versions, the bag's identity."""

from __future__ import annotations

import hashlib
from pathlib import Path
import platform
from typing import Any

import cv2
from depth_ros import __version__
from depth_ros.engines.factory import LoadedModel
import numpy as np

# A bag of a hundred gigabytes is told from another by names, sizes and both ends of its files.
FINGERPRINT_BYTES = 1 << 20


def model_facts(loaded: LoadedModel) -> dict[str, Any]:
    """Return which model was scored, and what ran it."""
    card = loaded.card
    return {
        'name': card.name,
        'revision': card.revision,
        'licence': card.licence,
        'training_data': card.training_data,
        'path': str(loaded.path),
        'sha256': loaded.sha256,
        'uncertainty': card.uncertainty.kind,
        'engine': loaded.engine.spec.backend,
        'device': loaded.engine.spec.device,
        'precision': loaded.engine.spec.precision,
        'selection': loaded.selection,
    }


def versions() -> dict[str, str]:
    """Return the versions that can change a number."""
    return {
        'depth_ros': __version__,
        'python': platform.python_version(),
        'numpy': np.__version__,
        'opencv': cv2.__version__,
    }


def fingerprint(bag: Path) -> str:
    """Return sha256 over the names, sizes and both ends (1 MiB each) of the files of a bag."""
    digest = hashlib.sha256()
    for file in files_of(bag):
        size = file.stat().st_size
        digest.update(f'{file.name}\0{size}\0'.encode())
        with file.open('rb') as stream:
            digest.update(stream.read(FINGERPRINT_BYTES))
            stream.seek(max(size - FINGERPRINT_BYTES, 0))
            digest.update(stream.read(FINGERPRINT_BYTES))
    return digest.hexdigest()


def files_of(bag: Path) -> list[Path]:
    """Return the files of a bag, sorted."""
    return [bag] if bag.is_file() else sorted(file for file in bag.iterdir() if file.is_file())
