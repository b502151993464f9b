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

"""The picture files of a sequence: images as the bag has them, and overlays to look at."""

from __future__ import annotations

from pathlib import Path

import cv2
from depth_ros.core.datatypes import ImageU8
import numpy as np
from numpy.typing import NDArray
from training.dataset_format import encode_image, image_suffix, write_whole
from training.prepare_lidar import Label
from training.prepare_options import PrepareOptions
from training.prepare_overlay import overlay
from training.prepare_streams import Picture

OVERLAY_JPEG_QUALITY = 90


def write_image(
    folder: Path,
    name: str,
    picture: Picture,
    image_HW3: ImageU8,
    *,
    options: PrepareOptions,
    changed: bool,
) -> Path:
    """
    Write an image and return its path; the file of the bag is kept where it holds one.

    :param name: below the folder, without suffix.
    :param changed: the image is not the one of the bag any more.
    :raises DatasetError: the disk refuses it.
    """
    encoded = picture.encoded
    suffix = None if encoded is None else image_suffix(encoded)
    if encoded is None or suffix is None or changed:
        suffix, encoded = encode_image(image_HW3, options.image_format, options.jpeg_quality)
    path = folder / f'{name}{suffix}'
    write_whole(path, encoded)
    return path


def write_overlay(
    folder: Path,
    picture: Picture,
    image_HW3: ImageU8,
    label: Label | None,
    mask_HW: NDArray[np.bool_] | None,
    *,
    options: PrepareOptions,
) -> Path | None:
    """
    Write the overlay of every n-th image and return its path; None for the others.

    :raises DatasetError: the disk refuses it.
    """
    every = options.overlay_every
    if not every or picture.index % every:
        return None
    depths = 'no depth' if label is None else f'{len(label.kept)} depths'
    title = f'{folder.name}  {picture.stamp_ns} ns  {depths}'
    path = folder / 'overlay' / f'{picture.stamp_ns}.jpg'
    settings = [cv2.IMWRITE_JPEG_QUALITY, OVERLAY_JPEG_QUALITY]
    drawing = overlay(image_HW3, label, mask_HW, title)
    write_whole(path, bytes(cv2.imencode('.jpg', drawing, settings)[1]))
    return path
