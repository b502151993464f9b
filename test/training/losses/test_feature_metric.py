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

"""Feature-metric error: exact where projection and sampling are, whatever the grid."""

from __future__ import annotations

from test.training.scenes import NEXT_T_TARGET, PlaneScene, PREVIOUS_T_TARGET

import pytest
import torch
from torch import Tensor
from training.losses.feature_metric import EPS, feature_error, rho
from training.warp import project, transform

SCENE = PlaneScene(height=48, width=96)
SIZE = (SCENE.height, SCENE.width)
POSES = (PREVIOUS_T_TARGET[None], NEXT_T_TARGET[None])
# Bilinear sampling is exact for maps that are linear in the pixel.
SLOPES = torch.tensor([[0.3, -0.2, 1.0], [-0.1, 0.4, 2.0]], dtype=torch.float64)


def centres(stride: int) -> tuple[Tensor, Tensor]:
    """Return where the centres of features lie in the picture [px]."""
    rows, cols = (torch.arange(n // stride, dtype=torch.float64) for n in SIZE)
    v, u = torch.meshgrid(rows * stride, cols * stride, indexing='ij')
    return u + (stride - 1) / 2, v + (stride - 1) / 2


def linear(u: Tensor, v: Tensor, stride: int) -> Tensor:
    """Return features (1, 2, h, w) that are linear in the feature grid's own pixels."""
    u, v = ((x + 0.5) / stride - 0.5 for x in (u, v))
    return torch.stack([a * u + b * v + c for a, b, c in SLOPES])[None]


def inverse_depth(u: Tensor, v: Tensor) -> Tensor:
    """Return 1 / depth of the plane at pixels of the picture."""
    rays = torch.stack((u, v, torch.ones_like(u)), -1) @ torch.linalg.inv(SCENE.K_B33[0]).T
    normal = torch.tensor(SCENE.normal, dtype=torch.float64)
    return (rays @ normal / SCENE.distance_m)[None, None]


def moved(pose: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return where the centres of features lie in a source's picture, by points in space."""
    u, v = centres(stride)
    rays = torch.stack((u, v, torch.ones_like(u)), -1) @ torch.linalg.inv(SCENE.K_B33[0]).T
    xyz = (rays / inverse_depth(u, v)[0, 0, ..., None]).permute(2, 0, 1)[None]
    uv, _ = project(transform(pose, xyz), SCENE.K_B33)
    return uv[0, 0], uv[0, 1]


def scene(stride: int) -> tuple[Tensor, Tensor]:
    """Return features of the target and of the first source that agree exactly."""
    target = linear(*moved(POSES[0], stride), stride)
    return target, linear(*centres(stride), stride)


def error_of(stride: int, factor: float = 1.0, scales: int = 0) -> tuple[Tensor, Tensor]:
    target, source = scene(stride)
    inv_depth = factor * inverse_depth(*centres(2**scales))
    return feature_error(target, [source], inv_depth, SCENE.K_B33, POSES[:1], SIZE)


@pytest.mark.parametrize('stride', [1, 2, 4, 8])
@pytest.mark.parametrize('scale', [0, 1])
def test_true_depth_and_pose_cost_nothing_at_any_grid(stride: int, scale: int) -> None:
    error, is_visible = error_of(stride, scales=scale)
    assert error.shape == is_visible.shape == (1, 1, SIZE[0] // stride, SIZE[1] // stride)
    # At the border the source has nothing to interpolate with; finer depth is given by its mean.
    inside = is_visible.clone()
    inside[..., [0, -1], :] = inside[..., :, [0, -1]] = False
    assert inside.float().mean() > 0.5
    if stride >= 2**scale:
        assert error[inside].max() < 1e-9
    wrong, _ = error_of(stride, 2.0, scale)
    assert wrong[inside].mean() > 10 * EPS / stride


def test_smallest_error_of_the_sources_that_see_a_pixel_counts() -> None:
    target, source = scene(2)
    right, other = target + 0.1, source + 5.0
    # Behind the plane a camera sees nothing of it, although its features would fit.
    behind = POSES[0].clone()
    behind[:, 2, 3] = -1000.0
    given = {'inv_depth_B1hw': inverse_depth(*centres(1)), 'K_B33': SCENE.K_B33}

    def of(sources: list[Tensor], *poses: Tensor) -> tuple[Tensor, Tensor]:
        return feature_error(right, sources, source_T_targets=poses, image_size=SIZE, **given)

    one, seen = of([source], POSES[0])
    for sources, poses in (
        ([source, right], (POSES[0], behind)),
        ([other, source], POSES[:1] * 2),
    ):
        both, seen_by_any = of(sources, *poses)
        assert torch.equal(seen_by_any, seen)
        assert torch.equal(both[seen], one[seen])


def test_constant_features_cost_nothing_whatever_the_depth() -> None:
    flat = torch.full((1, 5, 24, 48), 7.0, dtype=torch.float64)
    inv_depth = torch.rand(1, 1, *SIZE, dtype=torch.float64) + 0.05
    error, is_visible = feature_error(flat, [flat], inv_depth, SCENE.K_B33, POSES[:1], SIZE)
    assert is_visible.any()
    assert error[is_visible].abs().max() < 1e-12


def test_gradient_turns_depth_towards_the_truth() -> None:
    target, source = scene(2)
    for factor, sign in ((0.7, -1), (1.4, 1)):
        inv_depth = (factor * inverse_depth(*centres(1))).requires_grad_()
        error, is_visible = feature_error(
            target, [source], inv_depth, SCENE.K_B33, POSES[:1], SIZE
        )
        (gradient,) = torch.autograd.grad(error[is_visible].mean(), inv_depth)
        assert torch.isfinite(gradient).all()
        assert sign * gradient.sum() > 0


def test_rho_is_the_difference_beyond_eps_and_flat_at_zero() -> None:
    difference = torch.tensor([0.0, 1e-6, 0.5, -2.0], dtype=torch.float64, requires_grad=True)
    value = rho(difference, torch.zeros_like(difference))
    wanted = torch.tensor([0.0, 5e-10, 0.499001, 1.999], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), wanted, rtol=1e-6, atol=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), difference)
    assert gradient[0] == 0
    assert gradient[3].item() == pytest.approx(-1, abs=1e-6)


@pytest.mark.parametrize('poses', [(), POSES])
def test_sources_and_poses_must_be_as_many(poses: tuple[Tensor, ...]) -> None:
    target, source = scene(2)
    depth = inverse_depth(*centres(1))
    with pytest.raises(ValueError, match=f'1 sources and {len(poses)} poses'):
        feature_error(target, [source], depth, SCENE.K_B33, poses, SIZE)
    with pytest.raises(ValueError, match='inv_depth_B1hw has shape'):
        feature_error(target, [source], depth[0], SCENE.K_B33, POSES[:1], SIZE)
