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

"""Depths of two frames on an exact plane: truth agrees, and a known jitter has a known error."""

from __future__ import annotations

import math
from test.training.scenes import motion, NEXT_T_TARGET, PlaneScene, PREVIOUS_T_TARGET

import pytest
import torch
from torch import Tensor
from training.losses.temporal import (
    cycle_error,
    cycle_mask,
    error_change,
    geometric_error,
    log_drift,
    mean_over_sources,
    meet,
    Meeting,
)
from training.warp import ray_map, source_grid

SCENE = PlaneScene()
SIZE = (SCENE.height, SCENE.width)
IDENTITY = torch.eye(4, dtype=torch.float64)
POSES = (PREVIOUS_T_TARGET, NEXT_T_TARGET, motion((0.0, 0.05, 0.02), (0.3, 0.1, -1.5)))


def truth_met(pose: Tensor, jitter: float = 1.0) -> Meeting:
    """Return where the target meets a source whose depth is true times ``jitter``."""
    rays = ray_map(SCENE.K_B33, pose[None], SIZE, torch.float64)
    return meet(1 / SCENE.depth(), 1 / (jitter * SCENE.depth(pose)), rays)


def inner(values_B1HW: Tensor, pose: Tensor) -> Tensor:
    """Return the values where the source has a pixel on every side of the point."""
    rays = ray_map(SCENE.K_B33, pose[None], SIZE, torch.float64)
    grid, is_visible = source_grid(1 / SCENE.depth(), rays)
    within = (grid.abs() <= 1 - 1 / torch.tensor([SCENE.width, SCENE.height])).all(-1)
    rows = is_visible & within[:, None]
    assert rows.sum() > 1000
    return values_B1HW[rows]


@pytest.mark.parametrize('pose', POSES)
def test_true_depth_and_pose_agree(pose: Tensor) -> None:
    meeting = truth_met(pose)
    for error in (geometric_error(meeting), log_drift(meeting)):
        assert inner(error, pose).max() < 1e-9


@pytest.mark.parametrize('jitter', [0.8, 0.95, 1.1, 2.0])
@pytest.mark.parametrize('pose', POSES)
def test_known_jitter_has_the_known_error(pose: Tensor, jitter: float) -> None:
    meeting = truth_met(pose, jitter)
    drift, error = log_drift(meeting), geometric_error(meeting)
    assert torch.allclose(inner(drift, pose), torch.tensor(abs(math.log(jitter))).double())
    expected = 1 - min(jitter, 1 / jitter)
    assert torch.allclose(inner(error, pose), torch.tensor(expected).double())


def test_identical_frames_without_motion_have_no_error() -> None:
    depth = 5.0 + torch.rand(2, 1, *SIZE, dtype=torch.float64)
    rays = ray_map(SCENE.K_B33.repeat(2, 1, 1), IDENTITY.repeat(2, 1, 1), SIZE, torch.float64)
    meeting = meet(1 / depth, 1 / depth, rays)
    # What rounding pushes out of the picture has no error either.
    assert geometric_error(meeting).max() < 1e-9
    assert log_drift(meeting).max() < 1e-9


def test_depths_beyond_the_bounds_are_clamped() -> None:
    def error(depth_m: float, other_m: float) -> float:
        one = torch.ones(1, 1, 1, 1)
        return geometric_error(Meeting(depth_m * one, one / other_m, one.bool())).item()

    assert error(400.0, 900.0) == 0.0
    assert error(400.0, 50.0) == pytest.approx(0.5)
    assert error(0.01, 0.2) == pytest.approx(0.5)


def test_what_the_source_does_not_see_has_no_error_and_no_gradient() -> None:
    depth = SCENE.depth().requires_grad_()
    behind = motion((0.0, math.pi, 0.0), (0.0, 0.0, 0.0))
    rays = ray_map(SCENE.K_B33, behind[None], SIZE, torch.float64)
    meeting = meet(1 / depth, 1 / depth, rays)
    assert not meeting.is_visible.any()
    total = geometric_error(meeting).sum() + log_drift(meeting).sum()
    assert total.item() == 0.0
    (gradient,) = torch.autograd.grad(total, depth)
    assert not gradient.any()


def test_both_frames_learn_from_their_difference() -> None:
    depth = SCENE.depth().requires_grad_()
    other = (1.1 * SCENE.depth(NEXT_T_TARGET)).requires_grad_()
    rays = ray_map(SCENE.K_B33, NEXT_T_TARGET[None], SIZE, torch.float64)
    for loss in (geometric_error, log_drift):
        value = loss(meet(1 / depth, 1 / other, rays)).sum()
        here, there = torch.autograd.grad(value, (depth, other))
        # The source is too deep: it has to come nearer, the target to go away.
        assert here.sum() < 0 < there.sum()


# --- Measured points -------------------------------------------------------------------------


@pytest.mark.parametrize(('here', 'there'), [(1.0, 1.0), (1.3, 1.3), (1.0, 1.2), (0.9, 1.1)])
def test_change_of_the_error_at_measured_points_is_known(here: float, there: float) -> None:
    rays = ray_map(SCENE.K_B33, NEXT_T_TARGET[None], SIZE, torch.float64)
    true = 1 / SCENE.depth()
    meeting = meet(true, 1 / (there * SCENE.depth(NEXT_T_TARGET)), rays)
    change = inner(error_change(meeting, true / here, true), NEXT_T_TARGET)
    expected = abs(math.log(here) - math.log(there))
    assert torch.allclose(change, torch.tensor(expected).double(), atol=1e-9)


def test_measured_points_train_both_frames_but_not_the_way_between() -> None:
    rays = ray_map(SCENE.K_B33, NEXT_T_TARGET[None], SIZE, torch.float64)
    true = 1 / SCENE.depth()
    depth = (1.2 * SCENE.depth()).requires_grad_()
    other = SCENE.depth(NEXT_T_TARGET).requires_grad_()
    meeting = meet(true, 1 / other, rays)
    value = error_change(meeting, 1 / depth, true)[meeting.is_visible].sum()
    here, there = torch.autograd.grad(value, (depth, other))
    visible = meeting.is_visible
    # d|ln D| / dD = 1 / D at every visible pixel, whatever the pictures show.
    torch.testing.assert_close(here[visible], (1 / depth)[visible].detach())
    assert there.sum() < 0


# --- The way there and back ------------------------------------------------------------------


def cycle(depth: Tensor, source_depth: Tensor, pose: Tensor) -> Tensor:
    there = ray_map(SCENE.K_B33, pose[None], SIZE, torch.float64)
    back = ray_map(SCENE.K_B33, torch.linalg.inv(pose)[None], SIZE, torch.float64)
    return cycle_error(SCENE.picture(IDENTITY), 1 / depth, there, 1 / source_depth, back)


def test_way_there_and_back_is_free_with_true_depths() -> None:
    true = cycle(SCENE.depth(), SCENE.depth(NEXT_T_TARGET), NEXT_T_TARGET)
    wrong = cycle(SCENE.depth(), 0.6 * SCENE.depth(NEXT_T_TARGET), NEXT_T_TARGET)
    seen = torch.isfinite(true)
    # Resampling twice costs a little.
    assert true[seen].median() < 1e-3
    assert wrong[seen].median() > 10 * true[seen].median()


def test_point_that_the_source_does_not_see_has_no_way_back() -> None:
    aside = motion((0.0, 0.0, 0.0), (4.0, 0.0, 0.0))
    error = cycle(SCENE.depth(), SCENE.depth(aside), aside)
    assert torch.isinf(error[..., -10:]).all()
    assert not cycle_mask(error, 1.0)[..., -10:].any()


def test_cycle_error_gives_no_gradient() -> None:
    depth = SCENE.depth().requires_grad_()
    assert not cycle(depth, depth, IDENTITY).requires_grad


def test_cycle_mask_keeps_seventy_percent_of_each_image() -> None:
    generator = torch.Generator().manual_seed(1)
    error = torch.rand(3, 1, 20, 30, generator=generator) + torch.arange(3)[:, None, None, None]
    mask = cycle_mask(error)
    assert mask.flatten(1).sum(1).tolist() == [420] * 3
    for own, kept in zip(error, mask, strict=True):
        assert own[kept].max() <= torch.quantile(own, 0.7) < own[~kept].min()


def test_cycle_mask_with_ties_is_binary_and_keeps_them() -> None:
    error = torch.ones(1, 1, 4, 5)
    error[0, 0, 0] = 0.0
    assert cycle_mask(error, 0.5).all()
    assert cycle_mask(error, 0.2).sum() == 5


def test_cycle_mask_of_nothing_visible_is_empty() -> None:
    assert not cycle_mask(torch.full((1, 1, 4, 5), torch.inf)).any()


@pytest.mark.parametrize('share', [0.0, 1.1, math.nan])
def test_impossible_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match='share = '):
        cycle_mask(torch.ones(1, 1, 4, 5), share)


# --- The mean --------------------------------------------------------------------------------


def test_mean_counts_what_is_excluded_as_zero() -> None:
    errors = [torch.full((1, 1, 2, 4), 0.4), torch.full((1, 1, 2, 4), 0.8)]
    whole = torch.ones(1, 1, 2, 4, dtype=torch.bool)
    left = whole.clone()
    left[..., 2:] = False
    seen = whole.clone()
    seen[..., 0] = False
    value = mean_over_sources(errors, [whole, left], whole, whole)
    assert value.item() == pytest.approx((0.4 + 0.4) / 2)
    half = mean_over_sources(errors, [whole, whole], left, whole)
    assert half.item() == pytest.approx(0.3)
    assert mean_over_sources(errors, [whole, whole], left, seen).item() == pytest.approx(0.2)


def test_mean_of_no_pixel_or_no_source_is_refused() -> None:
    whole = torch.ones(1, 1, 2, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match='has no True pixel'):
        mean_over_sources([torch.ones(1, 1, 2, 4)], [whole], whole, ~whole)
    with pytest.raises(ValueError, match='0 errors and 0 masks'):
        mean_over_sources([], [], whole, whole)


def test_depths_of_different_sizes_are_refused() -> None:
    rays = ray_map(SCENE.K_B33, IDENTITY[None], SIZE, torch.float64)
    with pytest.raises(ValueError, match='must be equal'):
        meet(1 / SCENE.depth(), torch.ones(1, 1, 4, 4, dtype=torch.float64), rays)
