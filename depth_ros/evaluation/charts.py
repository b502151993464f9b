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
Charts of the report as SVG text, readable on light and dark pages.

Colours are the page's CSS variables, so that the charts follow it. No script, no library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
import math

WIDTH, HEIGHT = 420, 240
# Left, top, right, bottom of the plot inside the picture [px].
MARGINS = (52, 14, 12, 42)
COLORS = ('var(--mark)', 'var(--other)', 'var(--faint)')
DASHES = ('', '6 4', '2 3')
TICKS = 5
HEADROOM = 0.06
# Low, middle and high error on the map; each is seen on white and on black.
RAMP_RGB = ((44, 127, 184), (240, 173, 60), (215, 48, 31))
BAR_SHARE = 0.62
ROW_PX = 16
# Rows of names that fit into the plot.
LOWEST_ROW = 11
MAP_RADIUS_PX = 3.2
MAP_SIZE = (420, 320)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """
    A linear axis: its ends, and what it means.

    ``marks`` are the values at which something is written, and what; empty: round values.
    """

    low: float
    high: float
    label: str
    marks: tuple[tuple[float, str], ...] = ()

    @classmethod
    def over(cls, values: Sequence[float], label: str, *, from_zero: bool = False) -> Axis:
        """Return an axis with round ends over all values."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        low = min(low, 0.0) if from_zero else low
        high = high if high > low else low + (abs(low) or 1.0)
        # Room above the highest value for what is written there.
        high += HEADROOM * (high - low)
        step = _step(low, high)
        return cls(
            low=math.floor(low / step) * step, high=math.ceil(high / step) * step, label=label
        )

    def ticks(self) -> list[tuple[float, str]]:
        """Return the values at which something is written, and what."""
        if self.marks:
            return list(self.marks)
        step = _step(self.low, self.high)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        values = (number * step for number in range(first, last + 1))
        return [(value, f'{value:.6g}') for value in values]

    def share(self, value: float) -> float:
        """Return where a value lies between the ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)


def line_chart(
    series: Mapping[str, Points], x: Axis, y: Axis, title: str, *, is_rising: bool = False
) -> str:
    """Return curves over a common axis; of rising ones, the names stand below them."""
    plot = _Plot(x, y)
    body = [plot.frame(), *plot.x_ticks(), *plot.y_ticks()]
    for number, (name, points) in enumerate(series.items()):
        color, dash = COLORS[number % len(COLORS)], DASHES[number % len(DASHES)]
        places = ' '.join(f'{plot.x(a):.1f},{plot.y(b):.1f}' for a, b in points)
        body.append(
            f'<polyline fill="none" stroke="{color}" stroke-width="2" '
            f'stroke-dasharray="{dash}" points="{places}"/>'
        )
        if len(series) > 1:
            row = number - len(series) + LOWEST_ROW if is_rising else number
            body.append(_legend(row, name, color, dash))
    return _svg(body, title)


def bar_chart(bars: Mapping[str, float | None], y: Axis, x_label: str, title: str) -> str:
    """Return a bar for each name; a name without a value has none."""
    plot = _Plot(Axis(low=0.0, high=float(max(len(bars), 1)), label=x_label), y)
    body = [plot.frame(), *plot.y_ticks(), plot.x_label()]
    for number, (name, value) in enumerate(bars.items()):
        left, right = plot.x(number + 0.5 - BAR_SHARE / 2), plot.x(number + 0.5 + BAR_SHARE / 2)
        middle = plot.x(number + 0.5)
        body.append(_text(middle, plot.bottom + 15, name))
        if value is not None:
            top = plot.y(value)
            body.append(
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{plot.bottom - top:.1f}" fill="var(--mark)"/>'
            )
            body.append(_text(middle, top - 4, f'{value:.3g}'))
    return _svg(body, title)


def map_chart(places: Points, values: Sequence[float], label: str, title: str) -> str:
    """
    Return a track seen from above, north up, coloured by a value.

    :param places: east and north [m].
    """
    east, north = ([place[axis] for place in places] for axis in (0, 1))
    width, height = MAP_SIZE
    span = max(max(east) - min(east), (max(north) - min(north)) * width / height, 1.0)
    scale = (width - 40) / span
    middle = ((max(east) + min(east)) / 2, (max(north) + min(north)) / 2)
    low, high = min(values), max(values)
    body = []
    for (x, y), value in zip(places, values, strict=True):
        share = (value - low) / (high - low) if high > low else 0.0
        at_x = width / 2 + (x - middle[0]) * scale
        at_y = height / 2 - (y - middle[1]) * scale
        body.append(
            f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="{MAP_RADIUS_PX}" fill="{_ramp(share)}"/>'
        )
    body.append(_scale_bar(span, scale, height))
    for number in range(3):
        x, value = width - 190 + 62 * number, low + (high - low) * number / 2
        body.append(f'<circle cx="{x}" cy="16" r="5" fill="{_ramp(number / 2)}"/>')
        body.append(_text(x + 9, 20, f'{value:.3g}', anchor='start'))
    body.append(_text(width - 204, 20, label, anchor='end'))
    return _svg(body, title, MAP_SIZE)


class _Plot:
    """Places of values in the picture."""

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        self.left, self.top, right, bottom = MARGINS
        self.right, self.bottom = WIDTH - right, HEIGHT - bottom

    def x(self, value: float) -> float:
        return self.left + self._x.share(value) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self._y.share(value) * (self.bottom - self.top)

    def frame(self) -> str:
        return (
            f'<rect x="{self.left}" y="{self.top}" width="{self.right - self.left}" '
            f'height="{self.bottom - self.top}" fill="none" stroke="var(--line)"/>'
        )

    def x_ticks(self) -> list[str]:
        marks = [_text(self.x(at), self.bottom + 15, words) for at, words in self._x.ticks()]
        return [*marks, self.x_label()]

    def x_label(self) -> str:
        return _text((self.left + self.right) / 2, self.bottom + 33, self._x.label)

    def y_ticks(self) -> list[str]:
        marks = []
        for value, words in self._y.ticks():
            at = self.y(value)
            marks.append(
                f'<line x1="{self.left}" x2="{self.right}" y1="{at:.1f}" y2="{at:.1f}" '
                'stroke="var(--line)"/>'
            )
            marks.append(_text(self.left - 6, at + 4, words, anchor='end'))
        middle = (self.top + self.bottom) / 2
        marks.append(
            f'<text transform="translate(12,{middle:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self._y.label)}</text>'
        )
        return marks


def _legend(number: int, name: str, color: str, dash: str) -> str:
    y = MARGINS[1] + 14 + ROW_PX * number
    x = WIDTH - MARGINS[2] - 8
    return (
        f'<line x1="{x - 26}" x2="{x}" y1="{y - 4}" y2="{y - 4}" stroke="{color}" '
        f'stroke-width="2" stroke-dasharray="{dash}"/>{_text(x - 32, y, name, anchor="end")}'
    )


def _scale_bar(span_m: float, scale: float, height: int) -> str:
    length_m = _step(0.0, span_m)
    end = 16 + length_m * scale
    y = height - 14
    return (
        f'<line x1="16" x2="{end:.1f}" y1="{y}" y2="{y}" stroke="var(--ink)" '
        f'stroke-width="2"/>{_text(16, y - 6, f"{length_m:g} m, north up", anchor="start")}'
    )


def _ramp(share: float) -> str:
    first = 0 if share < 0.5 else 1
    weight = 2.0 * share - first
    low, high = RAMP_RGB[first], RAMP_RGB[first + 1]
    mixed = (round(a + (b - a) * weight) for a, b in zip(low, high, strict=True))
    return '#' + ''.join(f'{value:02x}' for value in mixed)


def _step(low: float, high: float) -> float:
    """Return a round step that divides the range into about TICKS parts."""
    raw = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(
        power * factor for factor in (1.0, 2.0, 5.0, 10.0) if power * factor >= raw * 0.999
    )


def _text(x: float, y: float, words: str, *, anchor: str = 'middle') -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(body: Sequence[str], title: str, size: tuple[int, int] = (WIDTH, HEIGHT)) -> str:
    width, height = size
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">'
        f'{"".join(body)}</svg>'
    )
