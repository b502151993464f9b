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
Show what a student of the recipe depth_anything is asked for, or what trained networks say.

    python -m benchmarks.depth_anything_pictures --data DATASET --labels LABELS --out PICTURE.jpg
    python -m benchmarks.depth_anything_pictures --data DATASET --out P.jpg LABEL=CHECKPOINT...

First form, columns: the clean picture, the pseudo-label of it, the picture in strong colours and
with a box of another one, the pseudo-label with that box. Rows: frames without LiDAR that got a
box, spread over the dataset. Second form, rows: the picture with LiDAR, and the inverse depth of
each checkpoint; columns: frames of the validation drives. Each inverse depth, and each part of a
mixed one, is shown in its own scale and shift.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation_pictures import checkpoints_of, JPEG_QUALITY, lidar_panel, panel
from benchmarks.ablation_scores import validation_dataset
import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import ConfigError, DepthRosError
import numpy as np
from numpy.typing import NDArray
import torch
from training.augment import RandomCrop
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.dataset_format import write_whole
from training.recipes.colors import recolored_each
from training.recipes.cutmix import draw_pasted
from training.samples import Batch, collate
from training.train_pictures import bgr
from training.validation import finest

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


def picture_of(data: Path, labels: Path, count: int) -> ImageU8:
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
        first = len(found) * len(dataset) // count
        other = (first + len(dataset) // 2) % len(dataset)
        one = row(collate([dataset[first, 2 * seed], dataset[other, 2 * seed + 1]]))
        if one is not None:
            found.append(one)
        if len(found) == count:
            return np.concatenate(found)
    raise ConfigError(f'--frames {count}: only {len(found)} found in {MAX_TRIES} tries')


@torch.no_grad()
def depths_of(checkpoints: Mapping[str, Path], data: Path, count: int) -> ImageU8:
    """
    Return what the networks say of ``count`` frames, spread over the validation drives.

    :raises DepthRosError: a checkpoint or the dataset.
    """
    loaded = {label: load_recipe(path) for label, path in checkpoints.items()}
    dataset = validation_dataset(next(iter(loaded.values()))[1], data)
    columns = []
    for number in range(count):
        batch = collate([dataset[(2 * number + 1) * len(dataset) // (2 * count)]])
        column = [lidar_panel(batch)]
        for label, (recipe, _) in loaded.items():
            depth_BHW, _ = finest(next(iter(recipe.predictions(batch).values())), batch)
            shown = label_picture(1.0 / depth_BHW[0], np.zeros(depth_BHW.shape[1:], bool))
            column.append(panel(shown, f'{label}: near is bright'))
        columns.append(np.concatenate(column))
    return np.concatenate(columns, axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        picture = _picture(given)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        write_whole(given.out, cv2.imencode('.jpg', picture, quality)[1].tobytes())
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def _picture(given: argparse.Namespace) -> ImageU8:
    if (given.labels is None) == (not given.checkpoints):
        raise ConfigError('give either --labels or LABEL=CHECKPOINT: there are two pictures')
    if given.frames < 1:
        raise ConfigError(f'--frames {given.frames}: must be 1 or more')
    if given.labels is not None:
        return picture_of(given.data, given.labels, given.frames)
    return depths_of(checkpoints_of(given.checkpoints), given.data, given.frames)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m benchmarks.depth_anything_pictures',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('checkpoints', nargs='*', metavar='LABEL=CHECKPOINT')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--labels', type=Path, help='of training.pseudo_label')
    parser.add_argument('--out', type=Path, required=True, help='the .jpg to write')
    parser.add_argument('--frames', type=int, default=3)
    return parser


if __name__ == '__main__':
    sys.exit(main())
