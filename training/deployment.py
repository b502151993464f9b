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
    OutputSpec,
    SkySpec,
    TemporalSpec,
    UncertaintySpec,
)
from depth_ros.engines.card_fields import differences, to_plain
from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from training.checkpoint import load_recipe
from training.models.network import DepthNetwork

IMAGE, DEPTH, LOG_SIGMA = 'image', 'depth', 'log_sigma'
LEARNED, FLIP = 'learned', 'flip'
# What the data set does to images that shrink is the mean of all pixels (area). Four bilinear
# samples are close to it at a quarter to a half of its time.
INTERPOLATION: Interpolation = 'supersample'
# Kinds of uncertainty as a new file states them; training.calibrate puts the right size in.
UNCALIBRATED = {
    LEARNED: UncertaintySpec(kind='log_laplace_scale', name=LOG_SIGMA),
    FLIP: UncertaintySpec(kind='flip', flip_gain=1.0),
}
# Keys of a card that training decides; the others are for the author of the card.
DECIDED = ('input', 'output', 'uncertainty.kind', 'uncertainty.name')
FREE = ('input.interpolation',)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """
    A trained network and the part of its configuration that acts on the deployed one.

    ``width`` and ``height`` of the input [px]; ``focal_px`` is fx at that size for which the
    network's metres hold.
    """

    network: DepthNetwork
    name: str
    width: int
    height: int
    focal_px: float

    def card(
        self, *, uncertainty: str, licence: str, training_data: str, revision: str
    ) -> ModelSpec:
        """
        Return the model card.

        :param uncertainty: 'learned' or 'flip'.
        """
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
            ),
            output=OutputSpec(
                name=DEPTH,
                kind='metric_depth',
                scale=1.0,
                min_depth_m=config.min_depth_m,
                max_depth_m=config.max_depth_m,
                focal_px=self.focal_px,
            ),
            uncertainty=UNCALIBRATED[uncertainty],
            sky=SkySpec(kind='none'),
            temporal=TemporalSpec(),
        )

    def exported(self, uncertainty: str) -> nn.Module:
        """
        Return the network from the normalised image to the outputs of the card.

        The pipeline normalises while it fills the tensor, at no cost; in front of the first
        convolution it would be a layer of its own, and inside of it wrong at the borders, where
        the padding is zero after the normalisation.
        """
        network = self.network.without_normalisation().for_size(self.width, self.height)
        return Outputs(network, with_sigma=uncertainty == LEARNED).eval()

    def reference(self, uncertainty: str) -> nn.Module:
        """Return what parity is measured against: the trained network as training ran it."""
        mean, std = self.network.normalisation
        return AsTrained(self.network, mean, std, with_sigma=uncertainty == LEARNED).eval()


class Outputs(nn.Module):
    """Depth, and ln sigma where the card names it, of the finest scale."""

    def __init__(self, network: DepthNetwork, *, with_sigma: bool) -> None:
        super().__init__()
        self.network = network
        self.with_sigma = with_sigma

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        depth, log_sigma = self.network.finest(image_B3HW)
        return (depth, log_sigma) if self.with_sigma else (depth,)


class AsTrained(nn.Module):
    """The whole network on pictures in 0..1, from the tensor that the card's input states."""

    def __init__(
        self,
        network: DepthNetwork,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        *,
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
    if given.temporal.is_stateful:
        found.append('temporal (a memory against a network without one)')
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
    )
