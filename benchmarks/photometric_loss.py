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
Measure the photometric loss against a plain implementation of the same formulas.

Both take four scales of inverse depth, two sources and the auto-mask, forward and backward, in
turns within one process: python -m benchmarks.photometric_loss. The plain one is written as the
formulas stand: it unprojects, projects, pads, pools and records every step anew at each scale.
Then values and gradients are compared in float64.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
import statistics
import sys
import time

import torch
from torch import Tensor
from torch.nn import functional
from training import warp
from training.losses.dissimilarity import photometric_error
from training.losses.photometric import photometric, prepare, reprojection, tie_break_noise

SCALES = 4
TARGET_RATIO = 0.40
TARGET_DIFFERENCE = 1e-10
WARM_UP = 2


@dataclass(frozen=True)
class Problem:
    """One training batch: pictures, and the leaves that gradients are taken of."""

    target: Tensor
    sources: tuple[Tensor, ...]
    K_B33: Tensor
    inv_depths: tuple[Tensor, ...]
    vectors: tuple[Tensor, ...]
    tie_break: Tensor

    @property
    def leaves(self) -> tuple[Tensor, ...]:
        return *self.inv_depths, *self.vectors


Loss = Callable[[Problem], Tensor]


def make_problem(batch: int, size: tuple[int, int], dtype: torch.dtype, seed: int = 0) -> Problem:
    """Return smooth pictures, inverse depths of 1/40 to 1/4 per metre and a car's motion."""
    generator = torch.Generator().manual_seed(seed)
    height, width = size

    def smooth(channels: int, cell: int, high: int, wide: int) -> Tensor:
        coarse = torch.rand(
            batch, channels, high // cell + 2, wide // cell + 2, generator=generator, dtype=dtype
        )
        return functional.interpolate(coarse, (high, wide), mode='bicubic').clamp(0, 1)

    target, *sources = (smooth(3, 8, height, width) for _ in range(3))
    inv_depths = tuple(
        (0.025 + 0.225 * smooth(1, 16, height >> s, width >> s)).requires_grad_()
        for s in range(SCALES)
    )
    K = torch.tensor(
        [[0.58 * width, 0, width / 2 - 0.5], [0, 1.92 * height, height / 2 - 0.5], [0, 0, 1]],
        dtype=dtype,
    ).expand(batch, 3, 3)
    motions = ((0.002, 0.01, 0.0, 0.02, 0.0, 0.6), (-0.001, -0.008, 0.0, 0.0, 0.01, -0.5))
    vectors = tuple(
        torch.tensor([values] * batch, dtype=dtype).requires_grad_() for values in motions
    )
    tie_break = tie_break_noise(target, 2, generator)
    return Problem(target, tuple(sources), K, inv_depths, vectors, tie_break)


def fast_loss(problem: Problem) -> Tensor:
    """Return the mean over the scales, as the trainer computes it."""
    views = prepare(
        problem.target,
        problem.sources,
        problem.K_B33,
        [warp.pose_matrix(v[:, :3], v[:, 3:]) for v in problem.vectors],
        tie_break_BNHW=problem.tie_break,
    )
    terms = [photometric(reprojection(views, inv_depth)) for inv_depth in problem.inv_depths]
    return torch.stack(terms).mean()


def plain_loss(problem: Problem) -> Tensor:
    """Return the same, one formula after the other."""
    return torch.stack([_plain_scale(problem, d) for d in problem.inv_depths]).mean()


def _plain_scale(problem: Problem, inv_depth: Tensor) -> Tensor:
    poses = [warp.pose_matrix(v[:, :3], v[:, 3:]) for v in problem.vectors]
    images = problem.target, problem.sources, problem.tie_break
    smallest, is_valid = plain_errors(*images, problem.K_B33, poses, inv_depth)
    return smallest[is_valid].mean()


def plain_errors(
    target: Tensor,
    sources: Sequence[Tensor],
    tie_break: Tensor,
    K_B33: Tensor,
    poses: Sequence[Tensor],
    inv_depth: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the smallest error of each pixel at one scale, and whether a source sees it."""
    size = target.shape[-2:]
    depth = 1 / functional.interpolate(inv_depth, size=size, mode='bilinear', align_corners=False)
    errors, seen = [], []
    for source, pose in zip(sources, poses, strict=True):
        image, is_visible = _plain_warp(source, depth, K_B33, pose)
        seen.append(is_visible)
        error = photometric_error(target, image)
        errors.append(torch.where(is_visible, error, torch.full_like(error, torch.inf)))
    still = [
        photometric_error(target, source) + noise[:, None]
        for source, noise in zip(sources, tie_break.unbind(1), strict=True)
    ]
    smallest = torch.cat([*errors, *still], dim=1).amin(1, keepdim=True)
    return smallest, seen[0] | seen[1]


def _plain_warp(
    source: Tensor, depth: Tensor, K_B33: Tensor, pose: Tensor
) -> tuple[Tensor, Tensor]:
    points = warp.transform(pose, warp.unproject(depth, K_B33))
    pixels, z = warp.project(points, K_B33)
    height, width = source.shape[-2:]
    sizes = pixels.new_tensor([width, height]).reshape(1, 2, 1, 1)
    grid = ((2 * pixels + 1) / sizes - 1).permute(0, 2, 3, 1)
    is_visible = (z > warp.MIN_Z_M) & (grid.abs() <= 1).all(-1)[:, None]
    return warp.sample(source, grid), is_visible


def value_and_gradients(loss: Loss, problem: Problem) -> tuple[Tensor, list[Tensor]]:
    """Return the loss and its gradients with respect to ``problem.leaves``."""
    value = loss(problem)
    return value.detach(), list(torch.autograd.grad(value, problem.leaves))


def differences(problem: Problem) -> tuple[float, float]:
    """Return the largest difference in value, and in gradient relative to the largest one."""
    plain_value, plain = value_and_gradients(plain_loss, problem)
    fast_value, fast = value_and_gradients(fast_loss, problem)
    worst = max(
        float((a - b).abs().max() / a.abs().max()) for a, b in zip(plain, fast, strict=True)
    )
    return float((plain_value - fast_value).abs()), worst


def measure(problem: Problem, rounds: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of plain and fast, taken in turns after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + rounds):
        for taken, loss in zip(times, (plain_loss, fast_loss), strict=True):
            start = time.perf_counter()
            value_and_gradients(loss, problem)
            if number >= WARM_UP:
                taken.append((time.perf_counter() - start) * 1e3)
    return times


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when ratio and differences keep their targets."""
    arguments = _parser().parse_args(argv)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    size = (arguments.height, arguments.width)
    plain, fast = measure(make_problem(arguments.batch, size, torch.float32), arguments.rounds)
    medians = statistics.median(plain), statistics.median(fast)
    ratio = medians[1] / medians[0]
    value, gradient = differences(make_problem(1, size, torch.float64))
    print(
        f'photometric loss, forward and backward, batch {arguments.batch} of {size[1]}x{size[0]}, '
        f'{SCALES} scales, 2 sources, {torch.get_num_threads()} threads, '
        f'{arguments.rounds} rounds in turns, median:'
    )
    print(f'  plain {medians[0]:.1f} ms, fast {medians[1]:.1f} ms')
    print(f'  ratio {ratio:.3f} (target <= {TARGET_RATIO:.2f})')
    print(
        f'  float64: largest difference {value:.1e} in value, {gradient:.1e} relative in '
        f'gradient (target <= {TARGET_DIFFERENCE:.0e})'
    )
    return 0 if ratio <= TARGET_RATIO and max(value, gradient) <= TARGET_DIFFERENCE else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.photometric_loss', description=__doc__)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--height', type=int, default=192)
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help="0: torch's own choice")
    return parser


if __name__ == '__main__':
    sys.exit(main())
