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

"""What recipes do with a network: its metres, its scales, and what is deployed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn, Tensor
from training.losses.photometric import enlarged
from training.models.depth_net import Prediction
from training.recipes.recipe import focal_ratio, Recipe
from training.samples import Batch

# Builds a fresh network, image to Prediction.
MakeNetwork = Callable[[], nn.Module]


def exactly(batch: Batch) -> torch.autocast:
    """Return a context without mixed precision: losses lose their meaning in 8 bits."""
    return torch.autocast(batch.image_B3HW.device.type, enabled=False)


def in_metres(
    prediction: Prediction, ratio_B111: Tensor, *, with_sigma: bool = True
) -> Prediction:
    """
    Return the prediction in the metres of this camera.

    :param ratio_B111: see ``focal_ratio``.
    :param with_sigma: False where sigma is in other units than metres.
    """
    log_ratio = ratio_B111.log()
    log_sigmas = prediction.log_sigmas
    if with_sigma:
        log_sigmas = tuple(log_sigma + log_ratio for log_sigma in log_sigmas)
    return Prediction(tuple(depth * ratio_B111 for depth in prediction.depths), log_sigmas)


def full_size(prediction: Prediction, like_BCHW: Tensor) -> Prediction:
    """Return every scale enlarged to the picture, as the deployed pipeline enlarges depth."""
    return Prediction(
        tuple(enlarged(depth, like_BCHW) for depth in prediction.depths),
        tuple(enlarged(log_sigma, like_BCHW) for log_sigma in prediction.log_sigmas),
    )


def full_inverse(prediction: Prediction, like_BCHW: Tensor) -> tuple[Tensor, ...]:
    """Return the inverse depth of every scale enlarged to the picture."""
    return tuple(enlarged(1.0 / depth, like_BCHW) for depth in prediction.depths)


class OneNetwork(Recipe):
    """A recipe around a single depth network."""

    def __init__(self, make_network: MakeNetwork, focal_px: float) -> None:
        super().__init__()
        self.network = make_network()
        self.focal_px = focal_px

    def deployed(self) -> nn.Module:
        return self.network

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        return {'depth': self._predicted(batch, batch.image_B3HW)}

    def _predicted(self, batch: Batch, image_B3HW: Tensor) -> Prediction:
        return in_metres(self.network(image_B3HW), focal_ratio(batch.K_B33, self.focal_px))
