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
A distribution over inverse depths and its mean, and the points in space that it stands for.

P. Ruhkamp et al., "Attention meets Geometry", 3DV 2021, arXiv:2110.08192 (TC-Depth), after
A. Johnston, G. Carneiro, CVPR 2020, arXiv:2003.13951. Shapes: B batch, h x w grid of the
features, N = h w tokens in rows.
"""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.models.layers import at_least_float32

# As published.
BINS = 256
WIDTH = 256
# An untrained volume says about this depth everywhere; most of a street is within a factor of 4.
START_M = 10.0
# Keeps features that are all alike finite.
EPSILON = 1e-5


class DisparityVolume(nn.Module):
    """
    Features to an expected inverse depth [1/m]: a softmax over bins that are linear in it.

    It reads the features without a gradient to them: only its own loss trains it. Ours are the
    ``normalised`` features, for an encoder that ends in a projection has large ones, and the
    begin at ``START_M``. From equal shares, whose mean is half the nearest depth's, the way to
    the few bins of a street is so long that training overshoots: one bin takes all, no gradient
    is left, and the reference stays one constant.
    """

    def __init__(
        self,
        channels: int,
        *,
        min_depth_m: float,
        max_depth_m: float,
        bins: int = BINS,
        width: int = WIDTH,
    ) -> None:
        """
        Build bins from 1 / max to 1 / min depth.

        :raises ValueError: no range of depth, or fewer than 2 bins.
        """
        super().__init__()
        if not 0 < min_depth_m < max_depth_m:
            raise ValueError(
                f'depth range {min_depth_m} to {max_depth_m} m: must be 0 < minimum < maximum'
            )
        if bins < 2:
            raise ValueError(f'bins = {bins}: must be 2 or more')
        self.before = nn.Conv2d(channels, width, 3, padding=1)
        self.scores = nn.Conv2d(width, bins, 3, padding=1)
        values = torch.linspace(1.0 / max_depth_m, 1.0 / min_depth_m, bins)
        self.register_buffer('bins_per_m', values[None, :, None, None], persistent=False)
        assert self.scores.bias is not None
        with torch.no_grad():
            self.scores.weight.zero_()
            self.scores.bias.copy_(-START_M * values)

    def forward(self, features_BChw: Tensor) -> Tensor:
        """Return the mean inverse depth [1/m], (B, 1, h, w), never less than float32."""
        hidden = functional.elu(self.before(normalised(features_BChw.detach())))
        shares = at_least_float32(self.scores(hidden)).softmax(dim=1)
        return (shares * self.bins_per_m.to(shares.dtype)).sum(dim=1, keepdim=True)


def normalised(features_BChw: Tensor) -> Tensor:
    """Return features with mean 0 and variance 1 over the channels of each cell."""
    centred = features_BChw - features_BChw.mean(dim=1, keepdim=True)
    variance = (centred * centred).mean(dim=1, keepdim=True)
    return centred * torch.rsqrt(variance + EPSILON)


def points_of(
    inverse_depth_B1hw: Tensor, camera_B4: Tensor, *, stride: int, focal_px: float
) -> Tensor:
    """
    Return the points [m] in the camera's optical frame, (B, N, 3).

    :param inverse_depth_B1hw: [1/m] as a camera of ``focal_px`` would have it: on this one
        depth is larger by fx / ``focal_px``.
    :param camera_B4: fx, fy, cx, cy [px] of the image, which is ``stride`` times finer than
        the grid. Half-pixel rule: c' = (c + 0.5) / stride - 0.5.
    """
    height, width = map(int, inverse_depth_B1hw.shape[-2:])
    kind = {'dtype': inverse_depth_B1hw.dtype, 'device': inverse_depth_B1hw.device}
    fx, fy, cx, cy = camera_B4.to(**kind).reshape(-1, 4, 1, 1).split(1, dim=1)
    # Cell centres in pixels of the image: where the grid's own K has (u - cx') / fx'.
    u = torch.arange(width, **kind) * stride + (stride - 1) / 2
    v = torch.arange(height, **kind)[:, None] * stride + (stride - 1) / 2
    z = fx / (focal_px * inverse_depth_B1hw)
    points = torch.cat((z * ((u - cx) / fx), z * ((v - cy) / fy), z), dim=1)
    return points.reshape(-1, 3, height * width).transpose(1, 2)
