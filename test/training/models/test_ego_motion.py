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

"""Motions that are known come back from their flow, from bad matches, and from pictures."""

from __future__ import annotations

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from training.models.ego_motion import (
    depth_after,
    find_motion,
    flow_equations,
    MATCH_FLOOR,
    Matcher,
    Matches,
    NEAREST_M,
    places_before,
    Rays,
    rays_of,
    REACH_CELLS,
    SHARPNESS,
    solve_motion,
    solve_symmetric,
)

STRIDE, HEIGHT, WIDTH = 8, 12, 40
CAMERA = torch.tensor([[185.0, 183.0, 158.0, 47.0]])
NONE, KNOWN = torch.zeros(1, 1), torch.ones(1, 1)
NO_MOTION = torch.zeros(1, 3)
small_motions = st.tuples(st.floats(-0.5, 1.5), st.floats(-0.01, 0.01), st.floats(-0.03, 0.03))


def rays() -> Rays:
    return rays_of(CAMERA, STRIDE, HEIGHT, WIDTH)


def depths(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 6.0 + 30.0 * torch.rand(1, HEIGHT * WIDTH, generator=generator)


def true_flow(motion_B3: Tensor, depth_BN: Tensor) -> Tensor:
    seen = rays()
    return (places_before(motion_B3, seen, depth_BN) - seen.xy_B2N) * seen.focal_B2[:, :, None]


def sure(flow_B2N: Tensor) -> Matches:
    return Matches(flow_B2N, torch.full_like(flow_B2N, 4.0))


def solved(
    matches: Matches, depth: Tensor, before: Tensor = NO_MOTION, known: Tensor = NONE
) -> Tensor:
    return solve_motion(matches, flow_equations(rays(), depth, before), before, known)


def test_rays_of_a_grid_are_those_of_the_middles_of_its_cells() -> None:
    fx, fy, cx, cy = CAMERA[0].tolist()
    found = rays().xy_B2N[0].unflatten(1, (HEIGHT, WIDTH))
    # Cell 3 covers pixels 24 to 31: their middle is at 27.5.
    assert np.isclose(float(found[0, 5, 3]), (27.5 - cx) / fx)
    assert np.isclose(float(found[1, 2, 30]), (19.5 - cy) / fy)
    assert torch.allclose(rays().focal_B2, CAMERA[:, :2] / STRIDE)


@given(small_motions)
@settings(max_examples=25, deadline=None)
def test_places_and_depths_are_those_of_a_rigid_motion(motion: tuple[float, float, float]) -> None:
    forward, pitch, yaw = motion
    seen, depth = rays(), depths()
    x, y = (seen.xy_B2N[0] * depth).double()
    points = torch.stack((x, y, depth[0].double()))
    rotation = torch.tensor(
        [[1.0, 0.0, yaw], [0.0, 1.0, -pitch], [-yaw, pitch, 1.0]], dtype=torch.float64
    )
    before = rotation @ points + torch.tensor([[0.0], [0.0], [forward]])
    places = places_before(torch.tensor([motion]), seen, depth)
    torch.testing.assert_close(places[0].double(), before[:2] / before[2], rtol=0, atol=1e-5)


@given(st.floats(-0.5, 1.5))
@settings(max_examples=15, deadline=None)
def test_depth_after_takes_back_what_the_way_forward_adds(forward: float) -> None:
    motion, now = torch.tensor([[forward, 0.0, 0.0]]), depths()
    torch.testing.assert_close(depth_after(motion, rays(), now + forward), now)


def test_depth_after_never_gets_behind_the_camera() -> None:
    motion, near = torch.tensor([[5.0, 0.0, 0.0]]), torch.full((1, HEIGHT * WIDTH), 2.0)
    assert (depth_after(motion, rays(), near) == NEAREST_M).all()


@given(small_motions)
@settings(max_examples=25, deadline=None)
def test_motion_is_found_in_its_flow(motion: tuple[float, float, float]) -> None:
    wanted, depth = torch.tensor([motion]), depths()
    matches, found = sure(true_flow(wanted, depth)), NO_MOTION
    # Each time the equations are those of a better motion.
    for _ in range(6):
        system = flow_equations(rays(), depth, found)
        found = solve_motion(matches, system, NO_MOTION, NONE)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


def test_motion_is_found_among_wrong_matches() -> None:
    wanted, depth = torch.tensor([[0.8, 0.002, 0.01]]), depths()
    flow = true_flow(wanted, depth)
    wrong = torch.rand(flow.shape, generator=torch.Generator().manual_seed(1)) < 0.2
    flow = torch.where(wrong, flow + 4.0, flow)
    assert (solved(sure(flow), depth) - wanted).abs().max() < 0.1


def test_unsure_matches_leave_the_motion_before() -> None:
    before, depth = torch.tensor([[1.1, 0.001, -0.02]]), depths()
    lost = Matches(torch.zeros(1, 2, HEIGHT * WIDTH), torch.full((1, 2, HEIGHT * WIDTH), 1e-4))
    torch.testing.assert_close(solved(lost, depth, before, KNOWN), before, rtol=1e-3, atol=1e-5)
    # Nobody said that this was the motion before.
    assert solved(lost, depth, before, NONE)[0, 0].abs() < 0.01


@given(st.lists(st.floats(-3.0, 3.0), min_size=9, max_size=9), st.floats(0.1, 10.0))
@settings(max_examples=50, deadline=None)
def test_symmetric_systems_are_solved_as_by_the_library(
    values: list[float], stiffness: float
) -> None:
    root = torch.tensor(values, dtype=torch.float64).reshape(1, 3, 3)
    matrix = root @ root.transpose(1, 2) + stiffness * torch.eye(3, dtype=torch.float64)
    right = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    wanted = torch.linalg.solve(matrix, right)
    torch.testing.assert_close(solve_symmetric(matrix, right), wanted, rtol=1e-7, atol=1e-9)


def features(motion_B3: Tensor, depth_BN: Tensor) -> tuple[Tensor, Tensor]:
    """Return features of a frame before, and of one whose points were seen in it there."""
    generator = torch.Generator().manual_seed(0)
    before = torch.randn(1, 16, HEIGHT, WIDTH, generator=generator)
    before = functional.avg_pool2d(before, 3, 1, 1)
    seen = rays()
    cells = (
        true_flow(motion_B3, depth_BN)
        + (seen.xy_B2N - seen.xy_B2N[:, :, :1]) * (seen.focal_B2[:, :, None])
    )
    last = torch.tensor([WIDTH - 1.0, HEIGHT - 1.0])[None, :, None]
    grid = (2 * cells / last - 1).transpose(1, 2).unflatten(1, (HEIGHT, WIDTH))
    now = functional.grid_sample(before, grid, padding_mode='border', align_corners=True)
    return functional.normalize(before, dim=1), functional.normalize(now, dim=1)


def test_motion_is_found_in_features_that_moved() -> None:
    wanted, depth = torch.tensor([[0.9, 0.0, 0.02]]), torch.full((1, HEIGHT * WIDTH), 9.0)
    keys, queries = features(wanted, depth)
    search, before = partial(Matcher(), queries, keys), NO_MOTION
    for _ in range(3):
        before, left = find_motion(search, rays(), depth, before, NONE)
    assert (before - wanted).abs()[0, 0] < 0.15
    assert (before - wanted).abs()[0, 1:].max() < 0.005
    assert left.abs().median() < 0.3


@torch.no_grad()
def test_matches_are_the_mean_over_all_cells_of_the_rows_around() -> None:
    generator = torch.Generator().manual_seed(9)
    queries, keys = (torch.randn(2, 5, 9, 7, generator=generator) * 0.02 for _ in range(2))
    expected = torch.randn(2, 2, 63, generator=generator)
    found = Matcher()(queries, keys, expected)
    for frame, row, column in ((0, 4, 3), (1, 5, 6), (0, 3, 0)):
        weights, offsets = [], []
        for dy in range(-3, 4):
            for other in range(7):
                offset = torch.tensor([float(other - column), float(dy)])
                alike = queries[frame, :, row, column] @ keys[frame, :, row + dy, other]
                off = offset - expected[frame, :, row * 7 + column]
                weights.append(SHARPNESS * alike - (off @ off) / (2 * REACH_CELLS**2))
                offsets.append(offset)
        weight, offset = torch.stack(weights).softmax(0)[:, None], torch.stack(offsets)
        mean = (weight * offset).sum(0)
        variance = (weight * (offset - mean) ** 2).sum(0)
        cell = row * 7 + column
        torch.testing.assert_close(found.flow_B2N[frame, :, cell], mean, rtol=1e-4, atol=1e-4)
        precision = 1 / (variance + MATCH_FLOOR)
        torch.testing.assert_close(
            found.precision_B2N[frame, :, cell], precision, rtol=1e-3, atol=1e-4
        )


def test_nothing_moves_between_equal_features() -> None:
    depth = depths()
    keys, _ = features(NO_MOTION, depth)
    search = partial(Matcher(), keys, keys)
    motion, _ = find_motion(search, rays(), depth, NO_MOTION, KNOWN)
    # Rows beyond the border repeat, and pull a little.
    assert motion.abs().max() < 0.05


def test_gradient_reaches_what_is_learned_and_not_the_depth() -> None:
    depth = depths().requires_grad_()
    keys, queries = features(torch.tensor([[0.5, 0.0, 0.0]]), depth.detach())
    queries.requires_grad_()
    match = Matcher()
    motion, _ = find_motion(partial(match, queries, keys), rays(), depth, NO_MOTION, NONE)
    motion.sum().backward()
    assert queries.grad is not None
    assert queries.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs() > 0 for p in match.parameters())
    assert depth.grad is None
