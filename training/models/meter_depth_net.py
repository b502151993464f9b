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
METER-XXS as a network to train: the published weights, and a head for the uncertainty.

The head reads the features that the last convolution reads, and the encoder's finest, where
edges are. Input sizes other than the 636x192
of the published weights work, and are less exact until they have been trained for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from depth_ros.errors import ConfigError
import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.decoder import conv3x3
from training.models.encoders import RANDOM
from training.models.heads import LogSigmaHead
from training.models.layers import at_least_float32
from training.models.meter import (
    AS_PUBLISHED,
    ENCODER_OUT,
    fits,
    MeterXxs,
    pad_to,
    Pools,
    SIZE_RULE,
)
from training.models.network import (
    DepthNetwork,
    NetworkConfig,
    NO_SCALE,
    NO_SHIFT,
    Prediction,
    Triple,
)
from training.trained import trained_network
from training.weights import load_strictly, read_state

# The published KITTI weights answer in decimetres.
METRES_PER_UNIT = 0.1
# Width of the bend where depth approaches its minimum [m]: 1 / this. A metre above it, the
# answer is the last convolution's within 5e-6 m.
BEND_PER_M = 10.0
# Channels that the last convolution reads, and of the encoder's skip at a quarter of the size.
FEATURES, EDGES = 8, 24
# Share of the channels that training hides from the uncertainty with context: on a few drives
# it would else remember places.
DROPPED = 0.1
# Of the uncertainty's own layers.
SIGMA_WIDTH = 16
# A box of 4 and a box of 2, one after the other: zero at both periods, and symmetric.
NO_PERIOD_2_OR_4 = (1.0, 2.0, 2.0, 2.0, 1.0)
# How far two 3x3 convolutions and that average see.
REACH = 1 + 1 + len(NO_PERIOD_2_OR_4) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterNetConfig(NetworkConfig):
    """
    Everything that decides the shape of a network; goes into its checkpoint.

    Fields:
        weights: 'random', the file of the published weights, or a checkpoint of this kind.
        sigma: what the uncertainty sees: ``edges``, the finest features; ``context``, depth and
            the encoder's coarsest features beside them.
        frozen_depth: encoder and decoder stay as they were loaded, and the uncertainty is
            trained anew, whatever uncertainty the weights have.
        attention_pools: ``AttentionBlock.pool`` at 1/8, 1/16 and 1/32; 0, as published. The
            weights are the same, the answers nearly; 4 at 1/8 makes the network a fourth faster.

    """

    kind: Literal['meter_xxs'] = 'meter_xxs'
    min_depth_m: float = 0.5
    sigma: Literal['edges', 'context'] = 'edges'
    frozen_depth: bool = False
    attention_pools: Pools = AS_PUBLISHED

    def check_size(self, width: int, height: int) -> None:
        """Check an input size [px]; ConfigError names the side."""
        for key, value in (('data.width', width), ('data.height', height)):
            if not fits(value):
                raise ConfigError(f'{key} = {value}: {SIZE_RULE}')


class Seen(NamedTuple):
    """What the uncertainty may see: finest features, the encoder's at 1/4 and 1/32, depth [m]."""

    features_BCHW: Tensor
    edges_BCHW: Tensor
    coarsest_BCHW: Tensor
    depth_B1HW: Tensor


class SigmaBranch(nn.Module):
    """
    From the decoder's and the encoder's finest features to ln sigma.

    METER's transposed convolutions leave patterns with periods of 2 and 4 cells, and its zero
    padding marks the border. Both would show in sigma: it is averaged over such periods, and
    nothing here is padded with zeros.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(FEATURES + EDGES, SIGMA_WIDTH, 1)
        self.wide = conv3x3(SIGMA_WIDTH, SIGMA_WIDTH)
        self.head = LogSigmaHead(SIGMA_WIDTH)
        # The border is repeated once, in front of all of them.
        for conv in (self.wide, self.head.conv):
            conv.padding = (0, 0)
        taps = torch.tensor(NO_PERIOD_2_OR_4) / sum(NO_PERIOD_2_OR_4)
        self.register_buffer('average', torch.outer(taps, taps)[None, None], persistent=False)

    def forward(self, seen: Seen) -> Tensor:
        return self.from_mixed(self.mix(torch.cat((seen.features_BCHW, seen.edges_BCHW), dim=1)))

    def from_mixed(self, mixed_BCHW: Tensor) -> Tensor:
        """Return ln sigma from what the first layer gives."""
        mixed = functional.relu(mixed_BCHW)
        log_sigma = self.head(functional.relu(self.wide(repeat_border(mixed, REACH))))
        return functional.conv2d(log_sigma, self.average.to(log_sigma.dtype))


class ContextBranch(SigmaBranch):
    """
    The same, which also sees depth and the encoder's coarsest features.

    Where depth is wrong by much is seldom to be told from the finest features alone: far away,
    and on a street of another kind, whose whole depth is wrong. The last only the coarsest
    features tell. They are mixed before they are enlarged, which is the same as after it, and
    cheaper.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(FEATURES + EDGES + 1, SIGMA_WIDTH, 1)
        self.mix_coarsest = nn.Conv2d(ENCODER_OUT, SIGMA_WIDTH, 1, bias=False)
        self.dropout = nn.Dropout2d(DROPPED)

    def forward(self, seen: Seen) -> Tensor:
        # Sigma learns from depth and shall not change it.
        log_depth = seen.depth_B1HW.detach().log()
        # The decoder's features are as large as decimetres, all others about one.
        fine = (torch.log1p(seen.features_BCHW), seen.edges_BCHW, log_depth)
        mixed = self.mix(self.dropout(torch.cat(fine, dim=1)))
        size = (int(mixed.shape[-2]), int(mixed.shape[-1]))
        whole = self.mix_coarsest(self.dropout(seen.coarsest_BCHW))
        enlarged = functional.interpolate(whole, size, mode='bilinear', align_corners=False)
        return self.from_mixed(mixed + enlarged)


BRANCHES: dict[str, type[SigmaBranch]] = {'edges': SigmaBranch, 'context': ContextBranch}


def repeat_border(image_BCHW: Tensor, reach: int) -> Tensor:
    """
    Return the image with its border repeated ``reach`` times on every side.

    As ``pad(mode='replicate')``; by pieces, because the exporter hides the size of a Pad, and
    engines take long to gather rows and columns.
    """
    for dim in (2, 3):
        # Counted from the front: the exporter cuts nothing where it is to begin at -1.
        end = int(image_BCHW.shape[dim]) - 1
        first, last = image_BCHW.narrow(dim, 0, 1), image_BCHW.narrow(dim, end, 1)
        pieces = (*[first] * reach, image_BCHW, *[last] * reach)
        image_BCHW = torch.cat(pieces, dim=dim)
    return image_BCHW


class MeterDepthNet(DepthNetwork):
    """RGB in 0..1 to depth and ln sigma at a quarter of the size, rounded up to even."""

    def __init__(self, config: MeterNetConfig) -> None:
        """
        Build the network and load all tensors of its weights.

        :raises ModelError: the file cannot be read or does not fit.
        :raises ValueError: an impossible range of depth, an unknown ``sigma``, or a pool that does
            not divide its grid.
        """
        super().__init__()
        if config.sigma not in BRANCHES:
            raise ValueError(f"sigma '{config.sigma}': must be one of {sorted(BRANCHES)}")
        if not 0 < config.min_depth_m < config.max_depth_m:
            raise ValueError(
                f'depth range {config.min_depth_m} to {config.max_depth_m} m: must be '
                '0 < minimum < maximum'
            )
        self.config: MeterNetConfig = config
        whole = MeterXxs(config.attention_pools)
        self.encoder, self.decoder = whole.encoder, whole.decoder
        for part in (self.encoder, self.decoder):
            part.requires_grad_(not config.frozen_depth)
        self.sigma = BRANCHES[config.sigma]()
        if config.weights == RANDOM:
            return
        path = Path(config.weights)
        own = {f'sigma.{name}': value for name, value in self.sigma.state_dict().items()}
        if not config.frozen_depth:
            own = {}
        trained = trained_network(path, self.state_dict().keys() - own.keys())
        if trained is not None:
            load_strictly(self, {**own, **trained}, config.weights)
        else:
            load_strictly(whole, read_state(path), config.weights)

    def forward(self, image_B3HW: Tensor) -> Prediction:
        """
        Return the only scale.

        :raises ValueError: not (B, 3, H, W), or a size that METER cannot take.
        """
        depth, log_sigma = self.finest(image_B3HW)
        return Prediction((depth,), (log_sigma,))

    def finest(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma."""
        coarsest, sixteenth, eighth, quarter = self.encoded(image_B3HW)
        features = self.decoder.features(coarsest, sixteenth, eighth, quarter)
        return self.answer(features, quarter, coarsest)

    def encoded(self, image_B3HW: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """
        Return the encoder's features at 1/32, 1/16, 1/8 and 1/4.

        :raises ValueError: not (B, 3, H, W), or a size that METER cannot take.
        """
        if image_B3HW.dim() != 4 or not all(map(fits, map(int, image_B3HW.shape[-2:]))):
            raise ValueError(f'image has shape {tuple(image_B3HW.shape)}: {SIZE_RULE}')
        maps: tuple[Tensor, Tensor, Tensor, Tensor] = self.encoder(image_B3HW)
        return maps

    def answer(
        self, features_BCHW: Tensor, quarter_BCHW: Tensor, coarsest_BCHW: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return depth and ln sigma from the decoder's finest features and the encoder's."""
        raw = at_least_float32(self.decoder.conv2d_out(features_BCHW)) * METRES_PER_UNIT
        height, width = map(int, features_BCHW.shape[-2:])
        # Where a quarter of the size is odd, as METER's decoder does.
        edges = pad_to(quarter_BCHW, height, width)
        depth = self._in_range(raw)
        return depth, self.sigma(Seen(features_BCHW, edges, coarsest_BCHW, depth))

    def _in_range(self, raw_m: Tensor) -> Tensor:
        """Bend towards the minimum, so that there is always a gradient; cut at the maximum."""
        low, high = self.config.min_depth_m, self.config.max_depth_m
        return (low + functional.softplus(raw_m - low, beta=BEND_PER_M)).clamp(max=high)

    @property
    def normalisation(self) -> tuple[Triple, Triple]:
        """Return that METER takes RGB in 0..1 as it is."""
        return NO_SHIFT, NO_SCALE

    def without_normalisation(self) -> MeterDepthNet:
        """Return itself, for there is none."""
        return self

    def pretrained_names(self) -> frozenset[str]:
        """Return all parameters but the uncertainty's, when they were loaded."""
        if self.config.weights == RANDOM:
            return frozenset()
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if not name.startswith('sigma.'))
