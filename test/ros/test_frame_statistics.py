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

"""Counts, rates and percentiles with a clock of our own."""

from __future__ import annotations

from typing import Any

from depth_ros.core.datatypes import StageTimes
from depth_ros.ros.frame_statistics import Drop, NS_PER_MS, NS_PER_S, Statistics
import pytest

TIMES = StageTimes(
    rectify_ns=0, preprocess_ns=NS_PER_MS, infer_ns=40 * NS_PER_MS, postprocess_ns=2 * NS_PER_MS
)


class Clock:
    now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def published(statistics: Statistics, **changes: int) -> None:
    values: dict[str, Any] = {'decode_ns': 0, 'publish_ns': 0, 'received_ns': 0}
    statistics.publish(TIMES, **{**values, 'since_stamp_ns': 50 * NS_PER_MS, **changes})


def test_nothing_yet_is_all_zero() -> None:
    seen = Statistics().snapshot()
    assert (seen.received, seen.published, seen.rate_hz, seen.silence_s) == (0, 0, 0.0, None)
    assert not seen.stages


def test_rate_is_that_of_the_published_frames_and_falls_when_they_stop() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    for _ in range(21):
        clock.now_ns += NS_PER_S // 10
        published(statistics)
    assert statistics.snapshot().rate_hz == pytest.approx(10.0)
    clock.now_ns += 2 * NS_PER_S
    assert statistics.snapshot().rate_hz == pytest.approx(5.0)


def test_percentiles_are_in_milliseconds_per_stage() -> None:
    statistics = Statistics(Clock())
    for latency_ms in range(1, 101):
        published(statistics, since_stamp_ns=latency_ms * NS_PER_MS)
    stages = statistics.snapshot().stages
    assert stages['stamp to publish'].p50 == pytest.approx(50.5)
    assert stages['stamp to publish'].p95 == pytest.approx(95.05)
    assert stages['infer'].p99 == 40.0
    assert str(stages['infer']) == '40.0 / 40.0 / 40.0'


@pytest.mark.parametrize('offset_s', [3600, -3600, 6, -1])
def test_two_clocks_are_no_latency(offset_s: int) -> None:
    statistics = Statistics(Clock())
    published(statistics, since_stamp_ns=offset_s * NS_PER_S)
    seen = statistics.snapshot()
    assert seen.clock_offset_s == offset_s
    assert 'stamp to publish' not in seen.stages
    published(statistics)
    assert statistics.snapshot().clock_offset_s is None


def test_a_clock_that_trails_a_little_gives_zero_latency() -> None:
    statistics = Statistics(Clock())
    published(statistics, since_stamp_ns=-10 * NS_PER_MS)
    assert statistics.snapshot().stages['stamp to publish'].p50 == 0.0


def test_drops_are_counted_by_reason_and_the_last_problem_is_kept() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    statistics.receive()
    clock.now_ns = NS_PER_S
    statistics.drop(Drop.BAD_IMAGE, 'image has size 0x0')
    statistics.drop(Drop.OVERWRITTEN)
    statistics.drop(Drop.OVERWRITTEN)
    seen = statistics.snapshot()
    assert seen.drops == {Drop.BAD_IMAGE: 1, Drop.OVERWRITTEN: 2}
    assert seen.last_problem == 'image has size 0x0'
    assert (seen.received, seen.silence_s) == (1, 1.0)
    statistics.clear()
    assert statistics.snapshot().drops == {}
