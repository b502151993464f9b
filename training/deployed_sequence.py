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
What goes into a model file of a network that remembers: a step, its states, and their card.

Graph inputs: the image, the camera where the network uses it, then the states; outputs: depth,
ln sigma where the card names it, then the next states in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from depth_ros.core.model_spec import ModelSpec, StateSpec, TemporalSpec
from depth_ros.core.preprocess import image_inputs, usual_camera
from depth_ros.engines.probe import no_past
from depth_ros.errors import ConfigError
import numpy as np
from numpy.typing import NDArray
import torch
from torch import nn, Tensor
from training.models.network import DepthNetwork, NO_SCALE, NO_SHIFT, Triple
from training.models.sequence import camera_in_the_middle, SequenceNetwork

CAMERA = 'camera'
# A state's output: the name of its input behind this.
NEXT = 'next_'

Images = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    How far apart the frames of a network with a memory may be [ms].

    None: what a card usually says. A network without a memory has no pace.
    """

    interval_ms: float | None = None
    max_gap_ms: float | None = None

    @property
    def is_given(self) -> bool:
        """Tell whether anything was said."""
        return self != Pace()


def temporal_spec(network: DepthNetwork, width: int, height: int, pace: Pace) -> TemporalSpec:
    """
    Return what the card says of the memory; of a network without one that there is none.

    :raises ConfigError: there is a pace, and nothing to remember.
    :raises ModelError: an impossible pace.
    """
    has_memory = isinstance(network, SequenceNetwork) and network.memory > 0
    if not has_memory:
        if pace.is_given:
            raise ConfigError(
                f'interval {pace.interval_ms} ms, largest gap {pace.max_gap_ms} ms: the network '
                'keeps nothing of earlier frames; leave these out'
            )
        return TemporalSpec()
    shapes = [tuple(state.shape) for state in network.initial_states(1, height, width)]
    states = tuple(
        StateSpec(input=name, output=f'{NEXT}{name}', shape=shape)
        for name, shape in zip(network.state_names(), shapes, strict=True)
    )
    usual = TemporalSpec()
    return TemporalSpec(
        states=states,
        nominal_interval_ms=_given(pace.interval_ms, usual.nominal_interval_ms),
        max_gap_ms=_given(pace.max_gap_ms, usual.max_gap_ms),
        warmup_frames=network.memory,
    )


def _given(value: float | None, usual: float) -> float:
    return usual if value is None else value


def camera_name(network: DepthNetwork) -> str | None:
    """Return the name of the graph's camera input, where the network uses the camera."""
    is_used = isinstance(network, SequenceNetwork) and network.uses_camera
    return CAMERA if is_used else None


class StepOutputs(nn.Module):
    """
    A step, from the graph's inputs to its outputs.

    :param mean, std: undone before the network, which has its own normalisation then.
    """

    def __init__(
        self,
        network: SequenceNetwork,
        *,
        with_sigma: bool,
        mean: Triple = NO_SHIFT,
        std: Triple = NO_SCALE,
    ) -> None:
        super().__init__()
        self.network = network
        self.with_sigma = with_sigma
        self.undo = (mean, std) != (NO_SHIFT, NO_SCALE)
        self.mean, self.std = (torch.tensor(x)[None, :, None, None] for x in (mean, std))

    def forward(self, image_B3HW: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        if self.undo:
            image_B3HW = image_B3HW * self.std + self.mean
        if self.network.uses_camera:
            camera, *states = others
        else:
            # Of no effect then, whatever it is.
            camera, states = camera_in_the_middle(image_B3HW, 1.0), list(others)
        depth, log_sigma, after = self.network.finest_step(image_B3HW, camera, tuple(states))
        return (depth, log_sigma, *after) if self.with_sigma else (depth, *after)


def graph_inputs(card: ModelSpec, image: Images) -> dict[str, Images]:
    """Return all inputs of a first frame by name, in the order of the graph."""
    return {**image_inputs(card.input, image, usual_camera(card)), **no_past(card)}


def answers(
    reference: nn.Module, card: ModelSpec, images: Sequence[Images]
) -> Iterator[list[Images]]:
    """Yield what torch says of image after image, each with the states of the one before."""
    camera, states = usual_camera(card), tuple(no_past(card).values())
    for image in images:
        inputs = [*image_inputs(card.input, image, camera).values(), *states]
        answer = reference(*map(torch.from_numpy, inputs))
        arrays = [x.numpy() for x in ([answer] if isinstance(answer, Tensor) else answer)]
        count = len(arrays) - len(states)
        states = tuple(arrays[count:])
        yield arrays[:count]
