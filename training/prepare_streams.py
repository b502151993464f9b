# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0

"""What ``prepare`` reads beside frames and sweeps: encoded images, poses and speed by stamp."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
import math
from typing import Any, Generic, TypeVar

from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import COMPRESSED_IMAGE, OdometrySample, OnSkip, SkippedMessage
from depth_ros.bags.streams import frames
from depth_ros.core.datatypes import Frame
from depth_ros.core.geometry import interpolate, Matrix
from depth_ros.core.message_fields import stamp_ns as stamp_of
from depth_ros.core.sync import Stamped
from depth_ros.errors import BagError, FrameError
import numpy as np
from training.dataset_format import is_whole_image

NS_PER_MS = 1_000_000
# A vehicle hardly changes its twist within 100 ms: so far a track goes on beyond its ends.
MAX_EXTRAPOLATION_NS = 100 * NS_PER_MS
# Within half a second it does: poses further apart are not joined.
MAX_POSE_GAP_NS = 500 * NS_PER_MS
# Requests go back by less than this: a sweep and the difference of two sensors' stamps.
KEPT_NS = 2000 * NS_PER_MS

TWIST_TYPES = (
    'geometry_msgs/msg/TwistStamped',
    'geometry_msgs/msg/TwistWithCovarianceStamped',
)


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
    """The samples of a stream around a moment that moves on, and a little of the past."""

    def __init__(self, samples: Iterable[SampleT]) -> None:
        self._samples = iter(samples)
        self._kept: deque[SampleT] = deque()

    def around(self, stamp_ns: int) -> list[SampleT]:
        """Return the kept samples, up to and with the first one after the stamp."""
        while not self._kept or self._kept[-1].stamp_ns <= stamp_ns:
            following = next(self._samples, None)
            if following is None:
                break
            self._kept.append(following)
        # Two always stay, to go on from at the end of the track.
        while len(self._kept) > 2 and self._kept[1].stamp_ns < stamp_ns - KEPT_NS:
            self._kept.popleft()
        return list(self._kept)


class PoseTrack:
    """Pose of a vehicle at any moment, at constant twist between the samples of its odometry."""

    def __init__(self, samples: Iterable[OdometrySample]) -> None:
        self._window = Window(samples)

    def at(self, stamp_ns: int) -> tuple[Matrix, str]:
        """
        Return world_T_body and the name of the body frame.

        :raises FrameError: there is no odometry around this moment.
        """
        before, after = self._neighbours(stamp_ns)
        gap_ns = after.stamp_ns - before.stamp_ns
        fraction = (stamp_ns - before.stamp_ns) / gap_ns
        pose = interpolate(before.world_T_body_44, after.world_T_body_44, fraction)
        return pose, after.child_frame_id

    def speed_mps(self, stamp_ns: int) -> float | None:
        """Return the length of the linear velocity nearest in time [m/s]; None: not known."""
        samples = self._window.around(stamp_ns)
        return nearest_speed(stamp_ns, [(s.stamp_ns, s.twist[:3]) for s in samples])

    def _neighbours(self, stamp_ns: int) -> tuple[OdometrySample, OdometrySample]:
        pairs = list(pairwise(self._window.around(stamp_ns)))
        if not pairs:
            raise FrameError('odometry has fewer than two samples around the frame')
        pair = min(pairs, key=lambda pair: _distance_ns(stamp_ns, *pair))
        missing_ns = _distance_ns(stamp_ns, *pair)
        gap_ns = pair[1].stamp_ns - pair[0].stamp_ns
        if missing_ns > MAX_EXTRAPOLATION_NS:
            raise FrameError(f'odometry is {missing_ns / NS_PER_MS:.0f} ms away')
        if gap_ns > MAX_POSE_GAP_NS:
            raise FrameError(f'odometry has a gap of {gap_ns / NS_PER_MS:.0f} ms')
        return pair


def _distance_ns(stamp_ns: int, before: Stamped, after: Stamped) -> int:
    return max(before.stamp_ns - stamp_ns, stamp_ns - after.stamp_ns, 0)


def nearest_speed(stamp_ns: int, samples: list[tuple[int, Matrix]]) -> float | None:
    """Return the length of the velocity that is nearest in time and near enough, else None."""
    if not samples:
        return None
    stamp, velocity = min(samples, key=lambda sample: abs(sample[0] - stamp_ns))
    speed = float(np.linalg.norm(velocity))
    is_near = abs(stamp - stamp_ns) <= MAX_EXTRAPOLATION_NS
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

    def speed_mps(self, stamp_ns: int) -> float | None:
        """Return the speed nearest in time [m/s]; None: not known."""
        samples = self._window.around(stamp_ns)
        return nearest_speed(stamp_ns, [(s.stamp_ns, s.velocity) for s in samples])


def speeds(reader: BagReader, topic: str, on_skip: OnSkip) -> Iterator[SpeedSample]:
    """Yield the velocities of a stamped twist topic."""
    for item in reader.messages([topic], on_skip=on_skip):
        twist: Any = item.message.twist
        linear = getattr(twist, 'twist', twist).linear
        yield SpeedSample(
            stamp_ns=stamp_of(item.message.header),
            velocity=np.array([linear.x, linear.y, linear.z], np.float64),
        )


def twist_topic(reader: BagReader, given: str | None) -> str | None:
    """
    Return the topic of stamped twists; None: the bag has none.

    :raises BagError: there are several, or the given one is absent or of another type.
    """
    if given is not None and reader.topic(given).msgtype not in TWIST_TYPES:
        raise BagError(
            f"--twist-topic '{given}' is of type '{reader.topic(given).msgtype}': must be "
            f'{" or ".join(TWIST_TYPES)}'
        )
    if given is not None:
        return given
    found = [i.name for i in reader.topics if i.msgtype in TWIST_TYPES and i.count]
    if len(found) > 1:
        raise BagError(
            f"bag '{reader.path}' has {len(found)} twist topics: {', '.join(found)}; choose one "
            'with --twist-topic'
        )
    return found[0] if found else None


Speed = Callable[[int], float | None]


def unknown_speed(stamp_ns: int) -> float | None:
    """Return None: the bag tells no speed."""
    return None
