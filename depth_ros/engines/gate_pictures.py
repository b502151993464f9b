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
The pictures of the parity gate: real ones of the user's camera where there are some.

``build_engine --bag`` puts a few frames of a bag beside the engines; they serve every model. No
real pictures come with the package: drawn ones stand in until then.
"""

from __future__ import annotations

from collections.abc import Sequence
import hashlib
import os
from pathlib import Path

from depth_ros.core.datatypes import ImageU8
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.probe import image_tensors, probe_images
from depth_ros.engines.verdict import Pictures
from depth_ros.errors import ModelError
import numpy as np

FILE = 'gate_pictures.npz'
DRAWN = 'drawn pictures'


def store_pictures(folder: Path, pictures: Sequence[ImageU8], source: str) -> None:
    """
    Keep bgr pictures of one size, in order of time; ``source`` says where they are from.

    :raises ModelError: the folder cannot be written.
    """
    path = folder / FILE
    temporary = path.with_name(f'.{os.getpid()}.{FILE}')
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(temporary, pictures=np.stack(pictures), source=np.array(source))
        temporary.replace(path)
    except OSError as error:
        raise ModelError(f'{path}: cannot be written: {error.strerror}') from None


def gate_pictures(folder: Path, card: ModelSpec) -> Pictures:
    """
    Return the image tensors on which an engine of this model is compared.

    :raises ModelError: the stored pictures are damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return Pictures(tensors=probe_images(card), source=DRAWN)
    try:
        with np.load(path, allow_pickle=False) as stored:
            pictures, source = list(stored['pictures']), str(stored['source'])
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except Exception as error:
        raise ModelError(
            f'{path}: cannot be read ({error}): remove it, or store pictures again with '
            'build_engine --bag'
        ) from None
    return Pictures(
        tensors=image_tensors(card, pictures),
        source=f'{len(pictures)} real pictures of {source} ({digest})',
    )
