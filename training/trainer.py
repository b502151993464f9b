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
The training loop: epochs of steps, validation, checkpoints; and what to do when it has to stop.

Only the first process writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
import math
from pathlib import Path
import time
from typing import Any, cast

from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import DepthRosError
from lightning_fabric import Fabric
import torch
from torch import nn
from training.checkpoint import load_state
from training.checkpoint_file import (
    BEST,
    Checkpoint,
    CheckpointError,
    LAST,
    Position,
    write_checkpoint,
)
from training.dataset import DepthDataset
from training.loading import batches, Item
from training.optimisation import Averaged, batch_norms, make_optimiser
from training.ranks import Ranks
from training.recipes.recipe import Progress, Recipe
from training.sampler import derived_seed, make_sampler, STEP
from training.samples import Batch
from training.schedules import learning_factor
from training.stop_signals import StopSignals
from training.train_config import TrainConfig
from training.train_log import TrainLog
from training.train_pictures import examples
from training.train_step import HALF, StepResult, TrainStep
from training.validation import BranchScores, CRITERION, merged, score

S_PER_MIN = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainData:
    """
    What is trained and validated on.

    Fields:
        train: with the random crop; ``val``: whole images, None: there is no validation.
        pictures: whole images to look at.
        identity: what must be the same when the run is resumed, by name.

    """

    train: DepthDataset
    val: DepthDataset | None
    pictures: DepthDataset
    identity: dict[str, Any]


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
        self.sampler = make_sampler(
            data.train.is_labelled_N.tolist(),
            recipe.needs.mix,
            batch_size=config.batch_size,
            seed=config.seed,
            rank=ranks.rank,
            processes=ranks.count,
        )
        self.recipe = self._prepared(recipe).to(fabric.device)
        self.optimiser = make_optimiser(
            self.recipe, config.optimiser, fused=config.precision != HALF
        )
        # After the optimiser, which freezes what is not trained.
        decay = config.ema_decay
        self._averaged = None if decay is None else Averaged(self.recipe, decay)
        self.position, self.best = Position(), math.inf
        if start is not None:
            self._load(start)
        self._step = TrainStep(
            fabric,
            ranks,
            self.recipe,
            self.optimiser,
            max_grad_norm=config.optimiser.max_grad_norm,
            averaged=self._averaged,
        )
        self._log: TrainLog | None = None
        self._saved_s = time.monotonic()

    @property
    def total_steps(self) -> int:
        """Return how many steps the whole run has."""
        return self.config.epochs * self.sampler.batches

    def _prepared(self, recipe: Recipe) -> Recipe:
        if self.config.channels_last:
            for parameter in recipe.parameters():
                if parameter.dim() == 4:
                    parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        is_gpu = self.fabric.device.type == 'cuda'
        if self.config.batch_norm == 'train' and is_gpu and self.ranks.count > 1:
            synchronised: Any = nn.SyncBatchNorm
            return cast(Recipe, synchronised.convert_sync_batchnorm(recipe))
        return recipe

    def _load(self, start: Checkpoint) -> None:
        load_state(self.recipe, start.recipe, self.out / LAST)
        if self._averaged is not None:
            self._averaged.load_state_dict(start.averaged or {})
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
        try:
            self._run()
            self.ranks.exchange(None)
        except DepthRosError as error:
            self.ranks.abort(error)
            if not isinstance(error, CheckpointError):
                self._save_what_is_good()
            self.ranks.wait()
            raise
        return self._stopped

    def _run(self) -> None:
        loader = batches(self.data.train, self._items(), self.config.workers, self.fabric.device)
        while self.position.epoch < self.config.epochs:
            self._train_epoch(loader)
            if not self._stopped:
                self._end_epoch()
            if self._stopped:
                self.save(LAST)
                return

    def _items(self) -> Iterator[list[Item]]:
        """Yield the items of all batches that are left, so that they are read ahead."""
        first = self.position.batch
        for epoch in range(self.position.epoch, self.config.epochs):
            yield from self.sampler.epoch(epoch, first)
            first = 0

    def _train_epoch(self, loader: Iterator[Batch]) -> None:
        self._train_mode()
        began = time.perf_counter()
        while self.position.batch < self.sampler.batches and not self._stopped:
            batch = next(loader)
            # A process whose batch cannot be read tells it here, before the others compute.
            self.ranks.exchange(None)
            result, factor = self._train_batch(batch)
            now = time.perf_counter()
            if self._log is not None:
                rate = self.config.batch_size / (now - began)
                self._log.step(self._row(result, factor, rate), result.terms)
            began = now
            self._stopped = result.stop
            if self._is_unsaved_long():
                self.save(LAST)

    def _is_unsaved_long(self) -> bool:
        return time.monotonic() - self._saved_s > S_PER_MIN * self.config.save_every_minutes

    def _train_mode(self) -> None:
        self.recipe.train()
        if self.config.batch_norm == 'frozen':
            for layer in batch_norms(self.recipe):
                layer.eval()

    def _train_batch(self, batch: Batch) -> tuple[StepResult, float]:
        """Make one step; return what it found, and the factor of its learning rate."""
        step, per_epoch = self.position.step, self.sampler.batches
        torch.manual_seed(derived_seed(STEP, self.config.seed, step, self.ranks.rank))
        schedule = self.config.schedule.options
        factor = learning_factor(schedule, step, self.total_steps, per_epoch)
        for group in self.optimiser.param_groups:
            group['lr'] = group['base_lr'] * factor
        progress = Progress(step=step, epochs=step / per_epoch)
        result = self._step(batch, progress, self._stop.number)
        self.position = replace(self.position, step=step + 1, batch=self.position.batch + 1)
        return result, factor

    def _row(self, result: StepResult, factor: float, rate: float) -> dict[str, Any]:
        return {
            'step': self.position.step,
            'epoch': self.position.epoch,
            'learning_rate': self.config.optimiser.learning_rate * factor,
            'loss': result.loss,
            'gradient_norm': result.gradient_norm,
            'images_per_s': rate,
        }

    def _end_epoch(self) -> None:
        done = self.position.epoch + 1
        is_best = False
        is_looked_at = done == self.config.epochs or not done % self.config.validation.every_epochs
        if is_looked_at:
            if self.data.val is not None:
                is_best = self._note_scores(self._validate(self.data.val))
            if self._stopped:
                return
            self._show_examples()
        self.position = replace(self.position, epoch=done, batch=0)
        if is_best:
            self.save(BEST)
        # A few frames make an epoch of a few steps, which writing would outlast.
        if is_looked_at or self._is_unsaved_long():
            self.save(LAST)

    def _validate(self, dataset: DepthDataset) -> dict[str, BranchScores]:
        self.ranks.share(self.recipe.buffers())
        own = range(self.ranks.rank, len(dataset), self.ranks.count)
        size = self.config.batch_size // self.ranks.count
        starts = range(0, len(own), size)
        stops = (*starts[1:], len(own))
        items = [[(i, 0) for i in own[a:b]] for a, b in zip(starts, stops, strict=len(own) > 0)]
        loader = batches(dataset, items, self.config.workers, self.fabric.device)
        rules = ScoreRules(alignment=self.config.validation.alignment)
        with self._deployed_weights(), self.fabric.autocast():
            scores = score(self.recipe, self._until_signal(loader), rules)
        parts = self.ranks.exchange((scores, self._stop.number))
        self._stopped = max(number for _, number in parts)
        return {} if self._stopped else merged(part for part, _ in parts)

    def _deployed_weights(self) -> AbstractContextManager[None]:
        self.recipe.eval()
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

    def _show_examples(self) -> None:
        if self._log is not None:
            with self._deployed_weights(), self.fabric.autocast():
                picture = examples(self.recipe, self.data.pictures, self.fabric.device)
            self._log.picture(self.position.step, self.position.epoch, picture)

    def _save_what_is_good(self) -> None:
        """Keep the state before the step that failed, when the disk allows it."""
        if self._log is not None and self.position.step:
            with suppress(CheckpointError):
                self.save(LAST)
                self._log.say(f'the state after step {self.position.step} is in {LAST}')

    def save(self, name: str) -> None:
        """
        Write a checkpoint; only the first process does.

        :raises CheckpointError: the disk refuses it.
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
