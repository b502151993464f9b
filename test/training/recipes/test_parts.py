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
A batch in parts is the batch: what makes two processes give what one gives.

Every term is a mean over its count, so the parts' values, weighted by their counts, must give
the value of the whole; and what is drawn for a frame must not depend on the frames beside it.
"""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import brightness_file
from test.synthetic import model_spec
from test.training.recipes.batches import (
    FOCAL,
    LATE,
    mixed_batch,
    part,
    POSE_NET,
    SmallNet,
    total,
)
from typing import Any

from depth_ros.engines.model_card import write_card
import pytest
import torch
from training.recipes.recipe import Recipe, Term
from training.recipes.registry import read_options, recipe_classes

LIDAR = {'lidar_nll', 'filter'}
VIDEO = {'photometric', 'smoothness', 'travel'}
CASES: list[tuple[str, dict[str, Any], set[str]]] = [
    ('supervised', {'loss': 'l1_nll', 'colors': 'noise'}, {*LIDAR, 'lidar_l1'}),
    ('supervised', {'filtering': 'hinge', 'teacher': {'where': 'unhit'}}, {*LIDAR, 'teacher'}),
    ('self_supervised', {'colors': 'noise'}, VIDEO),
    ('self_supervised', {'pose': 'odometry', 'travel_weight': 0.0}, VIDEO - {'travel'}),
    ('naive_sum', {}, LIDAR | VIDEO),
    (
        'mutual_distillation',
        {},
        {f's_{x}' for x in LIDAR} | {f'u_{x}' for x in VIDEO} | {'s_from_u', 'u_from_s'},
    ),
    (
        'mutual_distillation',
        {'branches': 'SS', 'weighting': 'CT', 'max_sigma_m': 1.01},
        {f's{n}_{x}' for n in (1, 2) for x in LIDAR} | {'s1_from_s2', 's2_from_s1'},
    ),
    (
        'mutual_distillation',
        {'branches': 'UU', 'weighting': 'UWT'},
        {f'u{n}_{x}' for n in (1, 2) for x in VIDEO} | {'u1_from_u2', 'u2_from_u1'},
    ),
]


IDS = [f'{name}-{number}' for number, (name, _, _) in enumerate(CASES)]


def build(name: str, options: dict[str, Any], folder: Path) -> Recipe:
    """Return a recipe in float64 that treats each frame alone, as frozen batch norm does."""
    wants_pose_net = name != 'supervised' and options.get('branches') != 'SS'
    if wants_pose_net and options.get('pose') != 'odometry':
        options = {**options, **POSE_NET}
    if 'teacher' in options:
        model = brightness_file(folder / 'model.onnx')
        write_card(model, model_spec())
        teacher = {'model': str(model), 'engine': 'onnxruntime', **options['teacher']}
        options = {**options, 'teacher': teacher}
    torch.manual_seed(0)
    networks = iter((SmallNet(1), SmallNet(2)))
    recipe = recipe_classes(name)[1](read_options(name, options), lambda: next(networks), FOCAL)
    return recipe.double().eval()


def gradients(recipe: Recipe, value: torch.Tensor) -> list[torch.Tensor]:
    parameters = list(recipe.parameters())
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def recombined(parts: list[dict[str, Term]], name: str) -> tuple[torch.Tensor, int]:
    present = [terms[name] for terms in parts if name in terms]
    count = sum(term.count for term in present)
    return torch.stack([term.value * term.count for term in present]).sum() / count, count


@pytest.mark.parametrize(('name', 'options', 'names'), CASES, ids=IDS)
@pytest.mark.parametrize('split', [((0, 2), (1, 3)), ((3,), (2, 1, 0))])
def test_weighted_parts_give_value_count_and_gradient_of_the_whole(
    name: str,
    options: dict[str, Any],
    names: set[str],
    split: tuple[tuple[int, ...], ...],
    tmp_path: Path,
) -> None:
    recipe, batch = build(name, options, tmp_path), mixed_batch()
    whole = recipe(batch, LATE)
    assert set(whole) == names
    parts = [recipe(part(batch, rows), LATE) for rows in split]
    sums = []
    for term, wanted in whole.items():
        value, count = recombined(parts, term)
        assert count == wanted.count
        assert {terms[term].weight for terms in parts if term in terms} == {wanted.weight}
        assert value.item() == pytest.approx(wanted.value.item(), rel=1e-6, abs=1e-9)
        sums.append(value * wanted.weight)
    together = gradients(recipe, torch.stack(sums).sum())
    for got, want in zip(together, gradients(recipe, total(whole)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-7)
