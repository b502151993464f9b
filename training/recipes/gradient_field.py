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
Pre-training of an encoder without labels: which gradient field belongs to which picture.

Shim and Kim, ICRA 2021, arXiv:2011.03207, with the momentum encoder and the queue of MoCo (He et
al., arXiv:1911.05722). The encoder of the pictures is kept, see ``training.pretrain``. What is
different here stands in docs/pretraining.md.
"""

from __future__ import annotations

from collections.abc import Mapping
import copy
from dataclasses import dataclass
from typing import cast

from depth_ros.errors import ConfigError
import numpy as np
import torch
from torch import nn, Tensor
from training.gradient_field import gradient_field
from training.losses.contrastive import info_nce, similarities
from training.models.encoder_net import EncoderNet, follow
from training.models.network import Prediction
from training.ranks import Ranks
from training.recipes.branches import exactly, MakeNetwork
from training.recipes.key_queue import KeyQueue, picture_number
from training.recipes.options import require_positive
from training.recipes.recipe import FrameNeeds, Progress, Recipe, Term
from training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class GradientFieldConfig:
    """
    How pictures are told apart.

    Fields:
        temperature: similarities are divided by it.
        queue_size: of how many other pictures the keys are kept.
        momentum: of the encoder of the fields: so much of it stays in a step.
        low_threshold, high_threshold: of Canny, on grey values of 0 to 255.

    """

    temperature: float = 0.07
    queue_size: int = 8192
    momentum: float = 0.999
    low_threshold: float = 50.0
    high_threshold: float = 200.0

    def __post_init__(self) -> None:
        require_positive(
            self, 'temperature', 'queue_size', 'momentum', 'low_threshold', 'high_threshold'
        )
        if self.momentum >= 1:
            raise ConfigError(f'momentum = {self.momentum}: must be below 1')
        if self.high_threshold < self.low_threshold:
            raise ConfigError(
                f'high_threshold = {self.high_threshold}: must not be below low_threshold = '
                f'{self.low_threshold}'
            )

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part: all, each alone."""
        return FrameNeeds(labelled=None, neighbours=False)


@dataclass(frozen=True, slots=True)
class _Found:
    """What this process's part of a batch gave: new keys, whose they are, pictures left out."""

    keys_BD: Tensor
    pictures: tuple[int, ...]
    dropped: int


class GradientField(Recipe):
    """
    An encoder of pictures that learns, and one of their gradient fields that follows it.

    Both get the same crop and flip. A picture without edges has no field: it is left out, and
    ``dropped`` counts it; ``used`` counts the others.
    """

    network_type = EncoderNet
    dropped: Tensor
    used: Tensor

    def __init__(
        self, options: GradientFieldConfig, make_network: MakeNetwork, focal_px: float
    ) -> None:
        """
        Build it; nothing here is in metres, so that ``focal_px`` is the same to it.

        :raises ModelError: the encoder or its weights.
        """
        super().__init__()
        self.options, self.needs = options, options.needs
        self.network = cast(EncoderNet, make_network())
        self.key_network = copy.deepcopy(self.network).requires_grad_(False)
        self.queue = KeyQueue(options.queue_size, self.network.config.dimensions)
        self.register_buffer('dropped', torch.zeros((), dtype=torch.int64))
        self.register_buffer('used', torch.zeros((), dtype=torch.int64))
        self._found: _Found | None = None

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        fields_B1HW = self.fields(batch)
        (with_edges,) = torch.nonzero(fields_B1HW.flatten(1).any(dim=1).cpu(), as_tuple=True)
        count = len(with_edges)
        # Without any, all are coded for nothing: other processes may be waiting for this one's
        # statistics.
        chosen = with_edges if count else torch.arange(len(batch))
        queries_BD = self.network(batch.image_B3HW[chosen])
        with torch.no_grad():
            keys_BD = self.key_network.code(fields_B1HW[chosen].expand(-1, 3, -1, -1))
        pictures = self._pictures(batch, chosen)
        self._found = _Found(keys_BD[:count], pictures[:count], len(batch) - count)
        with exactly(batch):
            similar_BN = self._similarities(queries_BD, keys_BD, pictures)
            is_first_B = similar_BN.detach().argmax(dim=1) == 0
            return {
                'contrast': Term(info_nce(similar_BN), count),
                # To look at: how often a picture's own field is the most similar one.
                'matched': Term(is_first_B.float().mean(), count, 0.0),
            }

    def finish_step(self, ranks: Ranks, *, has_learned: bool) -> None:
        """Take in the keys of all processes, in one order; then let the other encoder follow."""
        assert self._found is not None
        found = self._found
        own = _Found(found.keys_BD.cpu(), found.pictures, found.dropped)
        for part in ranks.exchange(own):
            self.queue.push(part.keys_BD, part.pictures)
            self.dropped += part.dropped
            self.used += len(part.pictures)
        if has_learned:
            follow(self.key_network, self.network, self.options.momentum)

    def fields(self, batch: Batch) -> Tensor:
        """Return the gradient fields of a batch, (B, 1, H, W) in 0..1."""
        pixels_BHW3 = (batch.image_B3HW.permute(0, 2, 3, 1) * 255).round().to(torch.uint8).cpu()
        seen_BHW = batch.seen_B1HW[:, 0].cpu().numpy()
        low, high = self.options.low_threshold, self.options.high_threshold
        fields = [
            gradient_field(np.ascontiguousarray(pixels), low, high, seen)
            for pixels, seen in zip(pixels_BHW3.numpy(), seen_BHW, strict=True)
        ]
        return torch.from_numpy(np.stack(fields))[:, None].to(batch.image_B3HW)

    def _similarities(
        self, queries_BD: Tensor, keys_BD: Tensor, pictures: tuple[int, ...]
    ) -> Tensor:
        others_ND, other_pictures_N = self.queue.present()
        own_B = torch.tensor(pictures, device=other_pictures_N.device)
        # Of its older keys a picture could only learn that it is not itself.
        is_own_BN = own_B[:, None] == other_pictures_N
        return similarities(
            queries_BD,
            keys_BD,
            others_ND,
            is_own_BN,
            temperature=self.options.temperature,
        )

    def _pictures(self, batch: Batch, chosen: Tensor) -> tuple[int, ...]:
        return tuple(picture_number(batch.sequences[i], batch.stamps_ns[i]) for i in chosen)

    def deployed(self) -> nn.Module:
        return self.network

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        return {}

    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        return {'gradient field': self.fields(batch).expand(-1, 3, -1, -1)}
