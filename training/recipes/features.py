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
The feature-metric terms: a finished feature network looks at the pictures, depth moves them.

The network is frozen, sees clean pictures, and is loaded strictly from a checkpoint of the recipe
``feature_network``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from depth_ros.errors import ModelError
import torch
from torch import Tensor
from torch.nn import functional
from training.losses.checks import masked_mean
from training.losses.feature_metric import feature_error
from training.models.autoencoder import AutoEncoder
from training.recipes.options import FeatureMetricOptions
from training.recipes.recipe import Term
from training.recipes.scene import Scene

STRIDES = (2, 4, 8)


class FeatureMetric:
    """
    A feature network that is loaded when it is first asked: export does not need it.

    No part of the state dict, for its own checkpoint holds it; copies of a recipe share it.
    """

    def __init__(self, options: FeatureMetricOptions) -> None:
        self._options = options
        self.strides = STRIDES[: options.scales]

    def __deepcopy__(self, memo: dict[int, object]) -> FeatureMetric:
        return self

    @cached_property
    def _network(self) -> AutoEncoder:
        return load_feature_network(Path(self._options.checkpoint))

    @torch.no_grad()
    def maps(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        """
        Return the feature maps of clean pictures at 1/2, 1/4, ..., without a gradient.

        :raises ModelError: the checkpoint cannot be used.
        """
        network = self._network.to(image_B3HW)
        numbers = network.maps_at(self.strides)
        found = network.encode(image_B3HW)
        return tuple(found[number] for number in numbers)

    def terms(self, scene: Scene, inv_depth_B1hw: Tensor, weight: float) -> dict[str, Term]:
        """
        Return ``feature_metric_2``, ``_4``, ...: each of ``weight`` over the number of scales.

        One term for each stride, because their means are over different numbers of pixels.
        A feature counts where all of its pixels were seen.
        """
        count = len(scene.target)
        size = (int(scene.target.shape[2]), int(scene.target.shape[3]))
        maps = self.maps(torch.cat((scene.target, *scene.sources)))
        terms = {}
        for stride, features in zip(self.strides, maps, strict=True):
            target, *others = features.split(count)
            error, is_valid = feature_error(
                target, others, inv_depth_B1hw, scene.K_B33, scene.poses, size
            )
            unseen = functional.max_pool2d((~scene.seen_B1HW).float(), stride)
            is_valid = is_valid & (unseen == 0)
            pixels = int(is_valid.sum())
            if pixels:
                value = masked_mean(error, is_valid)
                terms[f'feature_metric_{stride}'] = Term(value, pixels, weight / len(self.strides))
        return terms


def load_feature_network(path: Path) -> AutoEncoder:
    """
    Return the frozen network of a checkpoint of the recipe ``feature_network``.

    :raises ModelError: the checkpoint cannot be read, does not fit, or is of another recipe.
    :raises ConfigError: its config is not one that this version knows.
    """
    # The checkpoint's reader knows all recipes, and they know this module.
    from training.checkpoint import load_recipe

    recipe, config = load_recipe(path)
    network = recipe.deployed()
    if not isinstance(network, AutoEncoder):
        raise ModelError(
            f"checkpoint '{path}' is of recipe '{config.recipe.name}' and has no features: give "
            "one of recipe 'feature_network'"
        )
    return network.requires_grad_(False)
