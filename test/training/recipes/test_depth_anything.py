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

"""The recipe depth_anything: what is compared with what, weights, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from test.training.recipes.batches import (
    constant,
    FOCAL,
    HEIGHT,
    LATE,
    part,
    plane_batch,
    SCENE,
    SmallNet,
    total,
    truth,
    unlabelled,
    WIDTH,
)
from typing import Any

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from torch import nn, Tensor
from training.losses.affine import affine_errors
from training.models.network import Prediction
from training.recipes.depth_anything import (
    AlignmentOptions,
    as_dense_as,
    DepthAnything,
    DepthAnythingConfig,
)
from training.recipes.recipe import FrameNeeds
from training.recipes.teacher import Labels, LabelSource
from training.samples import Batch

# The store itself is for test_label_store; batches here carry what it would give.
STORED = LabelSource(labels='stored')
WITHOUT_SKY, WITH_SKY = False, True


def recipe_of(network: nn.Module | None = None, **options: Any) -> DepthAnything:
    return DepthAnything(DepthAnythingConfig(**options), lambda: network or SmallNet(), FOCAL)


def student(
    monkeypatch: pytest.MonkeyPatch, network: nn.Module | None = None, **options: Any
) -> DepthAnything:
    monkeypatch.setattr(Labels, 'knows_sky', options.pop('sky', WITHOUT_SKY))
    return recipe_of(network, teacher=STORED, **options)


def lesson_batch(count: int = 6) -> Batch:
    """Return LiDAR, two without, and so on; pseudo-labels are the truth in another unit."""
    batch = unlabelled(plane_batch(count), *(i for i in range(count) if i % 3))
    pseudo = 4.0 / SCENE.depth().repeat(count, 1, 1, 1) + 0.5
    pseudo[batch.is_labelled_B] = torch.nan
    generator = torch.Generator().manual_seed(3)
    image = (
        batch.image_B3HW + 0.1 * torch.rand(batch.image_B3HW.shape, generator=generator)
    ) / 1.1
    return replace(batch, pseudo_B1HW=pseudo, image_B3HW=image)


def test_teacher_learns_from_lidar_alone_up_to_scale_and_shift() -> None:
    depth = SCENE.depth()
    network = truth()
    with torch.no_grad():
        network.depths[0].copy_(1.0 / (3.0 / depth + 0.25))
    terms = recipe_of(network)(plane_batch(), LATE)
    assert list(terms) == ['labelled_left_out', 'labelled']
    assert terms['labelled'].value.item() == pytest.approx(0.0, abs=1e-9)
    assert (terms['labelled'].count, terms['labelled'].weight) == (2, 1.0)
    assert terms['labelled_left_out'].weight == 0
    assert recipe_of().needs == FrameNeeds(labelled=True, neighbours=False)


def test_student_that_says_what_both_teachers_say_has_nothing_to_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The network answers with the truth whatever it sees, which CutMix would contradict.
    terms = student(monkeypatch, truth(), cutmix=False)(lesson_batch(), LATE)
    assert terms['labelled'].value.item() == pytest.approx(0.0, abs=1e-9)
    assert terms['unlabelled'].value.item() == pytest.approx(0.0, abs=1e-9)
    assert {name: term.count for name, term in terms.items()} == {
        'labelled_left_out': 2,
        'labelled': 2,
        'unlabelled_left_out': 4,
        'unlabelled': 4,
    }
    assert terms['labelled'].weight == terms['unlabelled'].weight == 0.5


def test_pseudo_labels_move_with_the_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that reads inverse depth off the picture is right, wherever boxes are."""

    class Reads(nn.Module):
        """Depth is 1 / red."""

        def forward(self, image_B3HW: Tensor) -> Prediction:
            depth = 1.0 / image_B3HW[:, :1]
            return Prediction((depth,), (torch.zeros_like(depth),))

    batch = lesson_batch()
    generator = torch.Generator().manual_seed(9)
    inverse = torch.rand(6, 1, HEIGHT, WIDTH, generator=generator, dtype=torch.float64) + 0.2
    scale = torch.arange(1.0, 7.0, dtype=torch.float64)[:, None, None, None]
    pseudo = torch.where(
        batch.is_labelled_B[:, None, None, None], torch.nan, inverse * scale + 1.0
    )
    batch = replace(batch, image_B3HW=inverse.expand(6, 3, HEIGHT, WIDTH), pseudo_B1HW=pseudo)
    recipe = student(monkeypatch, Reads(), perturbation='off')
    boxes = recipe._boxes(batch)
    assert boxes.is_pasted_B1HW[~batch.is_labelled_B].flatten(1).any(1).sum() >= 2
    assert not boxes.is_pasted_B1HW[batch.is_labelled_B].any()
    terms = recipe(batch, LATE)
    assert terms['unlabelled'].value.item() == pytest.approx(0.0, abs=1e-6)
    # Without its own scale for each part it would not be.
    mixed = affine_errors(boxes.mixed(inverse), boxes.mixed(pseudo), ~boxes.mixed(pseudo).isnan())
    assert mixed.value_B.max() > 0.05


def test_only_frames_without_lidar_are_perturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: list[Tensor] = []
    batch = lesson_batch(9)
    recipe = student(monkeypatch)
    recipe.network.register_forward_pre_hook(lambda _, inputs: pictures.append(inputs[0]))
    recipe(batch, LATE)
    is_changed = (pictures[0] != batch.image_B3HW).flatten(1).any(1)
    assert not is_changed[batch.is_labelled_B].any()
    assert is_changed[~batch.is_labelled_B].sum() >= 5
    plain = student(monkeypatch, perturbation='off', cutmix=False)
    plain.network.register_forward_pre_hook(lambda _, inputs: pictures.append(inputs[0]))
    plain(batch, LATE)
    assert torch.equal(pictures[1], batch.image_B3HW)
    recipe.predictions(batch)
    assert torch.equal(pictures[2], batch.image_B3HW)


def test_sky_of_a_teacher_that_knows_it_is_inverse_depth_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = lesson_batch(3)
    pseudo = batch.pseudo_B1HW.clone()
    pseudo[:, :, :8] = 0.0
    batch = replace(batch, pseudo_B1HW=pseudo)
    targets: list[Tensor] = []
    monkeypatch.setattr(
        'training.recipes.depth_anything.affine_errors',
        lambda inverse, target, valid: (
            targets.extend((target, valid)) or affine_errors(inverse, target, valid)
        ),
    )
    student(monkeypatch, constant(5.0), sky=WITH_SKY)(batch, LATE)
    target, valid = targets
    assert (target[0, :, :8] == 0).all()
    # One pixel in 24 is hit: of the sky every fifth of every fifth row counts.
    assert valid[0, 0, :8:5, ::5].all()
    assert int(valid[0].sum()) == 2 * 20 + int(batch.valid_B1HW[0].sum())
    assert not valid[1:].any()
    targets.clear()
    student(monkeypatch, constant(5.0))(batch, LATE)
    assert torch.equal(targets[1], batch.valid_B1HW)


@pytest.mark.parametrize(('hits', 'step'), [(64 * 96, 1), (64 * 96 // 9, 3), (1, 78), (0, 78)])
def test_grid_is_as_dense_as_the_hits(hits: int, step: int) -> None:
    hit = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    hit.view(-1)[:hits] = True
    grid = as_dense_as(hit, torch.ones_like(hit))
    assert grid.shape == hit.shape
    assert int(grid.sum()) == -(-HEIGHT // step) * -(-WIDTH // step)
    if hits:
        assert 0.5 < int(grid.sum()) / hits < 2.1


def test_images_that_say_nothing_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = lesson_batch(6)
    pseudo, valid = batch.pseudo_B1HW.clone(), batch.valid_B1HW.clone()
    pseudo[1] = 0.7
    pseudo[2] = torch.nan
    valid[0] = False
    valid[0, 0, 40, 40] = True
    batch = replace(batch, pseudo_B1HW=pseudo, valid_B1HW=valid)
    terms = student(monkeypatch, cutmix=False)(batch, LATE)
    assert (terms['labelled'].count, terms['unlabelled'].count) == (1, 2)
    assert terms['labelled_left_out'].value.item() == 0.5
    assert terms['unlabelled_left_out'].value.item() == 0.5
    assert torch.isfinite(total(terms))


def test_batch_of_one_and_batch_without_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, batch = student(monkeypatch), lesson_batch(3)
    lidar, pseudo = (recipe(part(batch, [row]), LATE) for row in (0, 1))
    assert list(lidar) == ['labelled_left_out', 'labelled']
    assert list(pseudo) == ['unlabelled_left_out', 'unlabelled']
    empty = replace(batch, pseudo_B1HW=torch.full_like(batch.pseudo_B1HW, torch.nan))
    assert list(recipe(part(empty, [1]), LATE)) == ['unlabelled_left_out']


def test_parts_of_a_batch_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, batch = student(monkeypatch), lesson_batch(6)
    whole = recipe(batch, LATE)
    parts = [recipe(part(batch, rows), LATE) for rows in ([0, 1, 2], [3, 4, 5])]
    for name, term in whole.items():
        counts = [one[name].count for one in parts]
        assert sum(counts) == term.count
        mean = sum(one[name].value.item() * one[name].count for one in parts) / term.count
        assert term.value.item() == pytest.approx(mean, rel=1e-9)


class Encoded(SmallNet):
    """The small network with an encoder in front that can be compared."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Pool(3)

    def forward(self, image_B3HW: Tensor) -> Prediction:
        self.encoder(image_B3HW)
        return super().forward(image_B3HW)


class Pool(nn.Module):
    """An encoder: the mean of every 32 x 32 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, dtype=torch.float64))

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        small = nn.functional.avg_pool2d(image_B3HW, 32)
        return (small * self.weight[:, None, None],)


def test_alignment_compares_frames_without_lidar_with_the_frozen_encoder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch, network = lesson_batch(6), Encoded()
    recipe = student(
        monkeypatch,
        network,
        perturbation='off',
        alignment=AlignmentOptions(encoder='efficientnet_lite0', weights='random'),
    )
    seen: list[Tensor] = []

    def frozen(image_B3HW: Tensor) -> Tensor:
        seen.append(image_B3HW)
        features = nn.functional.avg_pool2d(image_B3HW, 32)
        return torch.cat((-features[:2], features[2:]))

    monkeypatch.setattr(recipe.frozen, 'features', frozen)
    terms = recipe(batch, LATE)
    # Two of four pictures point the other way at all places: cosine -1; the others are alike.
    places = (HEIGHT // 32) * (WIDTH // 32)
    assert terms['alignment'].count == 2 * places
    assert terms['alignment'].value.item() == pytest.approx(2.0)
    assert {terms[name].weight for name in ('labelled', 'unlabelled', 'alignment')} == {1 / 3}
    # With boxes, and in clean colours.
    assert torch.equal(seen[0], recipe._boxes(batch).mixed(batch.image_B3HW)[~batch.is_labelled_B])
    assert not any('frozen' in key for key in recipe.state_dict())


def test_encoder_that_cannot_be_compared_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = AlignmentOptions(encoder='efficientnet_lite0', weights='random')
    with pytest.raises(ModelError, match=r"alignment.encoder = 'efficientnet_lite0' has 320 chan"):
        student(monkeypatch, Encoded(), alignment=options)(lesson_batch(3), LATE)
    with pytest.raises(ModelError, match='alignment: a SmallNet has no encoder'):
        student(monkeypatch, SmallNet(), alignment=options)(lesson_batch(3), LATE)


@pytest.mark.parametrize(('per', 'mix'), [(2, (1, 2)), (1, (2, 2)), (3, (2, 6)), (4, (1, 4))])
def test_pairs_that_change_boxes_stay_together(per: int, mix: tuple[int, int]) -> None:
    needs = DepthAnythingConfig(teacher=STORED, unlabelled_per_labelled=per).needs
    assert (needs.mix, needs.labels, needs.labelled) == (mix, 'stored', None)


def test_output_has_no_metres() -> None:
    recipe = recipe_of()
    assert recipe.output_kind == 'affine_inverse_depth'
    assert not recipe.has_sigma


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'cutmix': False}, 'cutmix = False: has no effect with teacher = null'),
        ({'perturbation': 'sepia'}, "perturbation = 'sepia': must be one of off, jitter, noise"),
        ({'unlabelled_per_labelled': 0, 'teacher': STORED}, 'unlabelled_per_labelled = 0: must'),
        ({'max_lidar_m': -1.0}, 'max_lidar_m = -1.0: must be a positive number'),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DepthAnythingConfig(**options)
