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
The training loop: batch, terms, finite check, gradients, step; validation and checkpoints.

Two processes give what one gives with the same global batch: each term's mean is weighted by what
it is the mean of, everywhere. Nothing changes a weight before all processes have found all terms
finite.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
import math
from pathlib import Path
import signal
import time
from typing import Any

from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import DepthRosError
from lightning_fabric import Fabric
import torch
from torch import nn, Tensor
from training.checkpoint import (
    BEST,
    Checkpoint,
    LAST,
    load_state,
    Position,
    write_checkpoint,
)
from training.dataset import DepthDataset
from training.loading import batches
from training.optimisation import (
    Averaged,
    batch_norms,
    Buffers,
    fill_gradients,
    make_optimiser,
)
from training.ranks import Ranks, TrainingError
from training.recipes.recipe import Progress, Recipe, Term
from training.sampler import derived_seed, Sampler, STEP
from training.samples import Batch
from training.schedules import learning_factor
from training.train_config import TrainConfig
from training.train_log import TrainLog
from training.validation import BranchScores, CRITERION, merged, score


class _Given:
    """A batch and how far the training is; opaque to libraries that copy what they understand."""

    __slots__ = ('batch', 'progress')

    def __init__(self, batch: Batch, progress: Progress) -> None:
        self.batch, self.progress = batch, progress


class _Forward(nn.Module):
    """The recipe as torch's engines want it: something to go backward from in every process."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe

    def forward(self, given: _Given) -> tuple[dict[str, Term], Tensor | None]:
        terms = self.recipe(given.batch, given.progress)
        if terms:
            return terms, None
        # This process has nothing to learn from, but the others wait for its gradients.
        anchor = next(p for p in self.recipe.parameters() if p.requires_grad)
        return terms, 0.0 * anchor.sum()


@dataclass(frozen=True, slots=True)
class _Report:
    """What one process tells of its part of a batch, before anything goes backward."""

    terms: dict[str, tuple[float, int, float]]
    frames: tuple[tuple[str, int], ...]
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainData:
    """
    What is trained and validated on.

    Fields:
        identity: what must be the same when the run is resumed, by name.
        val: None: there is no validation.

    """

    train: DepthDataset
    val: DepthDataset | None
    identity: dict[str, Any]


class StopSignals:
    """Notes the first SIGINT or SIGTERM; the second one ends the program as usual."""

    def __init__(self) -> None:
        self.number = 0

    @contextmanager
    def caught(self) -> Iterator[StopSignals]:
        """Note signals while the block runs."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: Any) -> None:
        self.number = number
        signal.signal(number, signal.SIG_DFL)


class Trainer:
    """One training run, from its beginning or a checkpoint to its end."""

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        recipe: Recipe,
        data: TrainData,
        out: Path,
        *,
        ranks: Ranks,
        stop: StopSignals,
        start: Checkpoint | None = None,
    ) -> None:
        """
        Build the optimiser and take in the state of ``start``.

        :raises DepthRosError: the batch cannot be shared, or the checkpoint does not fit.
        """
        self.fabric, self.config, self.data, self.out = fabric, config, data, out
        self.ranks, self._stop, self._stopped = ranks, stop, 0
        self.sampler = Sampler(
            frames=len(data.train),
            batch_size=config.batch_size,
            seed=config.seed,
            rank=ranks.rank,
            processes=ranks.count,
        )
        self.recipe = self._prepared(recipe)
        self.recipe.to(fabric.device)
        decay = config.ema_decay
        self._averaged = None if decay is None else Averaged(self.recipe, decay)
        self.optimiser = make_optimiser(self.recipe, config.optimiser)
        self.position, self.best = Position(), math.inf
        if start is not None:
            self._load(start)
        self._module, self._stepper = fabric.setup(_Forward(self.recipe), self.optimiser)
        self._buffers = Buffers(self.recipe)
        self._saved_s = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Return how many steps the whole run has."""
        return self.config.epochs * self.sampler.batches

    def _prepared(self, recipe: Recipe) -> Recipe:
        if self.config.channels_last:
            recipe.to(memory_format=torch.channels_last)
        is_gpu = self.fabric.device.type == 'cuda'
        if self.config.batch_norm == 'train' and is_gpu and self.ranks.count > 1:
            return nn.SyncBatchNorm.convert_sync_batchnorm(recipe)
        return recipe

    def _load(self, start: Checkpoint) -> None:
        load_state(self.recipe, start.recipe, self.out / LAST)
        if self._averaged and start.averaged is not None:
            self._averaged.load_state_dict(start.averaged)
        self.optimiser.load_state_dict(start.optimiser)
        self.fabric.strategy.precision.load_state_dict(start.scaler)
        self.position = start.position
        self.best = math.inf if start.best is None else start.best

    def run(self, log: TrainLog | None) -> int:
        """
        Train to the end, or to a signal.

        :param log: of the first process; None in the others.
        :returns: 0, or the number of the signal that stopped it.
        :raises DepthRosError: training cannot go on; ``last.ckpt`` is what was good before.
        """
        self._log = log
        while self.position.epoch < self.config.epochs and not self._stopped:
            self._train_epoch()
            if not self._stopped:
                self._end_epoch()
        if self._stopped:
            self.save(LAST)
        return self._stopped

    def _train_epoch(self) -> None:
        self._train_mode()
        items = self.sampler.epoch(self.position.epoch, self.position.batch)
        loader = batches(self.data.train, items, self.config.workers, self.fabric.device)
        began = time.perf_counter()
        for batch in loader:
            row, terms = self._step(batch)
            now = time.perf_counter()
            row['images_per_s'] = self.config.batch_size / (now - began)
            began = now
            if self._log is not None:
                self._log.step(row, terms)
            if self._stopped:
                return
            self._save_in_time()

    def _train_mode(self) -> None:
        self.recipe.train()
        if self.config.batch_norm == 'frozen':
            for layer in batch_norms(self.recipe):
                layer.eval()

    def _step(self, batch: Batch) -> tuple[dict[str, Any], dict[str, float]]:
        """Make one optimiser step and return its row of the log, and its terms."""
        step = self.position.step
        torch.manual_seed(derived_seed(STEP, self.config.seed, step, self.ranks.rank))
        factor = learning_factor(
            self.config.schedule.options, step, self.total_steps, self.sampler.batches
        )
        for group in self.optimiser.param_groups:
            group['lr'] = group['base_lr'] * factor
        self._buffers.keep()
        progress = Progress(step=step, epochs=step / self.sampler.batches)
        try:
            terms, norm = self._backward(batch, progress)
        except DepthRosError:
            self._buffers.restore()
            raise
        self._advance()
        row = {
            'step': self.position.step,
            'epoch': self.position.epoch,
            'learning_rate': self.config.optimiser.learning_rate * factor,
            'loss': sum(w * value for value, w in terms.values()) if terms else '',
            'gradient_norm': norm,
        }
        return row, {name: value for name, (value, _) in terms.items()}

    def _backward(
        self, batch: Batch, progress: Progress
    ) -> tuple[dict[str, tuple[float, float]], float | str]:
        """Compute, check, and step; return each term's global mean and weight, and the norm."""
        local, anchor = self._module(_Given(batch, progress))
        reports = self.ranks.exchange(self._report(batch, local))
        self._stopped = max(report.stop for report in reports)
        self._check_terms(reports)
        counts = _total_counts(reports)
        if not counts:
            return {}, ''
        loss = anchor
        for name, term in local.items():
            share = term.weight * term.count * self.ranks.count / counts[name]
            loss = term.value * share if loss is None else loss + term.value * share
        self.fabric.backward(loss)
        fill_gradients(self.recipe)
        norm = float(self._clipped_norm())
        self._check_norm(norm, reports)
        self._stepper.step()
        self._stepper.zero_grad()
        if self._averaged:
            self._averaged.update(progress.step + 1)
        return _global_means(reports, counts), norm

    def _report(self, batch: Batch, terms: dict[str, Term]) -> _Report:
        names = list(terms)
        values = torch.stack([terms[n].value.detach().float() for n in names]) if names else []
        listed = values.tolist() if names else []
        return _Report(
            terms={
                name: (value, terms[name].count, terms[name].weight)
                for name, value in zip(names, listed, strict=True)
            },
            frames=tuple(zip(batch.sequences, batch.stamps_ns, strict=True)),
            stop=self._stop.number,
        )

    def _check_terms(self, reports: Sequence[_Report]) -> None:
        for report in reports:
            for name, (value, _, _) in report.terms.items():
                if not math.isfinite(value):
                    raise TrainingError(f"loss term '{name}' is {value} {self._where([report])}")

    def _check_norm(self, norm: float, reports: Sequence[_Report]) -> None:
        # With 16-mixed the scaler leaves such a step out and tries a smaller scale.
        if not math.isfinite(norm) and self.config.precision != '16-mixed':
            self._stepper.zero_grad()
            raise TrainingError(f'the norm of the gradients is {norm} {self._where(reports)}')

    def _where(self, reports: Sequence[_Report]) -> str:
        frames = ', '.join(f'{name} {ns}' for report in reports for name, ns in report.frames)
        return (
            f'at step {self.position.step + 1}, epoch {self.position.epoch}, frames (sequence, '
            f'stamp in ns): {frames}; the weights before this step are in {LAST}'
        )

    def _clipped_norm(self) -> Tensor:
        limit = self.config.optimiser.max_grad_norm
        norm = self.fabric.clip_gradients(
            self._module,
            self._stepper,
            max_norm=math.inf if limit is None else limit,
            error_if_nonfinite=False,
        )
        assert norm is not None
        return norm

    def _advance(self) -> None:
        here = self.position
        self.position = replace(here, step=here.step + 1, batch=here.batch + 1)

    def _end_epoch(self) -> None:
        is_last = self.position.epoch + 1 == self.config.epochs
        is_due = (self.position.epoch + 1) % self.config.validation.every_epochs == 0
        is_best = False
        if self.data.val is not None and (is_due or is_last):
            scores = self._validate(self.data.val)
            if self._stopped:
                return
            is_best = self._note_scores(scores)
        self.position = replace(self.position, epoch=self.position.epoch + 1, batch=0)
        if is_best:
            self.save(BEST)
        self.save(LAST)

    def _validate(self, dataset: DepthDataset) -> dict[str, BranchScores]:
        self.recipe.eval()
        own = range(self.ranks.rank, len(dataset), self.ranks.count)
        size = max(1, self.config.batch_size // self.ranks.count)
        starts = range(0, len(own), size)
        items = [[(index, 0) for index in own[s : s + size]] for s in starts]
        loader = batches(dataset, items, self.config.workers, self.fabric.device)
        rules = ScoreRules(alignment=self.config.validation.alignment)
        with self._averaged_weights(), self.fabric.autocast():
            scores = score(self.recipe, self._until_signal(loader), rules)
        parts = self.ranks.exchange((scores, self._stop.number))
        self._stopped = max(number for _, number in parts)
        return merged(part for part, _ in parts)

    def _averaged_weights(self) -> AbstractContextManager[None]:
        return nullcontext() if self._averaged is None else self._averaged.in_place()

    def _until_signal(self, loader: Iterator[Batch]) -> Iterator[Batch]:
        for batch in loader:
            if self._stop.number:
                return
            yield batch

    def _note_scores(self, scores: dict[str, BranchScores]) -> bool:
        """Log the scores; tell whether the deployed branch is better than ever before."""
        rows = {branch: own.row() for branch, own in scores.items()}
        if self._log is not None:
            for branch, row in rows.items():
                self._log.epoch(self.position.step, self.position.epoch, branch, row)
        value = next(iter(rows.values()))[CRITERION] if rows else math.nan
        if not value < self.best:
            return False
        self.best = value
        return True

    def _save_in_time(self) -> None:
        if time.monotonic() - self._saved_s > 60 * self.config.save_every_minutes:
            self.save(LAST)

    def save(self, name: str) -> None:
        """
        Write a checkpoint; only the first process does.

        :raises TrainingError: the disk refuses it.
        """
        if not self.ranks.is_first:
            return
        checkpoint = Checkpoint(
            config=self.config.stored(),
            data=self.data.identity,
            position=self.position,
            best=self.best if math.isfinite(self.best) else None,
            recipe=self.recipe.state_dict(),
            averaged=None if self._averaged is None else self._averaged.state_dict(),
            optimiser=self.optimiser.state_dict(),
            scaler=self.fabric.strategy.precision.state_dict(),
        )
        write_checkpoint(self.out / name, checkpoint)
        self._saved_s = time.monotonic()


def _total_counts(reports: Sequence[_Report]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for report in reports:
        for name, (_, count, _) in report.terms.items():
            totals[name] = totals.get(name, 0) + count
    return totals


def _global_means(
    reports: Sequence[_Report], counts: dict[str, int]
) -> dict[str, tuple[float, float]]:
    """Return the mean over all processes, and the weight, of each term."""
    result = {}
    for name in counts:
        parts = [report.terms[name] for report in reports if name in report.terms]
        mean = sum(value * count for value, count, _ in parts) / counts[name]
        result[name] = (mean, parts[0][2])
    return result
