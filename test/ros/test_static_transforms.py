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

"""/tf_static, as a real bag holds it."""

from copy import deepcopy
from test.project import ROOT
import threading

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.bags.reader import BagReader  # noqa: E402, I100
from depth_ros.bags.streams import static_transforms  # noqa: E402
from depth_ros.errors import FrameError  # noqa: E402
from depth_ros.ros.static_transforms import StaticTransforms  # noqa: E402
import numpy as np  # noqa: E402

BAG = ROOT / 'demo' / 'kitti_0005'


@pytest.fixture(scope='module')
def message():
    with BagReader(BAG) as reader:
        return next(iter(reader.messages(['/tf_static']))).message


@pytest.fixture(scope='module')
def tree():
    with BagReader(BAG) as reader:
        return static_transforms(reader)


def test_tree_of_the_messages_is_that_of_the_bag(message, tree):
    transforms = StaticTransforms()
    assert list(transforms.add(message)) == []
    first, last = tree.frames[0], tree.frames[-1]
    np.testing.assert_array_equal(transforms.lookup(first, last), tree.lookup(first, last))


def test_frames_before_the_message_are_named(message, tree):
    first, last = tree.frames[0], tree.frames[-1]
    with pytest.raises(FrameError, match=f"from '{last}' to '{first}'"):
        StaticTransforms().lookup(first, last)


def test_edge_that_contradicts_an_earlier_one_is_left_out_and_told(message, tree):
    transforms = StaticTransforms()
    list(transforms.add(message))
    other = deepcopy(message)
    other.transforms[0].transform.translation.x += 1.0
    (problem,) = transforms.add(other)
    assert problem.startswith('/tf_static: transform ')
    assert 'stated twice with different values' in problem
    child, parent = (
        message.transforms[0].child_frame_id,
        message.transforms[0].header.frame_id,
    )
    np.testing.assert_array_equal(transforms.lookup(parent, child), tree.lookup(parent, child))


def test_edge_with_a_value_that_is_no_number_is_told(message):
    broken = deepcopy(message)
    broken.transforms[0].transform.rotation.w = float('nan')
    assert 'norm nan' in next(StaticTransforms().add(broken))


def test_lookups_while_messages_come_do_not_break(message, tree):
    transforms = StaticTransforms()
    first, last = tree.frames[0], tree.frames[-1]
    failures = []

    def look() -> None:
        for _ in range(200):
            try:
                transforms.lookup(first, last)
            except FrameError:
                continue
            except RuntimeError as error:
                failures.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for index in range(200):
        more = deepcopy(message)
        for stamped in more.transforms:
            stamped.child_frame_id += str(index)
            stamped.header.frame_id += str(index)
        list(transforms.add(more))
    thread.join()
    assert not failures
