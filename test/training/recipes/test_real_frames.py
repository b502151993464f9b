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

"""Each recipe learns on real frames: the demo's drive, with its LiDAR and odometry."""

from __future__ import annotations

from pathlib import Path
from test.project import ROOT
from test.training import drives
from test.training.recipes.batches import POSE_NET
from typing import Any

import pytest
import torch
from training.augment import Resize
from training.dataset import DepthDataset
from training.models.depth_net import DepthNetConfig
from training.recipes.recipe import Progress, Recipe, Term
from training.recipes.registry import make_recipe
from training.samples import Batch, collate

WIDTH, HEIGHT = 192, 64
FOCAL_PX = 721.5377 * WIDTH / 1242
STEPS = 30
NETWORK = DepthNetConfig(
    encoder='efficientnet_lite0', weights='random', widths=(8, 16, 16, 32, 32), scales=(0, 2)
)
# Distillation from the first step on, at its full weight.
AT_ONCE = {'epochs_before': 0.0, 'epochs_ramp': 0.0}
CASES: list[tuple[str, dict[str, Any], tuple[str, ...]]] = [
    ('supervised', {}, ('lidar_nll',)),
    ('supervised', {'loss': 'l1_nll', 'loss_space': 'log'}, ('lidar_nll', 'lidar_l1')),
    ('self_supervised', POSE_NET, ('photometric', 'travel')),
    ('self_supervised', {'pose': 'odometry', 'travel_weight': 0.0}, ('photometric',)),
    ('naive_sum', POSE_NET, ('lidar_nll', 'photometric')),
    ('mutual_distillation', {**POSE_NET, **AT_ONCE}, ('s_lidar_nll', 'u_photometric')),
    ('mutual_distillation', {'branches': 'SS', **AT_ONCE}, ('s1_lidar_nll', 's2_lidar_nll')),
]


@pytest.fixture(scope='module')
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    """Return three frames of the demo at the size of a small network."""
    out: Path = tmp_path_factory.mktemp('real') / 'dataset'
    drives.made(out, ROOT / 'demo' / 'kitti_0005')
    resize = Resize(width=WIDTH, height=HEIGHT)
    data = DepthDataset(out, 'train', labelled=True, neighbours=True, augment=resize)
    return collate([data[index, index] for index in (1, len(data) // 2, len(data) - 2)])


def terms_of(recipe: Recipe, batch: Batch) -> dict[str, Term]:
    return recipe(batch, Progress(step=1, epochs=1.0))


def trained(recipe: Recipe, batch: Batch) -> list[dict[str, float]]:
    """Return the values of all terms and of their weighted sum at each step."""
    optimiser = torch.optim.Adam(recipe.parameters(), lr=1e-3)
    history = []
    for _ in range(STEPS):
        optimiser.zero_grad()
        terms = terms_of(recipe, batch)
        loss = torch.stack([term.value * term.weight for term in terms.values()]).sum()
        loss.backward()
        optimiser.step()
        values = {name: term.value.item() for name, term in terms.items()}
        history.append({**values, 'loss': loss.item()})
    return history


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'options', 'falls'), CASES, ids=[f'{c[0]}-{n}' for n, c in enumerate(CASES)]
)
def test_thirty_steps_lower_the_loss_and_its_main_terms(
    name: str, options: dict[str, Any], falls: tuple[str, ...], batch: Batch
) -> None:
    torch.manual_seed(0)
    recipe = make_recipe(name, options, NETWORK, FOCAL_PX)
    history = trained(recipe, batch)
    for term in ('loss', *falls):
        first = sum(step[term] for step in history[:3]) / 3
        last = sum(step[term] for step in history[-3:]) / 3
        assert last < first, (term, first, last)
    said = recipe.eval().predictions(batch)
    for prediction in said.values():
        assert all(torch.isfinite(x).all() for x in (*prediction.depths, *prediction.log_sigmas))
