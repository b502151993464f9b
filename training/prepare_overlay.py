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
Pictures that show whether camera and LiDAR fit: depth over the image, an enlarged part, filters.

The enlarged part is where depth jumps most: there a wrong calibration or a wrong time moves
points off their objects.
"""

from __future__ import annotations

from typing import Any

import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.core.lidar import SparseDepth
from depth_ros.evaluation.colors import ColorScale, depth_scale
from depth_ros.evaluation.figures import put_text, stamp_points
import numpy as np
from numpy.typing import NDArray
from training.prepare_lidar import Label

NEAR_M, FAR_M = 2.0, 80.0
WIDTH_PX = 1240
TITLE_PX = 30
BAR_PX = 16
BACKDROP_SHARE = 0.6
BACKGROUND_BGR, TEXT_BGR = (24, 24, 24), (240, 240, 240)
REMOVED_BGR = {'occluded': (255, 0, 255), 'sky': (0, 255, 255)}
OBJECT_BGR, OBJECT_SHARE = (0, 220, 0), 0.5
# The enlarged part is this share of the image's width.
PART_SHARE = 0.3
# An edge: a hit and its neighbour within so many columns differ by this factor in depth.
EDGE_COLS, EDGE_RATIO = 6, 1.3


def overlay(
    image_HW3: ImageU8, label: Label | None, objects_HW: NDArray[np.bool_] | None, title: str
) -> ImageU8:
    """Return the picture of one frame, to be judged by eye: depth, objects, or the image alone."""
    parts = [_title(title)]
    if label is not None:
        parts += _depth_parts(image_HW3, label)
    if objects_HW is not None:
        share = np.count_nonzero(objects_HW) / objects_HW.size
        parts += [_title(f'Objects: {share:.1%} of the image (green)')]
        parts += [_with_objects(image_HW3, objects_HW)]
    if label is None and objects_HW is None:
        parts += [_resized(image_HW3, WIDTH_PX)[0]]
    return np.concatenate([_padded(part) for part in parts], axis=0)


def _depth_parts(image_HW3: ImageU8, label: Label) -> list[ImageU8]:
    scale = depth_scale(NEAR_M, FAR_M)
    return [
        _with_points(image_HW3, label.kept, scale),
        _bar(scale),
        _title('Where depth jumps most: the image, and the same with the points'),
        _enlarged(image_HW3, label.kept, scale),
        _title(_removed_title(label)),
        _with_removed(image_HW3, label),
    ]


def _with_objects(image_HW3: ImageU8, objects_HW: NDArray[np.bool_]) -> ImageU8:
    picture = image_HW3.copy()
    tinted = (1 - OBJECT_SHARE) * picture[objects_HW] + OBJECT_SHARE * np.array(OBJECT_BGR)
    picture[objects_HW] = tinted.astype(np.uint8)
    return _resized(picture, WIDTH_PX)[0]


def _dimmed(image_HW3: ImageU8) -> ImageU8:
    gray: Any = cv2.cvtColor(image_HW3, cv2.COLOR_BGR2GRAY)
    dimmed: Any = cv2.cvtColor((gray * BACKDROP_SHARE).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    return np.asarray(dimmed, np.uint8)


def _resized(image: ImageU8, width: int) -> tuple[ImageU8, float]:
    factor = width / image.shape[1]
    size = (width, max(1, round(image.shape[0] * factor)))
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=method), np.uint8), factor


def _stamp(
    picture: ImageU8, hits: SparseDepth, factor: float, colors_N3: ImageU8, radius: int
) -> None:
    # Far ones first: the near ones stay visible.
    order = np.argsort(-hits.depth_N, kind='stable')
    rows, cols = ((c[order] + 0.5) * factor - 0.5 for c in (hits.rows_N, hits.cols_N))
    stamp_points(picture, rows, cols, colors_N3[order], radius)


def _with_points(image_HW3: ImageU8, hits: SparseDepth, scale: ColorScale) -> ImageU8:
    picture, factor = _resized(_dimmed(image_HW3), WIDTH_PX)
    _stamp(picture, hits, factor, scale(hits.depth_N), 1)
    return picture


def _enlarged(image_HW3: ImageU8, hits: SparseDepth, scale: ColorScale) -> ImageU8:
    x, y, width, height = edge_window(hits)
    right, bottom = x + width, y + height
    plain, factor = _resized(np.ascontiguousarray(image_HW3[y:bottom, x:right]), WIDTH_PX // 2 - 2)
    marked = plain.copy()
    inside = (hits.cols_N >= x) & (hits.cols_N < right) & (hits.rows_N >= y)
    part = hits.where(inside & (hits.rows_N < bottom))
    moved = SparseDepth(
        rows_N=part.rows_N - y,
        cols_N=part.cols_N - x,
        depth_N=part.depth_N,
        width=width,
        height=height,
        points=len(part),
        invalid=0,
    )
    _stamp(marked, moved, factor, scale(moved.depth_N), 2)
    gap = np.full((plain.shape[0], 4, 3), BACKGROUND_BGR, np.uint8)
    return np.concatenate([plain, gap, marked], axis=1)


def edge_window(hits: SparseDepth) -> tuple[int, int, int, int]:
    """Return x, y, width, height of the part of the image with most jumps of depth."""
    width = max(1, round(hits.width * PART_SHARE))
    height = max(1, min(hits.height, round(width * 0.7)))
    edges = _edges(hits).astype(np.float32)
    sums: Any = cv2.boxFilter(
        edges, -1, (width, height), normalize=False, borderType=cv2.BORDER_CONSTANT
    )
    row, col = np.unravel_index(int(np.argmax(sums)), sums.shape)
    x = int(np.clip(col - width // 2, 0, hits.width - width))
    y = int(np.clip(row - height // 2, 0, hits.height - height))
    return x, y, width, height


def _edges(hits: SparseDepth) -> NDArray[np.bool_]:
    depth = hits.image_HW()
    edges = np.zeros(depth.shape, np.bool_)
    for shift in range(1, EDGE_COLS + 1):
        with np.errstate(invalid='ignore'):
            ratio = depth[:, shift:] / depth[:, :-shift]
            edges[:, shift:] |= (ratio > EDGE_RATIO) | (ratio < 1 / EDGE_RATIO)
    return edges


def _removed_title(label: Label) -> str:
    if not label.removed:
        return 'No filter was on'
    counts = [f'{name} {len(hits)}' for name, hits in label.removed.items() if len(hits)]
    return f'Taken out: {", ".join(counts) or "nothing"} (magenta occluded, yellow sky)'


def _with_removed(image_HW3: ImageU8, label: Label) -> ImageU8:
    picture, factor = _resized(image_HW3, WIDTH_PX)
    for name, color in REMOVED_BGR.items():
        hits = label.removed.get(name)
        if hits is not None and len(hits):
            _stamp(picture, hits, factor, np.tile(np.array([color], np.uint8), (len(hits), 1)), 1)
    return picture


def _title(text: str) -> ImageU8:
    strip = np.full((TITLE_PX, WIDTH_PX, 3), BACKGROUND_BGR, np.uint8)
    put_text(strip, text, (8, TITLE_PX - 10), TEXT_BGR)
    return strip


def _bar(scale: ColorScale) -> ImageU8:
    """Return the colours from near to far with their metres below."""
    strip = np.full((BAR_PX + TITLE_PX, WIDTH_PX, 3), BACKGROUND_BGR, np.uint8)
    levels = np.linspace(0, len(scale.table_L3) - 1, WIDTH_PX).round().astype(np.int64)
    strip[:BAR_PX] = scale.table_L3[levels][None]
    for value, share in zip(scale.ticks, scale.positions(np.array(scale.ticks)), strict=True):
        x = min(round(float(share) * (WIDTH_PX - 1)), WIDTH_PX - 60)
        put_text(strip, f'{value:g} {scale.unit}', (x, BAR_PX + 20), TEXT_BGR)
    return strip


def _padded(part: ImageU8) -> ImageU8:
    missing = WIDTH_PX - part.shape[1]
    return np.pad(part, ((0, 0), (0, missing), (0, 0)), constant_values=BACKGROUND_BGR[0])
