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

"""What the diagnostics say in every situation, from plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.core.model_spec import StateSpec, TemporalSpec  # noqa: E402, I100
from depth_ros.ros.diagnostics import (  # noqa: E402
    depth_status,
    input_status,
    Level,
    memory_words,
    model_status,
    ModelIdentity,
    status_message,
    TopicView,
)
from depth_ros.ros.frame_statistics import Drop, Snapshot, Statistics  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus  # noqa: E402

EMPTY = Statistics().snapshot()
RUNNING = replace(EMPTY, received=100, published=100, rate_hz=10.0, silence_s=0.1)
IMAGE = TopicView(name='/image', publishers=1, problem='')
INFO = TopicView(name='/camera_info', publishers=1, problem='')
NOBODY = replace(IMAGE, publishers=0)


def dropped(reason: Drop, count: int, received: int = 100) -> Snapshot:
    counts = {reason: count}
    return replace(RUNNING, received=received, published=received - count, drops=counts)


@pytest.mark.parametrize(
    ('image', 'info', 'seen', 'level', 'words'),
    [
        (IMAGE, INFO, RUNNING, Level.OK, 'images arrive'),
        (NOBODY, INFO, EMPTY, Level.WARN, 'nobody publishes /image'),
        (IMAGE, INFO, EMPTY, Level.WARN, 'has a publisher but no image arrived'),
        (IMAGE, INFO, replace(RUNNING, silence_s=7.0), Level.STALE, 'no image on /image for 7.0'),
        (NOBODY, INFO, replace(RUNNING, silence_s=7.0), Level.WARN, 'nobody publishes /image'),
        (
            IMAGE,
            INFO,
            replace(RUNNING, alternating=('left', 'right')),
            Level.WARN,
            "'left' and 'right' come in turns on /image: they are not mixed, so nothing is "
            'remembered from one to the next; start one node for each camera',
        ),
        (replace(IMAGE, problem='bad QoS'), INFO, EMPTY, Level.ERROR, 'bad QoS'),
        (IMAGE, replace(INFO, problem='bad QoS'), RUNNING, Level.ERROR, 'bad QoS'),
        (
            IMAGE,
            replace(INFO, publishers=0),
            dropped(Drop.NO_CAMERA_INFO, 3),
            Level.ERROR,
            'nobody publishes /camera_info',
        ),
    ],
)
def test_input_says_what_is_missing(
    image: TopicView, info: TopicView, seen: Snapshot, level: Level, words: str
) -> None:
    status = input_status('active', [image, info], seen)
    assert status.level == level
    assert words in status.message


def test_input_of_an_inactive_node_is_stale() -> None:
    status = input_status('inactive', [], EMPTY)
    assert (status.level, status.message) == (Level.STALE, 'node is inactive: not subscribed')


@pytest.mark.parametrize(
    ('seen', 'listeners', 'level', 'words'),
    [
        (RUNNING, ['points'], Level.OK, '10.0 Hz'),
        (RUNNING, [], Level.OK, 'nobody subscribes'),
        (EMPTY, ['points'], Level.STALE, 'no image arrived'),
        (dropped(Drop.OVERWRITTEN, 5), ['points'], Level.OK, '10.0 Hz'),
        (dropped(Drop.OVERWRITTEN, 20), ['points'], Level.WARN, '20 of 100 images dropped'),
        (dropped(Drop.NO_SUBSCRIBER, 90), ['points'], Level.OK, '10.0 Hz'),
        (
            replace(dropped(Drop.BAD_IMAGE, 100), last_problem='size 0x0'),
            ['points'],
            Level.ERROR,
            'no image could be used: size 0x0',
        ),
        (replace(RUNNING, clock_offset_s=3600.5), ['points'], Level.WARN, 'disagree by 3600.5'),
    ],
)
def test_depth_says_how_it_goes(
    seen: Snapshot, listeners: list[str], level: Level, words: str
) -> None:
    status = depth_status(seen, EMPTY, listeners=listeners, has_memory=True)
    assert status.level == level
    assert words in status.message


def test_depth_judges_what_happened_since_the_last_message() -> None:
    before = dropped(Drop.OVERWRITTEN, 50)
    after = replace(before, received=200, published=150)
    status = depth_status(after, before, listeners=['points'], has_memory=True)
    assert status.level == Level.OK


FORGETFUL = replace(
    RUNNING,
    published=90,
    resets={'first_frame': 1, 'gap': 15},
    last_reset='gap: 10.000 s without an image, the card allows 0.500 s',
    drops={Drop.HELD: 10},
)


def test_depth_of_a_model_that_forgets_all_the_time_warns_with_the_reason() -> None:
    status = depth_status(FORGETFUL, EMPTY, listeners=['points'], has_memory=True)
    assert status.level == Level.WARN
    assert status.message == (
        'the memory was dropped at 15 of 100 images, 10 were held back, 90 published: gap: '
        '10.000 s without an image, the card allows 0.500 s'
    )
    assert dict(status.values)['last reset'] == FORGETFUL.last_reset


@pytest.mark.parametrize(
    ('resets', 'has_memory'),
    [
        ({'gap': 15}, False),
        ({'gap': 10}, True),
        ({'first_frame': 50, 'requested': 50}, True),
    ],
)
def test_depth_resets_that_cost_little_are_no_warning(
    resets: dict[str, int], has_memory: bool
) -> None:
    seen = replace(FORGETFUL, resets=resets)
    status = depth_status(seen, EMPTY, listeners=['points'], has_memory=has_memory)
    assert status.level == Level.OK


def test_depth_judges_resets_since_the_last_message() -> None:
    after = replace(FORGETFUL, received=200, published=190)
    status = depth_status(after, FORGETFUL, listeners=['points'], has_memory=True)
    assert status.level == Level.OK


@pytest.mark.parametrize(
    ('spec', 'words'),
    [
        (TemporalSpec(warmup_frames=2), 'none'),
        (
            TemporalSpec(window=3, first_frames='hold'),
            '3 images, dropped after 500 ms without an image; the first 2 images after that are '
            'held back',
        ),
        (
            TemporalSpec(
                states=(StateSpec(input='a', output='b', shape=(1, 64, 64, 64)),) * 2,
                warmup_frames=1,
                max_gap_ms=250.0,
            ),
            '2 states of 2.0 MiB, dropped after 250 ms without an image; the first 1 images after '
            'that are published',
        ),
    ],
)
def test_memory_words_tell_size_and_rules(spec: TemporalSpec, words: str) -> None:
    assert memory_words(spec) == words


def test_depth_tells_every_reason_even_when_it_never_occurred() -> None:
    status = depth_status(RUNNING, EMPTY, listeners=['points'], has_memory=False)
    values = dict(status.values)
    assert {f'dropped: {reason.value}' for reason in Drop} <= set(values)
    assert values['subscribed outputs'] == 'points'


def test_model_identity_and_its_absence_are_told() -> None:
    identity = ModelIdentity(
        name='net',
        revision='2',
        sha256='abc',
        path='/m.onnx',
        licence='MIT',
        engine='onnxruntime',
        selection='asked for',
        uncertainty='flip',
        memory='none',
    )
    status = model_status('active', identity, '')
    assert (status.level, status.message) == (Level.OK, 'net on onnxruntime')
    assert dict(status.values)['sha256'] == 'abc'
    assert model_status('unconfigured', None, '').level == Level.STALE
    assert model_status('unconfigured', None, 'no file').message == 'no file'
    building = model_status('unconfigured', None, '', 'building: 42 %')
    assert (building.level, building.message) == (Level.WARN, 'building: 42 %')


def test_status_message_has_name_and_byte_level() -> None:
    message = status_message(input_status('inactive', [], EMPTY), 'car/node', 'car/node')
    assert message.name == 'car/node: input'
    assert message.level == DiagnosticStatus.STALE
