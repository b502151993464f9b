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
Depth Anything: DINOv2 with a DPT head, through ``transformers``.

L. Yang et al., arXiv:2401.10891 (V1) and arXiv:2406.09414 (V2). The relative network answers an
inverse depth up to scale and shift (ReLU), the metric one a share of its largest depth
(sigmoid). The input is RGB, normalised by ImageNet's mean and std, of sides that are multiples
of 14.

Shape letters: B batch, H W image, C channels.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from depth_ros.errors import ModelError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.layers import at_least_float32

PATCH_PX = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    The sizes of one network.

    Fields:
        width, layers, heads: of the transformer.
        taken: after which layers features are taken, the first layer being 1.
        levels: channels of the four feature maps, finest first.
        fusion: channels of the DPT head.
        positions: the side of the grid of position embeddings [patches].

    """

    width: int
    layers: int
    heads: int
    taken: tuple[int, int, int, int]
    levels: tuple[int, int, int, int]
    fusion: int
    positions: int = 37
    hidden: int = 32

    def version(self, number: int) -> Layout:
        """Return the layout of V1, which takes the last four layers, or of V2."""
        last = self.layers
        return self if number == 2 else replace(self, taken=(last - 3, last - 2, last - 1, last))


# 'tiny' is of no publication: it is there to try a configuration out.
LAYOUTS: dict[str, Layout] = {
    'vits': Layout(
        width=384, layers=12, heads=6, taken=(3, 6, 9, 12), levels=(48, 96, 192, 384), fusion=64
    ),
    'vitb': Layout(
        width=768, layers=12, heads=12, taken=(3, 6, 9, 12), levels=(96, 192, 384, 768), fusion=128
    ),
    'vitl': Layout(
        width=1024,
        layers=24,
        heads=16,
        taken=(5, 12, 18, 24),
        levels=(256, 512, 1024, 1024),
        fusion=256,
    ),
    'tiny': Layout(
        width=32,
        layers=4,
        heads=2,
        taken=(1, 2, 3, 4),
        levels=(8, 8, 16, 16),
        fusion=16,
        positions=5,
        hidden=8,
    ),
}


def build(layout: Layout) -> Any:
    """
    Return the network of transformers with random weights.

    :raises ModelError: transformers is not installed, or older than this network.
    """
    try:
        from transformers import (
            DepthAnythingConfig,
            DepthAnythingForDepthEstimation,
            Dinov2Config,
        )
    except ImportError as error:
        raise ModelError(
            f"Depth Anything needs the package transformers ({error}): pip install '.[train]'"
        ) from error
    backbone = Dinov2Config(
        image_size=layout.positions * PATCH_PX,
        patch_size=PATCH_PX,
        hidden_size=layout.width,
        num_hidden_layers=layout.layers,
        num_attention_heads=layout.heads,
        out_indices=list(layout.taken),
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=PATCH_PX,
        reassemble_hidden_size=layout.width,
        neck_hidden_sizes=list(layout.levels),
        fusion_hidden_size=layout.fusion,
        head_hidden_size=layout.hidden,
    )
    network = DepthAnythingForDepthEstimation(config)
    # The small random weights of transformers let features vanish in the head.
    for part in (network.neck, network.head):
        for layer in part.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                layer.reset_parameters()
    return network


class DepthAnything(nn.Module):
    """
    The normalised image (B, 3, H, W) to (B, 1, H, W): inverse depth, or metres.

    :param max_depth_m: None: the relative network; else the metric one, which answers up to it.
    """

    def __init__(self, network: nn.Module, max_depth_m: float | None = None) -> None:
        super().__init__()
        self.network = network
        self.max_depth_m = max_depth_m

    def features(self, image_B3HW: Tensor) -> Tensor:
        """
        Return the features that the last convolution reads, (B, C, H, W).

        :raises ValueError: a side of the image is no multiple of 14.
        """
        network: Any = self.network
        rows, columns = patches(image_B3HW)
        taken = network.backbone(image_B3HW).feature_maps
        fused = network.neck(taken, rows, columns)[-1]
        head = network.head
        large = functional.interpolate(
            head.conv1(fused),
            (rows * PATCH_PX, columns * PATCH_PX),
            mode='bilinear',
            align_corners=True,
        )
        return functional.relu(head.conv2(large))

    def answer(self, features_BCHW: Tensor) -> Tensor:
        """Return the answer to features, never in less than float32."""
        network: Any = self.network
        raw = at_least_float32(network.head.conv3(features_BCHW))
        return (
            functional.relu(raw) if self.max_depth_m is None else raw.sigmoid() * self.max_depth_m
        )

    def forward(self, image_B3HW: Tensor) -> Tensor:
        return self.answer(self.features(image_B3HW))

    def fixed(self, width: int, height: int) -> DepthAnything:
        """
        Return a copy for images of one size, its position embeddings resampled once for all.

        :raises ModelError: a side is no multiple of 14.
        """
        for name, value in (('input.width', width), ('input.height', height)):
            if value % PATCH_PX:
                raise ModelError(f'{name} = {value}: must be a multiple of {PATCH_PX} px')
        result = copy.deepcopy(self).eval()
        network: Any = result.network
        network.backbone.embeddings = FixedEmbeddings(network.backbone.embeddings, width, height)
        return result


class FixedEmbeddings(nn.Module):
    """DINOv2's embeddings of images of one size: no resampling is left to be computed."""

    def __init__(self, embeddings: Any, width: int, height: int) -> None:
        super().__init__()
        self.patches = embeddings.patch_embeddings.projection
        self.class_token = nn.Parameter(embeddings.cls_token.detach().clone())
        count = width // PATCH_PX * (height // PATCH_PX)
        example = embeddings.cls_token.new_zeros(1, count + 1, embeddings.cls_token.shape[-1])
        with torch.no_grad():
            positions = embeddings.interpolate_pos_encoding(example, height, width)
        self.positions = nn.Parameter(positions.clone())

    def forward(self, pixel_values: Tensor, bool_masked_pos: None = None) -> Tensor:
        tokens = self.patches(pixel_values).flatten(2).transpose(1, 2)
        classes = self.class_token.expand(tokens.shape[0], -1, -1)
        return torch.cat((classes, tokens), dim=1) + self.positions


def patches(image_B3HW: Tensor) -> tuple[int, int]:
    """
    Return the rows and columns of patches of an image.

    :raises ValueError: not (B, 3, H, W), or a side is no multiple of 14.
    """
    if image_B3HW.dim() != 4 or image_B3HW.shape[1] != 3:
        raise ValueError(f'image has shape {tuple(image_B3HW.shape)}: must be (B, 3, H, W)')
    height, width = (int(side) for side in image_B3HW.shape[2:])
    if height % PATCH_PX or width % PATCH_PX:
        raise ValueError(f'image of {width}x{height}: both must be multiples of {PATCH_PX} pixels')
    return height // PATCH_PX, width // PATCH_PX
