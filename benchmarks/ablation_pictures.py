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
Show sigma of the deployed branches of several finished runs, one below the other.

    python -m benchmarks.ablation_pictures --data D --out PICTURE.jpg LABEL=CHECKPOINT...

Rows: image with LiDAR hits, then depth and sigma of each checkpoint; columns: frames spread over
the validation drives. LiDAR never reaches the upper image: there filtering has to keep sigma up.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation_scores import validation_dataset
import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.evaluation.colors import depth_scale, sigma_scale
from depth_ros.evaluation.figures import put_text, stamp_points
import numpy as np
import torch
from training.checkpoint import load_recipe
from training.dataset_format import write_whole
from training.recipes.recipe import Recipe
from training.samples import Batch, collate
from training.train_pictures import FAR_M, NEAR_M, SIGMA_M
from training.validation import finest, lidar_of

PANEL_WIDTH_PX = 448
TITLE_PX = 20
TEXT_BGR, STRIP_BGR = (240, 240, 240), (24, 24, 24)
DIMMED = 0.45
JPEG_QUALITY = 88


def panel(picture: ImageU8, title: str) -> ImageU8:
    """Return the picture enlarged under its title."""
    height, width = picture.shape[:2]
    size = (PANEL_WIDTH_PX, round(height * PANEL_WIDTH_PX / width))
    body = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
    strip = np.full((TITLE_PX, PANEL_WIDTH_PX, 3), STRIP_BGR, np.uint8)
    put_text(strip, title, (6, TITLE_PX - 6), TEXT_BGR)
    return np.concatenate([strip, body])


def lidar_panel(batch: Batch) -> ImageU8:
    """Return the image of one frame with its hits in the colours of depth."""
    rgb_HW3 = batch.image_B3HW[0].permute(1, 2, 0).numpy()
    bgr_HW3: Any = cv2.cvtColor((rgb_HW3 * 255).round().astype(np.uint8), cv2.COLOR_RGB2BGR)
    factor = PANEL_WIDTH_PX / bgr_HW3.shape[1]
    picture = cv2.resize(bgr_HW3, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    picture = (picture * DIMMED).astype(np.uint8)
    hits = lidar_of(batch, 0)
    rows, cols = ((c + 0.5) * factor - 0.5 for c in (hits.rows_N, hits.cols_N))
    stamp_points(picture, rows, cols, depth_scale(NEAR_M, FAR_M)(hits.depth_N), 1)
    return panel(picture, f'{batch.sequences[0]}: image and LiDAR')


def panels(recipe: Recipe, batch: Batch, label: str) -> list[ImageU8]:
    """Return depth and sigma of the deployed branch on one frame."""
    prediction = next(iter(recipe.predictions(batch).values()))
    depth_BHW, sigma_BHW = finest(prediction, batch)
    depth, sigma = depth_scale(NEAR_M, FAR_M), sigma_scale(*SIGMA_M)
    return [
        panel(depth(depth_BHW[0]), f'{label}: depth, {NEAR_M:g} m red to {FAR_M:g} m blue'),
        panel(sigma(sigma_BHW[0]), f'{label}: sigma, {SIGMA_M[0]:g} m dark to {SIGMA_M[1]:g} m'),
    ]


@torch.no_grad()
def picture_of(checkpoints: Mapping[str, Path], data: Path, count: int) -> ImageU8:
    """
    Return the bgr picture of ``count`` frames, spread over the validation drives.

    :raises DepthRosError: a checkpoint or the dataset.
    """
    loaded = {label: load_recipe(path) for label, path in checkpoints.items()}
    sizes = {(config.data.width, config.data.height) for _, config in loaded.values()}
    if len(sizes) > 1:
        raise ConfigError(f'inputs of the sizes {sorted(sizes)}: give checkpoints of one size')
    dataset = validation_dataset(next(iter(loaded.values()))[1], data)
    columns = []
    for number in range(count):
        batch = collate([dataset[(2 * number + 1) * len(dataset) // (2 * count)]])
        column = [lidar_panel(batch)]
        for label, (recipe, _) in loaded.items():
            column += panels(recipe, batch, label)
        columns.append(np.concatenate(column))
    return np.concatenate(columns, axis=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        picture = picture_of(checkpoints_of(given.checkpoints), given.data, given.frames)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        write_whole(given.out, cv2.imencode('.jpg', picture, quality)[1].tobytes())
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def checkpoints_of(texts: Sequence[str]) -> dict[str, Path]:
    """
    Return the files by their labels.

    :raises ConfigError: a text is not LABEL=CHECKPOINT.
    """
    found = {}
    for text in texts:
        label, equals, path = text.partition('=')
        if not (label and equals and path):
            raise ConfigError(f"'{text}': must be LABEL=CHECKPOINT")
        found[label] = Path(path)
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.ablation_pictures')
    parser.add_argument('checkpoints', nargs='+', metavar='LABEL=CHECKPOINT')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='the .jpg to write')
    parser.add_argument('--frames', type=int, default=2)
    return parser


if __name__ == '__main__':
    sys.exit(main())
