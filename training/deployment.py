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
What goes into a model file: the network as it is deployed, and the card that its training states.

Nothing is typed twice: input size, focal length, depth range and normalisation come from the
configuration that the network was trained with, and a card from elsewhere must agree with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from depth_ros.core.model_spec import (
    InputSpec,
    Interpolation,
    ModelSpec,
    OutputKind,
    OutputSpec,
    SkySpec,
    UncertaintySpec,
)
from depth_ros.engines.card_fields import differences, to_plain
from depth_ros.errors import ConfigError, ModelError
import torch
from torch import nn, Tensor
from training.checkpoint import load_recipe
from training.deployed_sequence import camera_name, Pace, StepOutputs, temporal_spec
from training.models.network import DepthNetwork
from training.models.sequence import SequenceNetwork

IMAGE, DEPTH, INV_DEPTH, LOG_SIGMA = 'image', 'depth', 'inv_depth', 'log_sigma'
LEARNED, FLIP, NONE = 'learned', 'flip', 'none'
# What the deployed network of a recipe without metres answers, and no sigma has metres then.
AFFINE: OutputKind = 'affine_inverse_depth'
# What the data set does to images that shrink is the mean of all pixels (area). Four bilinear
# samples are close to it at a quarter to a half of its time.
INTERPOLATION: Interpolation = 'supersample'
# Kinds of uncertainty as a new file states them; training.calibrate puts the right size in.
UNCALIBRATED = {
    LEARNED: UncertaintySpec(kind='log_laplace_scale', name=LOG_SIGMA),
    FLIP: UncertaintySpec(kind='flip', flip_gain=1.0),
    NONE: UncertaintySpec(kind='none'),
}
# Keys of a card that training decides; the others are for the author of the card.
DECIDED = (
    'input',
    'output',
    'uncertainty.kind',
    'uncertainty.name',
    'temporal.window',
    'temporal.states',
)
FREE = ('input.interpolation',)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """
    A trained network and the part of its configuration that acts on the deployed one.

    ``width`` and ``height`` of the input [px]; ``focal_px`` is fx at that size for which the
    network's metres hold. ``output_kind`` is the recipe's: of 'affine_inverse_depth' the model
    file gives 1 / depth, which has no unit. ``has_sigma``: ln sigma is of metres, and trained.
    """

    network: DepthNetwork
    name: str
    width: int
    height: int
    focal_px: float
    output_kind: OutputKind = 'metric_depth'
    has_sigma: bool = True

    @property
    def has_metres(self) -> bool:
        """Return whether the outputs have a unit."""
        return self.output_kind != AFFINE

    def card(
        self,
        *,
        uncertainty: str,
        licence: str,
        training_data: str,
        revision: str,
        pace: Pace | None = None,
    ) -> ModelSpec:
        """
        Return the model card.

        :param uncertainty: 'learned', 'flip' or 'none'.
        :param pace: of a network that remembers.
        :raises ConfigError: it would be in metres, and the network has none; or a pace for a
            network without a memory.
        :raises ModelError: flip for a network with a memory; an impossible pace.
        """
        if not self.has_metres and uncertainty != NONE:
            raise ConfigError(
                f"uncertainty '{uncertainty}': the recipe's output has no metres, so it cannot "
                "have an uncertainty in metres; use 'none'"
            )
        if not self.has_sigma and uncertainty == LEARNED:
            raise ConfigError(
                "uncertainty 'learned': the recipe trains no uncertainty in metres; use 'flip' or "
                "'none'"
            )
        config = self.network.config
        mean, std = self.network.normalisation
        return ModelSpec(
            name=self.name,
            revision=revision,
            licence=licence,
            training_data=training_data,
            input=InputSpec(
                name=IMAGE,
                width=self.width,
                height=self.height,
                color_order='rgb',
                mean=mean,
                std=std,
                interpolation=INTERPOLATION,
                camera=camera_name(self.network),
            ),
            output=OutputSpec(
                name=DEPTH if self.has_metres else INV_DEPTH,
                kind=self.output_kind,
                scale=1.0,
                min_depth_m=config.min_depth_m,
                max_depth_m=config.max_depth_m,
                focal_px=self.focal_px if self.has_metres else None,
            ),
            uncertainty=UNCALIBRATED[uncertainty],
            sky=SkySpec(kind='none'),
            temporal=temporal_spec(self.network, self.width, self.height, pace or Pace()),
        )

    def exported(self, uncertainty: str) -> nn.Module:
        """
        Return the network from the normalised image to the outputs of the card.

        The pipeline normalises while it fills the tensor, at no cost; in front of the first
        convolution it would be a layer of its own, and inside of it wrong at the borders, where
        the padding is zero after the normalisation.
        """
        network = self.network.without_normalisation().for_size(self.width, self.height)
        kind = StepOutputs if isinstance(network, SequenceNetwork) else Outputs
        return self._answering(kind(network, with_sigma=uncertainty == LEARNED)).eval()

    def reference(self, uncertainty: str) -> nn.Module:
        """Return what parity is measured against: the trained network as training ran it."""
        mean, std = self.network.normalisation
        kind = StepOutputs if isinstance(self.network, SequenceNetwork) else AsTrained
        trained = kind(self.network, mean=mean, std=std, with_sigma=uncertainty == LEARNED)
        return self._answering(trained).eval()

    def _answering(self, outputs: nn.Module) -> nn.Module:
        return outputs if self.has_metres else Inverted(outputs)


class Outputs(nn.Module):
    """Depth, and ln sigma where the card names it, of the finest scale."""

    def __init__(self, network: DepthNetwork, *, with_sigma: bool) -> None:
        super().__init__()
        self.network = network
        self.with_sigma = with_sigma

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        depth, log_sigma = self.network.finest(image_B3HW)
        return (depth, log_sigma) if self.with_sigma else (depth,)


class Inverted(nn.Module):
    """1 / depth in the place of depth, and the other outputs as they are."""

    def __init__(self, outputs: nn.Module) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        depth, *others = self.outputs(*inputs)
        return (1.0 / depth, *others)


class AsTrained(nn.Module):
    """The whole network on pictures in 0..1, from the tensor that the card's input states."""

    def __init__(
        self,
        network: DepthNetwork,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        with_sigma: bool,
    ) -> None:
        super().__init__()
        self.network = network
        self.with_sigma = with_sigma
        self.mean, self.std = (torch.tensor(x)[None, :, None, None] for x in (mean, std))

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        prediction = self.network(image_B3HW * self.std + self.mean)
        outputs = (prediction.depths[0], prediction.log_sigmas[0])
        return outputs if self.with_sigma else outputs[:1]


def checked_card(given: ModelSpec, derived: ModelSpec, where: str) -> ModelSpec:
    """
    Return a card that was given, after comparing it with what the training states.

    :param where: the file of the card, for messages.
    :raises ModelError: it contradicts the training; names every key with both values.
    """
    wanted = to_plain(replace(derived, input=_with_free_keys(derived.input, given.input)))
    stated = to_plain(given)
    found = [
        difference
        for key in DECIDED
        for difference in differences(_at(stated, key), _at(wanted, key), f'{key}.')
    ]
    if found:
        raise ModelError(
            f'{where}: contradicts the checkpoint in {", ".join(found)}: the training decides '
            'these; correct the card, or give --licence and --training-data instead of it'
        )
    return given


def _with_free_keys(derived: InputSpec, given: InputSpec) -> InputSpec:
    names = (key.split('.')[1] for key in FREE)
    return replace(derived, **{name: getattr(given, name) for name in names})


def _at(card: dict[str, Any], key: str) -> Any:
    value: Any = card
    for part in key.split('.'):
        value = value[part]
    return value


def read_deployment(path: Path) -> Deployment:
    """
    Return the deployed network of a checkpoint of ``training.train``.

    :raises ModelError: the file is no checkpoint, is damaged, or is of another network.
    :raises ConfigError: its configuration is not one that this version knows.
    """
    recipe, config = load_recipe(path)
    network = recipe.deployed()
    if not isinstance(network, DepthNetwork):
        raise ModelError(
            f"checkpoint '{path}': recipe '{config.recipe.name}' deploys a "
            f'{type(network).__name__}: only a DepthNetwork becomes a model file'
        )
    return Deployment(
        network=network,
        name=config.name,
        width=config.data.width,
        height=config.data.height,
        focal_px=config.focal_px,
        output_kind=recipe.output_kind,
        has_sigma=recipe.has_sigma,
    )
