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

"""Gradient fields: of both polarities, in numbers that do not run over, and of nothing."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from training.gradient_field import gradient_field

LOW, HIGH = 50.0, 200.0
WIDTH, HEIGHT = 64, 32


def stripes(*levels: int) -> NDArray[np.uint8]:
    """Return grey stripes of equal width, side by side."""
    row = np.repeat(np.array(levels, np.uint8), WIDTH // len(levels))
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (HEIGHT, len(row), 3)))


def smooth_picture(seed: int) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).random((HEIGHT, WIDTH, 3)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), 2.0)
    spread = (blurred - blurred.min()) / (blurred.max() - blurred.min())
    return np.asarray((spread * 255).round(), np.uint8)


def strengths(field_HW: NDArray[np.float32]) -> list[float]:
    """Return the values along the middle row that are not zero."""
    row = field_HW[HEIGHT // 2]
    return sorted({round(float(value), 6) for value in row[row > 0]})


def test_rising_and_falling_edge_are_as_strong_as_their_steps() -> None:
    # Up by 200 levels, down by 100: Sobel gives 800 and -400.
    field = gradient_field(stripes(0, 200, 100, 100), LOW, HIGH)
    assert field.dtype == np.float32
    assert strengths(field) == [0.5, 1.0]
    row = field[HEIGHT // 2]
    assert row[13:19].max() == 1.0
    assert row[29:35].max() == 0.5
    assert (row[20:28] == 0).all()


@pytest.mark.parametrize('steps', [(0, 200), (200, 0)], ids=['rising', 'falling'])
def test_either_edge_alone_is_found(steps: tuple[int, int]) -> None:
    assert strengths(gradient_field(stripes(*steps), LOW, HIGH)) == [1.0]


def in_eight_bits(rgb_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what arithmetic of 8 bits makes of the slopes."""
    grey = cv2.cvtColor(rgb_HW3, cv2.COLOR_RGB2GRAY)
    along_u = np.asarray(cv2.Sobel(grey, cv2.CV_8U, 1, 0, ksize=3))
    return np.sqrt((along_u * along_u).astype(np.float32)).astype(np.uint8)


def test_arithmetic_of_eight_bits_would_lose_what_the_field_has() -> None:
    picture = stripes(0, 200, 100, 100)
    lost = in_eight_bits(picture)[HEIGHT // 2]
    # The slope of 800 is cut to 255, whose square is 1 modulo 256; the falling edge is gone.
    assert lost[13:19].max() == 1
    assert lost[29:35].max() == 0
    assert gradient_field(picture, LOW, HIGH)[HEIGHT // 2, 29:35].max() == 0.5


@pytest.mark.parametrize('seed', range(3))
def test_negative_has_the_same_field(seed: int) -> None:
    # Grey alone: rounding to grey is not symmetric.
    grey = np.repeat(smooth_picture(seed)[:, :, :1], 3, axis=2)
    field = gradient_field(grey, LOW, HIGH)
    assert field.any()
    np.testing.assert_array_equal(gradient_field(255 - grey, LOW, HIGH), field)


@pytest.mark.parametrize('seed', range(3))
def test_field_is_the_slope_where_canny_finds_edges_and_zero_elsewhere(seed: int) -> None:
    picture = smooth_picture(seed)
    field = gradient_field(picture, LOW, HIGH)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    padded = np.pad(grey, 1, mode='reflect')
    smooth = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    along_u = smooth[:, 2:] - smooth[:, :-2]
    smooth = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    along_v = smooth[2:] - smooth[:-2]
    expected = np.sqrt(along_u**2 + along_v**2) * (cv2.Canny(np.uint8(grey), LOW, HIGH) > 0)
    np.testing.assert_allclose(field, expected / expected.max(), rtol=1e-5)
    assert field.max() == 1.0


@pytest.mark.parametrize('level', [0, 128, 255])
def test_constant_picture_has_no_field(level: int) -> None:
    field = gradient_field(stripes(level), LOW, HIGH)
    assert field.shape == (HEIGHT, WIDTH)
    assert not field.any()


def test_weak_edges_are_no_edges_until_the_thresholds_say_so() -> None:
    picture = stripes(100, 130)
    assert not gradient_field(picture, LOW, HIGH).any()
    assert strengths(gradient_field(picture, 20.0, 100.0)) == [1.0]


def test_border_of_what_was_not_seen_is_no_edge() -> None:
    picture = stripes(0, 200, 200, 100)
    seen = np.ones((HEIGHT, WIDTH), np.bool_)
    seen[:, :16] = False
    assert gradient_field(picture, LOW, HIGH)[:, 13:19].any()
    field = gradient_field(picture, LOW, HIGH, seen)
    assert not field[:, :40].any()
    assert strengths(field) == [1.0]
    assert not gradient_field(picture, LOW, HIGH, np.zeros_like(seen)).any()
