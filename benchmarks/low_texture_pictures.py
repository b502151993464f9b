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
Show what features make of low texture, and the depth that was trained with them.

    python -m benchmarks.low_texture_pictures --data D --features F --out P.jpg [LABEL=CKPT...]

Rows: image with its low-gradient region in green; how much the picture and each feature map change
from pixel to pixel; depth of each checkpoint. Columns: frames of the validation drives. Prints how
much of the change in textured regions is left in low gradient, for the picture and the features,
trained and as they were before.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import cast

from benchmarks.ablation_pictures import checkpoints_of, JPEG_QUALITY, panel
from benchmarks.ablation_scores import validation_dataset
from benchmarks.low_texture import LOW_GRADIENT, texture
import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import DepthRosError
from depth_ros.evaluation.colors import depth_scale
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from training.checkpoint import load_recipe
from training.dataset_format import write_whole
from training.models.autoencoder import AutoEncoder, AutoEncoderConfig
from training.recipes.features import load_feature_network, STRIDES
from training.samples import Batch, collate
from training.train_pictures import bgr, FAR_M, NEAR_M
from training.validation import finest

TINT_BGR = np.array([0, 160, 0])
# The brightest percent of a map of change are single edges, and would leave the rest black.
BRIGHT_QUANTILE = 0.99


def change(maps_BCHW: Tensor) -> Tensor:
    """Return the mean over the channels of the steps to the next pixel, the larger of x and y."""
    steps = torch.zeros_like(maps_BCHW[:, :1])
    for dim in (2, 3):
        size = maps_BCHW.shape[dim] - 1
        along = maps_BCHW.diff(dim=dim).abs().mean(1, keepdim=True)
        part = steps.narrow(dim, 0, size)
        torch.maximum(part, along, out=part)
    return steps


def changes(network: AutoEncoder, image_B3HW: Tensor) -> dict[str, Tensor]:
    """Return the change of the picture and of the maps at 1/2, 1/4 and 1/8, at its size."""
    maps = network.encode(image_B3HW)
    found = {'picture': change(image_B3HW.mean(1, keepdim=True))}
    for stride, number in zip(STRIDES, network.maps_at(STRIDES), strict=True):
        size = image_B3HW.shape[2:]
        found[f'features at 1/{stride}'] = functional.interpolate(change(maps[number]), size)
    return found


def kept_in_low_gradient(network: AutoEncoder, batches: Sequence[Batch]) -> dict[str, float]:
    """Return mean change in low gradient over mean change in texture, where LiDAR hits."""
    sums: dict[str, np.ndarray] = {}
    for batch in batches:
        is_low = texture(batch.image_B3HW) < LOW_GRADIENT
        masks = (batch.valid_B1HW & is_low, batch.valid_B1HW & ~is_low)
        for name, map_B1HW in changes(network, batch.image_B3HW).items():
            values = [[float(map_B1HW[mask].sum()), int(mask.sum())] for mask in masks]
            sums[name] = sums.get(name, np.zeros((2, 2))) + np.array(values)
    # Without a hit in one of the regions there is nothing to compare.
    with np.errstate(invalid='ignore', divide='ignore'):
        return {name: float(v[0, 0] / v[0, 1] / (v[1, 0] / v[1, 1])) for name, v in sums.items()}


def tinted(batch: Batch) -> ImageU8:
    """Return the image with its low-gradient region in green."""
    image = bgr(batch.image_B3HW).astype(np.int64)
    is_low = (texture(batch.image_B3HW) < LOW_GRADIENT)[0, 0].numpy()
    image[is_low] = (image[is_low] + TINT_BGR) // 2
    return np.clip(image, 0, 255).astype(np.uint8)


def grey(map_1HW: Tensor) -> ImageU8:
    """Return a map as brightness, its ``BRIGHT_QUANTILE`` white."""
    top = max(float(map_1HW.quantile(BRIGHT_QUANTILE)), 1e-12)
    values = (255 * (map_1HW[0] / top).clamp(0, 1)).round().byte().numpy()
    return np.asarray(cv2.cvtColor(values, cv2.COLOR_GRAY2BGR), np.uint8)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        _run(given)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


@torch.no_grad()
def _run(given: argparse.Namespace) -> None:
    network = load_feature_network(given.features)
    _, config = load_recipe(given.features)
    dataset = validation_dataset(config, given.data)
    batches = [collate([dataset[number]]) for number in range(len(dataset))]
    before = AutoEncoder(cast(AutoEncoderConfig, config.network)).eval()
    for label, one in {'trained': network, 'before': before}.items():
        kept = kept_in_low_gradient(one, batches)
        print(f'{label}: ' + ', '.join(f'{name} {value:.3f}' for name, value in kept.items()))
    named = checkpoints_of(given.checkpoints)
    depths = {label: load_recipe(path)[0] for label, path in named.items()}
    columns = []
    for number in range(given.frames):
        batch = collate([dataset[(2 * number + 1) * len(dataset) // (2 * given.frames)]])
        column = [panel(tinted(batch), f'{batch.sequences[0]}: green: low gradient')]
        for name, map_B1HW in changes(network, batch.image_B3HW).items():
            column.append(panel(grey(map_B1HW[0]), f'change of {name}'))
        for label, trained in depths.items():
            prediction = next(iter(trained.predictions(batch).values()))
            depth_BHW, _ = finest(prediction, batch)
            colors = depth_scale(NEAR_M, FAR_M)(depth_BHW[0])
            column.append(panel(colors, f'{label}: depth, {NEAR_M:g} m red to {FAR_M:g} m blue'))
        columns.append(np.concatenate(column))
    picture = np.concatenate(columns, axis=1)
    quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
    write_whole(given.out, cv2.imencode('.jpg', picture, quality)[1].tobytes())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.low_texture_pictures')
    parser.add_argument('checkpoints', nargs='*', metavar='LABEL=CHECKPOINT')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--features', type=Path, required=True, help='of a feature_network')
    parser.add_argument('--out', type=Path, required=True, help='the .jpg to write')
    parser.add_argument('--frames', type=int, default=2)
    return parser


if __name__ == '__main__':
    sys.exit(main())
