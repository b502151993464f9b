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

"""Score the branches of a recipe on frames with LiDAR that it was not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

from depth_ros.core.lidar import SparseDepth
from depth_ros.core.metrics import DepthScores, ScoredPixels, ScoreRules, select
from depth_ros.core.uncertainty_metrics import UncertaintyScores
from depth_ros.errors import FrameError
import numpy as np
import torch
from torch.nn import functional
from training.models.depth_net import Prediction
from training.recipes.recipe import Recipe
from training.samples import Batch

COLUMNS = (
    'abs_rel',
    'rmse',
    'a1',
    'nll',
    'coverage_1_sigma',
    'coverage_2_sigma',
    'frames',
    'pixels',
)
# Chooses the best checkpoint: smaller is better.
CRITERION = 'abs_rel'


@dataclass(frozen=True, slots=True)
class BranchScores:
    """Scores of one branch; they add exactly, in whatever parts the frames were scored."""

    depth: DepthScores
    sigma: UncertaintyScores

    @classmethod
    def empty(cls, rules: ScoreRules) -> BranchScores:
        """Return the scores of no frames."""
        return cls(DepthScores(rules), UncertaintyScores())

    def __add__(self, other: BranchScores) -> BranchScores:
        return BranchScores(self.depth + other.depth, self.sigma + other.sigma)

    def row(self) -> dict[str, float]:
        """
        Return ``COLUMNS``: depth as the mean over frames, sigma over all pixels.

        NaN where nothing was scored.
        """
        sigma: Mapping[str, Any] = self.sigma.result() or {}
        values = {**self.depth.overall.by_frame(), **sigma}
        values |= {'frames': self.depth.overall.frames, 'pixels': self.depth.overall.pixels}
        return {name: values.get(name, math.nan) for name in COLUMNS}


def finest(prediction: Prediction, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and one sigma [m] of the first scale at the size of the image, (B, H, W)."""
    size = tuple(batch.image_B3HW.shape[-2:])
    # A Laplace distribution of scale b has the standard deviation sqrt(2) b.
    sigma = prediction.log_sigmas[0].float().exp() * math.sqrt(2.0)
    maps = (prediction.depths[0].float(), sigma)
    depth, sigma = (
        functional.interpolate(values, size, mode='bilinear', align_corners=False)[:, 0]
        for values in maps
    )
    return depth.cpu().numpy(), sigma.cpu().numpy()


def lidar_of(batch: Batch, number: int) -> SparseDepth:
    """Return the LiDAR depth of one frame of a batch."""
    valid_HW = batch.valid_B1HW[number, 0].cpu().numpy()
    rows, cols = np.nonzero(valid_HW)
    return SparseDepth(
        rows_N=rows,
        cols_N=cols,
        depth_N=batch.depth_B1HW[number, 0].cpu().numpy()[rows, cols],
        width=valid_HW.shape[1],
        height=valid_HW.shape[0],
        points=len(rows),
        invalid=0,
    )


def _selected(
    depth_HW: np.ndarray, sigma_HW: np.ndarray, truth: SparseDepth, rules: ScoreRules
) -> ScoredPixels:
    """
    Return what is scored of one frame.

    A young network may be constant or upside down, which no alignment can mend. Such a frame
    counts as if it were said to be flat, at the best depth for that; left out, it would flatter.
    """
    try:
        return select(depth_HW, sigma_HW, truth, rules)
    except FrameError:
        flat = replace(rules, alignment='median')
        return select(np.ones_like(depth_HW), np.ones_like(sigma_HW), truth, flat)


@torch.no_grad()
def score(recipe: Recipe, batches: Iterable[Batch], rules: ScoreRules) -> dict[str, BranchScores]:
    """
    Return the scores of each branch, the deployed one first.

    Under the rules of ``depth_ros evaluate``, at the network's size: LiDAR is moved to that
    grid, of several hits in a pixel the nearest counts. The recipe must be in evaluation mode.
    """
    scores: dict[str, BranchScores] = {}
    for batch in batches:
        for branch, prediction in recipe.predictions(batch).items():
            own = scores.setdefault(branch, BranchScores.empty(rules))
            depths, sigmas = finest(prediction, batch)
            for number in range(len(batch)):
                truth = lidar_of(batch, number)
                pixels = _selected(depths[number], sigmas[number], truth, rules)
                own.depth.add(pixels)
                own.sigma.add(pixels)
    return scores


def merged(parts: Iterable[Mapping[str, BranchScores]]) -> dict[str, BranchScores]:
    """Return the scores of all parts together."""
    result: dict[str, BranchScores] = {}
    for part in parts:
        for branch, scores in part.items():
            result[branch] = result[branch] + scores if branch in result else scores
    return result
