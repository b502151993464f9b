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
Networks whose weights somebody else has published, as they are exported.

The weights do not say what their numbers mean: the card does, and is compared here with what is
known of each network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from depth_ros.core.model_spec import ModelSpec, OutputKind
from depth_ros.errors import ModelError
from torch import nn
from training.models.depth_anything_weights import load_depth_anything
from training.models.encoders import IMAGENET_MEAN, IMAGENET_STD
from training.models.meter import load_meter_xxs

Load = Callable[[Path, ModelSpec], nn.Module]
# What the metric networks of Depth Anything V2 answer up to [m].
INDOOR_M, OUTDOOR_M = 20.0, 80.0


def _meter_xxs(path: Path, card: ModelSpec) -> nn.Module:
    return load_meter_xxs(path)


def _depth_anything(version: int, max_depth_m: float | None = None) -> Load:
    kind: OutputKind = 'affine_inverse_depth' if max_depth_m is None else 'metric_depth'

    def load(path: Path, card: ModelSpec) -> nn.Module:
        _require_card(card, kind)
        network = load_depth_anything(path, version=version, max_depth_m=max_depth_m)
        return network.fixed(card.input.width, card.input.height)

    return load


# Name -> reads a published file of weights for the card that it will have.
NETWORKS: dict[str, Load] = {
    'meter_xxs': _meter_xxs,
    'depth_anything_v1': _depth_anything(1),
    'depth_anything_v2': _depth_anything(2),
    'depth_anything_v2_indoor': _depth_anything(2, INDOOR_M),
    'depth_anything_v2_outdoor': _depth_anything(2, OUTDOOR_M),
}


def _require_card(card: ModelSpec, kind: OutputKind) -> None:
    given = card.input
    facts: tuple[tuple[str, object, object], ...] = (
        ('output.kind', card.output.kind, kind),
        ('input.color_order', given.color_order, 'rgb'),
        ('input.mean', given.mean, IMAGENET_MEAN),
        ('input.std', given.std, IMAGENET_STD),
        ('sky.kind', card.sky.kind, 'none'),
        ('temporal.window', card.temporal.window, 1),
        ('temporal.states', card.temporal.states, ()),
    )
    for key, value, wanted in facts:
        if value != wanted:
            raise ModelError(f'{key} = {value!r}: of this network it is {wanted!r}')
    if card.uncertainty.kind == 'log_laplace_scale':
        raise ModelError(
            "uncertainty.kind = 'log_laplace_scale': this network answers no uncertainty; it is "
            "'none', or 'flip' with a measured gain"
        )
