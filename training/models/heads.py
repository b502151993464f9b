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

"""The last layers: features to metres, and to the logarithm of their uncertainty."""

from __future__ import annotations

from collections.abc import Callable
import math

import torch
from torch import nn, Tensor
from training.models.layers import at_least_float32
from training.warp import depth_from_disp, disp_from_depth

# exp(-5) m to exp(5) m is 7 mm to 148 m: farther out a float32 likelihood only loses digits.
MAX_ABS_LOG_SIGMA = 5.0
# What an untrained network answers, so that the first gradients are of a usual size.
INITIAL_DEPTH_M = 10.0
INITIAL_WEIGHT_STD = 1e-2

FromUnit = Callable[[Tensor, float, float], Tensor]


def log_depth_from_unit(unit: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """Return min * (max / min)^(1 - unit) [m]: equal steps are equal ratios; 0 is farthest."""
    return max_depth_m * torch.exp(unit * math.log(min_depth_m / max_depth_m))


def unit_from_log_depth(depth_m: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """Undo ``log_depth_from_unit``."""
    return (depth_m / max_depth_m).log() / math.log(min_depth_m / max_depth_m)


def linear_from_unit(unit: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """
    Return min + (max - min) * unit [m].

    The metric head of Depth Anything V2 (arXiv:2406.09414) has a minimum of 0, whose logarithm
    does not exist; give 0.001.
    """
    return min_depth_m + (max_depth_m - min_depth_m) * unit


def unit_from_linear(depth_m: Tensor, min_depth_m: float, max_depth_m: float) -> Tensor:
    """Undo ``linear_from_unit``."""
    return (depth_m - min_depth_m) / (max_depth_m - min_depth_m)


# Name -> 0..1 to metres, and back. 'inverse' is Monodepth2's, linear in inverse depth.
PARAMETRISATIONS: dict[str, tuple[FromUnit, FromUnit]] = {
    'inverse': (depth_from_disp, disp_from_depth),
    'log': (log_depth_from_unit, unit_from_log_depth),
    'sigmoid': (linear_from_unit, unit_from_linear),
}


class DepthHead(nn.Module):
    """
    A convolution and a sigmoid, mapped to ``min_depth_m``..``max_depth_m``.

    The sigmoid and all after it are never in less than float32.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        min_depth_m: float,
        max_depth_m: float,
        parametrisation: str = 'inverse',
    ) -> None:
        """
        Build it so that it starts near ``INITIAL_DEPTH_M``, or the middle of a nearer range.

        :raises ValueError: the range is not 0 < min < max, or the parametrisation is unknown.
        """
        super().__init__()
        if parametrisation not in PARAMETRISATIONS:
            raise ValueError(
                f"parametrisation '{parametrisation}': must be one of {sorted(PARAMETRISATIONS)}"
            )
        if not 0 < min_depth_m < max_depth_m < math.inf:
            raise ValueError(
                f'depth range {min_depth_m} to {max_depth_m} m: must be 0 < minimum < maximum'
            )
        self.min_depth_m, self.max_depth_m = min_depth_m, max_depth_m
        self.from_unit, to_unit = PARAMETRISATIONS[parametrisation]
        self.conv = _last_conv(in_channels)
        inside = min_depth_m < INITIAL_DEPTH_M < max_depth_m
        start = INITIAL_DEPTH_M if inside else math.sqrt(min_depth_m * max_depth_m)
        unit = to_unit(torch.tensor(start, dtype=torch.float64), min_depth_m, max_depth_m)
        nn.init.constant_(self.conv.bias, float(torch.logit(unit)))

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return depth [m], (B, 1, H, W)."""
        unit = at_least_float32(self.conv(features_BCHW)).sigmoid()
        return self.from_unit(unit, self.min_depth_m, self.max_depth_m)


class LogSigmaHead(nn.Module):
    """
    A convolution, clamped to -5..5: ln of a Laplace scale in metres; never less than float32.

    The logarithm is learned, never sigma itself (Kendall and Gal 2017, arXiv:1703.04977,
    section 3.2). Starts near 0, one metre.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = _last_conv(in_channels)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        """Return ln sigma, (B, 1, H, W)."""
        log_sigma = at_least_float32(self.conv(features_BCHW))
        return log_sigma.clamp(-MAX_ABS_LOG_SIGMA, MAX_ABS_LOG_SIGMA)


def _last_conv(in_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, 1, 3, padding=1)
    nn.init.normal_(conv.weight, std=INITIAL_WEIGHT_STD)
    nn.init.zeros_(conv.bias)
    return conv
