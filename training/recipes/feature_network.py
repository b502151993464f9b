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
Features for the feature-metric loss: an auto-encoder whose gradients are made informative.

Shu et al., FeatDepth, arXiv:2007.10603, equations 5 to 8: single-view reconstruction, features
that change also where the picture hardly does (discriminative: maximised), and whose change is
even (convergent: minimised). Train it on the drives that depth is then trained on: elsewhere its
features say nothing about low texture. It has no depth: the depth recipes load its checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.losses.dissimilarity import moment_error, target_moments
from training.losses.smoothness import first_order, second_order
from training.models.autoencoder import AutoEncoder, response
from training.models.layers import at_least_float32
from training.models.network import Prediction
from training.recipes.branches import exactly, MakeNetwork
from training.recipes.options import require_not_negative
from training.recipes.recipe import FrameNeeds, Progress, Recipe, Term
from training.samples import Batch

# Of which feature maps the response is shown, by their number.
SHOWN_MAPS = (0, 2)


@dataclass(frozen=True, kw_only=True)
class FeatureNetworkConfig:
    """
    How strong the two terms on the features' gradients are.

    Fields:
        discriminative_weight: first differences where the picture is flat are rewarded; 0: off.
        convergent_weight: second differences there are punished; 0: off.

    """

    discriminative_weight: float = 1e-3
    convergent_weight: float = 1e-3

    def __post_init__(self) -> None:
        require_not_negative(self, 'discriminative_weight', 'convergent_weight')

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part: all, each alone."""
        return FrameNeeds(labelled=None, neighbours=False)


class FeatureNetwork(Recipe):
    """An auto-encoder that learns from single pictures."""

    network_type = AutoEncoder

    def __init__(
        self, options: FeatureNetworkConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it; nothing here is in metres, so that ``focal_px`` is the same to it.

        :raises ModelError: the network.
        """
        super().__init__()
        self.options, self.needs = options, options.needs
        self.network = cast(AutoEncoder, make_network())

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        features, pictures = self.network(batch.image_B3HW)
        with exactly(batch):
            count = len(batch)
            terms = {'reconstruction': Term(reconstruction(pictures, batch.image_B3HW), count)}
            maps = [at_least_float32(x) for x in features]
            first, second = gradients(maps, batch.image_B3HW)
            if self.options.discriminative_weight:
                weight = -self.options.discriminative_weight
                terms['discriminative'] = Term(first, count, weight)
            if self.options.convergent_weight:
                terms['convergent'] = Term(second, count, self.options.convergent_weight)
            return terms

    def deployed(self) -> nn.Module:
        return self.network

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        return {}

    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        features, pictures = self.network(batch.image_B3HW)
        strides = self.network.encoder.spec.strides
        shown = {f'features at 1/{strides[n]}': response(features[n]) for n in SHOWN_MAPS}
        grey = {title: x.expand(-1, 3, -1, -1) for title, x in shown.items()}
        return {'rebuilt': pictures[0], **grey}


def reconstruction(pictures: Sequence[Tensor], image_B3HW: Tensor) -> Tensor:
    """
    Return the mean over the scales of the photometric error of each against the picture there.

    FeatDepth's has rho for |a - b|, which differ by at most 1e-3.
    """
    values = [
        moment_error(target_moments(_shrunk(image_B3HW, picture)), picture).mean()
        for picture in pictures
    ]
    return torch.stack(values).mean()


def gradients(features: Sequence[Tensor], image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return first and second differences of the features where the picture is flat.

    The mean over the maps, the i-th times 2^-i, in which the picture is shrunk to each. A map
    with fewer than three pixels along a side has no part.
    """
    first, second = [], []
    for number, features_BCHW in enumerate(features):
        if min(features_BCHW.shape[-2:]) < 3:
            continue
        small = _shrunk(image_B3HW, features_BCHW)
        first.append(first_order(features_BCHW, small) * 0.5**number)
        second.append(second_order(features_BCHW, small) * 0.5**number)
    return torch.stack(first).sum() / len(features), torch.stack(second).sum() / len(features)


def _shrunk(image_B3HW: Tensor, like_BCHW: Tensor) -> Tensor:
    if image_B3HW.shape[-2:] == like_BCHW.shape[-2:]:
        return image_B3HW
    return functional.interpolate(image_B3HW, like_BCHW.shape[-2:], mode='area')
