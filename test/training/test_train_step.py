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

"""One step: nothing changes before everything is finite, and nothing is learned from nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.training import runs

from lightning_fabric import Fabric
import pytest
import torch
from training.augment import Resize
from training.checkpoint import build_recipe
from training.dataset import DepthDataset
from training.optimisation import Averaged, make_optimiser
from training.ranks import Ranks, TrainingError
from training.recipes.recipe import Progress, Recipe, Term
from training.samples import Batch, collate
from training.train_config import config_from
from training.train_step import StepResult, TrainStep

PROGRESS = Progress(step=6, epochs=3.5)


class Bench:
    """A step with everything that it needs."""

    def __init__(
        self, data: Path, *, max_grad_norm: float | None = None, **changes: object
    ) -> None:
        config = config_from({**runs.CONFIG, **changes})
        torch.manual_seed(0)
        self.recipe: Recipe = build_recipe(config)
        self.recipe.train()
        self.optimiser = make_optimiser(self.recipe, config.optimiser, fused=True)
        self.averaged = Averaged(self.recipe, 0.9)
        self.step = TrainStep(
            Fabric(accelerator='cpu', devices=1),
            Ranks(),
            self.recipe,
            self.optimiser,
            max_grad_norm=max_grad_norm,
            averaged=self.averaged,
        )
        resize = Resize(width=runs.WIDTH, height=runs.HEIGHT)
        dataset = DepthDataset(data, 'train', labelled=True, neighbours=False, augment=resize)
        self.batch: Batch = collate([dataset[(number, number)] for number in range(2)])

    def state(self) -> dict[str, object]:
        """Return a copy of all that a step may change."""
        return {
            'recipe': {k: v.clone() for k, v in self.recipe.state_dict().items()},
            'averaged': {k: v.clone() for k, v in self.averaged.state_dict().items()},
            'optimiser': len(self.optimiser.state_dict()['state']),
        }


@pytest.fixture
def bench(tiny_dataset: Path) -> Bench:
    return Bench(tiny_dataset)


def test_step_changes_weights_and_tells_loss_terms_and_norm(bench: Bench) -> None:
    before = bench.state()
    result = bench.step(bench.batch, PROGRESS, 0)
    assert result.loss is not None
    assert result.gradient_norm is not None
    assert result.loss > 0 < result.gradient_norm
    assert result.stop == 0
    terms = bench.recipe(bench.batch, PROGRESS)
    assert {*result.terms} == {*terms}
    after = bench.state()
    for name in ('recipe', 'averaged'):
        with pytest.raises(AssertionError):
            runs.assert_equal_states(before[name], after[name])


def test_loss_is_the_weighted_sum_of_the_terms(bench: Bench) -> None:
    bench.recipe.eval()
    terms = bench.recipe(bench.batch, PROGRESS)
    expected = sum(term.value.item() * term.weight for term in terms.values())
    assert bench.step(bench.batch, PROGRESS, 0).loss == pytest.approx(expected, rel=1e-6)


def with_extra_term(bench: Bench, term: Term) -> None:
    """Let the recipe return one more term."""
    forward = bench.recipe.forward

    def more(batch: Batch, progress: Progress) -> dict[str, Term]:
        return {**forward(batch, progress), 'extra': term}

    bench.recipe.forward = more  # type: ignore[method-assign]


def test_term_of_nothing_counts_nothing(tiny_dataset: Path) -> None:
    plain, more = Bench(tiny_dataset), Bench(tiny_dataset)
    with_extra_term(more, Term(torch.tensor(7.0, requires_grad=True), 0))
    results = [each.step(each.batch, PROGRESS, 0) for each in (plain, more)]
    assert results[0] == results[1]
    runs.assert_equal_states(plain.state(), more.state())


def test_term_without_weight_is_told_and_teaches_nothing(tiny_dataset: Path) -> None:
    plain, more = Bench(tiny_dataset), Bench(tiny_dataset)
    with_extra_term(more, Term(torch.tensor(0.25), 4, 0.0))
    results = [each.step(each.batch, PROGRESS, 0) for each in (plain, more)]
    assert results[1].terms.pop('extra') == 0.25
    assert results[0] == results[1]
    runs.assert_equal_states(plain.state(), more.state())
    # Alone it is no reason for a step.
    more.recipe.eval()
    before = more.state()
    blind = replace(more.batch, valid_B1HW=torch.zeros_like(more.batch.valid_B1HW))
    result = more.step(blind, PROGRESS, 0)
    assert result == StepResult(loss=None, terms={'extra': 0.25}, gradient_norm=None, stop=0)
    runs.assert_equal_states(more.state(), before)


def test_recipe_hears_of_the_end_of_every_step(bench: Bench) -> None:
    heard: list[tuple[bool, bool]] = []
    weight = next(bench.recipe.parameters())
    before = weight.detach().clone()

    def finish_step(ranks: Ranks, *, has_learned: bool) -> None:
        assert ranks.count == 1
        heard.append((has_learned, not torch.equal(weight, before)))

    bench.recipe.finish_step = finish_step  # type: ignore[method-assign]
    blind = replace(bench.batch, valid_B1HW=torch.zeros_like(bench.batch.valid_B1HW))
    bench.step(blind, PROGRESS, 0)
    bench.step(bench.batch, PROGRESS, 0)
    assert heard == [(False, False), (True, True)]


def test_signal_of_a_process_comes_back(bench: Bench) -> None:
    assert bench.step(bench.batch, PROGRESS, 15).stop == 15


def test_long_gradients_are_shortened(tiny_dataset: Path) -> None:
    free, limited = Bench(tiny_dataset), Bench(tiny_dataset, max_grad_norm=1e-3)
    norms = [each.step(each.batch, PROGRESS, 0).gradient_norm for each in (free, limited)]
    # What is told is the norm before.
    assert norms[0] == norms[1]
    moments = [
        torch.cat([own['exp_avg'].flatten() for own in each.optimiser.state.values()]).norm()
        for each in (free, limited)
    ]
    assert float(moments[1]) == pytest.approx(0.1 * 1e-3, rel=1e-3)
    assert moments[0] > 10 * moments[1]


def test_non_finite_term_stops_before_anything_changes(bench: Bench) -> None:
    image = torch.full_like(bench.batch.image_B3HW, float('nan'))
    before = bench.state()
    (name, other), (first_ns, second_ns) = bench.batch.sequences, bench.batch.stamps_ns
    sentence = (
        rf"^loss term '\w+' is nan at step 7, epoch 3; its frames \(sequence and stamp in ns\) "
        rf'are {name} {first_ns}, {other} {second_ns}$'
    )
    with pytest.raises(TrainingError, match=sentence):
        bench.step(replace(bench.batch, image_B3HW=image), PROGRESS, 0)
    runs.assert_equal_states(bench.state(), before)
    assert bench.step(bench.batch, PROGRESS, 0).loss is not None


def test_non_finite_gradient_stops_before_anything_changes(bench: Bench) -> None:
    parameter = next(bench.recipe.parameters())
    parameter.register_hook(lambda gradient: gradient * float('inf'))
    before = bench.state()
    with pytest.raises(TrainingError, match=r'^the norm of the gradients is (inf|nan) at step 7'):
        bench.step(bench.batch, PROGRESS, 0)
    runs.assert_equal_states(bench.state(), before)
    assert all(p.grad is None for p in bench.recipe.parameters())


def test_batch_with_nothing_to_learn_from_changes_nothing(tiny_dataset: Path) -> None:
    bench = Bench(tiny_dataset, recipe={'name': 'supervised', 'filtering': 'off'})
    bench.recipe.eval()
    blind = torch.zeros_like(bench.batch.valid_B1HW)
    before = bench.state()
    result = bench.step(replace(bench.batch, valid_B1HW=blind), PROGRESS, 2)
    assert result == StepResult(loss=None, terms={}, gradient_norm=None, stop=2)
    runs.assert_equal_states(bench.state(), before)
