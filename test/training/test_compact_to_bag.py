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

"""A compact drive becomes a bag, and the bag the same depth again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from test.training import drives
from typing import Any

import cv2
from depth_ros.bags.reader import BagReader
from depth_ros.bags.streams import odometry, static_transforms, sweeps
import numpy as np
import pytest
from training import compact_to_bag

WIDTH, HEIGHT = 64, 48
K = [[50.0, 0.0, 31.5], [0.0, 50.0, 23.5], [0.0, 0.0, 1.0]]
BASELINE_M = 0.5
# x right, y down, z forward of the camera in those of the LiDAR, 0.2 m below it.
CAMERA_R_LIDAR = [[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]]
OXTS = '49.0 8.4 110.0 0 0 0 0 3.5 3.5 0 0 ' + '0 ' * 12 + '0.05 0.1 4 5 4 4 0'
TIMES = ['2011-09-26 13:04:32.345808896', '2011-09-26 13:04:32.449188864']
LIDAR_TIMES = ['2011-09-26 13:04:32.335337762', '2011-09-26 13:04:32.438625628']


def depth_values(index: int) -> Any:
    values = np.zeros((HEIGHT, WIDTH), np.uint16)
    values[30, 40], values[35, 10 + index] = 12 * 256 + 7, 1800
    return values


def row(drive: str, index: int, *, timed: bool, labelled: bool) -> dict[str, str]:
    return {
        'drive': drive,
        'frame': f'{index:010}',
        'image': f'{drive}/left/{index}.jpg',
        'depth': f'{drive}/depth/{index}.png' if labelled else '',
        'camera_time': TIMES[index] if timed else '',
        'lidar_time': LIDAR_TIMES[index] if timed else '',
        'speed_mps': '3.5' if timed else '',
        'lidar_pixels': '2' if labelled else '',
        'image_right': f'{drive}/right/{index}.jpg' if timed else '',
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a timed drive, one without times, and one without depth."""
    folder = tmp_path / 'compact'
    offset = np.array([[0.0], [0.2], [-0.1]])
    lidar = np.hstack([CAMERA_R_LIDAR, offset])
    right = np.hstack([np.eye(3), [[-BASELINE_M], [0.0], [0.0]]])
    camera = {
        'size': [WIDTH, HEIGHT],
        'K': K,
        'P_rect_02': (np.array(K) @ np.hstack([np.eye(3), np.zeros((3, 1))])).tolist(),
        'P_rect_03': (np.array(K) @ right).tolist(),
        'velo_to_image_02_3x4': (np.array(K) @ lidar).tolist(),
    }
    rows = [
        row(drive, index, timed=drive == 'timed', labelled=drive != 'blind')
        for drive in ('timed', 'untimed', 'blind')
        for index in (0, 1)
    ]
    folder.mkdir()
    (folder / 'camera.json').write_text(json.dumps(camera))
    with (folder / 'index.csv').open('w', newline='') as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for index, line in enumerate(rows):
        for key in ('image', 'image_right', 'depth'):
            if line[key]:
                write_file(folder / line[key], index % 2)
    return folder


def write_file(path: Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.jpg':
        path.write_bytes(drives.jpeg(index))
    else:
        cv2.imwrite(str(path), depth_values(index))


def converted(folder: Path, tmp_path: Path, drive: str, *more: object) -> Path:
    bag = tmp_path / f'bag_{drive}'
    arguments = [folder, '--drive', drive, '--out', bag, *more]
    assert compact_to_bag.main([str(argument) for argument in arguments]) == 0
    return bag


@pytest.mark.parametrize('drive', ['timed', 'untimed'])
def test_depth_survives_the_bag_to_the_last_bit(folder: Path, tmp_path: Path, drive: str) -> None:
    bag = converted(folder, tmp_path, drive)
    dataset = drives.made(tmp_path / 'out', bag, occlusion=None, sky=None)
    for index, line in enumerate(drives.manifest(dataset)):
        np.testing.assert_array_equal(drives.depth(dataset, line) * 256, depth_values(index))
        assert (dataset / line['image']).read_bytes() == drives.jpeg(index)
        assert line['intrinsics']['cx'] == 31.5


def test_times_and_speed_are_those_of_the_index(folder: Path, tmp_path: Path) -> None:
    dataset = drives.made(tmp_path / 'out', converted(folder, tmp_path, 'timed'))
    first, _ = drives.manifest(dataset)
    assert first['stamp_ns'] == 1317042272345808896
    assert first['lidar_stamp_ns'] == 1317042272335337762
    assert first['speed_mps'] == 3.5
    assert first['world_T_camera'] is None


def test_drives_without_times_run_at_ten_hertz_and_apart(folder: Path, tmp_path: Path) -> None:
    stamps = {}
    for drive in ('untimed', 'blind'):
        bag = converted(folder, tmp_path, drive)
        lines = drives.manifest(drives.made(tmp_path / f'out_{drive}', bag))
        stamps[drive] = [line['stamp_ns'] for line in lines]
        assert stamps[drive][1] - stamps[drive][0] == 100_000_000
        assert lines[0]['speed_mps'] is None
    assert stamps['blind'][0] - stamps['untimed'][0] == 3600 * 10**9


def test_drive_without_depth_has_no_cloud(folder: Path, tmp_path: Path) -> None:
    bag = converted(folder, tmp_path, 'blind')
    with BagReader(bag) as reader:
        assert compact_to_bag.CLOUD_TOPIC not in {topic.name for topic in reader.topics}
    (line, _) = drives.manifest(drives.made(tmp_path / 'out', bag))
    assert line['unlabelled'] == 'the bag has no LiDAR'


def test_cloud_is_in_the_camera_frame_and_the_lidar_in_its_place(
    folder: Path, tmp_path: Path
) -> None:
    with BagReader(converted(folder, tmp_path, 'timed')) as reader:
        sweep = next(sweeps(reader, compact_to_bag.CLOUD_TOPIC))
        camera_T_lidar = static_transforms(reader).lookup(sweep.frame_id, 'velodyne')
    metres = 12 + 7 / 256
    expected = [(40 - 31.5) / 50 * metres, (30 - 23.5) / 50 * metres, metres]
    np.testing.assert_allclose(sweep.xyz_N3[0], expected, rtol=1e-6)
    np.testing.assert_allclose(camera_T_lidar[:3, :3], CAMERA_R_LIDAR, atol=1e-9)
    np.testing.assert_allclose(camera_T_lidar[:3, 3], (0.0, 0.2, -0.1), atol=1e-9)


def test_right_camera_stands_its_baseline_to_the_right(folder: Path, tmp_path: Path) -> None:
    bag = converted(folder, tmp_path, 'timed', '--right')
    with BagReader(bag) as reader:
        tree = static_transforms(reader)
        left_T_right = tree.lookup('camera_02_optical_frame', 'camera_03_optical_frame')
    np.testing.assert_allclose(left_T_right[:3, 3], (BASELINE_M, 0, 0), atol=1e-9)
    dataset = drives.made(tmp_path / 'out', bag, image_topic=compact_to_bag.RIGHT_IMAGE_TOPIC)
    (line, _) = drives.manifest(dataset)
    # The same point is f * baseline / depth pixels further left in the right image.
    assert drives.depth(dataset, line)[30, round(40 - 50 * BASELINE_M / 12.03)] > 12


def raw_drive(folder: Path, times: list[str]) -> Path:
    """Write the same drive in the raw layout, 3.5 m/s to the east."""
    drive = folder / '2011_09_26' / 'drive'
    flat = ' '.join(str(v) for r in K for v in [*r, 0.0])
    rotation = ' '.join(str(v) for r in CAMERA_R_LIDAR for v in r)
    unit = '1 0 0 0 1 0 0 0 1'
    (drive / 'oxts' / 'data').mkdir(parents=True)
    (drive / 'image_02' / 'data').mkdir(parents=True)
    (drive.parent / 'calib_cam_to_cam.txt').write_text(f'R_rect_00: {unit}\nP_rect_02: {flat}\n')
    (drive.parent / 'calib_velo_to_cam.txt').write_text(f'R: {rotation}\nT: 0 0.2 -0.1\n')
    (drive.parent / 'calib_imu_to_velo.txt').write_text(f'R: {unit}\nT: -0.8 0.3 -0.8\n')
    for part in ('oxts', 'image_02'):
        (drive / part / 'timestamps.txt').write_text('\n'.join(times) + '\n')
    for index in range(2):
        cv2.imwrite(str(drive / 'image_02' / 'data' / f'{index:010}.png'), drives.pixels(0))
        (drive / 'oxts' / 'data' / f'{index:010}.txt').write_text(OXTS)
    return drive


def test_poses_come_from_the_raw_drive(folder: Path, tmp_path: Path) -> None:
    drive = raw_drive(tmp_path / 'raw', TIMES)
    bag = converted(folder, tmp_path, 'timed', '--odometry-from', drive)
    with BagReader(bag) as reader:
        samples = list(odometry(reader, '/odometry'))
        base_T_lidar = static_transforms(reader).lookup('base_link', 'velodyne')
    assert [sample.twist[0] for sample in samples] == [3.5, 3.5]
    np.testing.assert_allclose(base_T_lidar[:3, 3], (0.8, -0.3, 0.8), atol=1e-9)
    (line, _) = drives.manifest(drives.made(tmp_path / 'out', bag))
    assert (line['speed_mps'], line['pose_missing']) == (3.5, None)


def test_raw_drive_of_another_time_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = raw_drive(tmp_path / 'raw', [time.replace(':32', ':33') for time in TIMES])
    arguments = [folder, '--drive', 'timed', '--out', tmp_path / 'x', '--odometry-from', drive]
    assert compact_to_bag.main([str(argument) for argument in arguments]) == 1
    assert 'it is another drive' in capsys.readouterr().err
    assert not (tmp_path / 'x').exists()


def test_unknown_drive_lists_those_there_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(folder), '--drive', 'x', '--out', str(tmp_path / 'bag')]
    assert compact_to_bag.main(arguments) == 1
    assert "no drive 'x': it has timed, untimed, blind" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('index.csv', 'drive,frame\n', 'lacks the columns'),
        ('camera.json', '{"size": [64, 48]}', "KeyError 'K'"),
        ('camera.json', 'nothing', 'is no JSON'),
        ('timed/depth/0.png', 'nothing', 'missing, damaged or no 16-bit grey PNG'),
        ('timed/left/0.jpg', None, 'cannot be read: No such file'),
        ('timed/right/1.jpg', None, 'cannot be read: No such file'),
    ],
)
def test_damaged_folder_is_refused_by_name(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    content: str | None,
    message: str,
) -> None:
    path = folder / name
    path.unlink()
    if content is not None:
        path.write_text(content)
    arguments = [str(folder), '--drive', 'timed', '--out', str(tmp_path / 'bag'), '--right']
    assert compact_to_bag.main(arguments) == 1
    errors = capsys.readouterr().err
    assert message in errors
    assert path.name in errors


def test_right_images_that_a_drive_lacks_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(folder), '--drive', 'blind', '--out', str(tmp_path / 'bag'), '--right']
    assert compact_to_bag.main(arguments) == 1
    assert 'has no right image: --right' in capsys.readouterr().err


def test_depth_of_another_size_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(folder / 'timed/depth/0.png'), np.ones((10, 10), np.uint16))
    arguments = [str(folder), '--drive', 'timed', '--out', str(tmp_path / 'bag')]
    assert compact_to_bag.main(arguments) == 1
    assert 'the camera is 64x48' in capsys.readouterr().err
