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
Pictures of one frame: image, depth, uncertainty and error at the LiDAR points, with scales.

Everything is drawn by OpenCV on bgr uint8, so that no plotting library is needed on a robot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
from depth_ros.core.lidar import SparseDepth
from depth_ros.evaluation.colors import (
    ColorScale,
    depth_scale,
    ImageU8,
    relative_error_scale,
    sigma_scale,
)
import numpy as np
from numpy.typing import NDArray

# Panels are drawn at this width [px]: legible on a laptop, and a phone can zoom in.
PANEL_WIDTH_PX = 1100
PANEL_WIDTH_IN_PAIRS_PX = 720
# Wider pictures than this are stacked in one column, others in two.
WIDE_ASPECT = 1.9
TITLE_HEIGHT_PX = 34
BAR_WIDTH_PX = 92
BAR_BOX_PX = (14, 18)  # Left margin and width of the colour strip.
GAP_PX = 6
BACKGROUND_BGR = (24, 24, 24)
TEXT_BGR = (240, 240, 240)
FAINT_BGR = (170, 170, 170)
FONT = cv2.FONT_HERSHEY_SIMPLEX
FONT_SCALE = 0.6
DEPTH_LOW_M = 2.0
SIGMA_RANGE_M = (0.1, 20.0)
ERROR_LIMIT = 0.5
# Under the error points the image is dimmed to this share.
BACKDROP_SHARE = 0.35
POINT_RADIUS_PX = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Snapshot:
    """
    What the pictures of one frame are drawn from.

    Fields:
        name: of the frame, as the reader should find it in per_frame.csv.
        verdict: one line of its scores.
        image_HW3: bgr.
        depth_HW, sigma_HW: as in DepthEstimate; sigma None: the model has none.
        truth: LiDAR pixels that were scored.
        cap_m: of the protocol.

    """

    name: str
    verdict: str
    image_HW3: ImageU8
    depth_HW: NDArray[np.float32]
    sigma_HW: NDArray[np.float32] | None
    truth: SparseDepth
    cap_m: float


def overview(shot: Snapshot) -> ImageU8:
    """Return the picture of a frame: image | depth | uncertainty | error, titled, with scales."""
    height, width = shot.depth_HW.shape
    is_wide = width / height >= WIDE_ASPECT
    panel_width = PANEL_WIDTH_PX if is_wide else PANEL_WIDTH_IN_PAIRS_PX
    scale = panel_width / width
    size = (panel_width, max(1, round(height * scale)))
    depths = depth_scale(DEPTH_LOW_M, shot.cap_m)
    panels = [
        _panel(f'{shot.name}: camera image', shot.verdict, _resized(shot.image_HW3, size), None),
        _panel(
            'Predicted depth',
            'red near, blue far; light grey beyond range, dark grey unknown',
            _nearest(depths(shot.depth_HW), size),
            depths,
        ),
        _sigma_panel(shot, size),
        _error_panel(shot, size),
    ]
    rows = panels if is_wide else [_beside(panels[:2]), _beside(panels[2:])]
    return _stacked(rows)


def depth_color(depth_HW: NDArray[np.float32], cap_m: float) -> ImageU8:
    """Return depth in the colours of the reports, at its own size."""
    return depth_scale(DEPTH_LOW_M, cap_m)(depth_HW)


def _sigma_panel(shot: Snapshot, size: tuple[int, int]) -> ImageU8:
    title = 'Uncertainty, one standard deviation'
    if shot.sigma_HW is None:
        empty = np.full((size[1], size[0], 3), BACKGROUND_BGR, np.uint8)
        return _panel(title, 'the model has none', empty, None)
    scale = sigma_scale(*SIGMA_RANGE_M)
    return _panel(title, 'dark sure, bright unsure', _nearest(scale(shot.sigma_HW), size), scale)


def _error_panel(shot: Snapshot, size: tuple[int, int]) -> ImageU8:
    scale = relative_error_scale(ERROR_LIMIT)
    gray: Any = cv2.cvtColor(_resized(shot.image_HW3, size), cv2.COLOR_BGR2GRAY)
    picture = cv2.cvtColor((gray * BACKDROP_SHARE).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    rows, cols, truth = shot.truth.rows_N, shot.truth.cols_N, shot.truth.depth_N
    predicted = shot.depth_HW[rows, cols]
    # A statement beyond the cap is judged at the cap, as the metrics do.
    error = (np.clip(predicted, 0.0, shot.cap_m) - truth) / truth
    factor = size[0] / shot.truth.width
    stamp_points(picture, rows * factor, cols * factor, scale(error), POINT_RADIUS_PX)
    note = 'blue too near, white right, red too far'
    return _panel('Error at the LiDAR points', note, np.asarray(picture, np.uint8), scale)


def stamp_points(
    picture: Any,
    rows_N: NDArray[Any],
    cols_N: NDArray[Any],
    colors_N3: ImageU8,
    radius_px: int,
) -> None:
    """Draw a disc of the colour at each position (float pixels), in place, in the given order."""
    height, width = picture.shape[:2]
    rows, cols = np.rint(rows_N).astype(np.int64), np.rint(cols_N).astype(np.int64)
    for dy in range(-radius_px, radius_px + 1):
        for dx in range(-radius_px, radius_px + 1):
            if dx * dx + dy * dy > radius_px * radius_px + 1:
                continue
            y, x = rows + dy, cols + dx
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            picture[y[inside], x[inside]] = colors_N3[inside]


def _resized(image: ImageU8, size: tuple[int, int]) -> ImageU8:
    method = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
    result: Any = cv2.resize(image, size, interpolation=method)
    return np.asarray(result, np.uint8)


def _nearest(colors: ImageU8, size: tuple[int, int]) -> ImageU8:
    """Resize colours without blending them: a blend of two colours would name a third value."""
    result: Any = cv2.resize(colors, size, interpolation=cv2.INTER_NEAREST)
    return np.asarray(result, np.uint8)


def _panel(title: str, note: str, picture: ImageU8, scale: ColorScale | None) -> ImageU8:
    """Return the picture under its title and beside its colour bar."""
    height, width = picture.shape[:2]
    shape = (height + TITLE_HEIGHT_PX, width + BAR_WIDTH_PX, 3)
    panel = np.full(shape, BACKGROUND_BGR, np.uint8)
    panel[TITLE_HEIGHT_PX:, :width] = picture
    text_width = put_text(panel, title, (8, TITLE_HEIGHT_PX - 11), TEXT_BGR)
    put_text(panel, note, (24 + text_width, TITLE_HEIGHT_PX - 11), FAINT_BGR)
    if scale is not None:
        _draw_bar(panel[TITLE_HEIGHT_PX:, width:], scale)
    return panel


def put_text(picture: Any, text: str, at_xy: tuple[int, int], color: tuple[int, int, int]) -> int:
    """Write one line with its baseline at (x, y); return its width [px]."""
    cv2.putText(picture, text, at_xy, FONT, FONT_SCALE, color, 1, cv2.LINE_AA)
    return int(cv2.getTextSize(text, FONT, FONT_SCALE, 1)[0][0])


def _draw_bar(box: Any, scale: ColorScale) -> None:
    """Draw the colours bottom to top with their ticks into an empty box."""
    margin = 10
    height = box.shape[0] - 2 * margin
    left, width = BAR_BOX_PX
    levels = np.linspace(len(scale.table_L3) - 1, 0, height).round().astype(np.int64)
    bottom, right = margin + height, left + width
    box[margin:bottom, left:right] = scale.table_L3[levels][:, None]
    positions = scale.positions(np.array(scale.ticks))
    for value, position in zip(scale.ticks, positions, strict=True):
        y = margin + round((1.0 - float(position)) * (height - 1))
        cv2.line(box, (left + width, y), (left + width + 4, y), TEXT_BGR, 1)
        put_text(box, _label(value, scale.unit), (left + width + 7, y + 5), TEXT_BGR)


def _label(value: float, unit: str) -> str:
    return f'{value * 100:+.0f} %' if unit == '%' and value else f'{value:g} {unit}'


def _beside(panels: list[ImageU8]) -> ImageU8:
    gap = np.full((panels[0].shape[0], GAP_PX, 3), BACKGROUND_BGR, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)]
    return np.concatenate(parts[1:], axis=1)


def _stacked(rows: list[ImageU8]) -> ImageU8:
    gap = np.full((GAP_PX, rows[0].shape[1], 3), BACKGROUND_BGR, np.uint8)
    parts = [part for row in rows for part in (gap, row)]
    return np.concatenate(parts[1:], axis=0)
