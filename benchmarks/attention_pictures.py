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
Show where TC-Depth looks, in the frame and in the ones before it, and what that changes.

    python -m benchmarks.attention_pictures --checkpoint C --data D --out PICTURE.jpg

Columns: frames spread over the validation drives that have their whole past. Rows: image with the
cell that asks, on the near side of the strongest edge of the reference depth; that depth; the
weights in space, which end at the edge of the object; the weights in each frame before it; depth;
and how far the past changed it, ln of the ratio. Prints how much of the weight in space is within
SAME of the cell's depth, beside the share of cells there.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
import math
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation_pictures import JPEG_QUALITY, panel
import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.evaluation.colors import depth_scale
import numpy as np
import torch
from torch import Tensor
from training.augment import Resize
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.dataset_format import write_whole
from training.models.attention import GeometryAttention, TemporalAttention
from training.models.tc_depth import TcDepthNet
from training.recipes.recipe import Recipe
from training.recipes.tc_depth import TcDepth
from training.samples import Batch, collate
from training.train_pictures import bgr, FAR_M, NEAR_M
from training.validation import finest

# Cells whose depths differ by less than this share count as one object.
SAME = 0.15
# Of what is farther, a cell of 8 px is wider than the weights reach.
FARTHEST_M = 12.0
DIMMED = 0.35
MARK_BGR = (255, 255, 0)
# ln of the ratio that is drawn in full colour.
MAX_CHANGE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    What one frame looked at, by the last layer of a network, on a grid h x w.

    Fields:
        depth_hw: of the reference, which guides the weights in space [m].
        cell: row and column that asks.
        spatial_hw: its weights in the frame; their sum is 1.
        temporal: the same in the frames before it, the newest first.

    """

    depth_hw: Tensor
    cell: tuple[int, int]
    spatial_hw: Tensor
    temporal: tuple[Tensor, ...]

    def share_of_its_object(self) -> tuple[float, float]:
        """Return the weight within SAME of the cell's depth, and the share of such cells."""
        same = (self.depth_hw / self.depth_hw[self.cell]).log().abs() < math.log1p(SAME)
        return float(self.spatial_hw[same].sum()), float(same.float().mean())


class Taken:
    """Arguments and results of the last attention layers, from the newest call."""

    points_TN3: Tensor
    keys_TNk: Tensor
    grid: tuple[int, int]


@contextmanager
def listening(network: TcDepthNet) -> Iterator[Taken]:
    """Fill what is yielded with every call of the network."""
    taken = Taken()
    spatial, temporal = network.attention.spatial[-1], network.attention.temporal[-1]
    assert isinstance(spatial, GeometryAttention)
    assert isinstance(temporal, TemporalAttention)

    def on_spatial(_: Any, given: tuple[Tensor, Tensor]) -> None:
        taken.points_TN3 = given[1]

    def on_key(_: Any, __: Any, keys_TChw: Tensor) -> None:
        taken.grid = (int(keys_TChw.shape[2]), int(keys_TChw.shape[3]))
        taken.keys_TNk = keys_TChw.flatten(2).transpose(1, 2)

    handles = [
        spatial.register_forward_pre_hook(on_spatial),
        temporal.key.register_forward_hook(on_key),
    ]
    try:
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def look(network: TcDepthNet, taken: Taken, cell: tuple[int, int] | None = None) -> Seen:
    """Return what the newest frame of a window looked at; without a cell, at the edge."""
    points, keys = taken.points_TN3, taken.keys_TNk
    depth_hw = points[-1, :, 2].unflatten(0, taken.grid)
    row, col = edge_of(depth_hw) if cell is None else cell
    asking = row * taken.grid[1] + col
    distances = (points[-1] - points[-1, asking]).norm(dim=1)
    sigma_m = float(network.attention.spatial[-1].sigma_m)
    spatial = torch.exp(-distances / (2 * sigma_m))
    scores = keys[:-1] @ keys[-1, asking] / math.sqrt(int(keys.shape[-1]))
    return Seen(
        depth_hw=depth_hw,
        cell=(row, col),
        spatial_hw=(spatial / spatial.sum()).unflatten(0, taken.grid),
        temporal=tuple(scores.softmax(1).unflatten(1, taken.grid).flip(0)),
    )


def edge_of(depth_hw: Tensor) -> tuple[int, int]:
    """Return the near cell beside which depth rises most, as a ratio, to the left or right."""
    log = depth_hw.log()
    steps = log.new_zeros(depth_hw.shape)
    rise = log.diff(dim=1)
    steps[:, :-1] = rise
    steps[:, 1:] = torch.maximum(steps[:, 1:], -rise)
    # Without a near cell, of all.
    if (depth_hw <= FARTHEST_M).any():
        steps[depth_hw > FARTHEST_M] = -math.inf
    place = int(steps.argmax())
    return divmod(place, int(depth_hw.shape[1]))


def heat(image_HW3: ImageU8, weights_hw: Tensor) -> ImageU8:
    """Return the dimmed image with the roots of weights on it, from none to the largest."""
    height, width = image_HW3.shape[:2]
    share = (255 * (weights_hw / weights_hw.max()).sqrt()).round().byte().numpy()
    large = cv2.resize(share, (width, height), interpolation=cv2.INTER_NEAREST)
    colors: Any = cv2.applyColorMap(large, cv2.COLORMAP_INFERNO)
    strength = (large / 255.0)[..., None]
    return (image_HW3 * DIMMED * (1 - strength) + colors * strength).round().astype(np.uint8)


def marked(image_HW3: ImageU8, cell: tuple[int, int], grid: tuple[int, int]) -> ImageU8:
    """Return the image with a frame around a cell of the grid."""
    (row, col), (height, width) = cell, image_HW3.shape[:2]
    size = (height / grid[0], width / grid[1])
    first = (round(col * size[1]), round(row * size[0]))
    last = (round((col + 1) * size[1]), round((row + 1) * size[0]))
    result = image_HW3.copy()
    cv2.rectangle(result, first, last, MARK_BGR, 1)
    return result


def changed(depth_HW: ImageU8, alone_HW: ImageU8) -> ImageU8:
    """Return ln of a ratio: nearer by the past red, farther blue, unchanged white."""
    change = np.clip(np.log(depth_HW / alone_HW) / MAX_CHANGE, -1, 1)[..., None]
    farther, nearer = np.maximum(change, 0), np.maximum(-change, 0)
    less = np.concatenate([nearer, nearer + farther, farther], axis=2)
    return (255 * (1 - less)).round().astype(np.uint8)


@torch.no_grad()
def column(recipe: TcDepth, network: TcDepthNet, batch: Batch) -> tuple[ImageU8, Seen]:
    """Return the panels of one frame, one below the other, and what they show."""
    with listening(network) as taken:
        depth_HW = _depth(recipe, batch)
        seen = look(network, taken)
    alone = replace(batch, has_neighbour_BN=torch.zeros_like(batch.has_neighbour_BN))
    image, colors = bgr(batch.image_B3HW), depth_scale(NEAR_M, FAR_M)
    size = (image.shape[1], image.shape[0])
    reference = cv2.resize(seen.depth_hw.numpy(), size, interpolation=cv2.INTER_NEAREST)
    grid = taken.grid
    panels = [
        panel(marked(image, seen.cell, grid), f'{batch.sequences[0]}: the cell that asks'),
        panel(colors(reference), 'reference depth, near red to far blue'),
        panel(heat(image, seen.spatial_hw), 'weights in space'),
    ]
    for number, weights_hw in enumerate(seen.temporal):
        past = bgr(batch.neighbour_BN3HW[:, number])
        panels.append(panel(heat(past, weights_hw), f'weights in time, {number + 1} before'))
    panels += [
        panel(colors(depth_HW), 'depth'),
        panel(changed(depth_HW, _depth(recipe, alone)), 'by the past nearer red, farther blue'),
    ]
    return np.concatenate(panels), seen


def _depth(recipe: Recipe, batch: Batch) -> Any:
    return finest(recipe.predictions(batch)['depth'], batch)[0][0]


def load(checkpoint: Path) -> tuple[TcDepth, TcDepthNet, tuple[int, int]]:
    """
    Return recipe, network and its width and height.

    :raises DepthRosError: the checkpoint, or a network that has no such attention.
    """
    recipe, config = load_recipe(checkpoint)
    if not isinstance(recipe, TcDepth) or recipe.options.views != 'causal':
        raise ConfigError(f"'{checkpoint}': must be of recipe tc_depth with views: causal")
    network = recipe.network
    if not isinstance(network, TcDepthNet) or not (network.uses_camera and network.memory):
        raise ConfigError(
            f"'{checkpoint}': its network must be of kind tc_depth, with attention in space "
            'and in time'
        )
    return recipe.eval(), network, (config.data.width, config.data.height)


def picture_of(checkpoint: Path, data: Path, count: int) -> tuple[ImageU8, list[Seen]]:
    """
    Return the bgr picture of so many frames, and what it shows.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    recipe, network, (width, height) = load(checkpoint)
    whole = Resize(width=width, height=height)
    dataset = DepthDataset(
        data, 'val', neighbours=True, offsets=recipe.needs.offsets, augment=whole
    )
    found = []
    for number in range(count):
        batch = collate([dataset[(2 * number + 1) * len(dataset) // (2 * count)]])
        found.append(column(recipe, network, batch))
    return np.concatenate([picture for picture, _ in found], axis=1), [s for _, s in found]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        picture, seen = picture_of(given.checkpoint, given.data, given.frames)
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        write_whole(given.out, cv2.imencode('.jpg', picture, quality)[1].tobytes())
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for number, one in enumerate(seen, 1):
        weight, cells = one.share_of_its_object()
        print(f'frame {number}: {weight:.0%} of the weight in {cells:.0%} of the cells')
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m benchmarks.attention_pictures')
    parser.add_argument('--checkpoint', type=Path, required=True, help='of recipe tc_depth')
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--out', type=Path, required=True, help='the .jpg to write')
    parser.add_argument('--frames', type=int, default=2)
    return parser


if __name__ == '__main__':
    sys.exit(main())
