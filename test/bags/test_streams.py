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

"""Typed streams: what comes out of a bag, in which pairing, and what is skipped with a reason."""

from __future__ import annotations

from pathlib import Path
from test.bags import mini_bags as mini
import tracemalloc
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import SkippedMessage
from depth_ros.bags.streams import (
    frames,
    PAIRING_WAIT_NS,
)
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.datatypes import Frame
from depth_ros.errors import BagError
import numpy as np
import pytest

INFO, IMAGE = mini.INFO, mini.IMAGE


def read_frames(bag: Path, *, rectify: bool = True) -> tuple[list[Frame], list[SkippedMessage]]:
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        found = list(frames(reader, IMAGE, INFO, rectify=rectify, on_skip=skipped.append))
    return found, skipped


# --- Frames ----------------------------------------------------------------------------------


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_frames_carry_pixels_stamp_frame_and_calibration(tmp_path: Path, storage: str) -> None:
    found, skipped = read_frames(mini.full_bag(tmp_path / 'bag', storage=storage))
    assert [frame.stamp_ns for frame in found] == [mini.stamp(i) for i in range(3)]
    for index, frame in enumerate(found):
        np.testing.assert_array_equal(frame.image_HW3, mini.pixels(index))
        assert frame.frame_id == mini.CAMERA_FRAME
        assert frame.camera == mini.camera()
    assert skipped == []


def test_compressed_images_are_decoded(tmp_path: Path) -> None:
    bag = mini.write(tmp_path / 'bag', [(INFO, 0, mini.info(0)), (IMAGE, 0, mini.png(0))])
    ((frame,), _) = read_frames(bag)
    np.testing.assert_array_equal(frame.image_HW3, mini.pixels(0))


@pytest.mark.parametrize('rectify', [True, False])
def test_rectify_tells_whether_the_images_are_distorted(tmp_path: Path, rectify: bool) -> None:
    plain = mini.camera()
    model = CameraModel(
        width=plain.width, height=plain.height, distortion_model='plumb_bob',
        d=(0.1, 0.0, 0.0, 0.0, 0.0), k=plain.k, r=plain.r, p=plain.p,
    )  # fmt: skip
    messages = [(INFO, 0, mini.info(0, model)), (IMAGE, 0, mini.image(0))]
    ((frame,), _) = read_frames(mini.write(tmp_path / 'bag', messages), rectify=rectify)
    assert frame.camera.needs_rectification is rectify


def focal_lengths(bag: Path) -> list[float]:
    found, skipped = read_frames(bag)
    assert skipped == []
    return [frame.camera.intrinsics.fx for frame in found]


def at(index: int, focal: float) -> Any:
    return mini.info(index, mini.camera(focal))


@pytest.mark.parametrize(
    ('order', 'expected'),
    [
        # The newest at or before the image counts.
        ([(0, 5.0), 0, (1, 6.0), 1, 2], [5.0, 6.0, 6.0]),
        # One of the very moment may be recorded after its image.
        ([(0, 5.0), 0, 1, (1, 6.0)], [5.0, 6.0]),
        # None before: the first one after, however late, as for a latched topic.
        ([0, 1, 2, 3, 4, 5, 6, (6, 5.0), 7, (8, 6.0), 8], [5.0] * 8 + [6.0]),
        # A later one never counts for an earlier image.
        ([(0, 5.0), (3, 6.0), 1, 2], [5.0, 5.0]),
    ],
)
def test_image_takes_the_newest_calibration_of_its_time(
    tmp_path: Path, order: list[Any], expected: list[float]
) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        for log_ns, item in enumerate(order):
            if isinstance(item, tuple):
                writer.write(INFO, log_ns, at(*item))
            else:
                writer.write(IMAGE, log_ns, mini.image(item))
    assert focal_lengths(tmp_path / 'bag') == expected


def test_images_do_not_wait_forever_for_a_rare_calibration(tmp_path: Path) -> None:
    # One camera_info at the start, then images: each comes out within the pairing wait.
    count = 30
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write(INFO, mini.stamp(0), mini.info(0))
        for index in range(count):
            writer.write(IMAGE, mini.stamp(index), mini.image(index))
    with BagReader(tmp_path / 'bag') as reader:
        stream = frames(reader, IMAGE, INFO, rectify=True)
        assert next(stream).stamp_ns == mini.stamp(0)
        assert len(list(stream)) == count - 1
    assert PAIRING_WAIT_NS >= mini.PERIOD_NS


def unusable(index: int, defect: str) -> Any:
    message = mini.image(index)
    if defect == 'encoding':
        message.encoding = 'rgb565'
    elif defect == 'short':
        message.data = message.data[:-1]
    elif defect == 'size':
        message = mini.MAKE.image(mini.stamp(index), 'camera_optical', mini.pixels(0)[:, :4])
    elif defect == 'frame':
        message.header.frame_id = 'elsewhere'
    return message


@pytest.mark.parametrize(
    ('defect', 'reason'),
    [
        ('encoding', "image encoding 'rgb565' is not supported"),
        ('short', 'image data has 143 bytes'),
        ('size', "image has size 4x6: camera_info of '/camera/camera_info' is for 8x6"),
        ('frame', "image has frame 'elsewhere': camera_info of '/camera/camera_info' is for"),
    ],
)
def test_unusable_image_is_skipped_with_stamp_and_reason(
    tmp_path: Path, defect: str, reason: str
) -> None:
    messages = [(INFO, 0, mini.info(0)), (IMAGE, 0, mini.image(0))]
    messages += [(IMAGE, 1, unusable(1, defect)), (IMAGE, 2, mini.image(2))]
    bag = mini.write(tmp_path / 'bag', messages)
    found, skipped = read_frames(bag)
    assert [frame.stamp_ns for frame in found] == [mini.stamp(0), mini.stamp(2)]
    assert [(s.topic, s.stamp_ns) for s in skipped] == [(IMAGE, mini.stamp(1))]
    assert reason in skipped[0].reason
    with BagReader(bag) as reader, pytest.raises(BagError, match=str(mini.stamp(1))):
        list(frames(reader, IMAGE, INFO, rectify=True))


def test_broken_jpeg_and_broken_message_are_skipped(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write(INFO, 0, mini.info(0))
        broken = mini.MAKE.compressed_image(7, mini.CAMERA_FRAME, b'\xff\xd8\xff', 'jpeg')
        writer.write(IMAGE, 1, broken)
        writer.write_raw(IMAGE, 'sensor_msgs/msg/CompressedImage', 2, b'\x00\x01\x00\x00')
        writer.write(IMAGE, 3, mini.png(3))
    found, skipped = read_frames(tmp_path / 'bag')
    assert [frame.stamp_ns for frame in found] == [mini.stamp(3)]
    # Where the header itself is unreadable, the time of recording stands for the stamp.
    assert [s.stamp_ns for s in skipped] == [7, 2]
    assert 'cannot be decoded' in skipped[0].reason


def test_empty_frame_of_the_image_is_that_of_its_calibration(tmp_path: Path) -> None:
    messages = [(INFO, 0, mini.info(0)), (IMAGE, 0, mini.image(0, frame_id=''))]
    ((frame,), _) = read_frames(mini.write(tmp_path / 'bag', messages))
    assert frame.frame_id == mini.CAMERA_FRAME


def test_calibrations_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    zero = mini.info(1)
    zero.k = np.zeros(9)
    messages = [(INFO, 0, mini.info(0)), (IMAGE, 0, mini.image(0)), (INFO, 1, zero)]
    found, skipped = read_frames(mini.write(tmp_path / 'bag', messages))
    assert len(found) == 1
    assert [(s.topic, s.stamp_ns) for s in skipped] == [(INFO, mini.stamp(1))]
    assert 'uncalibrated' in skipped[0].reason


def test_bag_with_unusable_calibrations_only_is_refused(tmp_path: Path) -> None:
    zero = mini.info(0)
    zero.k = np.zeros(9)
    bag = mini.write(tmp_path / 'bag', [(INFO, 0, zero), (IMAGE, 0, mini.image(0))])
    with pytest.raises(BagError, match=r"'/camera/camera_info' has no usable .*uncalibrated"):
        read_frames(bag)


def test_missing_camera_info_is_named_with_its_option(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write(IMAGE, 0, mini.image(0))
        writer.add_topic(INFO, 'sensor_msgs/msg/CameraInfo')
    with pytest.raises(
        BagError, match=r"--camera-info-topic '/camera/camera_info' has no messages"
    ):
        read_frames(tmp_path / 'bag')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_memory_does_not_grow_with_the_bag(tmp_path: Path, storage: str) -> None:
    image = np.zeros((256, 256, 3), np.uint8)
    model = mini.camera(width=256, height=256)
    with BagWriter(tmp_path / 'bag', storage) as writer:
        for index in range(150):
            stamp = mini.stamp(index)
            writer.write(INFO, stamp, mini.info(index, model))
            writer.write(IMAGE, stamp, mini.MAKE.image(stamp, mini.CAMERA_FRAME, image))
    with BagReader(tmp_path / 'bag') as reader:
        stream = frames(reader, IMAGE, INFO, rectify=True)
        next(stream)
        tracemalloc.start()
        count = sum(1 for _ in stream)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert count == 149
    # The bag holds 29 MB; a chunk of 1 MB, its messages and a few images are in memory.
    assert peak < 6e6
