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
DINOv2 as an encoder with one map, to compare features with: no decoder of ours can use it.

Oquab et al., arXiv:2304.07193. Its network and files are those of Depth Anything's encoder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depth_ros.errors import ModelError
from torch import nn, Tensor
from torch.nn import functional
from training.models.depth_anything import build, DepthAnything, LAYOUTS, PATCH_PX
from training.models.depth_anything_weights import load_encoder
from training.models.encoders import FeatureSpec, IMAGENET, RANDOM


class DinoV2(nn.Module):
    """RGB (B, 3, H, W) of any size to the last normalised patch tokens, about 1/14 of it."""

    def __init__(self, backbone: nn.Module, width: int) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels=(width,), strides=(PATCH_PX,))
        self.backbone = backbone

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        size = [max(1, round(side / PATCH_PX)) * PATCH_PX for side in image_B3HW.shape[2:]]
        if list(image_B3HW.shape[2:]) != size:
            image_B3HW = functional.interpolate(
                image_B3HW, size, mode='bilinear', align_corners=False, antialias=True
            )
        tokens = self.backbone(image_B3HW).feature_maps[-1]
        return (patch_map(tokens, size[0] // PATCH_PX, size[1] // PATCH_PX),)


def patch_map(tokens_BNC: Tensor, rows: int, columns: int) -> Tensor:
    """Return patch tokens, the first being the class's, as a map (B, C, rows, columns)."""
    return tokens_BNC[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))


def load_dinov2(size: str, weights: str) -> DinoV2:
    """
    Return the encoder of one of ``LAYOUTS``.

    :param weights: 'random', or a file of DINOv2, or of Depth Anything, of that size.
    :raises ModelError: transformers is missing, or the file cannot be read or does not fit.
    """
    if weights == IMAGENET:
        raise ModelError(
            f"encoder 'dinov2_{size}': was not trained on ImageNet; give the file of its weights"
        )
    layout = LAYOUTS[size]
    network = DepthAnything(build(layout))
    if weights != RANDOM:
        load_encoder(network, layout, Path(weights))
    whole: Any = network.network
    return DinoV2(whole.backbone, layout.width)
