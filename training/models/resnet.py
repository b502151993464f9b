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
ResNet-18 and ResNet-50 as encoders, through ``transformers``.

K. He et al., arXiv:1512.03385. 'imagenet' is microsoft/resnet-18 and -50 of the Hugging Face
hub (Apache-2.0), from its cache or over the network; a path is a folder that
``save_pretrained`` wrote.
"""

from __future__ import annotations

from depth_ros.errors import ModelError
from torch import nn, Tensor
from training.models.encoders import FeatureSpec, IMAGENET, RANDOM

STRIDES = (2, 4, 8, 16, 32)
STEM = 64
LAYOUTS = {
    18: {'layer_type': 'basic', 'depths': [2, 2, 2, 2], 'hidden_sizes': [64, 128, 256, 512]},
    50: {
        'layer_type': 'bottleneck',
        'depths': [3, 4, 6, 3],
        'hidden_sizes': [256, 512, 1024, 2048],
    },
}


class ResNet(nn.Module):
    """The stem at 1/2, then the four stages."""

    def __init__(self, network: nn.Module, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.spec = FeatureSpec(channels=channels, strides=STRIDES)
        self.stem = network.embedder.embedder
        self.pool = network.embedder.pooler
        self.stages = network.encoder.stages

    def forward(self, image_B3HW: Tensor) -> tuple[Tensor, ...]:
        taken = [self.stem(image_B3HW)]
        features = self.pool(taken[0])
        for stage in self.stages:
            features = stage(features)
            taken.append(features)
        return tuple(taken)


def load_resnet(depth: int, weights: str) -> ResNet:
    """
    Return ResNet ``depth`` with 'random' or 'imagenet' weights or those of a folder.

    :raises ModelError: the folder or the hub's file cannot be read, or is another network.
    """
    from transformers import ResNetConfig, ResNetModel

    layout = LAYOUTS[depth]
    if weights == RANDOM:
        network = ResNetModel(ResNetConfig(embedding_size=STEM, **layout))
    else:
        name = f'microsoft/resnet-{depth}' if weights == IMAGENET else weights
        network = _pretrained(ResNetModel, name)
        _require_layout(network, layout, name)
    return ResNet(network.train(), (STEM, *layout['hidden_sizes']))


def _pretrained(model: type, name: str) -> nn.Module:
    try:
        network, loading = model.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError) as error:
        first_line = str(error).strip().splitlines()[0]
        raise ModelError(
            f"ResNet weights '{name}' cannot be read: {first_line}; give a folder that "
            "save_pretrained wrote, or 'random'"
        ) from error
    missing = sorted(map(str, loading['missing_keys']))
    if missing:
        raise ModelError(f"ResNet weights '{name}': {missing[0]} is missing")
    return network


def _require_layout(network: nn.Module, layout: dict[str, object], name: str) -> None:
    for key, wanted in layout.items():
        given = getattr(network.config, key)
        if given != wanted:
            raise ModelError(f"ResNet weights '{name}': {key} is {given} and not {wanted}")
