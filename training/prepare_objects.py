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
Where the road users are in an image: from a topic of label images, or of boxes.

Both speak of the pixels of the image topic as it was recorded; integer pixel = pixel centre.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from depth_ros.bags.reader import BagReader, report_skip
from depth_ros.bags.records import OnSkip
from depth_ros.core.message_fields import stamp_ns as stamp_of
from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray
from training.prepare_options import ObjectSource

Bool = NDArray[np.bool_]
# Encoding of a label image -> numpy kind and size.
LABEL_KINDS = {'mono8': 'u1', '8UC1': 'u1', 'mono16': 'u2', '16UC1': 'u2', '32SC1': 'i4'}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Objects:
    """What is told of one image; ``mask`` makes it of a width and height, or says why not."""

    stamp_ns: int
    mask: Callable[[int, int], Bool]


def objects(
    reader: BagReader, topic: str, source: ObjectSource, on_skip: OnSkip
) -> Iterator[Objects]:
    """Yield what is told of each image, in the order of recording; the rest to ``on_skip``."""
    makers = {'mask': _of_labels, 'boxes': _of_boxes}
    for item in reader.messages([topic], on_skip=on_skip):
        stamp = stamp_of(item.message.header)
        try:
            mask = makers[source.kind](item.message, source)
        except FrameError as error:
            report_skip(on_skip, topic, stamp, error)
            continue
        yield Objects(stamp_ns=stamp, mask=mask)


def _of_labels(message: Any, source: ObjectSource) -> Callable[[int, int], Bool]:
    labels_HW = read_labels(message)
    ranges = source.ranges()
    chosen_HW: Bool = labels_HW != 0
    if ranges is not None:
        chosen_HW = np.zeros(labels_HW.shape, np.bool_)
        for first, last in ranges:
            chosen_HW |= (labels_HW >= first) & (labels_HW <= last)

    def mask(width: int, height: int) -> Bool:
        if chosen_HW.shape != (height, width):
            found = f'{chosen_HW.shape[1]}x{chosen_HW.shape[0]}'
            raise FrameError(f'mask is {found}: the image is {width}x{height}')
        return chosen_HW

    return mask


def read_labels(message: Any) -> NDArray[Any]:
    """
    Return the labels of an Image, (H, W) whole numbers.

    :raises FrameError: another encoding, no pixels, or too few bytes.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in LABEL_KINDS:
        raise FrameError(f"mask has encoding '{encoding}': must be one of {list(LABEL_KINDS)}")
    dtype = np.dtype(('>' if message.is_bigendian else '<') + LABEL_KINDS[encoding])
    step, data = int(message.step), np.frombuffer(message.data, np.uint8)
    needed = step * (height - 1) + width * dtype.itemsize
    if min(height, width) < 1 or step < width * dtype.itemsize or data.size < needed:
        raise FrameError(f'mask of {width}x{height}, step {step}, has {data.size} bytes: too few')
    return np.ndarray((height, width), dtype, data, strides=(step, dtype.itemsize))


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box in an image [px], turned by ``angle_rad`` around its centre (x to y)."""

    x: float
    y: float
    width: float
    height: float
    angle_rad: float

    def draw(self, mask_HW: Bool) -> None:
        """Set the pixels that the box touches; what lies outside the image is left out."""
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        # Half a pixel more on each side: a pixel is a square around its centre.
        half_w, half_h = self.width / 2 + 0.5, self.height / 2 + 0.5
        reach_x = abs(cosine) * half_w + abs(sine) * half_h
        reach_y = abs(sine) * half_w + abs(cosine) * half_h
        cols = _whole_numbers(self.x - reach_x, self.x + reach_x, mask_HW.shape[1])
        rows = _whole_numbers(self.y - reach_y, self.y + reach_y, mask_HW.shape[0])
        dx, dy = cols[None] - self.x, rows[:, None] - self.y
        along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
        inside = (np.abs(along) < half_w) & (np.abs(across) < half_h)
        mask_HW[rows[:, None], cols[None]] |= inside


def _whole_numbers(first: float, last: float, size: int) -> NDArray[np.int64]:
    start, stop = np.clip([np.ceil(first), np.floor(last) + 1], 0, size)
    return np.arange(int(start), int(stop))


def _of_boxes(message: Any, source: ObjectSource) -> Callable[[int, int], Bool]:
    wanted = source.class_ids()
    found = [_box(d) for d in message.detections if wanted is None or _class_id(d) in wanted]

    def mask(width: int, height: int) -> Bool:
        mask_HW = np.zeros((height, width), np.bool_)
        for box in found:
            box.draw(mask_HW)
        return mask_HW

    return mask


def _box(detection: Any) -> Box:
    """Return the box of a Detection2D of any release of vision_msgs."""
    bbox = detection.bbox
    # Until release 3 the centre was a geometry_msgs/Pose2D: x, y, theta without a position.
    centre = getattr(bbox.center, 'position', bbox.center)
    values = (centre.x, centre.y, bbox.size_x, bbox.size_y, bbox.center.theta)
    x, y, width, height, angle = (float(value) for value in values)
    if not np.isfinite(values).all() or min(width, height) < 0:
        raise FrameError(f'box at ({x}, {y}) of size {width} x {height}, angle {angle}: no box')
    return Box(x=x, y=y, width=width, height=height, angle_rad=angle)


def _class_id(detection: Any) -> str | None:
    """Return the most likely class; None: the detector names none."""
    # Until release 2 the hypothesis was not a message of its own, and its class was called id.
    hypotheses = [getattr(result, 'hypothesis', result) for result in detection.results]
    if not hypotheses:
        return None
    best = max(hypotheses, key=lambda hypothesis: float(hypothesis.score))
    return str(best.class_id if hasattr(best, 'class_id') else best.id)
