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
Measure a whole self-supervised training step against a plain implementation of its formulas.

A step is: depth and pose network forward, four scales of photometric loss with two sources and
auto-mask, smoothness, backward, Adam. Ours is the recipe as the trainer runs it, channels-last
and with a fused optimiser, in float32 and with bfloat16 networks; the plain one runs the same
networks in torch's default layout and computes every formula as it stands, anew at each scale.
All take their turns within one process: python -m benchmarks.training_step. Then loss and
gradients are compared in float64.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
import contextlib
from dataclasses import dataclass
import statistics
import sys
import time

from benchmarks.photometric_loss import make_problem, plain_errors
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.depth_net import DepthNet, DepthNetConfig
from training.recipes.chance import tie_break
from training.recipes.recipe import Progress
from training.recipes.self_supervised import SelfSupervised, SelfSupervisedConfig
from training.samples import Batch
from training.warp import inverse_pose_matrix, pose_matrix

TARGET_FP32, TARGET_BF16 = 0.72, 0.52
TARGET_DIFFERENCE = 1e-10
LEARNING_RATE = 1e-4
WARM_UP = 2
PERIOD_S = 0.1
START = Progress(step=0, epochs=0.0)

Loss = Callable[[SelfSupervised, Batch], Tensor]


def make_batch(count: int, size: tuple[int, int], dtype: torch.dtype) -> Batch:
    """Return smooth pictures with both neighbours, and no LiDAR, pose or speed."""
    problem = make_problem(count, size, dtype)
    nothing = torch.zeros(count, 1, *size, dtype=torch.bool)
    return Batch(
        sequences=('benchmark',) * count,
        stamps_ns=tuple(range(count)),
        seeds=tuple(range(count)),
        image_B3HW=problem.target,
        depth_B1HW=torch.zeros(count, 1, *size, dtype=dtype),
        valid_B1HW=nothing,
        seen_B1HW=~nothing,
        objects_B1HW=nothing,
        has_objects_B=torch.zeros(count, dtype=torch.bool),
        K_B33=problem.K_B33,
        is_labelled_B=torch.zeros(count, dtype=torch.bool),
        speed_mps_B=torch.full((count,), torch.nan),
        neighbour_BN3HW=torch.stack(problem.sources, dim=1),
        has_neighbour_BN=torch.ones(count, 2, dtype=torch.bool),
        neighbour_T_this_BN44=torch.eye(4).expand(count, 2, 4, 4),
        has_pose_BN=torch.zeros(count, 2, dtype=torch.bool),
        gap_s_BN=torch.tensor([[-PERIOD_S, PERIOD_S]]).expand(count, 2),
    )


def make_recipe(encoder: str, batch: Batch) -> SelfSupervised:
    """Return the recipe with untrained networks, always the same ones."""
    torch.manual_seed(0)
    options = SelfSupervisedConfig(
        pose_encoder=encoder, pose_weights='random', colors='off', travel_weight=0.0
    )
    config = DepthNetConfig(encoder=encoder, weights='random')
    focal_px = float(batch.K_B33[0, 0, 0])
    return SelfSupervised(options, lambda: DepthNet(config), focal_px)


def fast_loss(recipe: SelfSupervised, batch: Batch) -> Tensor:
    """Return the loss as the trainer computes it."""
    terms = recipe(batch, START).values()
    return torch.stack([term.value * term.weight for term in terms]).sum()


def plain_loss(recipe: SelfSupervised, batch: Batch) -> Tensor:
    """Return the same of the same networks, one formula after the other."""
    image, count = batch.image_B3HW, len(batch)
    sources = batch.neighbour_BN3HW.unbind(1)
    inverse = [1 / depth for depth in recipe.network(image).depths]
    assert recipe.video.pose_net is not None
    pairs = torch.cat((sources[0], image)), torch.cat((image, sources[1]))
    angle, translation = recipe.video.pose_net(*pairs)
    poses = (
        inverse_pose_matrix(angle[:count], translation[:count]),
        pose_matrix(angle[count:], translation[count:]),
    )
    noise = tie_break(list(batch.seeds), len(sources), image)
    found = [plain_errors(image, sources, noise, batch.K_B33, poses, x) for x in inverse]
    errors = torch.cat([error[is_valid] for error, is_valid in found])
    smooth = torch.stack([_plain_smoothness(x, image) for x in inverse]).mean()
    return errors.mean() + recipe.options.smoothness_weight * smooth


def _plain_smoothness(inv_depth: Tensor, image: Tensor) -> Tensor:
    size = inv_depth.shape[-2:]
    small = functional.interpolate(image, size, mode='area')
    normal = inv_depth / (inv_depth.mean(2, True).mean(3, True) + 1e-7)
    along_x = (normal[..., :-1] - normal[..., 1:]).abs()
    along_y = (normal[..., :-1, :] - normal[..., 1:, :]).abs()
    edge_x = (small[..., :-1] - small[..., 1:]).abs().mean(1, True)
    edge_y = (small[..., :-1, :] - small[..., 1:, :]).abs().mean(1, True)
    total = (along_x * (-edge_x).exp()).mean() + (along_y * (-edge_y).exp()).mean()
    return total * (size[0] / image.shape[-2])


@dataclass(frozen=True)
class Candidate:
    """One way to train: its loss, its own networks, and in which precision these run."""

    name: str
    loss: Loss
    recipe: SelfSupervised
    optimiser: torch.optim.Optimizer
    is_mixed: bool = False

    def step(self, batch: Batch) -> None:
        """Take one training step."""
        self.optimiser.zero_grad(set_to_none=True)
        context: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        if self.is_mixed:
            context = torch.autocast('cpu', torch.bfloat16)
        with context:
            loss = self.loss(self.recipe, batch)
        loss.backward()
        self.optimiser.step()


def make_candidates(encoder: str, batch: Batch) -> tuple[Candidate, Candidate, Candidate]:
    """Return plain, ours in float32, and ours with bfloat16 networks."""

    def make(name: str, loss: Loss, is_mixed: bool) -> Candidate:
        recipe, is_ours = make_recipe(encoder, batch), loss is fast_loss
        if is_ours:
            recipe.to(memory_format=torch.channels_last)
        # In one pass over the weights, as the trainer makes it.
        optimiser = torch.optim.Adam(recipe.parameters(), lr=LEARNING_RATE, fused=is_ours)
        return Candidate(name, loss, recipe, optimiser, is_mixed)

    return (
        make('plain', plain_loss, False),
        make('ours, float32', fast_loss, False),
        make('ours, bfloat16 networks', fast_loss, True),
    )


def measure(candidates: Sequence[Candidate], batch: Batch, rounds: int) -> list[list[float]]:
    """Return the milliseconds of each candidate, taken in turns after a warm-up."""
    times: list[list[float]] = [[] for _ in candidates]
    for number in range(WARM_UP + rounds):
        for taken, candidate in zip(times, candidates, strict=True):
            start = time.perf_counter()
            candidate.step(batch)
            if number >= WARM_UP:
                taken.append((time.perf_counter() - start) * 1e3)
    return times


def gradients(loss: Loss, recipe: SelfSupervised, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Return the loss, and its gradient in every parameter that has one."""
    recipe.zero_grad(set_to_none=True)
    value = loss(recipe, batch)
    value.backward()
    found = [p.grad.clone() for p in recipe.parameters() if p.grad is not None]
    return value.detach(), found


def differences(encoder: str, size: tuple[int, int]) -> tuple[float, float]:
    """Return the largest difference in loss, and in gradient relative to a network's largest."""
    batch = make_batch(2, size, torch.float64)
    recipe: nn.Module = make_recipe(encoder, batch).double()
    assert isinstance(recipe, SelfSupervised)
    plain_value, plain = gradients(plain_loss, recipe, batch)
    fast_value, fast = gradients(fast_loss, recipe, batch)
    largest = max(float(gradient.abs().max()) for gradient in plain)
    worst = max(float((a - b).abs().max()) for a, b in zip(plain, fast, strict=True))
    return float((plain_value - fast_value).abs()), worst / largest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when ratios and differences keep their targets."""
    given = _parser().parse_args(argv)
    if given.threads:
        torch.set_num_threads(given.threads)
    size = (given.height, given.width)
    batch = make_batch(given.batch, size, torch.float32)
    candidates = make_candidates(given.encoder, batch)
    medians = [statistics.median(times) for times in measure(candidates, batch, given.rounds)]
    ratios = [median / medians[0] for median in medians]
    value, gradient = differences(given.encoder, size)
    print(
        f'self-supervised step with {given.encoder}, batch {given.batch} of {size[1]}x{size[0]}, '
        f'{torch.get_num_threads()} threads, {given.rounds} rounds in turns, median:'
    )
    targets = ('', f' (target <= {TARGET_FP32})', f' (target <= {TARGET_BF16})')
    for candidate, median, ratio, target in zip(candidates, medians, ratios, targets, strict=True):
        print(f'  {candidate.name}: {median:.1f} ms, ratio {ratio:.3f}{target}')
    print(
        f'  float64: largest difference {value:.1e} in loss, {gradient:.1e} relative in '
        f'gradient (target <= {TARGET_DIFFERENCE:.0e})'
    )
    is_fast = ratios[1] <= TARGET_FP32 and ratios[2] <= TARGET_BF16
    return 0 if is_fast and max(value, gradient) <= TARGET_DIFFERENCE else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='benchmarks.training_step', description=__doc__)
    parser.add_argument('--encoder', default='resnet18')
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--height', type=int, default=192)
    parser.add_argument('--width', type=int, default=640)
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--threads', type=int, default=0, help="0: torch's own choice")
    return parser


if __name__ == '__main__':
    sys.exit(main())
