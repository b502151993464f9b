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

"""Mutual distillation: who teaches whom, when, how much, and that no gradient comes back."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
import math
from test.training.recipes.batches import (
    alone,
    Answer,
    constant,
    FOCAL,
    gradient_norms,
    HEIGHT,
    LATE,
    mixed_batch,
    plane_batch,
    POSE_NET,
    SCENE,
    SmallNet,
    total,
    truth,
    unlabelled,
    WIDTH,
)
from typing import Any

from depth_ros.errors import ConfigError
import pytest
import torch
from torch import nn, Tensor
from training.recipes.mutual_distillation import MutualDistillation, MutualDistillationConfig
from training.recipes.recipe import FrameNeeds, Progress
from training.recipes.teacher import TeacherOptions

ODOMETRY = {'pose': 'odometry', 'travel_weight': 0.0}
PAIRS = {'SU': ('s', 'u'), 'SS': ('s1', 's2'), 'UU': ('u1', 'u2')}


def config(**options: Any) -> MutualDistillationConfig:
    """Return options by odometry, without noise unless it is asked for."""
    video = {} if options.get('branches') == 'SS' else ODOMETRY
    return MutualDistillationConfig(**{'noise': 'off', **video, **options})


def recipe_of(*networks: nn.Module, **options: Any) -> MutualDistillation:
    given = iter(networks or (SmallNet(1), SmallNet(2)))
    return MutualDistillation(config(**options), lambda: next(given), FOCAL)


def at(epochs: float) -> Progress:
    return Progress(step=0, epochs=epochs)


@pytest.mark.parametrize('pair', PAIRS)
def test_each_branch_has_the_terms_of_its_kind_and_a_lesson(pair: str) -> None:
    own = {
        's': ('lidar_nll', 'filter'),
        'u': ('photometric', 'smoothness'),
    }
    recipe = recipe_of(branches=pair)
    first, second = PAIRS[pair]
    wanted = {f'{name}_{term}' for name in (first, second) for term in own[name[0]]}
    wanted |= {f'{first}_from_{second}', f'{second}_from_{first}'}
    batch = mixed_batch()
    assert set(recipe(batch, LATE)) == wanted
    assert list(recipe.predictions(batch)) == [first, second]
    assert recipe.deployed() is recipe.branches[first].network


def test_teacher_adds_one_term_to_each_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = plane_batch()
    pseudo = 2.0 / SCENE.depth().repeat(2, 1, 1, 1) + 0.1
    batch = replace(unlabelled(batch, 1), pseudo_B1HW=pseudo)
    teacher = TeacherOptions(labels='stored', loss='affine', weight=0.5)
    recipe = recipe_of(truth(), constant(7.0), teacher=teacher)
    assert recipe.needs == FrameNeeds(labelled=None, neighbours=None, labels='stored')
    terms = recipe(batch, at(0.0))
    # The truth in another scale and shift is the truth; a constant depth costs one.
    assert terms['s_teacher'].value.item() == pytest.approx(0.0, abs=1e-9)
    assert terms['u_teacher'].value.item() == pytest.approx(1.0, rel=1e-6)
    for name in 'su':
        assert terms[f'{name}_teacher'][1:] == (1, 0.5)
    assert terms.keys() - recipe_of()(batch, at(0.0)).keys() == {'s_teacher', 'u_teacher'}
    with pytest.raises(ConfigError, match=r'teacher\.loss = nll: sigma of the branches'):
        config(teacher=replace(teacher, loss='nll'))


def test_pair_without_lidar_has_the_metre_of_its_motion() -> None:
    assert recipe_of().output_kind == 'metric_depth'
    assert recipe_of().has_sigma
    pair = recipe_of(branches='UU')
    assert (pair.output_kind, pair.has_sigma) == ('metric_depth', False)
    options = {'pose': 'network', 'travel_weight': 0.0, **POSE_NET}
    assert recipe_of(branches='UU', **options).output_kind == 'affine_inverse_depth'
    assert recipe_of(**options).output_kind == 'metric_depth'


def test_needs_follow_the_pair() -> None:
    assert config().needs == FrameNeeds(labelled=None, neighbours=None)
    assert config(branches='SS').needs == FrameNeeds(labelled=None, neighbours=False)
    assert config(branches='UU').needs == FrameNeeds(labelled=None, neighbours=True)
    assert recipe_of(branches='SS').needs == config(branches='SS').needs


@pytest.mark.parametrize('space', ['metres', 'log'])
@pytest.mark.parametrize('pair', PAIRS)
@pytest.mark.parametrize('weighting', ['UW', 'UT', 'UWT', 'CT'])
def test_no_gradient_of_any_term_reaches_the_other_branch(
    pair: str, weighting: str, space: str
) -> None:
    options = {'branches': pair, 'weighting': weighting, 'lesson_space': space}
    if weighting == 'CT':
        limits = {'s': {'max_sigma_m': 50.0}, 'u': {'max_sigma_photometric': 50.0}}
        options |= {k: v for kind in set(pair.lower()) for k, v in limits[kind].items()}
    recipe = recipe_of(**options)
    for name, term in recipe(mixed_batch(), LATE).items():
        owner = name.split('_')[0]
        norms = gradient_norms(recipe, term.value)
        for key, norm in norms.items():
            if not key.startswith(f'branches.{owner}.'):
                assert norm == 0, (name, key)
        assert norms[f'branches.{owner}.network.first.weight'] > 0


# Metres: errors of 10 and 2; logarithms: ratios of 2 and 0.8.
@pytest.mark.parametrize(
    ('space', 'wanted'),
    [('metres', (3 * 10 + 2) / 4), ('log', (3 * math.log(2) + math.log(1.25)) / 4)],
)
def test_lesson_is_the_weighted_error_in_closed_form(space: str, wanted: float) -> None:
    sigma = torch.ones(1, 1, HEIGHT, WIDTH, dtype=torch.float64)
    half = WIDTH // 2
    sigma[..., half:] = 3.0
    depth = torch.full_like(sigma, 20.0)
    depth[..., half:] = 8.0
    teacher = Answer([depth], [sigma.log()])
    recipe = recipe_of(teacher, constant(10.0, scales=2), lesson_space=space)
    terms = recipe(plane_batch(), LATE)
    # Weights 3 : 1; the same at both scales of the student.
    assert terms['u_from_s'].value.item() == pytest.approx(wanted, rel=1e-5)
    assert terms['u_from_s'].count == 2
    assert terms['u_from_s'].weight == 1.0


def test_scaling_all_sigma_changes_no_lesson_but_the_threshold_does() -> None:
    def lessons(shift: float, **options: Any) -> list[float]:
        networks = (SmallNet(1), SmallNet(2))
        with torch.no_grad():
            for network in networks:
                network.heads.bias[1] += shift
        terms = recipe_of(*networks, **options)(plane_batch(), LATE)
        return [terms[name].value.item() for name in ('s_from_u', 'u_from_s') if name in terms]

    for weighting, space in product(('UW', 'UT', 'UWT'), ('metres', 'log')):
        options = {'weighting': weighting, 'lesson_space': space}
        assert lessons(1.0, **options) == pytest.approx(lessons(0.0, **options), rel=1e-4)
    limits = {'weighting': 'CT', 'max_sigma_m': 5.0, 'max_sigma_photometric': 5.0}
    assert len(lessons(0.0, **limits)) == 2
    assert lessons(4.0, **limits) == []


def test_share_of_the_most_certain_is_the_option() -> None:
    values = {
        share: recipe_of(weighting='UT', weighting_share=share)(plane_batch(), LATE)[
            'u_from_s'
        ].value.item()
        for share in (0.1, 0.9)
    }
    assert values[0.1] != values[0.9]


@pytest.mark.parametrize(
    ('epochs', 'wanted'), [(0.0, None), (2.0, None), (2.5, 0.2), (3.0, 0.4), (4.0, 0.8), (9, 0.8)]
)
def test_ramp_is_linear_between_its_ends(epochs: float, wanted: float | None) -> None:
    terms = recipe_of(distillation_weight=0.8)(plane_batch(), at(epochs))
    lessons = [terms[name] for name in ('s_from_u', 'u_from_s') if name in terms]
    if wanted is None:
        assert not lessons
    else:
        assert [term.weight for term in lessons] == pytest.approx([wanted] * 2)


def test_ramp_of_no_length_is_a_step() -> None:
    options = config(epochs_before=1.0, epochs_ramp=0.0)
    assert [options.strength(e) for e in (0.0, 0.99, 1.0, 5.0)] == [0, 0, 1, 1]
    assert config(distillation_weight=0.0).strength(100.0) == 0


@pytest.mark.parametrize(
    ('ratio', 'alignment', 'wanted'),
    [(2.0, 'median_ratio', 0.0), (2.0, 'none', 8.0), (1.05, 'median_ratio', 0.8)],
)
def test_video_branch_is_aligned_before_it_teaches(
    ratio: float, alignment: str, wanted: float
) -> None:
    # U says 8 m more or less; S knows 16 m.
    recipe = recipe_of(
        constant(16.0), constant(16.0 / ratio), alignment=alignment, lesson_space='metres'
    )
    terms = recipe(plane_batch(), LATE)
    expected = wanted if ratio == 2.0 else 16.0 - 16.0 / ratio
    assert terms['s_from_u'].value.item() == pytest.approx(expected, abs=1e-5)
    # The other way there is no alignment, so that U becomes metric.
    assert terms['u_from_s'].value.item() == pytest.approx(16.0 - 16.0 / ratio, rel=1e-5)


def test_alignment_is_before_the_logarithm_which_is_the_default() -> None:
    aligned = recipe_of(constant(16.0), constant(8.0))
    terms = aligned(plane_batch(), LATE)
    assert terms['s_from_u'].value.item() == pytest.approx(0.0, abs=1e-6)
    assert terms['u_from_s'].value.item() == pytest.approx(math.log(2.0), rel=1e-5)


def test_dead_band_is_the_option() -> None:
    recipe = recipe_of(constant(16.0), constant(8.0), dead_band=(0.4, 2.5), lesson_space='metres')
    assert recipe(plane_batch(), LATE)['s_from_u'].value.item() == pytest.approx(8.0)


def test_alignment_is_at_the_hits_of_a_frame_or_everywhere_without_any() -> None:
    # S is right below, where the hits are, and far above.
    depth = torch.full((1, 1, HEIGHT, WIDTH), 10.0, dtype=torch.float64)
    far_rows = HEIGHT // 2 + 4
    depth[:, :, :far_rows] = 40.0
    recipe = recipe_of(
        Answer([depth], [torch.zeros_like(depth)]), constant(5.0), lesson_space='metres'
    )
    hits = plane_batch()
    hits.valid_B1HW[:, :, :far_rows] = False
    share = far_rows / HEIGHT
    at_hits = recipe(hits, LATE)['s_from_u'].value.item()
    assert at_hits == pytest.approx(share * 30.0)
    without = recipe(unlabelled(hits, 0, 1), LATE)['s_from_u'].value.item()
    assert without == pytest.approx((1 - share) * 30.0)


def test_lessons_are_for_all_frames_also_without_lidar_or_neighbours() -> None:
    batch = alone(unlabelled(plane_batch(), 0, 1), 0, 1)
    assert set(recipe_of()(batch, LATE)) == {'s_from_u', 'u_from_s'}


def test_lessons_leave_out_what_no_camera_saw() -> None:
    batch = plane_batch()
    seen = batch.seen_B1HW.clone()
    seen[0] = False
    terms = recipe_of()(replace(batch, seen_B1HW=seen), LATE)
    assert terms['u_from_s'].count == 1
    nothing = replace(batch, seen_B1HW=torch.zeros_like(seen))
    assert 'u_from_s' not in recipe_of()(nothing, LATE)


@pytest.mark.parametrize('noise', ['off', 'whole_image', 'outside_objects'])
def test_branches_see_independent_noise_and_losses_clean_pictures(noise: str) -> None:
    batch = mixed_batch()
    batch = replace(batch, has_objects_B=torch.ones(4, dtype=torch.bool))
    recipe, seen = recipe_of(noise=noise), {}
    for name, branch in recipe.branches.items():
        branch.network.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.update({name: inputs[0]})
        )
    recipe(batch, LATE)
    objects = batch.objects_B1HW[0].expand(3, -1, -1)
    is_clean = {
        name: torch.equal(image[0][objects], batch.image_B3HW[0][objects])
        for name, image in seen.items()
    }
    if noise == 'off':
        assert torch.equal(seen['s'], batch.image_B3HW)
        assert torch.equal(seen['u'], batch.image_B3HW)
    else:
        assert not torch.equal(seen['s'], seen['u'])
        assert set(is_clean.values()) == {noise == 'outside_objects'}
    recipe.predictions(batch)
    assert torch.equal(seen['s'], batch.image_B3HW)
    assert torch.equal(seen['u'], batch.image_B3HW)


def test_noise_does_not_touch_the_photometric_error_of_the_truth() -> None:
    recipe = recipe_of(truth(), truth(), noise='whole_image', auto_mask=False)
    term = recipe(plane_batch(), at(0))['u_photometric']
    # sigma = 1, so the likelihood is the error itself.
    assert term.value.item() < 2e-3


def test_result_repeats_with_the_seeds_and_changes_with_them() -> None:
    recipe, batch = recipe_of(noise='whole_image'), plane_batch()
    first, again = (total(recipe(batch, LATE)).item() for _ in range(2))
    assert first == again
    assert total(recipe(replace(batch, seeds=(7, 8)), LATE)).item() != first


def test_sigma_of_s_is_in_metres_and_that_of_u_is_not() -> None:
    given = iter((constant(4.0, 0.0), constant(4.0, 0.0)))
    recipe = MutualDistillation(config(), lambda: next(given), FOCAL / 2)
    said = recipe.predictions(plane_batch(1))
    assert [said[name].depths[0].mean().item() for name in 'su'] == [8.0, 8.0]
    torch.testing.assert_close(
        said['s'].log_sigmas[0].mean(), torch.tensor(2.0).log().double(), rtol=1e-6, atol=0
    )
    assert said['u'].log_sigmas[0].mean().item() == 0


def test_two_networks_with_own_pose_networks_are_built() -> None:
    given = iter((SmallNet(1), SmallNet(2)))
    options = MutualDistillationConfig(branches='UU', **POSE_NET)
    recipe = MutualDistillation(options, lambda: next(given), FOCAL).double()
    terms = recipe(plane_batch(), LATE)
    assert {'u1_travel', 'u2_travel'} <= terms.keys()
    norms = gradient_norms(recipe, total(terms))
    for name in ('u1', 'u2'):
        assert norms[f'branches.{name}.video.pose_net.motion.weight'] > 0
        assert norms[f'branches.{name}.network.first.weight'] > 0


def test_filter_lowers_what_s_teaches_where_lidar_never_reaches() -> None:
    def learned(**options: Any) -> Tensor:
        network = constant(10.0, 0.0)
        with torch.no_grad():
            network.depths[0].copy_(SCENE.depth())
        pair = (network, constant(10.0))
        recipe = recipe_of(*pair, branches='SS', distillation_weight=0.0, **options)
        optimiser = torch.optim.Adam(network.log_sigmas.parameters(), lr=0.1)
        for _ in range(150):
            optimiser.zero_grad()
            total(recipe(plane_batch(1), LATE)).backward()
            optimiser.step()
        rows = HEIGHT // 4
        return network.log_sigmas[0].detach()[:, :, :rows]

    with_filter, without = learned(), learned(filtering='off')
    assert with_filter.mean() == pytest.approx(torch.tensor(10.0).log().item(), abs=0.1)
    assert (without == 0).all()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'branches': 'US'}, "branches = 'US': must be one of SU, SS, UU"),
        ({'noise': 'on'}, "noise = 'on': must be one of off, whole_image, outside_objects"),
        ({'weighting': 'XX'}, "weighting = 'XX': must be one of UW, UT, UWT, CT"),
        ({'alignment': 'mean'}, "alignment = 'mean': must be one of median_ratio, none"),
        ({'lesson_space': 'feet'}, "lesson_space = 'feet': must be one of metres, log"),
        ({'distillation_weight': -1.0}, 'distillation_weight = -1.0: must be zero or more'),
        ({'epochs_before': -1.0}, 'epochs_before = -1.0: must be zero or more'),
        ({'epochs_ramp': float('nan')}, 'epochs_ramp = nan: must be zero or more'),
        ({'weighting_share': 0.0}, 'weighting_share = 0.0: must be above 0, up to 1'),
        ({'max_sigma_m': 0.0}, 'max_sigma_m = 0.0: must be a positive number'),
        ({'dead_band': (1.2, 1.1)}, r'dead_band = \[1.2, 1.1\]: must be 0 < low <= 1 <= high'),
        ({'photometric': 'plain'}, 'photometric = plain: a video branch then learns no unc'),
        ({'weighting_share': 0.4}, 'weighting_share = 0.4: has no effect with weighting = UW'),
        ({'max_sigma_m': 2.0}, 'max_sigma_m = 2.0: has no effect with weighting = UW'),
        (
            {'alignment': 'none', 'dead_band': (0.8, 1.2)},
            r'dead_band = \(0.8, 1.2\): has no effect with alignment = none',
        ),
        (
            {'branches': 'SS', 'pose': 'odometry', 'travel_weight': 0.0},
            'pose = odometry: has no effect with branches = SS',
        ),
        ({'branches': 'SS', 'alignment': 'none'}, 'alignment = none: has no effect with branches'),
        ({'branches': 'UU', 'beta': 0.3}, 'beta = 0.3: has no effect with branches = UU'),
        ({'beta': 0.0}, 'beta = 0.0: must be a positive number'),
        ({'pose': 'gps'}, "pose = 'gps'"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MutualDistillationConfig(**options)
