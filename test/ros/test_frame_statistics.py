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

from test.synthetic import brightness_engine, frame, model_spec
from typing import Any

from depth_ros.core.config import PipelineConfig
from depth_ros.core.datatypes import StageTimes
from depth_ros.core.model_spec import TemporalSpec
from depth_ros.core.pipeline import DepthPipeline
from depth_ros.ros.frame_statistics import (
    ALTERNATION_S,
    Drop,
    MAX_FRAME_IDS,
    NS_PER_MS,
    NS_PER_S,
    Statistics,
)
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
    statistics.receive('camera')
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


def alternating(statistics: Statistics, *frame_ids: str) -> tuple[str, ...]:
    for frame_id in frame_ids:
        statistics.receive(frame_id)
    return statistics.snapshot().alternating


def test_cameras_in_turns_are_told_by_name_as_soon_as_one_comes_back() -> None:
    statistics = Statistics(Clock())
    assert alternating(statistics, 'left', 'left', 'right') == ()
    assert alternating(statistics, 'left') == ('left', 'right')
    assert alternating(statistics, 'rear') == ('left', 'rear', 'right')


def test_cameras_in_turns_are_told_for_a_while() -> None:
    clock = Clock()
    statistics = Statistics(clock)
    assert alternating(statistics, 'a', 'b', 'a') == ('a', 'b')
    clock.now_ns += round(ALTERNATION_S * NS_PER_S)
    assert alternating(statistics, 'a') == ('a', 'b')
    clock.now_ns += 1
    assert alternating(statistics, 'a') == ()


def test_another_camera_that_stays_is_no_alternation() -> None:
    assert alternating(Statistics(Clock()), 'a', 'a', 'b', 'b', 'b') == ()


def test_ever_new_frame_ids_take_no_memory() -> None:
    statistics = Statistics(Clock())
    names = [str(number) for number in range(3 * MAX_FRAME_IDS)]
    assert alternating(statistics, *names) == ()
    assert len(alternating(statistics, names[-2])) == MAX_FRAME_IDS


def test_resets_are_counted_and_the_newest_is_told_in_words() -> None:
    statistics = Statistics(Clock())
    spec = model_spec(temporal=TemporalSpec(warmup_frames=2, max_gap_ms=200.0))
    pipeline = DepthPipeline(brightness_engine(), spec, PipelineConfig())
    for stamp_ms in (0, 100, 1100):
        statistics.estimated(pipeline.process(frame(stamp_ms)))
    seen = statistics.snapshot()
    assert seen.resets == {'first_frame': 1, 'gap': 1}
    assert seen.last_reset == 'gap: 1.000 s without an image, the card allows 0.200 s'
    assert seen.state == 'warming up, 0 frames since a reset'
    assert seen.cold == 3


def test_held_frames_are_not_published_while_warming_up() -> None:
    statistics = Statistics(Clock())
    spec = model_spec(temporal=TemporalSpec(warmup_frames=2, first_frames='hold'))
    pipeline = DepthPipeline(brightness_engine(), spec, PipelineConfig())
    for stamp_ms in (0, 100, 200):
        statistics.estimated(pipeline.process(frame(stamp_ms)))
    seen = statistics.snapshot()
    assert (seen.cold, seen.state) == (0, 'warm, 2 frames since a reset')
