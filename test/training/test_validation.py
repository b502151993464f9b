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

"""Scores of predictions whose errors are known exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
import math
from pathlib import Path

from depth_ros.core.metrics import ScoreRules
import numpy as np
import pytest
import torch
from torch import nn
from training.augment import Resize
from training.dataset import DepthDataset
from training.models.depth_net import Prediction
from training.recipes.recipe import Progress, Recipe, Term
from training.samples import Batch, collate
from training.validation import BranchScores, COLUMNS, finest, lidar_of, merged, score

WALL_M = 10.0


class Known(Recipe):
    """Two branches that say the same of every pixel: 11 m +- 2 m, and 10 m too sure."""

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        return {}

    def deployed(self) -> nn.Module:
        return nn.Identity()

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        half = batch.image_B3HW[:, :1, ::2, ::2]
        return {
            'first': Prediction(
                (torch.full_like(half, 11.0),), (torch.full_like(half, math.log(math.sqrt(2.0))),)
            ),
            'second': Prediction(
                (torch.full_like(half, WALL_M),), (torch.full_like(half, math.log(0.01)),)
            ),
        }


@pytest.fixture
def dataset(tiny_dataset: Path) -> DepthDataset:
    resize = Resize(width=64, height=32)
    return DepthDataset(tiny_dataset, 'train', labelled=True, neighbours=False, augment=resize)


def batches(dataset: DepthDataset, size: int) -> Iterator[Batch]:
    for start in range(0, len(dataset), size):
        stop = min(start + size, len(dataset))
        yield collate([dataset[number] for number in range(start, stop)])


def test_scores_of_known_predictions_are_exact(dataset: DepthDataset) -> None:
    scores = score(Known(), batches(dataset, 4), ScoreRules())
    assert [*scores] == ['first', 'second']
    first = scores['first'].row()
    assert [*first] == [*COLUMNS]
    # The dataset stores metres in steps of 1 / 256.
    assert first['abs_rel'] == pytest.approx(0.1, rel=1e-3)
    assert first['rmse'] == pytest.approx(1.0, rel=1e-2)
    assert first['a1'] == 1.0
    # One sigma is sqrt(2) times the Laplace scale of sqrt(2): 2 m.
    assert first['coverage_1_sigma'] == 1.0
    expected_nll = 1.0 / math.sqrt(2.0) + math.log(2.0 * math.sqrt(2.0))
    assert first['nll'] == pytest.approx(expected_nll, rel=1e-2)
    assert first['frames'] == len(dataset)
    assert scores['second'].row()['abs_rel'] < 1e-3


def test_only_pixels_inside_the_crop_count(dataset: DepthDataset) -> None:
    batch = next(batches(dataset, 1))
    everywhere = torch.ones_like(batch.valid_B1HW)
    full = replace(batch, valid_B1HW=everywhere, depth_B1HW=10.0 * everywhere)
    for crop, pixels in (('none', 32 * 64), ('garg', (31 - 13) * (61 - 2))):
        row = score(Known(), [full], ScoreRules(crop=crop))['first'].row()
        assert row['pixels'] == pixels


def test_median_alignment_forgives_the_scale(dataset: DepthDataset) -> None:
    rules = ScoreRules(alignment='median')
    assert score(Known(), batches(dataset, 4), rules)['first'].row()['abs_rel'] < 1e-3


class Ramp(Known):
    """A branch that says a ramp from left to right, and one that says the opposite."""

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        ramp = torch.linspace(5.0, 20.0, batch.image_B3HW.shape[3])
        depth = ramp.expand_as(batch.image_B3HW[:, :1])
        sigma = torch.zeros_like(depth)
        right = 1.0 / (3.0 / depth + 0.2)
        return {
            'right': Prediction((right,), (sigma,)),
            'upside down': Prediction((1.0 / (1.0 - 3.0 / depth),), (sigma,)),
        }


def test_affine_alignment_forgives_scale_and_shift_and_counts_what_it_cannot_mend(
    dataset: DepthDataset,
) -> None:
    batch = next(batches(dataset, 2))
    truth = torch.linspace(5.0, 20.0, batch.image_B3HW.shape[3]).expand_as(batch.depth_B1HW)
    batch = replace(batch, depth_B1HW=truth, valid_B1HW=torch.ones_like(batch.valid_B1HW))
    scores = score(Ramp(), [batch], ScoreRules(alignment='scale_shift_inverse'))
    right, wrong = (scores[name].row() for name in ('right', 'upside down'))
    assert right['abs_rel'] < 1e-5
    assert right['frames'] == wrong['frames'] == 2
    # As bad as saying the median everywhere.
    seen = truth[0, 0, 14:30, 2:61]
    flat = ((seen - seen.median()).abs() / seen).mean().item()
    assert wrong['abs_rel'] == pytest.approx(flat, rel=0.05)


@pytest.mark.parametrize('size', [1, 2, 9])
def test_scores_are_the_same_in_all_parts(size: int, dataset: DepthDataset) -> None:
    whole = score(Known(), batches(dataset, 4), ScoreRules())
    parts = [score(Known(), [batch], ScoreRules()) for batch in batches(dataset, size)]
    together = merged([*reversed(parts), {}])
    assert {branch: own.row() for branch, own in together.items()} == {
        branch: own.row() for branch, own in whole.items()
    }


def test_scores_of_nothing_are_unknown() -> None:
    row = BranchScores.empty(ScoreRules()).row()
    assert row['frames'] == row['pixels'] == 0
    assert all(math.isnan(row[name]) for name in ('abs_rel', 'rmse', 'nll', 'coverage_1_sigma'))
    assert merged([]) == {}


def test_finest_scale_is_enlarged_to_the_image(dataset: DepthDataset) -> None:
    batch = next(batches(dataset, 2))
    depth, sigma = finest(Known().predictions(batch)['first'], batch)
    assert depth.shape == sigma.shape == (2, 32, 64)
    assert np.allclose(depth, 11.0)
    assert np.allclose(sigma, 2.0)


def test_lidar_of_a_frame_is_what_the_dataset_says(dataset: DepthDataset) -> None:
    batch = next(batches(dataset, 2))
    truth = lidar_of(batch, 1)
    valid = batch.valid_B1HW[1, 0].numpy()
    assert np.array_equal(np.isfinite(truth.image_HW()), valid)
    assert np.allclose(truth.depth_N, WALL_M, atol=1 / 256)
