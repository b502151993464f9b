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
What a dataset folder looks like: file names, schema version, how depth and lines are stored.

Written by ``training.prepare``, read by ``training.dataset``; needs no torch. Depth is a 16-bit
PNG, metres x 256, 0 = not measured: steps of 3.9 mm (error at most 2 mm), up to 255.99 m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
import json
from pathlib import Path
from typing import Any

import cv2
from depth_ros.core.lidar import SparseDepth
from depth_ros.errors import DepthRosError
import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1
DATASET_FILE, MANIFEST_FILE, DROPPED_FILE = 'dataset.json', 'manifest.jsonl', 'dropped.jsonl'
PAGE_FILE = 'index.html'
SEQUENCES = 'sequences'
PARTIAL_SUFFIX = '.partial'
SPLITS = ('train', 'val', 'test')
DEPTH_STEPS_PER_M = 256
MAX_DEPTH_VALUE = 65535
# Sparse depth is mostly zeros: higher levels cost time and save nothing.
PNG_LEVEL = 1

# Without subsampling, colour edges stay where they are (OpenCV before 4.7 cannot do it).
FULL_CHROMA = (
    (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    if hasattr(cv2, 'IMWRITE_JPEG_SAMPLING_FACTOR')
    else ()
)

DEPTH_ENCODING = {
    'format': 'png16',
    'unit': 'm',
    'steps_per_metre': DEPTH_STEPS_PER_M,
    'not_measured': 0,
    'precision_m': 0.5 / DEPTH_STEPS_PER_M,
    'max_m': MAX_DEPTH_VALUE / DEPTH_STEPS_PER_M,
}


class DatasetError(DepthRosError):
    """A dataset folder cannot be written, or is not what the program needs: it stops."""


def write_whole(path: Path, data: bytes) -> None:
    """
    Replace a file in one step: whoever stops the program finds the old one or the new one.

    :raises DatasetError: the disk or its permissions refuse it.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise DatasetError(f"'{path}' cannot be written: {error.strerror}") from error


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """Return a readable JSON file."""
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + '\n').encode()


def json_line(content: Mapping[str, Any]) -> bytes:
    """Return one line of a JSON lines file."""
    return (json.dumps(content, sort_keys=True, allow_nan=False) + '\n').encode()


def read_json(path: Path) -> dict[str, Any]:
    """
    Return what a JSON file holds.

    :raises DatasetError: it is missing, cut off, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"'{path}' is no JSON: {error}") from error
    if not isinstance(content, dict):
        raise DatasetError(f"'{path}' holds a {type(content).__name__}: must be an object")
    return content


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """
    Yield the objects of a JSON lines file, one line in memory at a time.

    :raises DatasetError: it is missing, or a line is no JSON object; names the line.
    """
    return (line for _, line in lines_with_offsets(path))


def lines_with_offsets(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield where each line begins [bytes], and what ``read_lines`` yields."""
    offset = 0
    try:
        with path.open('rb') as stream:
            for number, line in enumerate(stream, start=1):
                yield offset, _object(f"'{path}' line {number}", line)
                offset += len(line)
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error


def read_line_at(path: Path, offset: int) -> dict[str, Any]:
    """Return the object of the line that begins there; raises as ``read_lines`` does."""
    try:
        with path.open('rb') as stream:
            stream.seek(offset)
            return _object(f"'{path}' at byte {offset}", stream.readline())
    except OSError as error:
        raise DatasetError(f"'{path}' cannot be read: {error.strerror}") from error


def _object(where: str, line: bytes) -> dict[str, Any]:
    if not line.endswith(b'\n'):
        raise DatasetError(f'{where} is cut off: {line[:60]!r}')
    try:
        content = json.loads(line)
    except ValueError as error:
        raise DatasetError(f'{where} is no JSON: {error}') from error
    if not isinstance(content, dict):
        raise DatasetError(f'{where} holds a {type(content).__name__}: must be an object')
    return content


def storable(sparse: SparseDepth) -> NDArray[np.bool_]:
    """Tell which hits a depth file can hold: from 1/256 m to 255.99 m."""
    values = np.rint(sparse.depth_N * DEPTH_STEPS_PER_M)
    result: NDArray[np.bool_] = (values >= 1) & (values <= MAX_DEPTH_VALUE)
    return result


def encode_depth(sparse: SparseDepth) -> bytes:
    """Return the PNG of hits that are all ``storable``."""
    image_HW = np.zeros((sparse.height, sparse.width), np.uint16)
    values = np.rint(sparse.depth_N * DEPTH_STEPS_PER_M)
    image_HW[sparse.rows_N, sparse.cols_N] = values.astype(np.uint16)
    settings = [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL]
    return bytes(cv2.imencode('.png', image_HW, settings)[1])


def encode_image(image_HW3: NDArray[np.uint8], kind: str, quality: int) -> tuple[str, bytes]:
    """Return suffix and content of a bgr image as 'png', or as 'jpeg' of a quality of 1 to 100."""
    if kind == 'png':
        return '.png', bytes(cv2.imencode('.png', image_HW3)[1])
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality, *FULL_CHROMA]
    return '.jpg', bytes(cv2.imencode('.jpg', image_HW3, settings)[1])


def encode_mask(mask_HW: NDArray[np.bool_]) -> bytes:
    """Return the 8-bit PNG of a mask: 255 where it is True."""
    return bytes(cv2.imencode('.png', mask_HW.astype(np.uint8) * 255)[1])


def read_mask(path: Path) -> NDArray[np.bool_]:
    """
    Return a stored mask (H, W).

    :raises DatasetError: the file is missing or damaged.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"mask '{path}' cannot be read: {error.strerror}") from error
    mask_HW: Any = None
    if data and is_whole_image(data):
        mask_HW = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask_HW is None:
        raise DatasetError(f"mask '{path}' of {len(data)} bytes is damaged")
    return np.asarray(mask_HW > 0)


def read_depth(path: Path) -> NDArray[np.float32]:
    """
    Return a stored depth image (H, W) in metres, 0 where nothing was measured.

    :raises DatasetError: the file is missing, damaged, or no 16-bit grey picture.
    """
    raw_HW = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if raw_HW is None or raw_HW.dtype != np.uint16 or raw_HW.ndim != 2:
        raise DatasetError(f"depth file '{path}' is missing, damaged or no 16-bit grey PNG")
    return raw_HW.astype(np.float32) / np.float32(DEPTH_STEPS_PER_M)


def is_whole_image(data: bytes) -> bool:
    """Tell whether a JPEG or PNG file has its end; decoders fill up what is cut off."""
    if data.startswith(b'\xff\xd8'):
        # Some cameras pad the buffer behind the end marker with zeros.
        return data.rstrip(b'\0').endswith(b'\xff\xd9')
    if data.startswith(b'\x89PNG'):
        return b'IEND' in data[-32:]
    return True


def image_suffix(data: bytes) -> str | None:
    """Return '.jpg' or '.png' by the first bytes; None: another format."""
    if data.startswith(b'\xff\xd8'):
        return '.jpg'
    return '.png' if data.startswith(b'\x89PNG') else None
