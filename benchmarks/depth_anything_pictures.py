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
Show what a student of the recipe depth_anything sees, beside what it is asked for.

    python -m benchmarks.depth_anything_pictures --data DATASET --labels LABELS --out PICTURE.jpg

Columns: the clean picture, the pseudo-label of it, the picture in strong colours and with a box of
another one, the pseudo-label with that box. Rows: frames without LiDAR that got a box, spread over
the dataset. Each label, and each part of a mixed one, is shown in its own scale and shift.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation_pictures import JPEG_QUALITY, panel
import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import ConfigError, DepthRosError
import numpy as np
from numpy.typing import NDArray
from training.augment import RandomCrop
from training.dataset import DepthDataset
from training.dataset_format import write_whole
from training.recipes.colors import recolored_each
from training.recipes.cutmix import draw_pasted
from training.samples import Batch, collate
from training.train_pictures import bgr

WIDTH, HEIGHT = 640, 192
# Of pixels, between which the colours of a label lie.
LOW_SHARE, HIGH_SHARE = 0.02, 0.98
# More than half of the pairs have a box in their first picture before so many are tried.
MAX_TRIES = 200


def label_picture(inv_depth_HW: NDArray[np.float32], pasted_HW: NDArray[np.bool_]) -> ImageU8:
    """Return a pseudo-label in colours, near is bright; unknown is black."""
    shown = np.zeros((*inv_depth_HW.shape, 3), np.uint8)
    for part in (pasted_HW, ~pasted_HW):
        known = part & np.isfinite(inv_depth_HW)
        if not known.any():
            continue
        low, high = np.quantile(inv_depth_HW[known], (LOW_SHARE, HIGH_SHARE))
        share = np.clip((inv_depth_HW - low) / max(high - low, np.finfo(np.float32).tiny), 0, 1)
        levels = (255 * np.nan_to_num(share)).astype(np.uint8)
        colored: Any = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
        shown[known] = colored[known]
    return shown


def row(batch: Batch) -> ImageU8 | None:
    """Return the panels of the first of two pictures; None when it gets no box."""
    boxes = draw_pasted(batch.seeds, [0, 1], batch.image_B3HW)
    pasted_HW = boxes.is_pasted_B1HW[0, 0].numpy()
    if not pasted_HW.any() or batch.pseudo_B1HW is None:
        return None
    nothing_HW = np.zeros_like(pasted_HW)
    seen = boxes.mixed(recolored_each(batch, ['strong', 'strong'], 'colors'))
    clean_label, mixed_label = batch.pseudo_B1HW, boxes.mixed(batch.pseudo_B1HW)
    panels = (
        panel(bgr(batch.image_B3HW), f'{batch.sequences[0]}: clean'),
        panel(
            label_picture(clean_label[0, 0].numpy(), nothing_HW), 'pseudo-label, near is bright'
        ),
        panel(bgr(seen), 'what the student sees'),
        panel(label_picture(mixed_label[0, 0].numpy(), pasted_HW), 'what it is asked for'),
    )
    return np.concatenate(panels, axis=1)


def picture_of(data: Path, labels: Path, rows: int) -> ImageU8:
    """
    Return the picture.

    :raises DepthRosError: dataset or labels cannot be used, or there are too few frames.
    """
    crop = RandomCrop(width=WIDTH, height=HEIGHT, flip_probability=0.5)
    dataset = DepthDataset(
        data, 'train', labelled=False, neighbours=False, labels=labels, augment=crop
    )
    found: list[ImageU8] = []
    for seed in range(MAX_TRIES):
        first = len(found) * len(dataset) // rows
        other = (first + len(dataset) // 2) % len(dataset)
        one = row(collate([dataset[first, 2 * seed], dataset[other, 2 * seed + 1]]))
        if one is not None:
            found.append(one)
        if len(found) == rows:
            return np.concatenate(found)
    raise ConfigError(f'--rows {rows}: only {len(found)} found in {MAX_TRIES} tries')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        picture = picture_of(given.data, given.labels, given.rows)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        write_whole(given.out, cv2.imencode('.jpg', picture, quality)[1].tobytes())
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.depth_anything_pictures',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--labels', type=Path, required=True, help='of training.pseudo_label')
    parser.add_argument('--out', type=Path, required=True, help='the .jpg to write')
    parser.add_argument('--rows', type=int, default=3)
    return parser


if __name__ == '__main__':
    sys.exit(main())
