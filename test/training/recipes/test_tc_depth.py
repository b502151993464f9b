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

"""TC-Depth's recipe: truth costs nothing, each term trains what it may, gaps are borne."""

from __future__ import annotations

from dataclasses import fields, replace
import math
from pathlib import Path
from test.engines.graphs import brightness_file, with_output
from test.synthetic import model_spec
from test.training.recipes.batches import (
    FOCAL,
    HEIGHT,
    LATE,
    part,
    POSE_NET,
    SCENE,
    total,
    TrueMotion,
    unlabelled,
    WIDTH,
)
from test.training.recipes.windows import (
    config_of,
    Knowing,
    ODOMETRY,
    recipe_of,
    shortened,
    SmallSequence,
    window_batch,
)
from typing import Any

from depth_ros.engines.model_card import write_card
from depth_ros.errors import ModelError
import pytest
import torch
from torch import nn
from training.losses.affine import affine_errors
from training.models.attention_stack import StackOptions
from training.models.tc_depth import TcDepthConfig as NetworkConfig
from training.recipes.recipe import Progress, Term
from training.recipes.registry import make_recipe, read_options
from training.recipes.tc_depth import TcDepth, TcDepthConfig
from training.recipes.teacher import Labels
from training.samples import Batch

EVERYTHING = {**ODOMETRY, 'temporal_weight': 0.1, 'temporal_lidar_weight': 0.2}
PIXELS = HEIGHT * WIDTH
EARLY = Progress(step=0, epochs=0.5)


TINY = NetworkConfig(
    encoder='efficientnet_lite0_dilated',
    weights='random',
    focal_px=FOCAL,
    widths=(4, 4, 8, 8),
    scales=(0, 2),
    attention=StackOptions(value_width=8, key_width=8, bins=16, volume_width=8),
)


def terms_of(network: nn.Module, batch: Batch, **options: Any) -> dict[str, Term]:
    return recipe_of(network, **options)(batch, LATE)


def gradients(network: nn.Module, value: torch.Tensor) -> dict[str, bool]:
    """Return which parameters learn from a value."""
    named = dict(network.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), retain_graph=True, allow_unused=True)
    return {name: g is not None and bool(g.any()) for name, g in zip(named, found, strict=True)}


# --- Truth and known errors ------------------------------------------------------------------


@pytest.mark.parametrize('views', ['causal', 'centred'])
def test_truth_costs_nothing_but_the_sampling(views: str) -> None:
    offsets = (-1, -2) if views == 'causal' else (-1, 1)
    terms = terms_of(Knowing(), window_batch(2, offsets), **EVERYTHING, views=views)
    assert set(terms) == {
        *('lidar_nll', 'filter', 'photometric', 'smoothness', 'reference'),
        *('geometric', 'temporal', 'temporal_lidar'),
    }
    # At the border the outermost half pixel is repeated.
    for name, limit in (
        ('photometric', 5e-3),
        ('geometric', 1e-4),
        ('temporal', 1e-4),
        ('temporal_lidar', 1e-3),
        ('reference', 1e-9),
    ):
        assert terms[name].value.item() < limit, name
    assert terms['lidar_nll'].value.item() == pytest.approx(0.0, abs=1e-9)


def test_known_jitter_of_one_frame_has_the_known_error() -> None:
    factor = 1.2
    batch = window_batch(2)
    options = {**EVERYTHING, 'cycle_mask': False}
    terms = terms_of(Knowing({-2: factor}), batch, **options)
    temporal, lidar = terms['temporal'], terms['temporal_lidar']
    right = terms_of(Knowing(), batch, **options)
    # Of the two sources one is wrong, and about as many pixels meet each.
    share = temporal.value.item() / math.log(factor)
    assert 0.4 < share < 0.6
    assert 0.4 < lidar.value.item() / math.log(factor) < 0.6
    assert temporal.count == right['temporal'].count
    whole = terms_of(Knowing({-2: factor, -1: factor}), batch, **options)
    assert whole['temporal'].value.item() == pytest.approx(math.log(factor), rel=1e-3)
    assert whole['temporal_lidar'].value.item() == pytest.approx(math.log(factor), rel=1e-2)
    assert (temporal.weight, lidar.weight, terms['geometric'].weight) == (0.1, 0.2, 0.1)


def test_error_of_all_frames_alike_does_not_flicker() -> None:
    terms = terms_of(Knowing({0: 1.2, -1: 1.2, -2: 1.2}), window_batch(2), **EVERYTHING)
    assert terms['temporal_lidar'].value.item() < 1e-3
    # Metres of travel stay the same while depths grow, so geometry tells.
    assert terms['geometric'].value.item() > 1e-3


def test_larger_changes_are_occlusions() -> None:
    options = {**EVERYTHING, 'cycle_mask': False}
    terms = terms_of(Knowing({-1: 1.5, -2: 1.5}), window_batch(2), **options)
    assert terms.keys().isdisjoint({'temporal', 'temporal_lidar'})
    assert terms['geometric'].value.item() > 0.01
    wide = terms_of(Knowing({-1: 1.5, -2: 1.5}), window_batch(2), **options, temporal_limit=0.5)
    assert wide['temporal'].value.item() == pytest.approx(math.log(1.5), rel=1e-3)


def test_cycle_mask_leaves_seventy_percent() -> None:
    batch = window_batch(1)
    jitter = {-1: 1.1, -2: 1.1}
    whole = terms_of(Knowing(jitter), batch, **{**EVERYTHING, 'cycle_mask': False})
    masked = terms_of(Knowing(jitter), batch, **EVERYTHING)
    # Of two sources, 70 % of all pixels each; all of them agree about.
    assert masked['temporal'].count == pytest.approx(2 * 0.7 * PIXELS, rel=0.01)
    assert masked['temporal'].count < whole['temporal'].count
    assert masked['geometric'].count == whole['geometric'].count == PIXELS
    assert 0.2 < masked['geometric'].value.item() / whole['geometric'].value.item() < 1.0


# --- Who learns what -------------------------------------------------------------------------


def test_each_term_trains_what_it_may() -> None:
    network = Knowing({0: 1.03, -1: 0.97, -2: 1.02})
    with torch.no_grad():
        network.reference.mul_(1.1)
    recipe = recipe_of(network, **EVERYTHING, photometric='plain')
    terms = recipe(window_batch(2), LATE)
    wanted = {
        'photometric': {'depths.0'},
        'smoothness': {'depths.0'},
        'lidar_nll': {'depths.0', 'depths.-1', 'depths.-2', 'sigma'},
        'filter': {'sigma'},
        'reference': {'reference'},
        'geometric': {'depths.0', 'depths.-1', 'depths.-2'},
        'temporal': {'depths.0', 'depths.-1', 'depths.-2'},
        'temporal_lidar': {'depths.0', 'depths.-1', 'depths.-2'},
    }
    assert set(terms) == set(wanted)
    for name, term in terms.items():
        learns = gradients(network, term.value)
        assert {k for k, does in learns.items() if does} == wanted[name], name


@pytest.mark.parametrize(
    ('options', 'gone'),
    [
        ({'geometric_weight': 0.0}, {'geometric'}),
        ({'temporal_weight': 0.0}, {'temporal'}),
        ({'temporal_lidar_weight': 0.0}, {'temporal_lidar'}),
        ({'reference_weight': 0.0}, {'reference'}),
        ({'smoothness_weight': 0.0}, {'smoothness'}),
        ({'photometric_weight': 0.0, 'photometric': 'hard'}, {'photometric'}),
        ({'lidar_frames': 'off'}, {'lidar_nll', 'filter'}),
    ],
)
def test_switch_takes_its_terms_away(options: dict[str, Any], gone: set[str]) -> None:
    every = terms_of(Knowing(), window_batch(1), **EVERYTHING)
    rest = terms_of(Knowing(), window_batch(1), **{**EVERYTHING, **options})
    assert set(every) - set(rest) == gone
    assert set(rest) <= set(every)


def test_lidar_of_the_window_or_of_the_current_frame() -> None:
    batch = window_batch(2)
    network = Knowing({-1: 2.0})
    window = terms_of(network, batch)['lidar_nll']
    current = terms_of(network, batch, lidar_frames='current')['lidar_nll']
    assert window.count == 3 * current.count
    assert window.value.item() > current.value.item() == pytest.approx(0.0, abs=1e-9)
    unread = replace(batch, neighbour_depth_BN1HW=None, neighbour_valid_BN1HW=None)
    assert terms_of(network, unread)['lidar_nll'].count == current.count


# --- Incomplete batches ----------------------------------------------------------------------


def test_only_lidar_and_single_frames_train_depth_and_reference() -> None:
    batch = shortened(window_batch(2), {0: 0, 1: 0})
    assert set(terms_of(Knowing(), batch, **EVERYTHING)) == {'lidar_nll', 'filter', 'reference'}


def test_only_video_trains_what_needs_no_lidar() -> None:
    batch = unlabelled(window_batch(2), 0, 1)
    assert batch.neighbour_valid_BN1HW is not None
    batch = replace(batch, neighbour_valid_BN1HW=torch.zeros_like(batch.neighbour_valid_BN1HW))
    terms = terms_of(Knowing(), batch, **EVERYTHING)
    assert set(terms) == {'photometric', 'smoothness', 'reference', 'geometric', 'temporal'}


def test_frames_without_poses_have_no_part_in_what_needs_them() -> None:
    batch = window_batch(3)
    has_pose = batch.has_pose_BN.clone()
    has_pose[1, 1] = False
    mixed = terms_of(Knowing(), replace(batch, has_pose_BN=has_pose), **EVERYTHING)
    two = terms_of(Knowing(), part(batch, [0, 2]), **EVERYTHING)
    three = terms_of(Knowing(), batch, **EVERYTHING)
    for name in ('photometric', 'geometric', 'temporal', 'temporal_lidar', 'smoothness'):
        assert mixed[name].count == two[name].count
        assert mixed[name].value.item() == pytest.approx(two[name].value.item(), abs=1e-9)
    for name in ('lidar_nll', 'reference', 'filter'):
        assert mixed[name].count == three[name].count


def test_motion_by_a_network_needs_no_poses() -> None:
    options = {**POSE_NET, 'pose': 'network', 'colors': 'off', 'travel_weight': 0.05}
    config: TcDepthConfig = read_options('tc_depth', {**options, 'views': 'centred'})
    recipe = TcDepth(config, Knowing, FOCAL).double()
    recipe.video.pose_net = TrueMotion()
    batch = window_batch(2, (-1, 1))
    terms = recipe(replace(batch, has_pose_BN=torch.zeros_like(batch.has_pose_BN)), LATE)
    assert {'photometric', 'geometric', 'reference', 'lidar_nll'} < set(terms)
    assert terms['geometric'].value.item() < 1e-4


def mixed_window() -> Batch:
    """Return four frames: whole, without LiDAR, with a short past, and alone without poses."""
    batch = shortened(unlabelled(window_batch(4), 1), {2: 1, 3: 0})
    generator = torch.Generator().manual_seed(3)
    noise = 0.2 * torch.rand(batch.image_B3HW.shape, generator=generator, dtype=torch.float64)
    return replace(batch, image_B3HW=(batch.image_B3HW + noise).clamp(0, 1))


@pytest.mark.parametrize('split', [((0, 2), (1, 3)), ((3,), (2, 1, 0))])
def test_weighted_parts_are_the_whole(split: tuple[tuple[int, ...], ...]) -> None:
    options = {**EVERYTHING, 'colors': 'jitter', 'consistency_scales': 2}
    recipe = recipe_of(SmallSequence(), **{**options, 'temporal_limit': 2.0})
    batch = mixed_window()
    whole = recipe(batch, LATE)
    parts = [recipe(part(batch, rows), LATE) for rows in split]
    assert {'photometric', 'geometric', 'temporal', 'reference', 'lidar_nll'} <= set(whole)
    sums = []
    for name, term in whole.items():
        present = [terms[name] for terms in parts if name in terms]
        assert sum(p.count for p in present) == term.count, name
        value = torch.stack([p.value * p.count for p in present]).sum() / term.count
        assert value.item() == pytest.approx(term.value.item(), rel=1e-6, abs=1e-9), name
        sums.append(value * term.weight)
    together, apart = (
        torch.autograd.grad(x, list(recipe.parameters()), allow_unused=True)
        for x in (total(whole), torch.stack(sums).sum())
    )
    for ours, theirs in zip(together, apart, strict=True):
        torch.testing.assert_close(ours, theirs)


# --- The teacher of motion -------------------------------------------------------------------


@pytest.fixture(scope='module')
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a model whose depth is 100 m times the brightness."""
    path = brightness_file(tmp_path_factory.mktemp('teacher') / 'model.onnx')
    card = with_output(model_spec(), focal_px=None, scale=1.0, min_depth_m=1.0, max_depth_m=90.0)
    write_card(path, card)
    return str(path)


def test_teacher_says_what_moves_until_its_epochs_are_over(teacher: str) -> None:
    motion = {'model': teacher, 'engine': 'onnxruntime', 'epochs': 2.0, 'weight': 0.3}
    batch = window_batch(2)
    grey = torch.full_like(batch.image_B3HW, 0.1)
    grey[..., : WIDTH // 2] = 0.6
    # The plane is 6 to 14 m away: 10 m are about right, 60 m are not.
    batch = replace(batch, image_B3HW=grey)
    network = Knowing()
    recipe = recipe_of(network, **EVERYTHING, photometric='plain', motion=motion)
    early, late = recipe(batch, EARLY), recipe(batch, LATE)
    assert 'motion' not in late
    term = early['motion']
    assert (term.count, term.weight) == (2 * PIXELS, 0.3)
    teacher_m = torch.full_like(SCENE.depth(), 10.0)
    teacher_m[..., : WIDTH // 2] = 60.0
    depth = SCENE.depth()
    moves = (depth - teacher_m).abs() >= 0.6 * torch.minimum(depth, teacher_m)
    difference = (1 / depth - 1 / teacher_m).abs() * moves
    assert term.value.item() == pytest.approx(float(difference.mean()), rel=0.02)
    assert {k for k, does in gradients(network, term.value).items() if does} == {'depths.0'}
    # Where it moves, depths need not agree.
    assert early['temporal_lidar'].count < late['temporal_lidar'].count


def test_teacher_without_metres_is_refused(tmp_path: Path) -> None:
    path = brightness_file(tmp_path / 'model.onnx')
    card = with_output(model_spec(), kind='affine_inverse_depth', focal_px=None)
    write_card(path, card)
    motion = {'model': str(path), 'engine': 'onnxruntime'}
    with pytest.raises(ModelError, match='affine_inverse_depth'):
        recipe_of(Knowing(), motion=motion)(window_batch(1), EARLY)


def test_pseudo_labels_without_metres_are_one_more_term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Labels, 'kind', 'affine_inverse_depth')
    # Frames with pasts of different lengths go through the network in another order.
    batch = shortened(unlabelled(window_batch(3), 0, 2), {0: 1})
    pseudo = 3.0 / SCENE.depth().repeat(3, 1, 1, 1) + 0.5
    pseudo[2] = pseudo[2].flip(2)
    batch = replace(batch, pseudo_B1HW=pseudo)
    given = {'labels': 'stored', 'loss': 'affine', 'weight': 0.2}
    network = Knowing()
    terms = recipe_of(network, **EVERYTHING, teacher=given)(batch, LATE)
    alone = recipe_of(network, **EVERYTHING)(batch, LATE)
    assert terms.keys() - alone.keys() == {'teacher'}
    assert all(terms[name].value.equal(term.value) for name, term in alone.items())
    term = terms['teacher']
    assert (term.count, term.weight) == (2, 0.2)
    said = 1.0 / SCENE.depth()
    wrong = affine_errors(said, pseudo[2:], torch.ones_like(said, dtype=torch.bool)).value_B
    assert term.value.item() == pytest.approx(float(wrong) / 2, rel=1e-6)
    assert {k for k, does in gradients(network, term.value).items() if does} == {'depths.0'}


def test_stored_answers_are_asked_of_the_dataset() -> None:
    stored = {'labels': '/labels'}
    assert config_of(motion=stored).needs.labels == '/labels'
    assert config_of(teacher=stored).needs.labels == '/labels'
    assert config_of(teacher=stored, motion=stored).needs.labels == '/labels'
    assert config_of().needs.labels is None


# --- Learning --------------------------------------------------------------------------------


def test_learned_motion_trains_the_pose_network() -> None:
    options = {**POSE_NET, 'pose': 'network', 'travel_weight': 0.05, 'colors': 'off'}
    recipe = TcDepth(config_of(**options), SmallSequence, FOCAL).double()
    terms = recipe(window_batch(1), LATE)
    named = {name: p for name, p in recipe.named_parameters() if name.startswith('video.')}
    assert named
    value = terms['photometric'].value + terms['geometric'].value
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    assert any(g is not None and bool(g.any()) for g in found)


def test_real_network_learns_from_every_term() -> None:
    torch.manual_seed(0)
    recipe = make_recipe('tc_depth', EVERYTHING, TINY, FOCAL)
    batch = window_batch(3)
    values = {
        key: value.float()
        for key, value in ((f.name, getattr(batch, f.name)) for f in fields(batch))
        if isinstance(value, torch.Tensor) and value.is_floating_point()
    }
    batch = shortened(replace(batch, **values), {1: 1, 2: 0})
    optimiser = torch.optim.Adam(recipe.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        terms = recipe(batch, LATE)
        optimiser.zero_grad()
        loss = total(terms)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    silent = [name for name, p in recipe.named_parameters() if p.grad is None]
    assert not silent
