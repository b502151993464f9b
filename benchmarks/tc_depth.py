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
Take parts of TC-Depth away, and see what depth and its steadiness in time lose.

Runs, resumes and names folders as benchmarks.ablation does; docs/tc_depth.md holds what came out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
import sys
from typing import Any

from benchmarks.ablation import compare, parser_of
from benchmarks.ablation_scores import scores_of, validation_dataset
from benchmarks.ablation_table import rows_of
from benchmarks.ablation_variants import Variant
from depth_ros.core.camera import Intrinsics
from depth_ros.core.temporal_metrics import Moment, TemporalChecks
import numpy as np
import torch
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.recipes.recipe import Recipe
from training.samples import collate
from training.validation import finest, lidar_of

PROGRAM = 'python -m benchmarks.tc_depth'
CONFIG = Path(__file__).parents[1] / 'training' / 'configs' / 'ablation_tc_depth.yaml'
STEPS = 120
TEMPORAL = 'temporal'
# As of ``depth_ros.evaluation``: frames further apart are not compared.
MAX_GAP_NS = 500_000_000
TABLE_COLUMNS = {
    'AbsRel': ('none', 'abs_rel', 3),
    'RMSE, m': ('none', 'rmse', 2),
    'a1': ('none', 'a1', 3),
    'consistency': (TEMPORAL, 'consistency', 4),
    'TCM, m': (TEMPORAL, 'tcm_abs_m', 3),
    'flicker': (TEMPORAL, 'flicker', 4),
}
CHECKS = tuple(name for kind, name, _ in TABLE_COLUMNS.values() if kind == TEMPORAL)


def _variant(label: str, network: Mapping[str, Any] | None = None, **changes: Any) -> Variant:
    return Variant(
        label=label,
        recipe='tc_depth',
        changes=changes,
        network={} if network is None else {'attention': network},
        reference='full',
    )


NEITHER = {'spatial': False, 'temporal': False}
VARIANTS: dict[str, Variant] = {
    'full': _variant('all of it'),
    'coarse': _variant(
        'attention at 1/16, half as wide', {'pool': 2, 'value_width': 64, 'volume_width': 64}
    ),
    'no_spatial': _variant('without spatial attention', {'spatial': False}),
    'no_temporal': _variant('without temporal attention', {'temporal': False}),
    'no_cycle': _variant('without the cycle mask', cycle_mask=False),
    'no_consistency': _variant(
        'without geometric and temporal terms',
        geometric_weight=0.0,
        temporal_weight=0.0,
        temporal_lidar_weight=0.0,
    ),
    'single': _variant(
        'single frames: neither attention nor these terms',
        NEITHER,
        geometric_weight=0.0,
        temporal_weight=0.0,
        temporal_lidar_weight=0.0,
    ),
}


def scores_in_time(checkpoint: Path, data: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """
    Return the scores of the ablation, and the means of the temporal checks over the frames.

    :raises DepthRosError: the checkpoint or the dataset.
    """
    scores = scores_of(checkpoint, data)
    recipe, config = load_recipe(checkpoint)
    branch = next(iter(scores))
    scores[branch][TEMPORAL] = steadiness(recipe, validation_dataset(config, data), branch)
    return scores


@torch.no_grad()
def steadiness(recipe: Recipe, dataset: DepthDataset, branch: str) -> dict[str, float | None]:
    """
    Return the mean of every temporal check over the frames of a split, in their order.

    None: no two frames could be compared.
    """
    found: dict[str, list[float]] = {name: [] for name in CHECKS}
    checks: dict[str, TemporalChecks] = {}
    for index in range(len(dataset)):
        moment = moment_of(recipe, dataset, index, branch)
        drive = dataset.line(index)['sequence']
        own = checks.setdefault(drive, TemporalChecks(MAX_GAP_NS))
        for name, value in own.add(moment).items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) if values else None for name, values in found.items()}


def moment_of(recipe: Recipe, dataset: DepthDataset, index: int, branch: str) -> Moment:
    """Return what the recipe says of a frame, with LiDAR and pose, at the network's size."""
    batch = collate([dataset[index]])
    depth_BHW, sigma_BHW = finest(recipe.predictions(batch)[branch], batch)
    height, width = depth_BHW.shape[1:]
    (fx, _, cx), (_, fy, cy), _ = batch.K_B33[0].tolist()
    rgb_HW3 = (batch.image_B3HW[0].permute(1, 2, 0) * 255).round().byte().numpy()
    pose = dataset.line(index)['world_T_camera']
    return Moment(
        depth_HW=depth_BHW[0],
        sigma_HW=sigma_BHW[0],
        image_HW3=np.ascontiguousarray(rgb_HW3[..., ::-1]),
        intrinsics=Intrinsics(width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy),
        stamp_ns=batch.stamps_ns[0],
        truth=lidar_of(batch, 0),
        world_T_cam=None if pose is None else np.array([*pose, [0.0, 0.0, 0.0, 1.0]]),
    )


def table(results: Iterable[Mapping[str, Any]]) -> str:
    """Return the scores of every variant, mean and standard deviation over the seeds."""
    labels = {name: variant.label for name, variant in VARIANTS.items()}
    return rows_of(results, labels, TABLE_COLUMNS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    parser = parser_of(PROGRAM, __doc__, CONFIG, VARIANTS, STEPS)
    return compare(parser.parse_args(argv), VARIANTS, scores_in_time, table)


if __name__ == '__main__':
    sys.exit(main())
