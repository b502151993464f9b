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

"""What ``prepare`` reads beside frames and sweeps: encoded images, poses and speed by stamp."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
import math
from typing import Any, Generic, TypeVar

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import COMPRESSED_IMAGE, OdometrySample, OnSkip, SkippedMessage
from depth_ros.bags.streams import frames
from depth_ros.core.datatypes import Frame
from depth_ros.core.geometry import interpolate, Matrix
from depth_ros.core.message_fields import stamp_ns as stamp_of
from depth_ros.core.sync import Stamped
from depth_ros.errors import FrameError
import numpy as np
from training.dataset_format import is_whole_image

NS_PER_MS = 1_000_000
# A vehicle hardly changes its twist within 100 ms: so far a track goes on beyond its ends.
MAX_EXTRAPOLATION_NS = 100 * NS_PER_MS
# Within half a second it does: poses further apart are not joined.
MAX_POSE_GAP_NS = 500 * NS_PER_MS
# Requests around a frame reach no further: a sweep lasts less than 1 s and its stamp differs from
# the image's by at most 1 s.
REACH_NS = 2500 * NS_PER_MS


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """
    One image of a bag.

    Fields:
        index: place among all images of the bag, those that cannot be used included.
        encoded: the file that a CompressedImage holds; None for an Image.

    """

    index: int
    frame: Frame
    encoded: bytes | None

    @property
    def stamp_ns(self) -> int:
        """Return the stamp of the image [ns]."""
        return self.frame.stamp_ns


def pictures(
    reader: BagReader, image_topic: str, info_topic: str, *, is_rectified: bool, on_skip: OnSkip
) -> Iterator[Picture]:
    """
    Yield every usable image in the order of recording; the others go to ``on_skip``.

    :raises BagError: there is no usable camera_info.
    """
    skipped = 0

    def count(message: SkippedMessage) -> None:
        nonlocal skipped
        skipped += message.topic == image_topic
        on_skip(message)

    is_compressed = reader.topic(image_topic).msgtype == COMPRESSED_IMAGE
    encoded = _encoded(reader, image_topic) if is_compressed else None
    stream = frames(reader, image_topic, info_topic, rectify=not is_rectified, on_skip=count)
    for number, frame in enumerate(stream):
        data = None if encoded is None else _find(encoded, frame.stamp_ns)
        if data is not None and not is_whole_image(data):
            reason = f'image of {len(data)} bytes is cut off: its end is missing'
            on_skip(SkippedMessage(topic=image_topic, stamp_ns=frame.stamp_ns, reason=reason))
            continue
        yield Picture(index=number + skipped, frame=frame, encoded=data)


def _encoded(reader: BagReader, topic: str) -> Iterator[tuple[int, bytes]]:
    # Damaged messages are met, and told, by the stream of frames.
    for item in reader.messages([topic], on_skip=lambda skipped: None):
        yield stamp_of(item.message.header), bytes(item.message.data)


def _find(encoded: Iterator[tuple[int, bytes]], stamp_ns: int) -> bytes:
    """Return the file of a stamp; both streams come in the order of recording."""
    return next(data for stamp, data in encoded if stamp == stamp_ns)


SampleT = TypeVar('SampleT', bound=Stamped)


class Window(Generic[SampleT]):
    """The samples of a stream around a moment that moves on."""

    def __init__(self, samples: Iterable[SampleT]) -> None:
        self._samples = iter(samples)
        self._kept: deque[SampleT] = deque()

    def advance(self, stamp_ns: int) -> None:
        """Read on to well after this moment, and forget what lies well before it."""
        while not self._kept or self._kept[-1].stamp_ns <= stamp_ns + REACH_NS:
            following = next(self._samples, None)
            if following is None:
                break
            self._kept.append(following)
        # Two always stay, to go on from at the end of the stream.
        while len(self._kept) > 2 and self._kept[1].stamp_ns < stamp_ns - REACH_NS:
            self._kept.popleft()

    def pair(self, stamp_ns: int) -> tuple[SampleT, SampleT] | None:
        """Return the samples before and after, at an end the two nearest; None: not two."""
        if len(self._kept) < 2:
            return None
        after = bisect_right(self._kept, stamp_ns, key=lambda sample: sample.stamp_ns)
        after = min(max(after, 1), len(self._kept) - 1)
        return self._kept[after - 1], self._kept[after]

    def nearest(self, stamp_ns: int) -> SampleT | None:
        """Return the sample nearest in time; None: there is none."""
        pair = self.pair(stamp_ns) or tuple(self._kept)
        return min(pair, key=lambda sample: abs(sample.stamp_ns - stamp_ns), default=None)


class PoseTrack:
    """
    Pose of a vehicle around a moving moment, at constant twist between odometry samples.

    Nothing is read but by ``advance``: how the stream is read does not depend on what is asked.
    """

    def __init__(self, samples: Iterable[OdometrySample]) -> None:
        self._window = Window(samples)
        self.advance = self._window.advance

    def at(self, stamp_ns: int) -> tuple[Matrix, str]:
        """
        Return world_T_body and the name of the body frame.

        :raises FrameError: there is no odometry around this moment.
        """
        pair = self._window.pair(stamp_ns)
        if pair is None:
            raise FrameError('odometry has fewer than two samples')
        before, after = pair
        gap_ns = after.stamp_ns - before.stamp_ns
        missing_ns = max(before.stamp_ns - stamp_ns, stamp_ns - after.stamp_ns, 0)
        if missing_ns > MAX_EXTRAPOLATION_NS:
            raise FrameError(f'odometry is {missing_ns / NS_PER_MS:.0f} ms away')
        if gap_ns > MAX_POSE_GAP_NS:
            raise FrameError(f'odometry has a gap of {gap_ns / NS_PER_MS:.0f} ms')
        fraction = (stamp_ns - before.stamp_ns) / gap_ns
        pose = interpolate(before.world_T_body_44, after.world_T_body_44, fraction)
        return pose, after.child_frame_id

    def speed_mps(self, stamp_ns: int) -> float | None:
        """Return the length of the linear velocity nearest in time [m/s]; None: not known."""
        sample = self._window.nearest(stamp_ns)
        return None if sample is None else _speed(stamp_ns, sample.stamp_ns, sample.twist[:3])


def _speed(stamp_ns: int, measured_ns: int, velocity_3: Matrix) -> float | None:
    speed = float(np.linalg.norm(velocity_3))
    is_near = abs(measured_ns - stamp_ns) <= MAX_EXTRAPOLATION_NS
    return speed if is_near and math.isfinite(speed) else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpeedSample:
    """A measured velocity (3,) [m/s]."""

    stamp_ns: int
    velocity: Matrix


class SpeedTrack:
    """Speed of a vehicle whose bag has a twist but no odometry."""

    def __init__(self, samples: Iterable[SpeedSample]) -> None:
        self._window = Window(samples)
        self.advance = self._window.advance

    def speed_mps(self, stamp_ns: int) -> float | None:
        """Return the speed nearest in time [m/s]; None: not known."""
        sample = self._window.nearest(stamp_ns)
        return None if sample is None else _speed(stamp_ns, sample.stamp_ns, sample.velocity)


def speeds(reader: BagReader, topic: str, on_skip: OnSkip) -> Iterator[SpeedSample]:
    """Yield the velocities of a stamped twist topic."""
    for item in reader.messages([topic], on_skip=on_skip):
        twist: Any = item.message.twist
        linear = getattr(twist, 'twist', twist).linear
        yield SpeedSample(
            stamp_ns=stamp_of(item.message.header),
            velocity=np.array([linear.x, linear.y, linear.z], np.float64),
        )
