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
How much colours and features object to a wrong depth, where pictures have texture and where not.

    python -m benchmarks.wrong_depths --data D --features F

LiDAR's depth, at every pixel that of the nearest hit, is multiplied by the factors of the table;
its figures are the mean error at hits over that at factor 1. A loss that is to find depth has its
smallest figure there, and the larger the others are, the more it says. docs/low_texture.md holds
what came out.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
import sys

from benchmarks.ablation import EXIT_ERROR
from benchmarks.ablation_table import table_text
from benchmarks.low_texture import LOW, regions, TEXTURED
import cv2
from depth_ros.errors import DepthRosError
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional
from training.augment import Resize
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.dataset_format import DatasetError
from training.losses.feature_metric import feature_error
from training.losses.photometric import prepare, reprojection
from training.models.autoencoder import AutoEncoder
from training.recipes.features import load_feature_network, STRIDES
from training.samples import Batch, collate

PROGRAM = 'python -m benchmarks.wrong_depths'
FACTORS = (0.5, 0.7, 0.9, 1.0, 1.1, 1.5, 2.0)
TRUTH = FACTORS.index(1.0)
SHOWN = (LOW, TEXTURED)
# Errors by the name of a loss and the region: for each factor their sum and their number.
Sums = dict[tuple[str, str], NDArray[np.float64]]


def filled(batch: Batch) -> Tensor:
    """Return the depth of the nearest hit at every pixel of a single frame, (1, 1, H, W) [m]."""
    hit_HW = batch.valid_B1HW[0, 0].numpy()
    depth_HW = batch.depth_B1HW[0, 0].numpy()
    _, labels_HW = cv2.distanceTransformWithLabels(
        (~hit_HW).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depth_of = np.zeros(labels_HW.max() + 1, depth_HW.dtype)
    depth_of[labels_HW[hit_HW]] = depth_HW[hit_HW]
    return torch.from_numpy(depth_of[labels_HW])[None, None]


def errors(
    network: AutoEncoder, batch: Batch, inv_depth_B1HW: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return error, and where it is known, of colours and of each feature map, (B, 1, H, W)."""
    sources = batch.neighbour_BN3HW.unbind(1)
    poses = batch.neighbour_T_this_BN44.unbind(1)
    views = prepare(batch.image_B3HW, sources, batch.K_B33, poses, tie_break_BNHW=None)
    colors = reprojection(views, inv_depth_B1HW)
    found = {'colours': (colors.error, colors.is_valid)}
    size = (int(inv_depth_B1HW.shape[2]), int(inv_depth_B1HW.shape[3]))
    maps = network.encode(torch.cat((batch.image_B3HW, *sources)))
    for stride, number in zip(STRIDES, network.maps_at(STRIDES), strict=True):
        target, *others = maps[number].split(len(batch))
        error, is_valid = feature_error(target, others, inv_depth_B1HW, batch.K_B33, poses, size)
        shown = functional.interpolate(error, size), functional.interpolate(is_valid.float(), size)
        found[f'features at 1/{stride}'] = shown[0], shown[1] > 0
    return found


@torch.no_grad()
def sums_of(network: AutoEncoder, batches: Iterable[Batch]) -> Sums:
    """Return what the errors of single frames with neighbours and poses sum up to."""
    sums: Sums = {}
    for batch in batches:
        depth_B1HW = filled(batch)
        hits = {name: part.valid_B1HW for name, part in regions(batch).items()}
        for number, factor in enumerate(FACTORS):
            found = errors(network, batch, 1 / (depth_B1HW * factor))
            for (name, (error, is_known)), region in product(found.items(), SHOWN):
                chosen = error[is_known & hits[region]].double()
                own = sums.setdefault((name, region), np.zeros((len(FACTORS), 2)))
                own[number] += float(chosen.sum()), len(chosen)
    return sums


def table(sums: Sums) -> str:
    """Return the mean errors over that at the true depth, and that itself."""
    rows = []
    for (name, region), values in sums.items():
        # Nothing can be told of a region without hits, or of pictures in which all is alike.
        if not values[:, 1].all() or not values[TRUTH, 0]:
            continue
        means = values[:, 0] / values[:, 1]
        told = [f'{mean / means[TRUTH]:.2f}' for mean in means]
        rows.append([f'{name}, {region}', f'{means[TRUTH]:.3g}', *told])
    return table_text(['', 'error at 1', *(f'{factor:g}' for factor in FACTORS)], rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        network = load_feature_network(given.features)
        _, config = load_recipe(given.features)
        width, height = given.size or (config.data.width, config.data.height)
        config.network.check_size(width, height)
        whole = Resize(width=width, height=height)
        dataset = DepthDataset(
            given.data, given.split, labelled=True, neighbours=True, augment=whole
        )
        numbers = np.unique(np.linspace(0, len(dataset) - 1, given.frames).round().astype(int))
        read = (collate([dataset[int(number)]]) for number in numbers)
        told = (batch for batch in read if batch.has_pose_BN.all() and batch.valid_B1HW.any())
        sums = sums_of(network, told)
        if not sums:
            raise DatasetError(
                f"dataset '{given.data}': no frame of split '{given.split}' has LiDAR, both "
                'neighbours and their poses'
            )
        print(table(sums))
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument('--data', type=Path, required=True, help='folder of training.prepare')
    parser.add_argument('--features', type=Path, required=True, help='of a feature_network')
    parser.add_argument('--split', choices=('train', 'val'), default='val')
    parser.add_argument(
        '--size', type=int, nargs=2, metavar=('WIDTH', 'HEIGHT'), help="default: the network's"
    )
    parser.add_argument('--frames', type=int, default=25, help='at most, spread over the split')
    return parser


if __name__ == '__main__':
    sys.exit(main())
