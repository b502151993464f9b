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

"""Replay and recorder as processes of their own, with real messages over DDS between them."""

from __future__ import annotations

from pathlib import Path
import re
import signal
import subprocess
import sys
from test.bags import mini_bags as mini
from test.nodes.programs import (
    by_topic,
    environment,
    play_and_record,
    PLAY_S,
    program,
    READY_S,
    recorder,
    replay,
)
import time

from depth_ros.bags.reader import BagReader
from depth_ros.bags.writer import BagWriter
from depth_ros.cli import record_topics, replay_bag
from depth_ros.cli.ros_arguments import split_ros_arguments
from depth_ros.errors import DepthRosError
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')

PLAYED = (mini.IMAGE, mini.INFO, mini.LIDAR, mini.ODOMETRY)


@pytest.mark.dds
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_every_message_arrives_as_it_was_recorded(tmp_path: Path, storage: str) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=8, storage=storage)
    received, printed = play_and_record(tmp_path, bag, PLAYED)
    expected = by_topic(bag)
    for topic in PLAYED:
        assert len(received[topic]) == 8
        for got, sent in zip(received[topic], expected[topic], strict=True):
            # DDS fills the last word up with zeros.
            assert got == sent + bytes(-len(sent) % 4)
    for topic in PLAYED:
        assert f'  {topic}: 8\n' in printed
    assert re.search(r'lateness ms: p50 \d', printed)


@pytest.mark.dds
def test_topic_without_an_installed_type_is_left_out_and_told(tmp_path: Path) -> None:
    # The wheels have no tf2_msgs; a type of the user's own is missing everywhere.
    from depth_ros.bags.typestores import store_of
    from rosbags.typesys import get_types_from_msg

    store = store_of('humble')
    store.register(get_types_from_msg('uint32 answer\n', 'my_msgs/msg/Answer'))
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write(mini.ODOMETRY, mini.stamp(0), mini.odometry(0))
        writer.write('/answer', mini.stamp(1), store.types['my_msgs/msg/Answer'](answer=1))
    received, printed = play_and_record(tmp_path, tmp_path / 'bag', (mini.ODOMETRY,))
    assert len(received[mini.ODOMETRY]) == 1
    assert "/answer is not played: message type 'my_msgs/msg/Answer' is not installed" in printed


@pytest.mark.dds
def test_clock_runs_at_100_hz_and_no_message_comes_from_the_future(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=11)
    received, _ = play_and_record(tmp_path, bag, ('/clock', mini.IMAGE))
    with BagReader(tmp_path / 'recorded') as reader:
        ticks = [
            item.message.clock.sec * 10**9 + item.message.clock.nanosec
            for item in reader.messages(['/clock'])
        ]
    assert ticks == sorted(ticks)
    # While the replay waits, the clock stands at the start of the bag.
    assert ticks[0] == mini.stamp(0)
    moving = np.array([tick for tick in ticks if tick > mini.stamp(0)])
    # 1 s of bag: 100 periodic ticks, and one for each of 4 messages at 10 moments.
    assert 70 <= len(moving) <= 160
    assert 4e6 < np.median(np.diff(moving)) < 12e6
    assert set(moving) >= {mini.stamp(index) for index in range(1, 11)}
    assert len(received[mini.IMAGE]) == 11


@pytest.mark.dds
def test_rate_sets_the_pace_of_messages(tmp_path: Path) -> None:
    rate = 2.0
    bag = mini.full_bag(tmp_path / 'bag', count=11)
    play_and_record(tmp_path, bag, (mini.IMAGE,), f'--rate={rate}', '--no-clock')
    with BagReader(tmp_path / 'recorded') as reader:
        received = np.array([raw.log_ns for raw in reader.raw_messages()])
    assert np.median(np.diff(received)) == pytest.approx(1e8 / rate, rel=0.1)
    assert (received[-1] - received[0]) == pytest.approx(1e9 / rate, rel=0.1)


@pytest.mark.dds
def test_chosen_topics_are_played_under_their_new_names(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag')
    options = ('--topics', mini.IMAGE, mini.INFO, '--remap', f'{mini.IMAGE}:=/front/image')
    topics = ('/front/image', mini.INFO, mini.LIDAR)
    received, printed = play_and_record(tmp_path, bag, topics, *options)
    assert {topic: len(found) for topic, found in received.items()} == {
        '/front/image': 3,
        mini.INFO: 3,
    }
    assert mini.LIDAR not in printed


@pytest.mark.dds
def test_large_images_arrive_because_the_profile_is_loaded(tmp_path: Path) -> None:
    # Of 30 best-effort images of 2.8 MB, 4 to 14 arrived with Fast DDS's own settings.
    image = np.zeros((720, 1280, 3), np.uint8)
    count = 30
    with BagWriter(tmp_path / 'bag') as writer:
        for index in range(count):
            stamp = mini.START_NS + index * 33_000_000
            writer.write(mini.IMAGE, stamp, mini.MAKE.image(stamp, 'c', image))
    with program('test.nodes.answering_node', tmp_path) as node:
        node.wait_for_text('ready', READY_S)
        with replay(tmp_path, tmp_path / 'bag') as playing:
            playing.wait(PLAY_S, others=[node])
        time.sleep(0.5)
        node.stop()
        (received,) = re.findall(r'(\d+) images received', node.output())
    # On a busy machine one may come too late for the subscriber's own queue.
    assert int(received) >= 0.9 * count


@pytest.mark.dds
def test_loop_starts_over_until_a_signal_even_two(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=3)
    with recorder(tmp_path, mini.IMAGE) as listening:
        command = [sys.executable, '-m', 'depth_ros.cli.replay_bag', str(bag), '--loop']
        playing = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
        )
        try:
            time.sleep(5.0)
            playing.send_signal(signal.SIGINT)
            time.sleep(0.01)
            playing.send_signal(signal.SIGINT)
            output, errors = playing.communicate(timeout=10)
        finally:
            playing.kill()
        listening.stop()
    assert playing.returncode == 0, errors
    assert 'Traceback' not in errors
    assert 'stopped before the end of the bag' in output
    assert len(by_topic(tmp_path / 'recorded')[mini.IMAGE]) > 6


# --- Lock-step -------------------------------------------------------------------------------

LOCKSTEP = ('--lockstep', '--wait-for', 'depth/image_rect')


@pytest.mark.dds
def test_lockstep_waits_for_each_answer(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=5)
    with (
        program('test.nodes.answering_node', tmp_path, '--delay', '0.3') as node,
        replay(tmp_path, bag, *LOCKSTEP) as playing,
    ):
        node.wait_for_text('ready', READY_S)
        begun = time.monotonic()
        playing.wait(PLAY_S, others=[node])
        elapsed = time.monotonic() - begun
        node.stop()
        # The bag lasts 0.4 s; its images come at the pace of the node, and all of them do.
        assert '5 images received' in node.output()
        assert '5 images answered' in playing.output()
        assert elapsed > 5 * 0.3
        assert 'lateness' not in playing.output()


@pytest.mark.dds
def test_lockstep_is_faster_than_real_time_with_a_fast_node(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        for index in range(20):
            # One image every ten seconds.
            stamp = mini.stamp(100 * index)
            writer.write(mini.IMAGE, stamp, mini.MAKE.image(stamp, 'c', mini.pixels(index)))
    with (
        program('test.nodes.answering_node', tmp_path) as node,
        replay(tmp_path, tmp_path / 'bag', *LOCKSTEP) as playing,
    ):
        playing.wait(PLAY_S, others=[node])
        assert '20 images answered' in playing.output()


@pytest.mark.dds
def test_lockstep_without_an_answer_names_topic_and_stamp(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=5)
    with (
        program('test.nodes.answering_node', tmp_path, '--answers', '2') as node,
        replay(tmp_path, bag, *LOCKSTEP, '--timeout', '3') as playing,
    ):
        node.wait_for_text('ready', READY_S)
        with pytest.raises(DepthRosError, match='exit status 1'):
            playing.wait(PLAY_S, others=[node])
        assert (
            f"no message with stamp {mini.stamp(2)} ns on '/depth/image_rect' within 3 s "
            f'(last stamp there: {mini.stamp(1)} ns): does the node drop frames?'
        ) in playing.output()
        assert '2 images answered' in playing.output()


@pytest.mark.dds
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ((), '0 of 1 subscribers on /camera/image (start the node'),
        (LOCKSTEP, "error: nobody publishes '/depth/image_rect' of --wait-for after 2 s"),
    ],
)
def test_replay_to_nobody_is_told(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    bag = mini.full_bag(tmp_path / 'bag')
    with replay(tmp_path, bag, '--timeout', '2', *options) as playing:
        with pytest.raises(DepthRosError, match='exit status 1'):
            playing.wait(PLAY_S)
        assert message in playing.output()


@pytest.mark.dds
def test_replay_at_once_needs_nobody(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag')
    options = ('--wait-for-subscribers', '0', '--start-after', '0')
    with replay(tmp_path, bag, *options) as playing:
        playing.wait(PLAY_S)
        assert '12 messages published' in playing.output()


# --- Command lines, which need no graph ------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--rate', '0'], 'rate = 0.0: must be positive'),
        (['--rate', 'inf'], 'rate = inf: must be positive'),
        (['--wait-for-subscribers', '-1'], 'subscribers = -1: must be 0 or more'),
        (['--start-after', '-1'], 'start_after = -1.0'),
        (['--timeout', '0'], 'timeout = 0.0: must be positive'),
        (['--lockstep'], '--lockstep and --wait-for TOPIC belong together'),
        (['--wait-for', 'depth'], '--lockstep and --wait-for TOPIC belong together'),
        (['--image-topic', '/x'], '--image-topic /x: is for --lockstep only'),
        (['--remap', '/a=/b'], "--remap '/a=/b': must look like"),
    ],
)
def test_replay_refuses_a_wrong_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert replay_bag.main([str(tmp_path), *options]) == 1
    assert message in capsys.readouterr().err


def test_replay_names_a_bag_that_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay_bag.main([str(tmp_path / 'nowhere')]) == 1
    assert f"error: bag '{tmp_path / 'nowhere'}' does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--topics', '/nope'], "has no topic '/nope'"),
        (['--remap', '/nope:=/x'], "has no topic '/nope'"),
        (['--topics', mini.LIDAR, *LOCKSTEP], 'is not among the played topics'),
    ],
)
@pytest.mark.dds
def test_replay_refuses_what_the_bag_has_not(
    tmp_path: Path, options: list[str], message: str
) -> None:
    bag = mini.full_bag(tmp_path / 'bag')
    with replay(tmp_path, bag, *options) as playing:
        with pytest.raises(DepthRosError, match='exit status 1'):
            playing.wait(PLAY_S)
        assert message in playing.output()


def test_command_lines_work_without_ros_up_to_the_point_where_they_need_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith('depth_ros.nodes.re')]:
        monkeypatch.delitem(sys.modules, name)
    for name in ('rclpy', 'depth_ros.ros.shutdown'):
        monkeypatch.setitem(sys.modules, name, None)
    bag = mini.full_bag(tmp_path / 'bag')
    assert replay_bag.main([str(bag)]) == 1
    assert record_topics.main([str(tmp_path / 'out'), '/a']) == 1
    assert capsys.readouterr().err.count('error: ROS 2 is not available to this Python') == 2


def test_ros_arguments_are_split_off() -> None:
    own, ros = split_ros_arguments(['bag', '--ros-args', '-r', 'a:=b', '--', '--rate', '2'])
    assert own == ['bag', '--rate', '2']
    assert ros == ['--ros-args', '-r', 'a:=b', '--']
