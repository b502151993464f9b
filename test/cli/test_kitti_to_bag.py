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

"""The command line of the converter."""

from __future__ import annotations

from pathlib import Path
from test.bags import kitti_folders as kitti

from depth_ros.bags.reader import BagReader
from depth_ros.cli.kitti_to_bag import main
import pytest


def counts(bag: Path) -> dict[str, int]:
    with BagReader(bag) as reader:
        return {info.name: info.count for info in reader.topics}


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('layout', ['raw', 'odometry'])
def test_layouts_and_storages_give_the_same_topics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str, storage: str
) -> None:
    make = {'raw': kitti.raw_drive, 'odometry': kitti.odometry_sequence}[layout]
    drive, bag = make(tmp_path), tmp_path / 'bag'
    assert main([str(drive), '--out', str(bag), '--layout', layout, '--storage', storage]) == 0
    assert counts(bag) == {
        '/camera/camera_info': 3,
        '/camera/image_rect': 3,
        '/odometry': 3,
        '/tf_static': 1,
        '/velodyne_points': 3,
    }
    assert f'{bag}: 13 messages' in capsys.readouterr().out


def test_every_option_has_its_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive, bag = kitti.raw_drive(tmp_path, count=6), tmp_path / 'bag'
    (drive / 'image_02/data/0000000003.png').write_bytes(b'')
    (drive / 'velodyne_points/data/0000000004.bin').unlink()
    options = ['--image', 'jpeg', '--jpeg-quality', '80', '--frames', '2:5', '--distro', 'jazzy']
    options += ['--points-margin', '0', '--points-range', '0:50', '--without', 'odometry']
    assert main([str(drive), '--out', str(bag), *options]) == 0
    assert counts(bag) == {
        '/camera/camera_info': 3,
        '/camera/image_rect/compressed': 2,
        '/tf_static': 1,
        '/velodyne_points': 2,
    }
    said = capsys.readouterr().out
    assert '/velodyne_points: 2 (1 missing)' in said
    assert "skipped on /camera/image_rect/compressed: '" in said
    assert 'version: 9' in (bag / 'metadata.yaml').read_text()


def test_errors_are_one_sentence_and_a_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / 'nowhere'), '--out', str(tmp_path / 'bag')]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: '")
    assert "calib_cam_to_cam.txt' cannot be read" in said
    assert said.count('\n') == 1
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize(
    'option', [['--frames', 'all'], ['--points-range', '5'], ['--camera', '7']]
)
def test_malformed_option_is_refused(tmp_path: Path, option: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(tmp_path), '--out', str(tmp_path / 'bag'), *option])
    assert stopped.value.code == 2
