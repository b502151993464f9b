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
Pseudo-labels in a folder: what a finished model said of the frames of a dataset.

``labels.json`` names the model by card and hash and the dataset by its manifest; there is one
file for each frame, on the grid of the model. ``training.pseudo_label`` writes it; needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from training.dataset_format import (
    DatasetError,
    is_whole_image,
    json_bytes,
    MANIFEST_FILE,
    PNG_LEVEL,
    read_json,
    SEQUENCES,
    write_whole,
)

LABELS_FILE = 'labels.json'
SCHEMA_VERSION = 1
UNLABELLED, ALL = 'unlabelled', 'all'
# Inverse depth as the 16 bits of a half float: 11 bits of precision at any distance, exact 0 for
# sky, NaN for unknown.
ENCODING = {
    'format': 'png16 of IEEE 754 half floats',
    'quantity': 'inverse depth in the units of the model',
    'sky_or_beyond_range': 0.0,
    'unknown': 'NaN',
}
# Between these a half float keeps its precision over a ratio of 16.
SMALLEST_MAXIMUM, LARGEST_MAXIMUM = 1e-3, 65504.0

F32 = NDArray[np.float32]


def encode_inv_depth(inv_depth_hw: F32) -> bytes:
    """
    Return the file of one frame.

    :param inv_depth_hw: 0 or more, NaN where unknown.
    :raises DatasetError: its values are not of a size that half floats hold.
    """
    largest = float(np.nanmax(inv_depth_hw, initial=0.0))
    if largest and not SMALLEST_MAXIMUM <= largest <= LARGEST_MAXIMUM:
        raise DatasetError(
            f'the largest inverse depth of a picture is {largest:g}: label files hold '
            f'{SMALLEST_MAXIMUM:g} to {LARGEST_MAXIMUM:g}; choose another unit by the '
            'output.scale of the card'
        )
    bits_hw = inv_depth_hw.astype(np.float16).view(np.uint16)
    return bytes(cv2.imencode('.png', bits_hw, [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])[1])


def decode_inv_depth(path: Path) -> F32:
    """
    Return what a file of one frame holds.

    :raises DatasetError: it is missing, damaged, or something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"pseudo-label '{path}' cannot be read: {error.strerror}; make it with "
            'training.pseudo_label'
        ) from error
    bits_hw: Any = None
    if data and is_whole_image(data):
        bits_hw = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if bits_hw is None or bits_hw.dtype != np.uint16 or bits_hw.ndim != 2:
        raise DatasetError(f"pseudo-label '{path}' of {len(data)} bytes is damaged")
    return np.asarray(bits_hw.view(np.float16), np.float32)


def manifest_hash(dataset: Path) -> str:
    """
    Return what identifies a dataset.

    :raises DatasetError: its manifest cannot be read.
    """
    path = dataset / MANIFEST_FILE
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error


class LabelStore:
    """A finished folder of pseudo-labels of a dataset."""

    def __init__(self, folder: str | Path) -> None:
        """
        Open it.

        :raises DatasetError: it is none, unfinished, or of another schema version.
        """
        self.folder = Path(folder)
        self.facts = read_label_facts(self.folder)
        if self.facts['complete'] is not True:
            raise DatasetError(
                f"pseudo-labels '{folder}' are not complete: run the same training.pseudo_label "
                'command again, it goes on where it was stopped'
            )

    @property
    def kind(self) -> str:
        """Return the output kind of the model that made the labels."""
        return str(self.facts['model']['card']['output']['kind'])

    @property
    def knows_sky(self) -> bool:
        """Tell whether that model can tell sky, so that 0 means sky."""
        return str(self.facts['model']['card']['sky']['kind']) != 'none'

    @property
    def identity(self) -> str:
        """Return what identifies the labels: the hash of what they say of themselves."""
        return hashlib.sha256(json_bytes(self.facts)).hexdigest()

    def check_dataset(self, dataset: Path, split: str) -> None:
        """
        Check that the labels are of this dataset and split.

        :raises DatasetError: they are of another.
        """
        found = {'manifest_sha256': manifest_hash(dataset), 'split': split}
        for key, value in found.items():
            if self.facts[key] != value:
                raise DatasetError(
                    f"pseudo-labels '{self.folder}' are of another dataset than '{dataset}' "
                    f'({key}: {self.facts[key]!r}, here {value!r}): make them again with '
                    'training.pseudo_label'
                )

    def read(self, line: Mapping[str, Any], shape: tuple[int, int]) -> F32 | None:
        """
        Return the inverse depth of a frame, (H, W); None where it was not asked for.

        :param line: of the dataset's manifest.
        :param shape: height and width of the picture [px].
        :raises DatasetError: the file is missing or damaged.
        """
        if line['depth'] is not None and self.facts['frames'] == UNLABELLED:
            return None
        inv_depth_hw = decode_inv_depth(label_path(self.folder, line))
        # Unknown stays unknown, and so does whatever is made of it in part.
        enlarged: Any = cv2.resize(inv_depth_hw, shape[::-1], interpolation=cv2.INTER_LINEAR)
        return np.asarray(enlarged, np.float32)


def label_path(folder: Path, line: Mapping[str, Any]) -> Path:
    """Return the file of a frame, by its line of the manifest."""
    return folder / SEQUENCES / line['sequence'] / f'{line["stamp_ns"]}.png'


def read_label_facts(folder: Path) -> dict[str, Any]:
    """
    Return labels.json, of unfinished labels too.

    :raises DatasetError: it is missing, or of another schema version.
    """
    path = folder / LABELS_FILE
    if not path.is_file():
        raise DatasetError(
            f"'{folder}' holds no pseudo-labels: it has no {LABELS_FILE}; make them with "
            'training.pseudo_label'
        )
    facts = read_json(path)
    if facts.get('schema_version') != SCHEMA_VERSION:
        raise DatasetError(
            f"'{path}' has schema_version {facts.get('schema_version')!r}: this program reads "
            f'{SCHEMA_VERSION}; make the labels again with training.pseudo_label'
        )
    return facts


def write_label_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """
    Write labels.json.

    :raises DatasetError: the disk refuses it.
    """
    write_whole(folder / LABELS_FILE, json_bytes({**facts, 'schema_version': SCHEMA_VERSION}))
