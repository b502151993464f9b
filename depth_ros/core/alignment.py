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
Fit a prediction to the truth before it is scored; anything but 'none' is not metric any more.

    none                 D' = D
    median               D' = s D,          s = median(T) / median(D) of each frame
    median_sequence      D' = s D,          s = median over the frames of the s of 'median'
    scale_shift          D' = s D + t,      least squares in depth, each frame
    scale_shift_inverse  1/D' = s/D + t,    least squares in inverse depth, each frame

The last one is how relative models are scored (Ranftl et al. 2020, arXiv:1907.01341; Depth
Anything, arXiv:2401.10891). N finite predictions with truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Alignment = Literal['none', 'median', 'median_sequence', 'scale_shift', 'scale_shift_inverse']

# A prediction that varies less than this, relative to its size, has no scale of its own.
MIN_SPREAD = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """
    What an alignment does to a prediction.

    Fields:
        scale, shift: s and t; t in metres, or in 1/m when ``is_inverse``.
        is_inverse: the line is one of inverse depths.

    """

    scale: float = 1.0
    shift: float = 0.0
    is_inverse: bool = False

    def depth(self, depth_N: Vector) -> Vector:
        """Return aligned depth [m]; NaN and infinite stay; an inverse depth below 0 is +Inf."""
        if not self.is_inverse:
            return depth_N * self.scale + self.shift
        with np.errstate(divide='ignore'):
            inverse = self.scale / depth_N + self.shift
            aligned = np.where(inverse <= 0, np.inf, 1.0 / inverse)
        # What was infinite or unknown says nothing that a line could move.
        return np.where(np.isfinite(depth_N), aligned, depth_N)

    def sigma(self, sigma_N: Vector, depth_N: Vector) -> Vector:
        """Return the aligned one-sigma [m] of depths before alignment: sigma |dD'/dD|."""
        if not self.is_inverse:
            return sigma_N * abs(self.scale)
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            slope = self.scale * (self.depth(depth_N) / depth_N) ** 2
            return np.asarray(sigma_N * slope, np.float64)


def fit(prediction_N: Vector, truth_N: Vector, alignment: Alignment) -> Fit:
    """
    Return the fit of one frame; of none when there is no pixel.

    :param prediction_N: finite predictions [m].
    :param truth_N: their truth [m], or more of it (medians need no pairs).
    :raises FrameError: the prediction has no scale: not above zero, constant, or upside down.
    """
    if alignment in ('none', 'median_sequence') or not prediction_N.size:
        return Fit()
    if alignment == 'median':
        return Fit(scale=median_scale(prediction_N, truth_N))
    if alignment == 'scale_shift':
        scale, shift = _line(prediction_N, truth_N)
        return Fit(scale=scale, shift=shift)
    if (prediction_N <= 0).any():
        raise FrameError('alignment of inverse depths: a prediction is not above 0 m')
    scale, shift = _line(1.0 / prediction_N, 1.0 / truth_N)
    return Fit(scale=scale, shift=shift, is_inverse=True)


def median_scale(prediction_N: Vector, truth_N: Vector) -> float:
    """
    Return median(T) / median(D).

    :raises FrameError: the median prediction is not above zero.
    """
    median_m = float(np.median(prediction_N))
    if median_m <= 0:
        raise FrameError(
            f'median alignment: the median prediction is {median_m} m, must be above 0'
        )
    return float(np.median(truth_N)) / median_m


def _line(x_N: Vector, y_N: Vector) -> tuple[float, float]:
    """Return slope and offset of the least-squares line y = s x + t."""
    mean_x, mean_y = float(x_N.mean()), float(y_N.mean())
    spread = x_N - mean_x
    variance = float(np.mean(spread * spread))
    if variance <= (MIN_SPREAD * mean_x) ** 2:
        raise FrameError(f'alignment of scale and shift: every prediction is {mean_x:g}')
    slope = float(np.mean(spread * (y_N - mean_y))) / variance
    if slope <= 0:
        raise FrameError(f'alignment of scale and shift: the scale is {slope:g}, must be above 0')
    return slope, mean_y - slope * mean_x
