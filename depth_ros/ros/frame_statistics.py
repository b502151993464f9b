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

"""What the node counts and times; written by its worker, read by its diagnostics."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
import threading
import time

from depth_ros.core.datatypes import DepthEstimate, StageTimes
import numpy as np

# Latencies and rate are told for the last frames only: 20 s of a 10 Hz camera.
WINDOW_FRAMES = 200
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
# A larger difference between the node's clock and a stamp is no latency but two clocks.
MAX_LATENCY_NS = 5 * NS_PER_S
# Clocks of two computers that are synchronised may differ by this much.
CLOCK_TOLERANCE_NS = 50 * NS_PER_MS
PERCENTILES = (50, 95, 99)
# Cameras that take turns on one topic are noticed as soon as one comes back; a topic has few.
MAX_FRAME_IDS = 8
# For so long after that it is told.
ALTERNATION_S = 5.0


class Drop(Enum):
    """Why a frame that arrived was not published."""

    OVERWRITTEN = 'overwritten by a newer frame (busy)'
    OVERTAKEN = 'overtaken before the node took it (busy)'
    NO_CAMERA_INFO = 'no camera_info yet'
    BAD_IMAGE = 'bad image'
    BAD_CAMERA_INFO = 'bad camera_info'
    MISMATCH = 'image and camera_info disagree'
    NOT_ALIGNED = 'no scale and shift for a relative model'
    REPEATED = 'stamp of the image before'
    NO_SUBSCRIBER = 'nobody listens'
    HELD = 'held back after a reset (model card)'
    STOPPED = 'node deactivated'


# Expected: neither the camera nor the node is at fault.
HARMLESS_DROPS = (Drop.NO_SUBSCRIBER, Drop.HELD, Drop.STOPPED)
STAGES = ('decode', 'rectify', 'preprocess', 'infer', 'postprocess', 'publish')


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """p50, p95 and p99 [ms]."""

    p50: float
    p95: float
    p99: float

    def __str__(self) -> str:
        return f'{self.p50:.1f} / {self.p95:.1f} / {self.p99:.1f}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """
    The statistics at one moment.

    Fields:
        received, published: frames since the node was activated.
        drops: frames by reason, since then.
        resets: how often the temporal state was dropped, by reason.
        last_reset: reason and details of the newest one; '' before the first.
        cold: frames that were published although the model had less past than in training.
        alternating: the frame_ids that come in turns on the image topic, if they do.
        rate_hz: published frames per second over the window.
        stages: duration of each stage; ``receive to publish`` and ``stamp to publish`` too.
        clock_offset_s: clock minus stamp of the last frame where that cannot be a latency.
        silence_s: time since the last image; None before the first.
        state: of the temporal buffer, in words.
        last_problem: the newest FrameError.

    """

    received: int
    published: int
    drops: Mapping[Drop, int]
    resets: Mapping[str, int]
    last_reset: str
    cold: int
    alternating: tuple[str, ...]
    rate_hz: float
    stages: Mapping[str, Percentiles]
    clock_offset_s: float | None
    silence_s: float | None
    state: str
    last_problem: str


@dataclass(slots=True)
class _Counts:
    received: int = 0
    published: int = 0
    drops: Counter[Drop] = field(default_factory=Counter)
    resets: Counter[str] = field(default_factory=Counter)
    last_reset: str = ''
    cold: int = 0
    frame_ids: deque[str] = field(default_factory=lambda: deque(maxlen=MAX_FRAME_IDS))
    returned_ns: int | None = None
    last_received_ns: int | None = None
    clock_offset_s: float | None = None
    state: str = 'no frame yet'
    last_problem: str = ''


class Statistics:
    """Counts and durations of the stream; safe to use from several threads."""

    def __init__(self, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Start anew."""
        with self._lock:
            self._counts = _Counts()
            self._times: dict[str, deque[int]] = {}
            self._published_ns: deque[int] = deque(maxlen=WINDOW_FRAMES)

    def receive(self, frame_id: str) -> int:
        """Count a frame that arrived, and return the time of it [ns, monotonic]."""
        now_ns = self._clock()
        with self._lock:
            self._note_frame_id(frame_id, now_ns)
            self._counts.received += 1
            self._counts.last_received_ns = now_ns
        return now_ns

    def _note_frame_id(self, frame_id: str, now_ns: int) -> None:
        counts, known = self._counts, self._counts.frame_ids
        if known and known[-1] == frame_id:
            return
        if frame_id in known:
            counts.returned_ns = now_ns
            known.remove(frame_id)
        known.append(frame_id)

    def overtake(self, count: int) -> None:
        """Count frames that reached this computer but not the node."""
        if count:
            with self._lock:
                self._counts.received += count
                self._counts.drops[Drop.OVERTAKEN] += count

    def drop(self, reason: Drop, problem: str = '') -> None:
        """Count a frame that is not published."""
        with self._lock:
            self._counts.drops[reason] += 1
            self._counts.last_problem = problem or self._counts.last_problem

    def estimated(self, estimate: DepthEstimate) -> None:
        """Note resets and the state of the temporal buffer."""
        with self._lock:
            if estimate.reset is not None:
                self._counts.resets[estimate.reset.value] += 1
                self._counts.last_reset = f'{estimate.reset.value}: {estimate.reset_detail}'
            self._counts.cold += not (estimate.is_warm or estimate.is_held)
            warmth = 'warm' if estimate.is_warm else 'warming up'
            self._counts.state = f'{warmth}, {estimate.frames_since_reset} frames since a reset'

    def publish(
        self,
        times: StageTimes,
        *,
        decode_ns: int,
        publish_ns: int,
        received_ns: int,
        since_stamp_ns: int,
    ) -> None:
        """Count a published frame; ``since_stamp_ns`` is the node's clock minus the stamp."""
        now_ns = self._clock()
        stages = {
            'decode': decode_ns,
            'rectify': times.rectify_ns,
            'preprocess': times.preprocess_ns,
            'infer': times.infer_ns,
            'postprocess': times.postprocess_ns,
            'publish': publish_ns,
            'receive to publish': now_ns - received_ns,
        }
        is_latency = -CLOCK_TOLERANCE_NS <= since_stamp_ns <= MAX_LATENCY_NS
        if is_latency:
            stages['stamp to publish'] = max(since_stamp_ns, 0)
        with self._lock:
            self._counts.published += 1
            self._counts.clock_offset_s = None if is_latency else since_stamp_ns / NS_PER_S
            self._published_ns.append(now_ns)
            for name, duration_ns in stages.items():
                self._times.setdefault(name, deque(maxlen=WINDOW_FRAMES)).append(duration_ns)

    def snapshot(self) -> Snapshot:
        """Return a copy of everything."""
        now_ns = self._clock()
        with self._lock:
            counts = self._counts
            last_ns = counts.last_received_ns
            return Snapshot(
                received=counts.received,
                published=counts.published,
                drops=dict(counts.drops),
                resets=dict(counts.resets),
                last_reset=counts.last_reset,
                cold=counts.cold,
                alternating=_alternating(counts, now_ns),
                rate_hz=_rate_hz(self._published_ns, now_ns),
                stages={name: _percentiles(times) for name, times in self._times.items()},
                clock_offset_s=counts.clock_offset_s,
                silence_s=None if last_ns is None else (now_ns - last_ns) / NS_PER_S,
                state=counts.state,
                last_problem=counts.last_problem,
            )


def _alternating(counts: _Counts, now_ns: int) -> tuple[str, ...]:
    last_ns = counts.returned_ns
    if last_ns is None or now_ns - last_ns > ALTERNATION_S * NS_PER_S:
        return ()
    return tuple(sorted(counts.frame_ids))


def _percentiles(times: deque[int]) -> Percentiles:
    p50, p95, p99 = np.percentile(np.array(times, np.float64), PERCENTILES) / NS_PER_MS
    return Percentiles(p50=float(p50), p95=float(p95), p99=float(p99))


def _rate_hz(published_ns: deque[int], now_ns: int) -> float:
    if len(published_ns) < 2:
        return 0.0
    # The time since the last frame counts as soon as it is longer than the mean interval, so
    # that the rate falls when the stream stops.
    span_ns = published_ns[-1] - published_ns[0]
    interval_ns = span_ns / (len(published_ns) - 1)
    silence_ns = now_ns - published_ns[-1]
    late_ns = silence_ns if silence_ns > 2 * interval_ns else 0
    return (len(published_ns) - 1) * NS_PER_S / max(span_ns + late_ns, 1)
