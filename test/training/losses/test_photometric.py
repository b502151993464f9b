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

"""Photometric error on exactly rendered scenes, and fast against plain."""

from __future__ import annotations

from test.training.scenes import NEXT_T_TARGET, PlaneScene, PREVIOUS_T_TARGET

from benchmarks import photometric_loss as benchmark
import numpy as np
import pytest
import torch
from torch import Tensor
from training.losses.dissimilarity import moment_error, photometric_error, target_moments
from training.losses.photometric import (
    moving_photometric,
    photometric,
    prepare,
    Reprojection,
    reprojection,
    tie_break_noise,
    Views,
)

SCENE = PlaneScene()
POSES = (PREVIOUS_T_TARGET, NEXT_T_TARGET)
IDENTITY = torch.eye(4, dtype=torch.float64)


def rand(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, dtype=torch.float64, generator=generator)


def views_of_scene(poses: tuple[Tensor, ...] = POSES, *, auto_mask: bool = False) -> Views:
    """Return views of the plane as taken from POSES, to be warped by ``poses``."""
    target = SCENE.picture(IDENTITY)
    sources = [SCENE.picture(pose) for pose in POSES]
    return prepare(
        target,
        sources,
        SCENE.K_B33,
        [pose[None] for pose in poses],
        tie_break_BNHW=tie_break_noise(target, 2) if auto_mask else None,
    )


def loss_at(depth: Tensor, poses: tuple[Tensor, ...] = POSES) -> float:
    return photometric(reprojection(views_of_scene(poses), 1 / depth)).item()


def test_error_of_a_picture_with_itself_is_zero() -> None:
    picture = rand(2, 3, 6, 7)
    assert photometric_error(picture, picture).abs().max() < 1e-12
    assert moment_error(target_moments(picture), picture).abs().max() < 1e-12


def test_error_of_two_constant_pictures_is_the_formula() -> None:
    a, b = torch.full((1, 3, 5, 5), 0.25), torch.full((1, 3, 5, 5), 0.75)
    luminance = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    wanted = 0.85 * (1 - luminance) / 2 + 0.15 * 0.5
    torch.testing.assert_close(photometric_error(a, b), torch.full((1, 1, 5, 5), wanted))


def test_error_equals_a_loop_over_pixels_in_numpy() -> None:
    a, b = rand(1, 3, 5, 6), rand(1, 3, 5, 6, seed=1)
    padded = [np.pad(x[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode='reflect') for x in (a, b)]
    got = photometric_error(a, b)[0, 0]
    for v, u in np.ndindex(5, 6):
        window = slice(v, v + 3), slice(u, u + 3)
        dssim = 0.0
        for c in range(3):
            x, y = (p[c][window].ravel() for p in padded)
            covariance = np.cov(x, y, bias=True)
            ssim = (2 * x.mean() * y.mean() + 1e-4) * (2 * covariance[0, 1] + 9e-4)
            ssim /= x.mean() ** 2 + y.mean() ** 2 + 1e-4
            ssim /= covariance[0, 0] + covariance[1, 1] + 9e-4
            dssim += np.clip((1 - ssim) / 2, 0, 1) / 3
        absolute = float((a - b)[0, :, v, u].abs().mean())
        assert got[v, u].item() == pytest.approx(0.85 * dssim + 0.15 * absolute, abs=1e-12)


@pytest.mark.parametrize('shape', [(2, 3, 9, 11), (1, 3, 2, 2), (1, 3, 2, 5), (1, 3, 24, 40)])
def test_fast_error_equals_the_plain_one_in_value_and_gradient(shape: tuple[int, ...]) -> None:
    target, image = rand(*shape), rand(*shape, seed=1).requires_grad_()
    weight = rand(shape[0], 1, *shape[2:], seed=2)
    plain, fast = photometric_error(target, image), moment_error(target_moments(target), image)
    torch.testing.assert_close(plain, fast, rtol=0, atol=1e-12)
    gradients = [torch.autograd.grad((e * weight).sum(), image)[0] for e in (plain, fast)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


def test_fast_error_gradient_is_that_of_finite_differences() -> None:
    target = target_moments(rand(1, 3, 4, 5))
    image = rand(1, 3, 4, 5, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: moment_error(target, x), image)


def test_fast_error_in_float32_is_close_on_smooth_and_constant_pictures() -> None:
    for target in (SCENE.picture(IDENTITY), torch.full((1, 3, 48, 96), 1.0).double()):
        image = (0.9 * target + 0.02).float().requires_grad_()
        error = moment_error(target_moments(target.float()), image)
        wanted = photometric_error(target, image.detach().double())
        # SSIM's second constant is 9e-4: rounding of 1e-7 in a variance is 1e-4 of it.
        torch.testing.assert_close(error.detach().double(), wanted, rtol=0, atol=5e-4)
        error.sum().backward()
        assert torch.isfinite(image.grad).all()


def test_fast_error_takes_channels_last() -> None:
    target, image = rand(2, 3, 8, 9), rand(2, 3, 8, 9, seed=1)
    last = torch.channels_last
    got = moment_error(
        target_moments(target.contiguous(memory_format=last)), image.contiguous(memory_format=last)
    )
    torch.testing.assert_close(got, photometric_error(target, image))


def test_true_depth_and_pose_give_nearly_no_loss_and_wrong_ones_do() -> None:
    depth = SCENE.depth()
    true = loss_at(depth)
    wrong_pose = (POSES[0] @ POSES[0], POSES[1])
    assert true < 3e-3
    assert loss_at(1.3 * depth) > 5 * true
    assert loss_at(depth / 1.3) > 5 * true
    assert loss_at(torch.full_like(depth, 8.0)) > 5 * true
    assert loss_at(depth, (POSES[1], POSES[0])) > 5 * true
    assert loss_at(depth, wrong_pose) > true
    only_wrong = reprojection(
        views_of_scene((POSES[0] @ POSES[0], POSES[1] @ POSES[1])), 1 / depth
    )
    assert photometric(only_wrong).item() > 5 * true


def test_gradient_leads_from_a_wrong_depth_to_the_true_one() -> None:
    views = views_of_scene()
    log_factor = torch.tensor(0.15, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([log_factor], lr=0.01)
    for _ in range(60):
        optimiser.zero_grad()
        photometric(reprojection(views, log_factor.exp() / SCENE.depth())).backward()
        optimiser.step()
    assert log_factor.exp().item() == pytest.approx(1.0, abs=0.02)


def test_standing_still_wins_the_auto_mask() -> None:
    target = SCENE.picture(IDENTITY)
    views = prepare(
        target,
        [target, target],
        SCENE.K_B33,
        [pose[None] for pose in POSES],
        tie_break_BNHW=tie_break_noise(target, 2, torch.Generator().manual_seed(0)),
    )
    inv_depth = (1 / SCENE.depth()).requires_grad_()
    result = reprojection(views, inv_depth)
    loss = photometric(result)
    loss.backward()
    # Rebuilding with a wrong motion may still win by chance where there is no texture.
    assert result.is_moving.double().mean() < 0.02
    assert abs(loss.item()) < 1e-4
    assert (inv_depth.grad[~result.is_moving] == 0).all()


def test_moving_camera_passes_the_auto_mask() -> None:
    result = reprojection(views_of_scene(auto_mask=True), 1 / SCENE.depth())
    assert result.is_moving.double().mean() > 0.9


def test_minimum_takes_the_source_that_sees_the_pixel() -> None:
    # The second source looks elsewhere: nothing of the target is in it.
    away = (POSES[0], IDENTITY.clone())
    away[1][0, 3] = 100.0
    both = reprojection(views_of_scene(away), 1 / SCENE.depth())
    alone = prepare(
        SCENE.picture(IDENTITY),
        [SCENE.picture(POSES[0])],
        SCENE.K_B33,
        [POSES[0][None]],
        tie_break_BNHW=None,
    )
    one = reprojection(alone, 1 / SCENE.depth())
    assert torch.equal(both.is_valid, one.is_valid)
    torch.testing.assert_close(both.error[one.is_valid], one.error[one.is_valid])


def test_pixels_that_no_source_sees_have_no_influence() -> None:
    backwards = (NEXT_T_TARGET, NEXT_T_TARGET)
    inv_depth = (1 / SCENE.depth()).requires_grad_()
    result = reprojection(views_of_scene(backwards), inv_depth)
    photometric(result).backward()
    assert 0 < (~result.is_valid).sum() < result.is_valid.numel() / 2
    assert torch.isfinite(inv_depth.grad).all()
    # A pixel has a part in the windows of its neighbours.
    beyond = torch.nn.functional.max_pool2d(result.is_valid.double(), 3, 1, 1) == 0
    assert beyond.any()
    assert (inv_depth.grad[beyond] == 0).all()


def test_repeated_border_makes_every_pixel_valid() -> None:
    result = reprojection(views_of_scene(), 1 / SCENE.depth(), exclude_invisible=False)
    assert result.is_valid.all()
    assert torch.isfinite(result.error).all()


def test_coarse_scales_are_enlarged_to_the_picture() -> None:
    depth = torch.full((1, 1, 12, 24), 8.0, dtype=torch.float64)
    coarse = reprojection(views_of_scene(), 1 / depth)
    full = reprojection(views_of_scene(), torch.full((1, 1, 48, 96), 0.125).double())
    torch.testing.assert_close(coarse.error, full.error)


def test_multi_scale_loss_equals_the_plain_implementation() -> None:
    problem = benchmark.make_problem(2, (32, 64), torch.float64)
    value, gradient = benchmark.differences(problem)
    assert value < 1e-12
    assert gradient < 1e-10
    result = reprojection(
        prepare(
            problem.target,
            problem.sources,
            problem.K_B33,
            [IDENTITY.expand(2, 4, 4)] * 2,
            tie_break_BNHW=problem.tie_break,
        ),
        problem.inv_depths[0],
    )
    # Otherwise the comparison would have said nothing about one side of the auto-mask.
    assert 0.0 <= result.is_moving.double().mean() < 1.0


def test_reprojection_gradients_are_those_of_finite_differences() -> None:
    scene = PlaneScene(height=5, width=6, focal_px=5.0)
    target, source = scene.picture(IDENTITY), scene.picture(NEXT_T_TARGET)
    inv_depth = (0.8 / scene.depth()).requires_grad_()
    pose = NEXT_T_TARGET[None].clone().requires_grad_()

    def loss(inv_depth: Tensor, pose: Tensor) -> Tensor:
        views = prepare(target, [source], scene.K_B33, [pose], tie_break_BNHW=None)
        return photometric(reprojection(views, inv_depth))

    assert torch.autograd.gradcheck(loss, (inv_depth, pose))


def test_bad_input_is_named() -> None:
    picture = SCENE.picture(IDENTITY)
    arguments = [picture], SCENE.K_B33
    with pytest.raises(ValueError, match='1 sources and 2 poses'):
        prepare(picture, *arguments, [IDENTITY[None]] * 2, tie_break_BNHW=None)
    with pytest.raises(ValueError, match='0 sources'):
        prepare(picture, [], SCENE.K_B33, [], tie_break_BNHW=None)
    with pytest.raises(ValueError, match='tie_break_BNHW has shape'):
        prepare(picture, *arguments, [IDENTITY[None]], tie_break_BNHW=tie_break_noise(picture, 2))
    with pytest.raises(ValueError, match='inv_depth_B1hw has shape'):
        reprojection(views_of_scene(), torch.ones(1, 48, 96))
    with pytest.raises(ValueError, match='b_B3HW has shape'):
        photometric_error(picture, picture[..., :5])
    with pytest.raises(ValueError, match='target has shape'):
        moment_error(target_moments(picture), picture[..., :5])
    with pytest.raises(ValueError, match='9x1 has no 3x3 window'):
        target_moments(torch.ones(1, 3, 1, 9))
    with pytest.raises(ValueError, match='requires a gradient'):
        target_moments(picture.clone().requires_grad_())
    nothing = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match='is_valid has no True'):
        photometric(Reprojection(torch.ones(1, 1, 4, 4), nothing, nothing))


def test_hard_mask_is_the_mean_over_what_moves_alone() -> None:
    error = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)[None, None, None]
    moving = torch.tensor([True, False, True, False])[None, None, None]
    result = Reprojection(error, torch.ones_like(moving), moving)
    assert moving_photometric(result).item() == pytest.approx(0.2)
    where = torch.tensor([False, True, True, True])[None, None, None]
    assert moving_photometric(result, where).item() == pytest.approx(0.3)
    assert photometric(result).item() == pytest.approx(0.25)
    with pytest.raises(ValueError, match='has no True pixel'):
        moving_photometric(result, ~moving)


def test_hard_mask_excludes_a_scene_that_stands_still() -> None:
    # Without motion the rebuilt picture is the picture: the noise alone decides.
    target = SCENE.picture(IDENTITY)
    noise = torch.full((1, 1, SCENE.height, SCENE.width), 1e-5, dtype=torch.float64)
    pose = NEXT_T_TARGET[None]
    views = prepare(target, [target], SCENE.K_B33, [pose], tie_break_BNHW=noise)
    result = reprojection(views, 1 / SCENE.depth())
    assert result.is_moving.float().mean() < 0.05
