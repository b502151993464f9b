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
Colours for metres, sigma and errors: fixed ranges, so that pictures of two runs compare.

Unknown (NaN) is dark grey, beyond range (+Inf) light grey, too close (-Inf) black. All pictures
are bgr uint8, as OpenCV writes them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ImageU8 = NDArray[np.uint8]

UNKNOWN_BGR = (64, 64, 64)
BEYOND_BGR = (225, 225, 225)
TOO_CLOSE_BGR = (0, 0, 0)
LEVELS = 256
# Blue - light - red (ColorBrewer RdBu), readable with every common colour blindness.
DIVERGING_RGB = (
    (5, 48, 97),
    (33, 102, 172),
    (67, 147, 195),
    (146, 197, 222),
    (247, 247, 247),
    (244, 165, 130),
    (214, 96, 77),
    (178, 24, 43),
    (103, 0, 31),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ColorScale:
    """
    From values to colours.

    Fields:
        low, high: values of the first and the last colour; beyond them the end colours hold.
        warp: monotone map to the axis along which the colours change evenly.
        table_L3: bgr uint8 of each level.
        ticks: values that a colour bar names.
        unit: written behind the ticks.

    """

    low: float
    high: float
    warp: Callable[[NDArray[Any]], NDArray[Any]]
    table_L3: ImageU8
    ticks: tuple[float, ...]
    unit: str

    def positions(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return where each value lies between low (0) and high (1); NaN stays NaN."""
        low, high = (float(self.warp(np.array(limit))) for limit in (self.low, self.high))
        with np.errstate(invalid='ignore', divide='ignore'):
            clipped = np.clip(np.asarray(values, np.float64), self.low, self.high)
            return np.asarray((self.warp(clipped) - low) / (high - low), np.float64)

    def __call__(self, values: NDArray[Any]) -> ImageU8:
        """Return a colour for each value, in an array with one more axis of 3."""
        positions = self.positions(values)
        level = np.nan_to_num(positions * (LEVELS - 1), nan=0.0).round().astype(np.uint8)
        colors = self.table_L3[level]
        colors[np.isnan(values)] = UNKNOWN_BGR
        colors[np.isposinf(values)] = BEYOND_BGR
        colors[np.isneginf(values)] = TOO_CLOSE_BGR
        return colors


def depth_scale(low_m: float, high_m: float) -> ColorScale:
    """Return the scale for depth: near is red, far is blue, even steps in the logarithm."""
    return ColorScale(
        low=low_m,
        high=high_m,
        warp=np.log,
        table_L3=_opencv_table(cv2.COLORMAP_TURBO)[::-1].copy(),
        ticks=_ticks((1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0), low_m, high_m),
        unit='m',
    )


def sigma_scale(low_m: float, high_m: float) -> ColorScale:
    """Return the scale for one sigma: sure is dark, unsure is bright, logarithmic."""
    return ColorScale(
        low=low_m,
        high=high_m,
        warp=np.log,
        table_L3=_opencv_table(cv2.COLORMAP_INFERNO),
        ticks=_ticks((0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0), low_m, high_m),
        unit='m',
    )


def relative_error_scale(limit: float) -> ColorScale:
    """Return the scale for (D - T) / T: too near is blue, right is white, too far is red."""
    anchors = np.array(DIVERGING_RGB, np.float64)[:, ::-1]
    at = np.linspace(0, len(anchors) - 1, LEVELS)
    table = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return ColorScale(
        low=-limit,
        high=limit,
        warp=np.asarray,
        table_L3=np.stack(table, axis=1).round().astype(np.uint8),
        ticks=(-limit, -limit / 2, 0.0, limit / 2, limit),
        unit='%',
    )


def _opencv_table(name: int) -> ImageU8:
    levels = np.arange(LEVELS, dtype=np.uint8)[:, None]
    table: Any = cv2.applyColorMap(levels, name)
    return np.asarray(table, np.uint8).reshape(LEVELS, 3)


def _ticks(values: tuple[float, ...], low: float, high: float) -> tuple[float, ...]:
    return tuple(value for value in values if low <= value <= high)
