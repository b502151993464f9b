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
One training step: terms, finite check, gradients, optimiser.

Two processes give what one gives with the same global batch: each term's mean is weighted by what
it is the mean of, everywhere. No weight changes before all processes have found all terms and the
gradients finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from typing import Any

from depth_ros.errors import DepthRosError
from lightning_fabric import Fabric
import torch
from torch import nn, Tensor
from torch.autograd.function import once_differentiable
from training.optimisation import Averaged, Buffers, fill_gradients
from training.ranks import Ranks, TrainingError
from training.recipes.recipe import Progress, Recipe, Term
from training.samples import Batch

# Its loss scaler may leave a step out, and tries a smaller scale.
HALF = '16-mixed'


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """
    What a step found, the same in all processes.

    Fields:
        loss: None: no process had anything to learn from, and nothing was changed.
        terms: mean of each term, without its weight.
        gradient_norm: before it was limited; None as above.
        stop: number of the signal that some process has got; 0: none.

    """

    loss: float | None
    terms: dict[str, float]
    gradient_norm: float | None
    stop: int


@dataclass(frozen=True, slots=True)
class _Report:
    """What one process tells of its part: value, count, weight of each term; its frames."""

    terms: dict[str, tuple[float, int, float]]
    frames: tuple[tuple[str, int], ...]
    stop: int


class _Given:
    """A batch and how far the training is; opaque to libraries that copy what they understand."""

    __slots__ = ('batch', 'progress')

    def __init__(self, batch: Batch, progress: Progress) -> None:
        self.batch, self.progress = batch, progress


class _Touch(torch.autograd.Function):
    """Zero that depends on all parameters and gives none of them a gradient."""

    @staticmethod
    def forward(ctx: Any, *parameters: Tensor) -> Tensor:
        ctx.count = len(parameters)
        return parameters[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, ...]:
        count: int = ctx.count
        return (None,) * count


class _Forward(nn.Module):
    """
    The recipe as torch's distributed engine wants it.

    The engine waits in every process for every parameter. The second result, zero, lets it see
    all of them, whichever terms there are.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, given: _Given) -> tuple[dict[str, Term], Tensor]:
        terms = self.recipe(given.batch, given.progress)
        touch: Any = _Touch.apply
        return terms, touch(*(p for p in self.parameters() if p.requires_grad))


class TrainStep:
    """Makes steps; built once, before the first."""

    def __init__(
        self,
        fabric: Fabric,
        ranks: Ranks,
        recipe: Recipe,
        optimiser: torch.optim.Optimizer,
        *,
        max_grad_norm: float | None,
        averaged: Averaged | None,
    ) -> None:
        self._fabric, self._ranks, self._recipe = fabric, ranks, recipe
        self._module, self._optimiser = fabric.setup(_Forward(recipe), optimiser)
        self._limit = math.inf if max_grad_norm is None else max_grad_norm
        self._averaged = averaged
        self._buffers = Buffers(recipe)
        precision: Any = fabric.strategy.precision
        self._may_overflow = precision.precision == HALF

    def __call__(self, batch: Batch, progress: Progress, stop: int) -> StepResult:
        """
        Make one step with this process's part of the batch.

        :param stop: number of the signal that this process has got; 0: none.
        :raises TrainingError: a term or the norm of the gradients is not finite; weights and
            buffers are as before.
        :raises DepthRosError: of another process, or of the recipe.
        """
        self._buffers.keep()
        try:
            return self._step(batch, progress, stop)
        except DepthRosError:
            self._optimiser.zero_grad()
            self._buffers.restore()
            raise

    def _step(self, batch: Batch, progress: Progress, stop: int) -> StepResult:
        terms, zero = self._module(_Given(batch, progress))
        reports = self._ranks.exchange(_report(batch, terms, stop))
        stop = max(report.stop for report in reports)
        _check_terms(reports, progress)
        counts = _total_counts(reports)
        if not any(_weight(name, reports) for name in counts):
            self._recipe.finish_step(self._ranks, has_learned=False)
            means = _global_means(reports, counts)
            terms_only = {name: mean for name, (mean, _) in means.items()}
            return StepResult(loss=None, terms=terms_only, gradient_norm=None, stop=stop)
        self._fabric.backward(self._share(terms, counts, zero))
        fill_gradients(self._recipe)
        norm = float(self._limited_norm())
        if not (math.isfinite(norm) or self._may_overflow):
            where = _where(reports, progress)
            raise TrainingError(f'the norm of the gradients is {norm} {where}')
        self._optimiser.step()
        self._optimiser.zero_grad()
        if self._averaged is not None:
            self._averaged.update(progress.step + 1)
        self._recipe.finish_step(self._ranks, has_learned=True)
        means = _global_means(reports, counts)
        return StepResult(
            loss=sum(mean * weight for mean, weight in means.values()),
            terms={name: mean for name, (mean, _) in means.items()},
            gradient_norm=norm,
            stop=stop,
        )

    def _share(self, terms: dict[str, Term], counts: dict[str, int], zero: Tensor) -> Tensor:
        """Return this process's loss: the mean over the processes has the global gradient."""
        loss = zero
        for name, term in terms.items():
            if name not in counts:
                continue
            share = term.count * self._ranks.count / counts[name]
            loss = loss + term.value * (term.weight * share)
        return loss

    def _limited_norm(self) -> Tensor:
        norm = self._fabric.clip_gradients(
            self._module, self._optimiser, max_norm=self._limit, error_if_nonfinite=False
        )
        assert norm is not None
        return norm


def _report(batch: Batch, terms: dict[str, Term], stop: int) -> _Report:
    # One transfer from the device for all terms.
    values = [term.value.detach().float() for term in terms.values()]
    listed = torch.stack(values).tolist() if values else []
    found = {
        name: (value, term.count, term.weight)
        for (name, term), value in zip(terms.items(), listed, strict=True)
    }
    return _Report(found, tuple(zip(batch.sequences, batch.stamps_ns, strict=True)), stop)


def _check_terms(reports: Sequence[_Report], progress: Progress) -> None:
    for report in reports:
        for name, (value, _, _) in report.terms.items():
            if not math.isfinite(value):
                where = _where([report], progress)
                raise TrainingError(f"loss term '{name}' is {value} {where}")


def _where(reports: Sequence[_Report], progress: Progress) -> str:
    frames = ', '.join(f'{name} {ns}' for report in reports for name, ns in report.frames)
    return (
        f'at step {progress.step + 1}, epoch {int(progress.epochs)}; its frames (sequence and '
        f'stamp in ns) are {frames}'
    )


def _total_counts(reports: Sequence[_Report]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for report in reports:
        for name, (_, count, _) in report.terms.items():
            totals[name] = totals.get(name, 0) + count
    return {name: total for name, total in totals.items() if total}


def _weight(name: str, reports: Sequence[_Report]) -> float:
    """Return the weight of a term; one without weight only tells something."""
    return next(report.terms[name][2] for report in reports if name in report.terms)


def _global_means(
    reports: Sequence[_Report], counts: dict[str, int]
) -> dict[str, tuple[float, float]]:
    """Return the mean over all processes, and the weight, of each term."""
    result = {}
    for name, total in counts.items():
        parts = [report.terms[name] for report in reports if name in report.terms]
        result[name] = sum(value * count for value, count, _ in parts) / total, parts[0][2]
    return result
