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

"""Example pictures: image | depth | sigma | LiDAR, a row for each frame and branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.evaluation.colors import ColorScale, depth_scale, sigma_scale
from depth_ros.evaluation.figures import put_text, stamp_points
import numpy as np
import torch
from torch import Tensor
from training.dataset import DepthDataset
from training.recipes.recipe import Recipe
from training.samples import Batch, collate
from training.validation import finest, lidar_of

FRAMES = 4
NEAR_M, FAR_M = 2.0, 80.0
SIGMA_M = (0.1, 20.0)
PANEL_WIDTH_PX = 480
PANELS = 4
TITLE_PX = 24
TEXT_BGR, BACKGROUND_BGR = (240, 240, 240), (24, 24, 24)
# Under the LiDAR the image is dimmed to this share.
BACKDROP_SHARE = 0.35


@torch.no_grad()
def examples(recipe: Recipe, dataset: DepthDataset, device: torch.device) -> ImageU8:
    """Return a bgr picture of frames that are spread evenly over the dataset."""
    count = min(FRAMES, len(dataset))
    rows = []
    for number in range(count):
        batch = collate([dataset[number * len(dataset) // count]]).to(device)
        title = f'{batch.sequences[0]} {batch.stamps_ns[0]}'
        for branch, prediction in recipe.predictions(batch).items():
            depth_BHW, sigma_BHW = finest(prediction, batch)
            rows.append(_row(batch, depth_BHW[0], sigma_BHW[0], f'{title} {branch}'))
        others = {name: bgr(picture) for name, picture in recipe.pictures(batch).items()}
        if others:
            rows.append(_other_row({title: bgr(batch.image_B3HW), **others}))
    return np.concatenate(rows, axis=0)


def bgr(picture_B3HW: Tensor) -> ImageU8:
    """Return the first of rgb pictures in 0..1 as OpenCV has them."""
    rgb_HW3 = picture_B3HW[0].permute(1, 2, 0).float().cpu().numpy()
    pixels = (rgb_HW3 * 255).round().astype(np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), np.uint8)


def _other_row(pictures: Mapping[str, ImageU8]) -> ImageU8:
    """Return pictures side by side; the first decides the height, the row is as wide as others."""
    height, width = next(iter(pictures.values())).shape[:2]
    panels = [
        _titled(np.asarray(cv2.resize(picture, (width, height)), np.uint8), title)
        for title, picture in pictures.items()
    ]
    empty = [np.full_like(panels[0], BACKGROUND_BGR)] * (PANELS - len(panels))
    return np.concatenate([*panels, *empty], axis=1)


def _row(batch: Batch, depth_HW: Any, sigma_HW: Any, title: str) -> ImageU8:
    image = bgr(batch.image_B3HW)
    depths, sigmas = depth_scale(NEAR_M, FAR_M), sigma_scale(*SIGMA_M)
    panels = [
        _titled(image, title),
        _titled(depths(depth_HW), f'depth, {NEAR_M:g} m red to {FAR_M:g} m blue'),
        _titled(sigmas(sigma_HW), f'one sigma, {SIGMA_M[0]:g} m dark to {SIGMA_M[1]:g} m bright'),
        _titled(_lidar(batch, image, depths), 'LiDAR'),
    ]
    return np.concatenate(panels, axis=1)


def _lidar(batch: Batch, image_HW3: ImageU8, depths: ColorScale) -> ImageU8:
    picture = (_enlarged(image_HW3) * BACKDROP_SHARE).astype(np.uint8)
    hits = lidar_of(batch, 0)
    factor = picture.shape[1] / hits.width
    rows, cols = ((c + 0.5) * factor - 0.5 for c in (hits.rows_N, hits.cols_N))
    stamp_points(picture, rows, cols, depths(hits.depth_N), 1)
    return picture


def _enlarged(image_HW3: ImageU8) -> ImageU8:
    height, width = image_HW3.shape[:2]
    size = (PANEL_WIDTH_PX, max(1, round(height * PANEL_WIDTH_PX / width)))
    return np.asarray(cv2.resize(image_HW3, size, interpolation=cv2.INTER_AREA), np.uint8)


def _titled(picture: ImageU8, title: str) -> ImageU8:
    strip = np.full((TITLE_PX, PANEL_WIDTH_PX, 3), BACKGROUND_BGR, np.uint8)
    put_text(strip, title, (6, TITLE_PX - 7), TEXT_BGR)
    body = picture if picture.shape[1] == PANEL_WIDTH_PX else _enlarged(picture)
    return np.concatenate([strip, body], axis=0)
