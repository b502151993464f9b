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
What /diagnostics says: is the camera there, does depth come, and from which model.

``input_status`` and its siblings are functions of plain values; ``DiagnosticsPublisher`` asks
the graph and sends. diagnostic_updater is not used: it would bring a second period parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
import math
from typing import Any

from depth_ros.core.datatypes import ResetReason
from depth_ros.core.model_spec import TemporalSpec
from depth_ros.ros.frame_statistics import Drop, HARMLESS_DROPS, Snapshot
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.qos import qos_check_compatible, QoSCompatibility, QoSProfile

TOPIC = '/diagnostics'
QUEUE_SIZE = 1
# An active camera that sends nothing for so long has stopped.
SILENCE_S = 2.0
FLOAT_BYTES = 4
MIB = 1 << 20
# Frames lost for other reasons than an absent listener, as a share, that make a warning.
WARN_DROP_SHARE = 0.1
# Losses of the temporal state, as a share of the images, that make a warning: a model that
# remembers works as one that does not.
WARN_RESET_SHARE = 0.1
# Not losses: nothing was there, or somebody wanted it.
EXPECTED_RESETS = (ResetReason.FIRST_FRAME.value, ResetReason.REQUESTED.value)


class Level(Enum):
    """Severity, as diagnostic_msgs numbers it (its constants are bytes)."""

    OK = DiagnosticStatus.OK
    WARN = DiagnosticStatus.WARN
    ERROR = DiagnosticStatus.ERROR
    STALE = DiagnosticStatus.STALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One line of the robot's monitor, with its details."""

    name: str
    level: Level
    message: str
    values: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicView:
    """
    What the graph knows of one subscribed topic.

    Fields:
        name: resolved topic name.
        publishers: how many there are.
        problem: why none of them can be received; empty when one can, or there is none.

    """

    name: str
    publishers: int
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """Which model runs, and on what."""

    name: str
    revision: str
    sha256: str
    path: str
    licence: str
    engine: str
    selection: str
    uncertainty: str
    memory: str


def view_topic(node: Any, topic: str, type_name: str, qos: QoSProfile) -> TopicView:
    """Return who publishes a topic, and whether this QoS can receive any of them."""
    publishers = node.get_publishers_info_by_topic(topic)
    problems = [_endpoint_problem(info, topic, type_name, qos) for info in publishers]
    is_deaf = bool(problems) and all(problems)
    return TopicView(
        name=topic, publishers=len(publishers), problem=problems[0] if is_deaf else ''
    )


def _endpoint_problem(info: Any, topic: str, type_name: str, qos: QoSProfile) -> str:
    if info.topic_type != type_name:
        return f'{topic} is published as {info.topic_type}, needed is {type_name}'
    compatibility, reason = qos_check_compatible(info.qos_profile, qos)
    if compatibility == QoSCompatibility.ERROR:
        return f'{topic} is published with incompatible QoS: {reason.strip()}'
    return ''


def input_status(state: str, topics: Sequence[TopicView], seen: Snapshot) -> Status:
    """
    Say whether images and calibration arrive, and if not, what is missing.

    :param state: lifecycle state.
    :param topics: image and camera_info; none unless the state is 'active'.
    """
    if not topics:
        level, message = Level.STALE, f'node is {state}: not subscribed'
        return Status(name='input', level=level, message=message)
    image, camera_info = topics
    level, message = _input_verdict(image, camera_info, seen)
    values = (
        ('image topic', image.name),
        ('image publishers', str(image.publishers)),
        ('camera_info topic', camera_info.name),
        ('camera_info publishers', str(camera_info.publishers)),
        ('images received', str(seen.received)),
        ('last image [s ago]', 'never' if seen.silence_s is None else f'{seen.silence_s:.1f}'),
    )
    return Status(name='input', level=level, message=message, values=values)


def _input_verdict(image: TopicView, camera_info: TopicView, seen: Snapshot) -> tuple[Level, str]:
    silent = seen.silence_s is None or seen.silence_s > SILENCE_S
    for topic in (image, camera_info):
        if topic.problem:
            return Level.ERROR, topic.problem
    if silent and not image.publishers:
        return Level.WARN, f'nobody publishes {image.name}'
    if silent and seen.silence_s is None:
        return Level.WARN, (
            f'{image.name} has a publisher but no image arrived: it sends nothing, or its images '
            'are lost for want of a shared-memory profile (docs/node.md)'
        )
    if silent:
        return Level.STALE, f'no image on {image.name} for {seen.silence_s:.1f} s'
    if seen.alternating:
        names = ' and '.join(f"'{frame_id}'" for frame_id in seen.alternating)
        return Level.WARN, (
            f'images of {names} come in turns on {image.name}: they are not mixed, so nothing is '
            'remembered from one to the next; start one node for each camera'
        )
    if not camera_info.publishers and seen.drops.get(Drop.NO_CAMERA_INFO):
        return Level.ERROR, f'images arrive but nobody publishes {camera_info.name}'
    return Level.OK, 'images arrive'


def depth_status(
    seen: Snapshot, before: Snapshot, *, listeners: Sequence[str], has_memory: bool
) -> Status:
    """
    Say whether depth is made: rate, latency, losses by reason and resets.

    :param before: the snapshot of the last message, for what happened since.
    :param listeners: output topics that somebody subscribes to.
    :param has_memory: of the model: without one, resets cost nothing.
    """
    level, message = _depth_verdict(seen, before, bool(listeners), has_memory)
    offset = seen.clock_offset_s
    values = [
        ('rate [Hz]', f'{seen.rate_hz:.2f}'),
        ('received', str(seen.received)),
        ('published', str(seen.published)),
        ('subscribed outputs', ', '.join(listeners) or 'none'),
        *((f'dropped: {reason.value}', str(seen.drops.get(reason, 0))) for reason in Drop),
        *((f'{stage} p50 / p95 / p99 [ms]', str(times)) for stage, times in seen.stages.items()),
        *((f'reset: {reason}', str(count)) for reason, count in seen.resets.items()),
        ('last reset', seen.last_reset or 'none'),
        ('temporal state', seen.state),
        ('published while warming up', str(seen.cold)),
        ('clock minus stamp [s]', 'plausible' if offset is None else f'{offset:.3f}'),
        ('last problem', seen.last_problem or 'none'),
    ]
    return Status(name='depth', level=level, message=message, values=tuple(values))


def _depth_verdict(
    seen: Snapshot, before: Snapshot, is_wanted: bool, has_memory: bool
) -> tuple[Level, str]:
    received = seen.received - before.received
    published = seen.published - before.published
    lost = _lost(seen) - _lost(before)
    if not is_wanted:
        return Level.OK, 'nobody subscribes to an output: nothing is computed'
    if not received:
        return Level.STALE, 'no image arrived since the last message'
    if lost and not published:
        return Level.ERROR, f'no image could be used: {seen.last_problem or _worst(seen, before)}'
    if seen.clock_offset_s is not None:
        return Level.WARN, (
            f"stamps and the node's clock disagree by {seen.clock_offset_s:.3f} s: latency is "
            'unknown (check use_sim_time and time synchronisation)'
        )
    if lost > WARN_DROP_SHARE * received:
        return Level.WARN, f'{lost} of {received} images dropped: {_worst(seen, before)}'
    forgotten = _forgotten(seen) - _forgotten(before)
    if has_memory and forgotten > WARN_RESET_SHARE * received:
        held = seen.drops.get(Drop.HELD, 0) - before.drops.get(Drop.HELD, 0)
        return Level.WARN, (
            f'the memory was dropped at {forgotten} of {received} images, {held} were held back, '
            f'{published} published: {seen.last_reset}'
        )
    return Level.OK, f'{seen.rate_hz:.1f} Hz'


def _forgotten(seen: Snapshot) -> int:
    return sum(n for reason, n in seen.resets.items() if reason not in EXPECTED_RESETS)


def _lost(seen: Snapshot) -> int:
    return sum(count for reason, count in seen.drops.items() if reason not in HARMLESS_DROPS)


def _worst(seen: Snapshot, before: Snapshot) -> str:
    reasons = [reason for reason in Drop if reason not in HARMLESS_DROPS]
    return max(reasons, key=lambda r: seen.drops.get(r, 0) - before.drops.get(r, 0)).value


def memory_words(spec: TemporalSpec) -> str:
    """Say what a model remembers, when it forgets, and what becomes of the first images."""
    if not spec.is_stateful:
        return 'none'
    parts = [f'{spec.window} images'] if spec.window > 1 else []
    if spec.states:
        size_mib = sum(math.prod(state.shape) for state in spec.states) * FLOAT_BYTES / MIB
        parts.append(f'{len(spec.states)} states of {size_mib:.1f} MiB')
    fate = 'held back' if spec.first_frames == 'hold' else 'published'
    first = max(spec.warmup_frames, spec.window - 1)
    return (
        f'{" and ".join(parts)}, dropped after {spec.max_gap_ms:g} ms without an image; the first '
        f'{first} images after that are {fate}'
    )


def model_status(
    state: str, model: ModelIdentity | None, problem: str, activity: str = ''
) -> Status:
    """
    Say which model runs on which engine, or why none does.

    :param activity: what is being done about it, as building an engine.
    """
    if activity:
        return Status(name='model', level=Level.WARN, message=activity)
    if model is None:
        level = Level.ERROR if problem else Level.STALE
        return Status(name='model', level=level, message=problem or f'node is {state}')
    values = (
        ('name', model.name),
        ('revision', model.revision),
        ('licence', model.licence),
        ('file', model.path),
        ('sha256', model.sha256),
        ('engine', model.engine),
        ('why this engine', model.selection),
        ('uncertainty', model.uncertainty),
        ('memory', model.memory),
        ('lifecycle state', state),
    )
    message = f'{model.name} on {model.engine}'
    return Status(name='model', level=Level.OK, message=message, values=values)


def status_message(status: Status, node_name: str, hardware_id: str) -> DiagnosticStatus:
    """Return the ROS message of a status."""
    return DiagnosticStatus(
        level=status.level.value,
        name=f'{node_name}: {status.name}',
        message=status.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=value) for key, value in status.values],
    )


class DiagnosticsPublisher:
    """
    Send the statuses at a steady period, also while simulated time stands still.

    :param statuses: called for every message.
    """

    def __init__(
        self, node: Any, *, period_s: float, statuses: Callable[[], Sequence[Status]]
    ) -> None:
        self._node = node
        self._statuses = statuses
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, QUEUE_SIZE)
        self._timer: Any = None
        self.set_period(period_s)

    def set_period(self, period_s: float) -> None:
        """Send every so many seconds from now on."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self._node.create_timer(period_s, self.send, clock=clock)

    def send(self) -> None:
        """Send one message now."""
        name = self._node.get_fully_qualified_name().lstrip('/')
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        message.status = [status_message(each, name, name) for each in self._statuses()]
        self._publisher.publish(message)
