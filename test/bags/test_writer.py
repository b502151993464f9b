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

"""Bags written here, read back here and by another MCAP reader."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from test.bags import mini_bags as mini
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.bags.typestores import METADATA_VERSIONS
from depth_ros.bags.writer import BagWriter
from depth_ros.errors import BagError
import numpy as np
import pytest
from ruamel.yaml import YAML

STORAGES = ('mcap', 'sqlite3')


def metadata(bag: Path) -> Any:
    return YAML(typ='safe').load((bag / 'metadata.yaml').read_text())[
        'rosbag2_bagfile_information'
    ]


@pytest.mark.parametrize('distro', sorted(METADATA_VERSIONS))
@pytest.mark.parametrize('storage', STORAGES)
def test_bag_of_every_distro_and_storage_reads_back(
    tmp_path: Path, storage: str, distro: str
) -> None:
    bag = mini.full_bag(tmp_path / 'bag', storage=storage, distro=distro)
    with BagReader(bag) as reader:
        counts = {info.name: info.count for info in reader.topics}
        images = [item.message for item in reader.messages([mini.IMAGE])]
    assert counts == {
        mini.IMAGE: 3,
        mini.INFO: 3,
        mini.LIDAR: 3,
        mini.ODOMETRY: 3,
        '/tf_static': 1,
    }
    for index, message in enumerate(images):
        assert message.header.frame_id == mini.CAMERA_FRAME
        np.testing.assert_array_equal(message.data, mini.pixels(index).reshape(-1))
    assert metadata(bag)['version'] == (8 if distro == 'humble' else 9)
    assert metadata(bag)['storage_identifier'] == storage


def test_mcap_bag_is_read_by_the_mcap_tools(tmp_path: Path) -> None:
    from mcap.reader import make_reader
    from mcap_ros2.decoder import DecoderFactory

    bag = mini.full_bag(tmp_path / 'bag')
    with mini.storage_file(bag).open('rb') as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        decoded = [m for *_, m in reader.iter_decoded_messages(topics=[mini.IMAGE])]
    assert [bytes(m.data) for m in decoded] == [mini.pixels(i).tobytes() for i in range(3)]


@pytest.mark.parametrize('distro', ['humble', 'jazzy'])
def test_static_transforms_are_offered_latched_and_others_not(tmp_path: Path, distro: str) -> None:
    bag = mini.full_bag(tmp_path / 'bag', distro=distro)
    offered = {}
    for topic in metadata(bag)['topics_with_message_count']:
        qos = topic['topic_metadata']['offered_qos_profiles']
        qos = YAML(typ='safe').load(qos) if isinstance(qos, str) else qos
        offered[topic['topic_metadata']['name']] = qos[0]['durability']
    latched, volatile = (1, 2) if distro == 'humble' else ('transient_local', 'volatile')
    assert offered.pop(mini.STATIC) == latched
    assert set(offered.values()) == {volatile}


@pytest.mark.parametrize('storage', STORAGES)
def test_bytes_written_raw_come_back_unchanged(tmp_path: Path, storage: str) -> None:
    source = mini.full_bag(tmp_path / 'source')
    with BagReader(source) as reader, BagWriter(tmp_path / 'copy', storage) as writer:
        originals = list(reader.raw_messages())
        for raw in originals:
            writer.write_raw(raw.topic, raw.msgtype, raw.log_ns, raw.data)
    with BagReader(tmp_path / 'copy') as reader:
        copies = list(reader.raw_messages())
    key = [(raw.log_ns, raw.topic, raw.data) for raw in copies]
    assert sorted(key) == sorted((raw.log_ns, raw.topic, raw.data) for raw in originals)


@pytest.mark.parametrize('storage', STORAGES)
def test_what_was_written_before_an_exception_is_kept(tmp_path: Path, storage: str) -> None:
    def fail(writer: BagWriter) -> None:
        writer.write(mini.IMAGE, mini.stamp(0), mini.image(0))
        raise KeyError('somebody else')

    with pytest.raises(KeyError, match='somebody'), BagWriter(tmp_path / 'bag', storage) as writer:
        fail(writer)
    with BagReader(tmp_path / 'bag') as reader:
        assert len(list(reader.messages([mini.IMAGE]))) == 1


def test_existing_path_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / 'bag').mkdir()
    (tmp_path / 'bag' / 'notes.txt').write_text('mine')
    with pytest.raises(BagError, match=r"bag '.*bag' exists already: choose another path"):
        BagWriter(tmp_path / 'bag')
    assert (tmp_path / 'bag' / 'notes.txt').read_text() == 'mine'


def test_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BagError, match=r"bag '.*file/bag' cannot be created"):
        BagWriter(tmp_path / 'file' / 'bag')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'storage': 'rosbag1'}, r"storage = 'rosbag1': must be one of \['mcap', 'sqlite3'\]"),
        ({'distro': 'foxy'}, r"distro = 'foxy': must be one of \['humble'"),
    ],
)
def test_unknown_option_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BagError, match=message):
        BagWriter(tmp_path / 'bag', **options)
    assert not (tmp_path / 'bag').exists()


def test_unknown_message_type_is_refused_by_name(tmp_path: Path) -> None:
    with (
        BagWriter(tmp_path / 'bag') as writer,
        pytest.raises(BagError, match=r"topic '/x' has message type 'my_msgs/msg/X'"),
    ):
        writer.write_raw('/x', 'my_msgs/msg/X', 0, b'')


def test_topic_does_not_change_its_type(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write('/x', 0, mini.image(0))
        with pytest.raises(BagError, match=r"'/x' holds 'sensor_msgs/msg/Image'.*CameraInfo"):
            writer.write('/x', 1, mini.info(0))
        assert writer.counts == {'/x': 1}


def test_closed_bag_takes_no_more_messages(tmp_path: Path) -> None:
    writer = BagWriter(tmp_path / 'bag')
    writer.close()
    writer.close()
    with pytest.raises(BagError, match='is closed'):
        writer.write('/x', 0, mini.image(0))


FILL_THE_DISK = """
import resource, sys
from depth_ros.bags import writer as module
from depth_ros.errors import BagError
module.COMMIT_INTERVAL_S = 0.0
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000_000, 5_000_000))
writer = module.BagWriter(sys.argv[1], sys.argv[2])
data = bytes([0, 1, 0, 0]) + bytes(600_000)
try:
    with writer:
        for index in range(20):
            writer.write_raw('/blob', 'sensor_msgs/msg/Image', index, data)
except BagError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize('storage', STORAGES)
def test_full_disk_is_told_and_what_was_stored_is_readable(tmp_path: Path, storage: str) -> None:
    bag = tmp_path / 'bag'
    run = subprocess.run(
        [sys.executable, '-c', FILL_THE_DISK, str(bag), storage],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 3, run.stderr
    assert f"bag '{bag}' cannot be written after" in run.stdout
    assert 'make room on the disk' in run.stdout
    with BagReader(bag) as reader:
        kept = [raw.log_ns for raw in reader.raw_messages()]
    assert kept == list(range(len(kept)))
    # Of 5 MB, at least all but the last chunk of 1 MB and the message that did not fit.
    assert len(kept) >= 5
