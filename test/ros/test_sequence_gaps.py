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
"""Missing numbers are counted for each publisher, and nothing is made up without them."""

import time

from hypothesis import given
from hypothesis import strategies as st
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.ros import sequence_gaps  # noqa: E402, I100
from depth_ros.ros.qos import camera_qos  # noqa: E402
from depth_ros.ros.sequence_gaps import MAX_GAP, SequenceGaps, with_info  # noqa: E402
from std_msgs.msg import Header  # noqa: E402


def info(number, publisher=b'a'):
    gid = None if publisher is None else {'data': publisher}
    return {'publication_sequence_number': number, 'publisher_gid': gid}


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_missed_and_taken_messages_add_up(taken):
    gaps = SequenceGaps()
    numbers = [number for number, is_taken in enumerate(taken) if is_taken]
    missed = sum(gaps.missed(info(number)) for number in numbers)
    if numbers:
        assert missed + len(numbers) == numbers[-1] - numbers[0] + 1


def test_publishers_are_followed_apart():
    gaps = SequenceGaps()
    stream = [(1, b'a'), (500, b'b'), (2, b'a'), (503, b'b')]
    assert [gaps.missed(info(*each)) for each in stream] == [0, 0, 0, 2]


@pytest.mark.parametrize('number', [1, 5, 5 + MAX_GAP + 1])
def test_publisher_that_begins_anew_has_lost_nothing(number):
    gaps = SequenceGaps()
    gaps.missed(info(5))
    assert gaps.missed(info(number)) == 0


@pytest.mark.parametrize('unknown', [{}, info(None), info(9, None)])
def test_without_number_or_publisher_nothing_is_counted(unknown):
    gaps = SequenceGaps()
    gaps.missed(info(1))
    assert gaps.missed(unknown) == 0


def test_real_middleware_numbers_its_messages():
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=101)
    node = rclpy.create_node('numbers', context=context)
    executor = rclpy.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    gaps, seen = SequenceGaps(), []
    publisher = node.create_publisher(Header, 'numbers', camera_qos())
    subscription = node.create_subscription(
        Header,
        'numbers',
        lambda message, about: seen.append((about, gaps.missed(about))),
        camera_qos(),
    )
    stop_at = time.monotonic() + 10
    while not publisher.get_subscription_count() and time.monotonic() < stop_at:
        time.sleep(0.02)
    for burst in (1, 5):
        # The subscription keeps one message: four of five are overtaken.
        for _ in range(burst):
            publisher.publish(Header())
        time.sleep(0.2)
        executor.spin_once(timeout_sec=5)
    node.destroy_subscription(subscription)
    node.destroy_node()
    rclpy.shutdown(context=context)
    tells_publisher = 'publisher_gid' in seen[0][0]
    assert [missed for _, missed in seen] == [0, 4 if tells_publisher else 0]


def test_callback_gets_no_info_where_rclpy_has_none(monkeypatch):
    seen = []

    def callback(message, about):
        seen.append((message, about))

    assert with_info(callback) is callback
    monkeypatch.setattr(sequence_gaps, 'Subscription', object)
    with_info(callback)('image')
    assert seen == [('image', {})]
