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

"""Pictures of an epoch: the right frames, colours and size."""

from __future__ import annotations

from pathlib import Path
from test.training import runs

from depth_ros.evaluation.colors import depth_scale
import numpy as np
import pytest
import torch
from training.augment import Resize
from training.checkpoint import build_recipe
from training.dataset import DepthDataset
from training.recipes.recipe import Recipe
from training.train_config import config_from
from training.train_pictures import examples, FAR_M, FRAMES, NEAR_M, PANEL_WIDTH_PX, TITLE_PX

ROW_PX = TITLE_PX + PANEL_WIDTH_PX * runs.HEIGHT // runs.WIDTH


@pytest.fixture(scope='module')
def recipe() -> Recipe:
    torch.manual_seed(0)
    return build_recipe(config_from(runs.CONFIG)).eval()


def dataset(data: Path, split: str) -> DepthDataset:
    resize = Resize(width=runs.WIDTH, height=runs.HEIGHT)
    return DepthDataset(data, split, labelled=True, neighbours=False, augment=resize)


@pytest.mark.parametrize(('split', 'frames'), [('train', FRAMES), ('val', runs.VAL_FRAMES)])
def test_picture_has_a_row_of_four_panels_for_each_frame(
    split: str, frames: int, tiny_dataset: Path, recipe: Recipe
) -> None:
    picture = examples(recipe, dataset(tiny_dataset, split), torch.device('cpu'))
    assert picture.shape == (frames * ROW_PX, 4 * PANEL_WIDTH_PX, 3)
    assert picture.dtype == np.uint8


def test_picture_shows_image_and_depth_in_their_colours(
    tiny_dataset: Path, recipe: Recipe
) -> None:
    frames = dataset(tiny_dataset, 'val')
    picture = examples(recipe, frames, torch.device('cpu'))
    corner = TITLE_PX + 100, 20
    bgr = frames[0].image_3HW.flip(0)[:, 100 * runs.HEIGHT // 240, 20 * runs.WIDTH // 480]
    assert np.abs(picture[corner].astype(int) - bgr.numpy().astype(int)).max() <= 2
    # An untrained network says 10 m everywhere, near enough.
    panel = np.split(picture[TITLE_PX:ROW_PX], 4, axis=1)[1].reshape(-1, 3)
    expected = depth_scale(NEAR_M, FAR_M)(np.array(10.0)).astype(int)
    assert np.abs(np.median(panel, axis=0) - expected).max() < 12


def test_picture_marks_the_lidar_of_the_wall(tiny_dataset: Path, recipe: Recipe) -> None:
    picture = examples(recipe, dataset(tiny_dataset, 'val'), torch.device('cpu'))
    panel = np.split(picture[TITLE_PX:ROW_PX], 4, axis=1)[3]
    wall = depth_scale(NEAR_M, FAR_M)(np.array(10.0))
    rows = np.nonzero((panel == wall).all(-1))[0]
    # The wall is hit below the horizon alone.
    assert len(rows) > 100
    assert rows.min() > panel.shape[0] * 0.5
