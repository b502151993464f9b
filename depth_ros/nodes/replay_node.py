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
Publish a bag over DDS, with /clock: in real time at a rate, or as fast as a node answers.

Messages go out as the bytes that were recorded, stamps included.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
import time
from typing import Any

from builtin_interfaces.msg import Time
from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import COMPRESSED_IMAGE, IMAGE, RawMessage, TF_MESSAGE, TopicInfo
from depth_ros.errors import ConfigError, DepthRosError
from depth_ros.nodes.message_classes import field_names, message_class
from depth_ros.nodes.replay_answers import Answers
from depth_ros.nodes.replay_qos import clock_qos, replay_qos
from depth_ros.ros.shutdown import StopRequest
import rclpy
from rclpy.duration import Duration
from rosgraph_msgs.msg import Clock

NS_PER_S = 1_000_000_000
CLOCK_PERIOD_NS = NS_PER_S // 100
# How many of the last messages the lateness is told of: a looped replay has no end.
LATENESS_KEPT = 100_000
# Messages on their way to a reliable subscriber are given this long when the bag has ended.
DRAIN_S = 2.0
POLL_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """
    How a bag is played.

    Fields:
        rate: bag seconds per second.
        topics: those to publish, as named in the bag; None: all.
        remaps: bag topic -> published topic.
        has_clock: publish /clock at 100 Hz, and once before each message.
        is_looped: start over at the end; stamps then jump back.
        subscribers: begin when an image topic has so many (any topic, in a bag without images).
        start_after_s: ... and so many seconds have passed since, for the rest of the graph.
        timeout_s: how long to wait for subscribers, and for each answer.
        answer_topic: play in lock-step: publish the next image when a message with the stamp of
            the last one has come on this topic. None: play in real time.
        image_topic: in lock-step, the topic whose messages are answered; None: the only one.

    """

    rate: float = 1.0
    topics: tuple[str, ...] | None = None
    remaps: Mapping[str, str] = field(default_factory=dict)
    has_clock: bool = True
    is_looped: bool = False
    subscribers: int = 1
    start_after_s: float = 1.0
    timeout_s: float = 60.0
    answer_topic: str | None = None
    image_topic: str | None = None

    def __post_init__(self) -> None:
        _require(0 < self.rate < float('inf'), 'rate', self.rate, 'must be positive')
        _require(self.subscribers >= 0, 'subscribers', self.subscribers, 'must be 0 or more')
        _require(self.start_after_s >= 0, 'start_after', self.start_after_s, 'must be 0 or more')
        _require(self.timeout_s > 0, 'timeout', self.timeout_s, 'must be positive')


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: {rule}')


@dataclass(slots=True)
class ReplaySummary:
    """
    What was published.

    Fields:
        published: messages by published topic.
        left_out: reason by bag topic.
        lateness_ms: of the last messages against the recording; empty in lock-step.
        answered: images answered in lock-step.
        is_complete: False when the replay was stopped before the end of the bag.

    """

    published: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    lateness_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENESS_KEPT))
    answered: int = 0
    is_complete: bool = False


class BagReplay:
    """
    Plays one bag through publishers of its own node.

    :raises ConfigError: an option contradicts the bag.
    """

    def __init__(self, reader: BagReader, options: ReplayOptions) -> None:
        self._reader, self._options = reader, options
        self.summary = ReplaySummary()
        self._node = rclpy.create_node('bag_replay')
        self._publishers: dict[str, Any] = {}
        self._make_publishers(self._selected())
        self._clock: Any | None = None
        if options.has_clock:
            self._clock = self._node.create_publisher(Clock, '/clock', clock_qos())
        self._trigger = self._trigger_topic()
        self._answers: Answers | None = None

    def run(self, stop: StopRequest) -> ReplaySummary:
        """
        Play until the end of the bag or the stop.

        :raises DepthRosError: nobody subscribes, or no answer comes, within the timeout.
        """
        if self._options.answer_topic is not None:
            self._answers = Answers(self._node, self._options.answer_topic)
        if self._wait_for_readiness(stop):
            while self._play_once(stop) and self._options.is_looped:
                pass
        if not stop.is_set:
            self._drain()
        return self.summary

    def close(self) -> None:
        """Take the node out of the graph."""
        if self._answers is not None:
            self._answers.close()
        self._node.destroy_node()

    def _selected(self) -> list[TopicInfo]:
        wanted, remaps = self._options.topics, self._options.remaps
        for name in (*(wanted or ()), *remaps):
            self._reader.topic(name)
        return [info for info in self._reader.topics if wanted is None or info.name in wanted]

    def _make_publishers(self, infos: list[TopicInfo]) -> None:
        for info in infos:
            message_type = message_class(info.msgtype)
            reason = self._why_not(info, message_type)
            if reason is not None:
                self.summary.left_out[info.name] = reason
                continue
            is_latched = info.msgtype == TF_MESSAGE and info.name.endswith('tf_static')
            self._publishers[info.name] = self._node.create_publisher(
                message_type,
                self._options.remaps.get(info.name, info.name),
                replay_qos(is_latched=is_latched, count=info.count),
            )
        if not self._publishers:
            reasons = '; '.join(f'{k}: {v}' for k, v in self.summary.left_out.items()) or 'none'
            raise DepthRosError(f"no topic of bag '{self._reader.path}' can be played ({reasons})")

    def _why_not(self, info: TopicInfo, message_type: Any | None) -> str | None:
        if info.count == 0:
            return 'it has no messages'
        if message_type is None:
            return f"message type '{info.msgtype}' is not installed"
        recorded, installed = self._reader.field_names(info.name), field_names(message_type)
        if recorded != installed:
            return f"'{info.msgtype}' was recorded with fields {recorded}: here it has {installed}"
        return None

    def _trigger_topic(self) -> str | None:
        if self._options.answer_topic is None:
            return None
        topic = resolve_topic(self._reader, 'image', self._options.image_topic)
        if topic not in self._publishers:
            raise ConfigError(f"lock-step needs images: '{topic}' is not among the played topics")
        return topic

    def _wait_for_readiness(self, stop: StopRequest) -> bool:
        """Wait for subscribers, with the clock standing at the start; False after a stop."""
        deadline = time.monotonic() + self._options.timeout_s
        while not stop.is_set:
            missing = self._missing()
            if missing is None:
                break
            if time.monotonic() > deadline:
                raise DepthRosError(f'{missing} after {self._options.timeout_s:g} s')
            self._tick(self._reader.start_ns)
            stop.wait(POLL_S)
        pause_ns = round(self._options.start_after_s * NS_PER_S)
        return self._wait_until(time.monotonic_ns() + pause_ns, None, stop)

    def _missing(self) -> str | None:
        """Return what the start still waits for, as the beginning of an error message."""
        # First the answers: a node may want no images before somebody wants its results.
        if self._answers is not None and not self._answers.connect():
            return f"nobody publishes '{self._answers.topic}' of --wait-for"
        watched = [self._trigger] if self._trigger else self._image_topics()
        count = max(self._publishers[topic].get_subscription_count() for topic in watched)
        if count >= self._options.subscribers:
            return None
        names = ', '.join(self._publishers[topic].topic_name for topic in watched)
        return (
            f'{count} of {self._options.subscribers} subscribers on {names} (start the node, '
            'remap its topics, or wait for fewer with --wait-for-subscribers)'
        )

    def _image_topics(self) -> list[str]:
        images = [
            info.name
            for info in self._reader.topics
            if info.msgtype in (IMAGE, COMPRESSED_IMAGE) and info.name in self._publishers
        ]
        return images or list(self._publishers)

    def _play_once(self, stop: StopRequest) -> bool:
        """Play the bag from start to end; False after a stop."""
        self.summary.is_complete = False
        timeline: _Timeline | None = None
        for raw in self._reader.raw_messages(self._publishers):
            if self._answers is None:
                timeline = timeline or _Timeline(raw.log_ns, self._options.rate)
                if not self._wait_until(timeline.due_ns(raw.log_ns), timeline, stop):
                    return False
                late_ns = time.monotonic_ns() - timeline.due_ns(raw.log_ns)
                self.summary.lateness_ms.append(late_ns / 1e6)
            self._publish(raw)
            if raw.topic == self._trigger and not self._await_answer(raw, stop):
                return False
            if stop.is_set:
                return False
        self.summary.is_complete = True
        return True

    def _publish(self, raw: RawMessage) -> None:
        self._tick(raw.log_ns)
        if raw.topic == self._trigger:
            # The node must have the calibration before the image that needs it.
            self._wait_for_acknowledgement(raw.topic)
        publisher = self._publishers[raw.topic]
        publisher.publish(bytes(raw.data))
        name = publisher.topic_name
        self.summary.published[name] = self.summary.published.get(name, 0) + 1

    def _await_answer(self, raw: RawMessage, stop: StopRequest) -> bool:
        stamp_ns = header_stamp_ns(raw.data)
        if self._answers is None or stamp_ns is None:
            raise DepthRosError(f"'{raw.topic}': a message of {len(raw.data)} bytes has no stamp")
        if not self._answers.wait_for(stamp_ns, self._options.timeout_s, stop):
            return False
        self.summary.answered += 1
        return True

    def _wait_until(self, due_ns: int, timeline: _Timeline | None, stop: StopRequest) -> bool:
        """Sleep until a moment of the monotonic clock, ticking /clock; False after a stop."""
        while not stop.is_set:
            now_ns = time.monotonic_ns()
            if now_ns >= due_ns:
                return True
            self._tick(self._reader.start_ns if timeline is None else timeline.bag_ns(now_ns))
            stop.wait(min(due_ns - time.monotonic_ns(), CLOCK_PERIOD_NS) / NS_PER_S)
        return False

    def _tick(self, bag_ns: int) -> None:
        if self._clock is not None:
            sec, nanosec = divmod(bag_ns, NS_PER_S)
            self._clock.publish(Clock(clock=Time(sec=sec, nanosec=nanosec)))

    def _wait_for_acknowledgement(self, except_topic: str) -> None:
        for topic, publisher in self._publishers.items():
            if topic != except_topic and publisher.get_subscription_count():
                publisher.wait_for_all_acked(Duration(seconds=DRAIN_S))

    def _drain(self) -> None:
        self._wait_for_acknowledgement('')


class _Timeline:
    """Maps times of the bag to the monotonic clock, from now on."""

    def __init__(self, first_bag_ns: int, rate: float) -> None:
        self._begun_ns = time.monotonic_ns()
        self._first_bag_ns, self._rate = first_bag_ns, rate

    def due_ns(self, bag_ns: int) -> int:
        return self._begun_ns + round((bag_ns - self._first_bag_ns) / self._rate)

    def bag_ns(self, monotonic_ns: int) -> int:
        return self._first_bag_ns + round((monotonic_ns - self._begun_ns) * self._rate)
