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

"""Opening bags, good and bad; finding topics; decoding messages."""

from __future__ import annotations

from pathlib import Path
import sqlite3
from test.bags import mini_bags as mini
from typing import Any

from depth_ros.bags.mcap_salvage import salvage
from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import SkippedMessage
from depth_ros.bags.writer import BagWriter
from depth_ros.errors import BagError
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg, get_typestore, Stores


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return mini.full_bag(tmp_path / 'bag')


def edit_database(bag: Path, *statements: str) -> None:
    with sqlite3.connect(mini.storage_file(bag)) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_single_files_are_read_like_folders(tmp_path: Path) -> None:
    for storage in ('mcap', 'sqlite3'):
        bag = mini.full_bag(tmp_path / storage, storage=storage)
        with BagReader(bag) as folder, BagReader(mini.storage_file(bag)) as single:
            assert [(t.name, t.count) for t in single.topics] == [
                (t.name, t.count) for t in folder.topics
            ]
            assert len(list(single.messages())) == 13


def test_metadata_file_stands_for_its_folder(bag: Path) -> None:
    with BagReader(bag / 'metadata.yaml') as reader:
        assert len(reader.topics) == 5


def test_messages_come_in_the_order_of_recording_within_the_limits(bag: Path) -> None:
    with BagReader(bag) as reader:
        assert (reader.start_ns, reader.stop_ns) == (mini.stamp(0), mini.stamp(2) + 1)
        all_ns = [item.log_ns for item in reader.messages()]
        some = list(reader.messages([mini.IMAGE, mini.LIDAR], mini.stamp(1), mini.stamp(2)))
    assert all_ns == sorted(all_ns)
    assert sorted((item.topic, item.log_ns) for item in some) == [
        (mini.IMAGE, mini.stamp(1)),
        (mini.LIDAR, mini.stamp(1)),
    ]


def test_unknown_topic_is_refused_with_those_that_exist(bag: Path) -> None:
    with (
        BagReader(bag) as reader,
        pytest.raises(BagError, match=r"has no topic '/nope' \(topics: /camera/camera_info, "),
    ):
        list(reader.messages(['/nope']))


def test_bag_without_definitions_is_read_with_those_of_its_distro(tmp_path: Path) -> None:
    # Humble's SQLite bags hold no definitions at all.
    bag = mini.full_bag(tmp_path / 'bag', storage='sqlite3')
    edit_database(bag, 'DELETE FROM message_definitions')
    metadata = bag / 'metadata.yaml'
    for distro in ('humble', 'jazzy', 'lyrical', 'rosbags', 'not_yet_made'):
        metadata.write_text(_with_distro(metadata.read_text(), distro))
        with BagReader(bag) as reader:
            assert reader.distro == distro
            first = next(reader.messages([mini.IMAGE])).message
        np.testing.assert_array_equal(first.data, mini.pixels(0).reshape(-1))


def _with_distro(metadata: str, distro: str) -> str:
    lines = [f'  ros_distro: {distro}' if 'ros_distro' in x else x for x in metadata.splitlines()]
    return '\n'.join(lines)


def test_definition_stored_in_the_bag_wins(tmp_path: Path) -> None:
    # A message type of the user's own, under a name that no distribution knows.
    store = get_typestore(Stores.ROS2_HUMBLE)
    store.register(get_types_from_msg('uint32 answer\n', 'my_msgs/msg/Answer'))
    message = store.types['my_msgs/msg/Answer'](answer=42)
    with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection('/answer', message.__msgtype__, typestore=store)
        data = store.serialize_cdr(message, message.__msgtype__)
        writer.write(connection, 0, data)
    with BagReader(tmp_path / 'bag') as reader:
        assert next(reader.messages(['/answer'])).message.answer == 42
        assert reader.field_names('/answer') == ('answer',)


def test_unknown_message_type_stops_only_those_who_read_it(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', storage='sqlite3')
    edit_database(
        bag,
        "UPDATE topics SET type = 'my_msgs/msg/Blob' WHERE name = '/points'",
        'DELETE FROM message_definitions',
    )
    metadata = bag / 'metadata.yaml'
    text = metadata.read_text().replace('sensor_msgs/msg/PointCloud2', 'my_msgs/msg/Blob')
    metadata.write_text(text)
    with BagReader(bag) as reader:
        assert len(list(reader.messages([mini.IMAGE]))) == 3
        assert len(list(reader.raw_messages(['/points']))) == 3
        with pytest.raises(BagError, match=r"topic '/points' has message type 'my_msgs/msg/Blob'"):
            next(reader.messages(['/points']))


def test_damaged_message_is_skipped_with_its_reason_or_stops(tmp_path: Path) -> None:
    bag = tmp_path / 'bag'
    with BagWriter(bag) as writer:
        writer.write(mini.IMAGE, 1, mini.image(0))
        writer.write_raw(mini.IMAGE, 'sensor_msgs/msg/Image', 2, b'\x00\x01\x00\x00\x01')
        writer.write(mini.IMAGE, 3, mini.image(2))
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        read = [item.log_ns for item in reader.messages([mini.IMAGE], on_skip=skipped.append)]
        with pytest.raises(BagError, match='5 bytes recorded at 2 ns'):
            list(reader.messages([mini.IMAGE]))
    assert read == [1, 3]
    assert [(s.topic, s.stamp_ns) for s in skipped] == [(mini.IMAGE, 2)]
    assert "is no 'sensor_msgs/msg/Image'" in skipped[0].reason


def test_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=r"bag '.*nowhere' does not exist"):
        BagReader(tmp_path / 'nowhere')


@pytest.mark.parametrize('name', ['bag.mcap', 'bag.db3'])
@pytest.mark.parametrize('content', [b'', b'\x00', b'not a bag ' * 1000])
def test_file_that_is_no_bag_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=rf"bag '.*{name}' cannot be read: "):
        BagReader(tmp_path / name)


def test_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / 'bag.bag').write_bytes(b'#ROSBAG V2.0\n')
    with pytest.raises(BagError, match=r"'.*bag\.bag' is no bag: must be"):
        BagReader(tmp_path / 'bag.bag')


def test_folder_without_metadata_is_read_when_it_has_one_file(bag: Path) -> None:
    (bag / 'metadata.yaml').unlink()
    with BagReader(bag) as reader:
        assert len(list(reader.messages())) == 13
    mini.storage_file(bag).unlink()
    with pytest.raises(BagError, match=r'has no metadata.yaml and 0 storage files'):
        BagReader(bag)


def test_broken_metadata_is_told(bag: Path) -> None:
    for text in ('', 'a: [', 'rosbag2_bagfile_information: {version: 99}'):
        (bag / 'metadata.yaml').write_text(text)
        with pytest.raises(BagError, match=r"bag '.*' cannot be read"):
            BagReader(bag)


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_truncated_bag_is_told_and_never_read_as_complete(tmp_path: Path, storage: str) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=200, storage=storage)
    file = mini.storage_file(bag)
    whole = file.read_bytes()
    for share in (0.001, 0.3, 0.7, 0.95):
        file.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BagError, match=r'cannot be read: .*ros2 bag reindex'):
            _read_all(bag)


def _read_all(bag: Path) -> None:
    with BagReader(bag) as reader:
        list(reader.raw_messages())


def test_bag_without_messages_is_open_but_empty(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic(mini.IMAGE, 'sensor_msgs/msg/Image')
    with BagReader(tmp_path / 'bag') as reader:
        assert list(reader.messages()) == []
        with pytest.raises(BagError, match=r'has no image topic .*; topics: /camera/image \('):
            resolve_topic(reader, 'image')


# --- Which topic is meant --------------------------------------------------------------------


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('image', mini.IMAGE),
        ('camera_info', mini.INFO),
        ('lidar', mini.LIDAR),
        ('odometry', mini.ODOMETRY),
    ],
)
def test_topic_is_found_by_its_type(bag: Path, kind: str, expected: str) -> None:
    with BagReader(bag) as reader:
        assert resolve_topic(reader, kind) == expected
        assert resolve_topic(reader, kind, expected) == expected


@pytest.mark.parametrize(
    ('kind', 'given', 'message'),
    [
        ('image', '/nope', r"has no topic '/nope'"),
        ('image', mini.LIDAR, r"--image-topic '/points' is of type 'sensor_msgs/msg/PointCloud2'"),
        ('lidar', mini.IMAGE, r"--lidar-topic '/camera/image' is of type"),
    ],
)
def test_given_topic_is_checked(bag: Path, kind: str, given: str, message: str) -> None:
    with BagReader(bag) as reader, pytest.raises(BagError, match=message):
        resolve_topic(reader, kind, given)


def test_bag_without_images_says_what_it_has(tmp_path: Path) -> None:
    bag = mini.write(tmp_path / 'bag', [(mini.LIDAR, 0, mini.cloud(0))])
    with (
        BagReader(bag) as reader,
        pytest.raises(
            BagError, match=r'no image topic .*/points \(sensor_msgs/msg/PointCloud2, 1'
        ),
    ):
        resolve_topic(reader, 'image')


@pytest.fixture
def two_cameras(tmp_path: Path) -> Path:
    messages: list[tuple[str, int, Any]] = []
    for side in ('left', 'right'):
        messages += [(f'/{side}/image/compressed', 0, mini.png(0))]
        messages += [(f'/{side}/camera_info', 0, mini.info(0))]
    return mini.write(tmp_path / 'bag', messages)


def test_two_cameras_must_be_chosen_between(two_cameras: Path) -> None:
    expected = '2 image topics: /left/image/compressed, /right/image/compressed; .*--image-topic'
    with BagReader(two_cameras) as reader:
        with pytest.raises(BagError, match=expected):
            resolve_topic(reader, 'image')
        with pytest.raises(BagError, match=r'2 camera_info topics.*--camera-info-topic'):
            resolve_topic(reader, 'camera_info')


def test_camera_info_beside_the_image_is_taken(two_cameras: Path) -> None:
    with BagReader(two_cameras) as reader:
        for side in ('left', 'right'):
            near = f'/{side}/image/compressed'
            assert resolve_topic(reader, 'camera_info', near=near) == f'/{side}/camera_info'


def test_depth_images_are_no_camera_and_the_reverse(tmp_path: Path) -> None:
    depth = mini.MAKE.image(0, 'c', np.ones((2, 2), np.float32), '32FC1')
    bag = mini.write(tmp_path / 'bag', [(mini.IMAGE, 0, mini.image(0)), ('/depth', 0, depth)])
    with BagReader(bag) as reader:
        assert resolve_topic(reader, 'image') == mini.IMAGE
        assert resolve_topic(reader, 'depth') == '/depth'


def test_streams_of_a_file_without_index_take_turns_and_lose_nothing(tmp_path):
    path = tmp_path / 'bag'
    # Chunks of a megabyte: the streams are in different ones.
    with BagWriter(path) as writer:
        for index in range(8):
            for topic in ('/left', '/right'):
                data = bytes([0, 1, 0, 0]) + bytes([index]) * 400_000
                writer.write_raw(topic, 'sensor_msgs/msg/Image', index, data)
    file = mini.storage_file(path)
    salvage(file, tmp_path / 'cut.mcap')
    with BagReader(tmp_path / 'cut.mcap') as reader:
        pairs = zip(reader.raw_messages(['/left']), reader.raw_messages(['/right']), strict=True)
        found = [(left.data[-1], right.data[-1]) for left, right in pairs]
    assert found == [(index, index) for index in range(8)]


def test_reading_after_closing_is_an_error(bag: Path) -> None:
    reader = BagReader(bag)
    reader.close()
    reader.close()
    with pytest.raises(BagError, match='is closed'):
        list(reader.raw_messages([mini.IMAGE]))
