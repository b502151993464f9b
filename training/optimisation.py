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

"""The optimiser with its groups of parameters, frozen batch norms, and the mean of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from training.recipes.recipe import Recipe
from training.train_config import OptimiserConfig
from training.weights import MAX_LISTED_KEYS

OPTIMISERS: dict[str, type[torch.optim.Optimizer]] = {
    'adam': torch.optim.Adam,
    'adamw': torch.optim.AdamW,
    'sgd': torch.optim.SGD,
}
# A young mean follows quickly: (1 + n) / (10 + n) after n steps, until that is above the decay.
YOUNG = 10.0


def make_optimiser(
    recipe: Recipe, config: OptimiserConfig, *, fused: bool
) -> torch.optim.Optimizer:
    """
    Return the optimiser; each group has its own ``base_lr``, which the schedule multiplies.

    A parameter belongs to an encoder when a part of its dotted name is 'encoder'. Biases,
    scales and shifts, which have one dimension, are not decayed. With a rate of 0 encoders are
    frozen, and no gradient is computed for them.

    :param fused: one pass over the weights; not where a loss scaler has to see the gradients.
    """
    encoder_rate = config.encoder_learning_rate
    if encoder_rate is None:
        encoder_rate = config.learning_rate
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in recipe.named_parameters():
        is_encoder = 'encoder' in name.split('.')
        if is_encoder and not encoder_rate:
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            groups.setdefault((is_encoder, parameter.dim() > 1), []).append(parameter)
    described: list[dict[str, Any]] = [
        {
            'params': parameters,
            'lr': encoder_rate if is_encoder else config.learning_rate,
            'base_lr': encoder_rate if is_encoder else config.learning_rate,
            'weight_decay': config.weight_decay if decays else 0.0,
        }
        for (is_encoder, decays), parameters in sorted(groups.items())
    ]
    make: Any = OPTIMISERS[config.name]
    own = {} if config.momentum is None else {'momentum': config.momentum}
    optimiser: torch.optim.Optimizer = make(described, fused=fused, **own)
    return optimiser


def batch_norms(network: nn.Module) -> Iterator[nn.Module]:
    """Yield every batch normalisation."""
    return (layer for layer in network.modules() if isinstance(layer, _BatchNorm))


def fill_gradients(recipe: nn.Module) -> None:
    """
    Give every trained parameter that no term has reached the gradient zero.

    An optimiser skips parameters without one; whether one is without would depend on how the
    batch is shared among processes.
    """
    for parameter in recipe.parameters():
        if parameter.requires_grad and parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)


class Averaged:
    """
    A running mean of the trained weights (Polyak); everything else is as it is now.

    The mean after n steps: m += (1 - d) (w - m), d = min(decay, (1 + n) / (10 + n)).
    """

    def __init__(self, recipe: Recipe, decay: float) -> None:
        self.decay = decay
        self._own = {name: p for name, p in recipe.named_parameters() if p.requires_grad}
        self._means = {name: own.detach().clone() for name, own in self._own.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after the step number ``step``, from 1."""
        rate = 1.0 - min(self.decay, (1.0 + step) / (YOUNG + step))
        for name, mean in self._means.items():
            mean.lerp_(self._own[name].detach(), rate)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Give the recipe the mean weights while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the mean weights by the names of the recipe's state."""
        return dict(self._means)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """
        Load them; they must be the recipe's.

        :raises ModelError: a weight is missing, unknown, or of another shape.
        """
        check_state(self._means, state, 'the mean of the weights')
        for name, mean in self._means.items():
            mean.copy_(state[name])

    def _swap(self) -> None:
        for name, own in self._own.items():
            own.data, self._means[name] = self._means[name], own.data


def check_state(own: Mapping[str, Tensor], state: Mapping[str, Tensor], where: str) -> None:
    """
    Check that a state has the names and shapes of one's own.

    :raises ModelError: they differ; the sentence lists the first ten.
    """
    wrong = [
        *(f'{key} is missing' for key in own if key not in state),
        *(f'{key} is unknown to it' for key in state if key not in own),
        *(
            f'{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}'
            for key in own
            if key in state and state[key].shape != own[key].shape
        ),
    ]
    if wrong:
        listed, others = '; '.join(wrong[:MAX_LISTED_KEYS]), len(wrong) - MAX_LISTED_KEYS
        rest = f' and {others} more' if others > 0 else ''
        raise ModelError(f'{where} is of another network: {listed}{rest}')


class Buffers:
    """A copy of all buffers: a step that is refused must not have changed the statistics."""

    def __init__(self, recipe: nn.Module) -> None:
        self._own = list(recipe.buffers())
        self._kept: list[Tensor] = [buffer.clone() for buffer in self._own]

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the present values."""
        for kept, own in zip(self._kept, self._own, strict=True):
            kept.copy_(own)

    @torch.no_grad()
    def restore(self) -> None:
        """Undo every change since ``keep``."""
        for kept, own in zip(self._kept, self._own, strict=True):
            own.copy_(kept)
