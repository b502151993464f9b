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

"""Bags that lack something, lie, or are damaged: what is dropped, with which reason."""

from __future__ import annotations

from pathlib import Path
from test.training import drives
from typing import Any

import cv2
from depth_ros.bags.messages import POINT_FIELD_TYPES
from depth_ros.core.geometry import transform_from
from depth_ros.errors import BagError
import numpy as np
import pytest
from training.dataset_format import DatasetError
from training.prepare_options import SpinningScanner

TWIST = (10.0, 0, 0, 0, 0, 0)


def bag_of(path: Path, *messages: drives.Message) -> Path:
    return drives.write(path, [drives.static(), *messages])


def frame(index: int) -> list[drives.Message]:
    return [drives.info(index), drives.image(index)]


def reasons(dataset: Path) -> list[tuple[str, int, str]]:
    return [(d['what'], d['stamp_ns'], d['reason']) for d in drives.dropped(dataset)]


def test_bag_without_lidar_gives_an_unlabelled_dataset_that_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = drives.write(tmp_path / 'bag', [*frame(0), *frame(1)])
    out = tmp_path / 'out'
    assert drives.run(bag, '--out', out) == 0
    assert '2 x unlabelled: the bag has no LiDAR' in ' '.join(capsys.readouterr().out.split())
    first, second = drives.manifest(out)
    assert (first['depth'], first['counts'], first['unlabelled']) == (
        None,
        None,
        'the bag has no LiDAR',
    )
    assert first['neighbours']['next']['stamp_ns'] == second['stamp_ns']
    assert 'unlabelled, for self-supervised training only' in (out / 'index.html').read_text()


def test_lidar_can_be_left_out(tmp_path: Path) -> None:
    dataset = drives.made(tmp_path / 'out', drives.drive(tmp_path / 'bag', 1), use_lidar=False)
    (line,) = drives.manifest(dataset)
    assert (line['depth'], line['unlabelled']) == (None, 'not wanted')


@pytest.mark.parametrize(
    ('edges', 'message'),
    [
        (
            [(drives.BASE, drives.CAMERA, drives.BASE_T_CAMERA)],
            r"bag 'bag': no static transform from 'lidar' to 'camera_optical': 'lidar' is not in",
        ),
        (
            [
                (drives.BASE, drives.CAMERA, drives.BASE_T_CAMERA),
                ('mast', drives.LIDAR, np.eye(4)),
            ],
            r"from 'lidar' to 'camera_optical': 'lidar' belongs to the part under 'mast'",
        ),
    ],
)
def test_missing_transform_stops_and_names_both_frames(
    tmp_path: Path, edges: Any, message: str
) -> None:
    bag = drives.write(tmp_path / 'bag', [drives.static(edges), *frame(0), drives.cloud(0)])
    with pytest.raises(BagError, match=message):
        drives.made(tmp_path / 'out', bag)


def test_bag_without_static_transforms_stops_and_names_both_frames(tmp_path: Path) -> None:
    bag = drives.write(tmp_path / 'bag', [*frame(0), drives.cloud(0)])
    with pytest.raises(BagError, match=r"from 'lidar' to 'camera_optical'.*frames: none"):
        drives.made(tmp_path / 'out', bag)


def test_cloud_in_the_camera_frame_needs_no_transforms(tmp_path: Path) -> None:
    points = np.array([drives.camera_point(*p) for p in drives.WALL], np.float32)
    cloud = drives.cloud(0, points, frame=drives.CAMERA)
    dataset = drives.made(tmp_path / 'out', drives.write(tmp_path / 'bag', [*frame(0), cloud]))
    (line,) = drives.manifest(dataset)
    depth = drives.depth(dataset, line)
    assert {(c, r, depth[r, c]) for r, c in zip(*np.nonzero(depth), strict=True)} == {*drives.WALL}


@pytest.mark.parametrize('is_moving', [False, True])
def test_nan_and_zero_points_are_no_returns(tmp_path: Path, is_moving: bool) -> None:
    # The camera is in front of the LiDAR's origin's view: shift it so that 0 0 0 is visible.
    edges = [
        (drives.BASE, drives.CAMERA, drives.BASE_T_CAMERA),
        (drives.BASE, drives.LIDAR, transform_from(np.eye(3), (11.5, 0.0, 0.9))),
    ]
    xyz = np.array([[0, 0, 0], [np.nan, 1, 1], [np.inf, 0, 0], [2.0, 0, 0]], np.float32)
    moving = [drives.odometry(i, TWIST) for i in (-1, 0, 1)] if is_moving else []
    bag = drives.write(
        tmp_path / 'bag',
        [drives.static(edges), *moving, *frame(0), drives.cloud(0.1, xyz)],
    )
    dataset = drives.made(tmp_path / 'out', bag)
    (line,) = drives.manifest(dataset)
    depth = drives.depth(dataset, line)
    assert (line['counts']['no_return'], line['counts']['kept']) == (3, 1)
    # Measured 10 ms after the image: the vehicle had come 0.1 m closer.
    np.testing.assert_allclose(depth[depth > 0], [12.1 if is_moving else 12.0], atol=0.01)


@pytest.mark.parametrize('byte_order', ['<', '>'])
@pytest.mark.parametrize('order', [('x', 'y', 'z', 'intensity'), ('intensity', 'z', 'y', 'x')])
@pytest.mark.parametrize('kind', ['f4', 'f8'])
def test_other_field_orders_and_byte_orders_give_the_same_depth(
    tmp_path: Path, byte_order: str, order: tuple[str, ...], kind: str
) -> None:
    xyz = drives.lidar_points(drives.WALL)
    columns = {**dict(zip('xyz', xyz.T, strict=True)), 'intensity': np.zeros(len(xyz))}
    size = int(kind[1])
    dtype = np.dtype([(name, byte_order + kind) for name in order])
    points = np.zeros(len(xyz), dtype)
    for name in order:
        points[name] = columns[name]
    topic, at, message = drives.cloud(0, intensity=np.zeros(len(xyz), np.float32))
    message.is_bigendian = byte_order == '>'
    message.point_step, message.row_step = dtype.itemsize, points.nbytes
    message.data = np.frombuffer(points.tobytes(), np.uint8)
    for place, field in enumerate(message.fields):
        field.name, field.offset = order[place], place * size
        field.datatype = POINT_FIELD_TYPES[kind]
    bag = bag_of(tmp_path / 'bag', *frame(0), (topic, at, message))
    plain = bag_of(tmp_path / 'plain' / 'bag', *frame(0), drives.cloud(0))
    found, expected = (
        drives.manifest(drives.made(tmp_path / out, b))[0] for out, b in (('a', bag), ('b', plain))
    )
    np.testing.assert_array_equal(
        drives.depth(tmp_path / 'a', found), drives.depth(tmp_path / 'b', expected)
    )
    assert found['counts']['kept'] == len(drives.WALL)


def test_damaged_cloud_is_dropped_and_its_frame_is_unlabelled(tmp_path: Path) -> None:
    topic, at, broken = drives.cloud(0)
    broken.data = broken.data[:-5]
    bag = bag_of(tmp_path / 'bag', *frame(0), (topic, at, broken), *frame(1), drives.cloud(1))
    dataset = drives.made(tmp_path / 'out', bag)
    first, second = drives.manifest(dataset)
    assert (first['unlabelled'], second['unlabelled']) == ('no sweep within 50 ms', None)
    told = reasons(dataset)
    assert told[0][:2] == ('sweep', drives.stamp(0))
    assert 'point cloud data have' in told[0][2]
    assert told[1] == ('depth', drives.stamp(0), 'no sweep within 50 ms')


@pytest.mark.parametrize(
    ('xyz', 'reason'),
    [
        # Behind the vehicle.
        ([[-10, 0, 0], [-9, 1, 0]], 'none of the 2 points falls into the image'),
        ([[np.nan, 0, 0], [0, 0, 0]], 'none of the 2 points is a return'),
        (np.zeros((0, 3)), 'the point cloud is empty'),
    ],
)
def test_cloud_without_a_visible_point_leaves_the_frame_unlabelled(
    tmp_path: Path, xyz: Any, reason: str
) -> None:
    cloud = drives.cloud(0, np.array(xyz, np.float32).reshape(-1, 3))
    bag = bag_of(tmp_path / 'bag', *frame(0), cloud, *frame(1), drives.cloud(1))
    dataset = drives.made(tmp_path / 'out', bag)
    first, second = drives.manifest(dataset)
    assert (first['depth'], first['unlabelled'], second['unlabelled']) == (None, reason, None)
    assert reasons(dataset) == [('depth', drives.stamp(0), reason)]


def test_frame_whose_every_hit_is_filtered_says_so(tmp_path: Path) -> None:
    bird = drives.lidar_points([(30.0, 5.0, 20.0)])
    bag = bag_of(tmp_path / 'bag', *frame(0), drives.cloud(0, bird))
    (line,) = drives.manifest(drives.made(tmp_path / 'out', bag))
    assert line['unlabelled'] == 'none of the 1 points in the image passes the filters'


def test_camera_info_that_changes_starts_a_new_calibration(tmp_path: Path) -> None:
    messages: list[drives.Message] = []
    for index, focal in enumerate((50.0, 50.0, 60.0, 60.0)):
        messages += [drives.info(index, focal), drives.image(index), drives.cloud(index)]
    dataset = drives.made(tmp_path / 'out', bag_of(tmp_path / 'bag', *messages))
    lines = drives.manifest(dataset)
    assert [line['intrinsics']['fx'] for line in lines] == [50, 50, 60, 60]
    assert [line['calibration'][-8:] for line in lines] == ['000.json'] * 2 + ['001.json'] * 2
    # Frames of two calibrations cannot be warped into each other with one K.
    assert lines[1]['neighbours']['next'] is None
    assert lines[2]['neighbours']['previous'] is None
    assert lines[2]['neighbours']['next'] is not None
    # The same wall, seen by a longer lens.
    expected = {round((u - 31.5) * 1.2 + 31.5) for u, _, _ in drives.WALL}
    found = set(np.nonzero(drives.depth(dataset, lines[2]))[1].tolist())
    assert found == {col for col in expected if 0 <= col < drives.WIDTH}


def test_camera_info_of_another_size_drops_its_frames(tmp_path: Path) -> None:
    topic, at, other = drives.info(1)
    other.width = 32
    bag = bag_of(tmp_path / 'bag', *frame(0), (topic, at, other), drives.image(1))
    dataset = drives.made(tmp_path / 'out', bag)
    assert len(drives.manifest(dataset)) == 1
    (told,) = (reason for reason in reasons(dataset) if reason[0] == 'frame')
    assert told[1] == drives.stamp(1)
    assert 'is for 32x48' in told[2]


def test_stamps_out_of_order_are_dropped_and_told(tmp_path: Path) -> None:
    def moment(index: int) -> list[drives.Message]:
        return [drives.odometry(index, TWIST), *frame(index), drives.cloud(index)]

    # Recorded in this order; a bag is read by the time of recording.
    recorded = [moment(index) for index in (0, 2, 1, 3)]
    messages = [
        (topic, drives.stamp(place), message)
        for place, group in enumerate(recorded)
        for topic, _, message in group
    ]
    bag = bag_of(tmp_path / 'bag', *messages)
    dataset = drives.made(tmp_path / 'out', bag)
    lines = drives.manifest(dataset)
    assert [line['stamp_ns'] for line in lines] == [drives.stamp(i) for i in (0, 2, 3)]
    late = 'stamp not after that of the one before'
    assert sorted(reasons(dataset)) == [
        (what, drives.stamp(1), late) for what in ('frame', 'odometry', 'sweep')
    ]


def test_repeated_stamp_is_dropped(tmp_path: Path) -> None:
    bag = bag_of(tmp_path / 'bag', *frame(0), drives.image(0))
    dataset = drives.made(tmp_path / 'out', bag)
    assert (len(drives.manifest(dataset)), len(drives.dropped(dataset))) == (1, 2)


@pytest.mark.parametrize(
    'data',
    [
        b'no image at all',
        b'',
        drives.jpeg(1)[:-40],
        bytes(cv2.imencode('.png', drives.pixels(1))[1])[:-60],
    ],
)
def test_corrupt_image_is_dropped_with_its_reason(tmp_path: Path, data: bytes) -> None:
    bag = bag_of(
        tmp_path / 'bag',
        drives.info(0),
        drives.compressed(0),
        drives.cloud(0),
        drives.compressed(1, data),
        drives.cloud(1),
        drives.compressed(2),
        drives.cloud(2),
    )
    dataset = drives.made(tmp_path / 'out', bag)
    lines = drives.manifest(dataset)
    assert [(line['index'], line['stamp_ns']) for line in lines] == [
        (0, drives.stamp(0)),
        (2, drives.stamp(2)),
    ]
    (told,) = reasons(dataset)
    assert told[:2] == ('frame', drives.stamp(1))
    # OpenCV fills up what some cut files lack, and refuses others.
    assert 'cannot be decoded' in told[2] or 'is cut off' in told[2]
    assert (dataset / lines[1]['image']).read_bytes() == drives.jpeg(2)


def test_sweep_goes_to_its_nearest_image_only(tmp_path: Path) -> None:
    bag = bag_of(tmp_path / 'bag', *frame(0), drives.cloud(0.7), *frame(1))
    dataset = drives.made(tmp_path / 'out', bag)
    first, second = drives.manifest(dataset)
    assert (first['depth'], second['sync_ms']) == (None, -30.0)
    narrow = drives.made(tmp_path / 'narrow', bag, max_sync_ms=29.0)
    assert [line['unlabelled'] for line in drives.manifest(narrow)] == [
        'no sweep within 29 ms'
    ] * 2


def test_frames_outside_the_odometry_have_no_depth_and_no_pose(tmp_path: Path) -> None:
    messages: list[drives.Message] = [drives.odometry(i, TWIST) for i in (0, 1)]
    for index in (0, 1, 4):
        messages += [*frame(index), drives.cloud(index + 0.1)]
    dataset = drives.made(tmp_path / 'out', bag_of(tmp_path / 'bag', *messages))
    inside, _, outside = drives.manifest(dataset)
    assert inside['pose_missing'] is None
    assert outside['pose_missing'] == 'odometry is 300 ms away'
    assert outside['unlabelled'] == 'odometry is 300 ms away'
    free = drives.made(tmp_path / 'free', tmp_path / 'bag', motion='off')
    assert drives.manifest(free)[2]['unlabelled'] is None


def test_gap_in_the_odometry_is_not_bridged(tmp_path: Path) -> None:
    messages = [drives.odometry(i, TWIST) for i in (0, 1, 9, 10)]
    bag = bag_of(tmp_path / 'bag', *messages, *frame(5))
    (line,) = drives.manifest(drives.made(tmp_path / 'out', bag))
    assert line['pose_missing'] == 'odometry has a gap of 800 ms'


def test_motion_without_odometry_is_refused(tmp_path: Path) -> None:
    bag = bag_of(tmp_path / 'bag', *frame(0), drives.cloud(0))
    with pytest.raises(BagError, match='no odometry topic'):
        drives.made(tmp_path / 'on', bag, motion='on')
    scanner = SpinningScanner(period_ms=100.0, direction='clockwise')
    with pytest.raises(BagError, match='--sweep-time-ms would have no effect'):
        drives.made(tmp_path / 'out', bag, scanner=scanner)


def test_sweep_time_for_points_that_carry_times_is_refused(tmp_path: Path) -> None:
    cloud = drives.cloud(0, t=np.zeros(len(drives.WALL), np.uint32))
    moving = [drives.odometry(i, TWIST) for i in (0, 1)]
    bag = bag_of(tmp_path / 'bag', *moving, *frame(0), cloud)
    scanner = SpinningScanner(period_ms=100.0, direction='clockwise')
    with pytest.raises(BagError, match='carry their time'):
        drives.made(tmp_path / 'out', bag, scanner=scanner)


def test_two_cameras_or_lidars_have_to_be_chosen(tmp_path: Path) -> None:
    _, at, message = drives.cloud(0)
    bag = bag_of(tmp_path / 'bag', *frame(0), drives.cloud(0), ('/other', at, message))
    with pytest.raises(BagError, match=r'/other, /points; choose one with --lidar-topic'):
        drives.made(tmp_path / 'out', bag)
    dataset = drives.made(tmp_path / 'chosen', bag, lidar_topic='/other')
    assert drives.manifest(dataset)[0]['depth'] is not None


# --- The folder ------------------------------------------------------------------------------


def test_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'thesis.pdf').write_bytes(b'years of work')
    with pytest.raises(DatasetError, match=r'is no dataset and not empty \(.*thesis\.pdf'):
        drives.made(out, drives.drive(tmp_path / 'bag', 1))


def test_dataset_of_another_schema_is_refused(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 1)
    out = drives.made(tmp_path / 'out', bag)
    (out / 'dataset.json').write_text('{"schema_version": 99}')
    with pytest.raises(DatasetError, match='schema_version 99: this program writes 1'):
        drives.made(out, bag)


def test_journal_of_another_order_is_refused(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 2)
    out = drives.made(tmp_path / 'out', bag)
    folder = out / 'sequences' / 'bag'
    first, second = (folder / 'journal.jsonl').read_text().splitlines(keepends=True)
    (folder / 'journal.jsonl').write_text(second + first)
    sequence = folder / 'sequence.json'
    sequence.write_text(sequence.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(DatasetError, match=r'remove its folder and run again'):
        drives.made(out, bag)


def test_folder_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / 'file'
    blocked.write_text('')
    assert drives.run(drives.drive(tmp_path / 'bag', 1), '--out', blocked / 'out') == 1
    assert 'cannot be made: Not a directory' in ' '.join(capsys.readouterr().err.split())


def test_full_disk_is_told_and_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, 'No space left on device')

    bag = drives.drive(tmp_path / 'bag', 2)
    with monkeypatch.context() as patch:
        patch.setattr(Path, 'write_bytes', full)
        with pytest.raises(DatasetError, match=r"dataset\.json' cannot be written: No space"):
            drives.made(tmp_path / 'out', bag)
    assert len(drives.manifest(drives.made(tmp_path / 'out', bag))) == 2
