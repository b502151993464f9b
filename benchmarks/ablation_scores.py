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

"""Score the last checkpoint of a run on the validation drives, and look at its sigma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depth_ros.core.metrics import ScoreRules
import numpy as np
import torch
from training.augment import Resize
from training.checkpoint import load_recipe
from training.dataset import DepthDataset
from training.loading import batches
from training.losses.unprojected import never_covered
from training.recipes.recipe import FrameNeeds, Recipe
from training.samples import Batch
from training.train_config import TrainConfig
from training.validation import COLUMNS, finest, score

# Reach of a hit for the figures on sigma, whatever the recipe filters: 8 px of 640 [width].
REACH_SHARE = 8 / 640
SIGMA_DECIMALS = 6


def scores_of(checkpoint: Path, data: Path) -> dict[str, dict[str, dict[str, float | None]]]:
    """
    Return scores by branch, the deployed one first, then by alignment: none and median.

    Columns as of ``training.validation``, and of ``none`` also the median of sigma at hits and
    at pixels that LiDAR never reaches (mean over frames) [m].

    :raises DepthRosError: the checkpoint or the dataset.
    """
    recipe, config = load_recipe(checkpoint)
    read = list(validation_batches(config, data))
    scores = {
        alignment: score(recipe, read, ScoreRules(alignment=alignment))
        for alignment in ('none', 'median')
    }
    result: dict[str, dict[str, dict[str, float | None]]] = {}
    for branch in scores['none']:
        rows = {alignment: _row(own[branch].row()) for alignment, own in scores.items()}
        rows['none'] |= sigma_medians(recipe, read, branch)
        result[branch] = rows
    return result


def validation_dataset(config: TrainConfig, data: Path) -> DepthDataset:
    """
    Return all labelled frames of the validation drives at the network's size.

    :raises DepthRosError: the dataset has none.
    """
    whole = Resize(width=config.data.width, height=config.data.height)
    needs: FrameNeeds = config.recipe.options.needs
    return DepthDataset(data, 'val', labelled=True, **needs.looking(), augment=whole)


def validation_batches(config: TrainConfig, data: Path) -> list[Batch]:
    """
    Return these frames in batches of the size of training.

    :raises DepthRosError: the dataset has none.
    """
    dataset = validation_dataset(config, data)
    numbers = range(len(dataset))
    parts = (numbers[first:][: config.batch_size] for first in numbers[:: config.batch_size])
    items = [[(number, 0) for number in part] for part in parts]
    return list(batches(dataset, items, 0, torch.device('cpu')))


def _row(row: dict[str, float]) -> dict[str, float | None]:
    # JSON has no NaN.
    return {name: row[name] if np.isfinite(row[name]) else None for name in COLUMNS}


@torch.no_grad()
def sigma_medians(recipe: Recipe, read: list[Batch], branch: str) -> dict[str, float | None]:
    """Return the median of one sigma at hits, and where LiDAR never reaches."""
    at_hits, beyond = [], []
    for batch in read:
        _, sigma_BHW = finest(recipe.predictions(batch)[branch], batch)
        reach_px = round(REACH_SHARE * batch.valid_B1HW.shape[-1])
        hit_BHW = batch.valid_B1HW[:, 0].numpy()
        never_B1HW = never_covered(batch.valid_B1HW, reach_px) & batch.seen_B1HW
        for sigma, hit, never in zip(sigma_BHW, hit_BHW, never_B1HW[:, 0].numpy(), strict=True):
            at_hits.append(np.median(sigma[hit]))
            beyond.append(np.median(sigma[never]) if never.any() else np.nan)
    values = {'sigma_at_hits_m': at_hits, 'sigma_never_reached_m': beyond}
    return {name: _mean(found) for name, found in values.items()}


def _mean(values: list[Any]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return round(float(np.mean(known)), SIGMA_DECIMALS) if known else None
