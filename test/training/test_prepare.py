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

"""From bag to dataset: exact geometry, what is stored, splits, the command line."""

from __future__ import annotations

import json
from pathlib import Path
from test.training import drives
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel
from depth_ros.core.geometry import exp_se3, invert, transform_points, TransformTree
from depth_ros.core.lidar import SparseDepth
from depth_ros.errors import ConfigError
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from training import prepare_lidar
from training.dataset_format import encode_depth, image_suffix, is_whole_image
from training.prepare_lidar import azimuth_offsets
from training.prepare_options import PrepareOptions, SkyFilter, SpinningScanner


def only_depth(dataset: Path) -> Any:
    (line,) = drives.manifest(dataset)
    return drives.depth(dataset, line)


def one_frame(path: Path, *messages: drives.Message) -> Path:
    return drives.write(path, [drives.static(), drives.info(0), drives.image(0), *messages])


# --- Geometry --------------------------------------------------------------------------------


def test_known_point_lands_at_its_pixel_with_its_depth(tmp_path: Path) -> None:
    points = drives.lidar_points([(40.0, 30.0, 12.5), (10.0, 40.0, 6.25)])
    bag = one_frame(tmp_path / 'bag', drives.cloud(0, points))
    depth = only_depth(drives.made(tmp_path / 'out', bag))
    expected = np.zeros((drives.HEIGHT, drives.WIDTH))
    expected[30, 40], expected[40, 10] = 12.5, 6.25
    np.testing.assert_allclose(depth, expected, atol=1 / 256)


@pytest.mark.parametrize('twist', [(10.0, 0, 0, 0, 0, 0), (8.0, 1.0, 0, 0.1, -0.2, 0.8)])
def test_motion_compensated_points_land_where_the_camera_saw_them(
    tmp_path: Path, twist: tuple[float, ...]
) -> None:
    # Fixed points of the world, each measured at its own time from where the LiDAR was then.
    targets = [(40.0, 30.0, 12.5), (10.0, 40.0, 6.25), (55.0, 27.0, 20.0)]
    offsets_ms = np.array([-45.0, 20.0, 50.0])
    sweep_at = 1.1
    world_T_lidar = drives.world_T_base(1, twist) @ drives.BASE_T_LIDAR
    xyz_world = transform_points(world_T_lidar, drives.lidar_points(targets).astype(np.float64))
    measured = []
    for point, offset_ms in zip(xyz_world, offsets_ms, strict=True):
        pose = drives.world_T_base(sweep_at + offset_ms / 100, twist) @ drives.BASE_T_LIDAR
        measured.append(transform_points(invert(pose), point[None])[0])
    cloud = drives.cloud(
        sweep_at, np.array(measured, np.float32), time=(offsets_ms / 1e3).astype(np.float32)
    )
    moving = [drives.odometry(i, twist) for i in range(5)]
    bag = drives.write(
        tmp_path / 'bag', [drives.static(), *moving, drives.info(1), drives.image(1), cloud]
    )
    compensated = only_depth(drives.made(tmp_path / 'on', bag))
    found = {(c, r): compensated[r, c] for r, c in zip(*np.nonzero(compensated), strict=True)}
    assert set(found) == {(40, 30), (10, 40), (55, 27)}
    np.testing.assert_allclose([found[u, v] for u, v, _ in targets], [12.5, 6.25, 20], atol=5e-3)
    left_alone = only_depth(drives.made(tmp_path / 'off', bag, motion='off'))
    assert abs(left_alone.max() - 20.0) > 0.5


@pytest.mark.parametrize(
    ('direction', 'when', 'expected_ms'),
    [
        ('clockwise', 'middle', {0: 0, 90: -25, -90: 25, 179: -49.7}),
        ('counterclockwise', 'middle', {0: 0, 90: 25, -90: -25}),
        ('clockwise', 'start', {0: 50, 90: 25, -90: 75}),
        ('counterclockwise', 'end', {0: -50, 90: -25, -90: -75}),
    ],
)
def test_spinning_scanner_times_points_by_their_azimuth(
    direction: str, when: str, expected_ms: dict[int, float]
) -> None:
    angles = np.radians(list(expected_ms))
    xyz = np.stack([np.cos(angles), np.sin(angles), np.ones(len(angles))], 1).astype(np.float32)
    scanner = SpinningScanner(period_ms=100.0, direction=direction, stamp=when)
    offsets = azimuth_offsets(xyz, scanner) / 1e6
    np.testing.assert_allclose(offsets, list(expected_ms.values()), atol=0.05)


def test_sweep_time_option_compensates_a_cloud_without_times(tmp_path: Path) -> None:
    twist = (10.0, 0, 0, 0, 0, 0)
    # At the left edge of the view: azimuth 32.6 degrees, 9 ms before the scanner faces forward.
    point = drives.lidar_points([(0.0, 30.0, 10.0)])
    azimuth = np.arctan2(point[0, 1], point[0, 0])
    early_s = azimuth / (2 * np.pi) * 0.1
    measured = (point + np.array([[10.0 * early_s, 0, 0]])).astype(np.float32)
    bag = one_frame(
        tmp_path / 'bag', drives.cloud(0, measured), *(drives.odometry(i, twist) for i in (-1, 1))
    )
    scanner = SpinningScanner(period_ms=100.0, direction='clockwise')
    depth = only_depth(drives.made(tmp_path / 'out', bag, scanner=scanner))
    np.testing.assert_allclose(depth[30, 0], 10.0, atol=0.01)


def test_shining_through_points_are_removed_and_counted(tmp_path: Path) -> None:
    near = [(float(u), float(v), 4.0) for u in range(20, 41, 4) for v in range(20, 41, 4)]
    behind = [(30.0, 30.0, 25.0), (31.0, 33.0, 25.0)]
    bag = one_frame(tmp_path / 'bag', drives.cloud(0, drives.lidar_points([*near, *behind])))
    (line,) = drives.manifest(drives.made(tmp_path / 'out', bag, sky=None))
    assert (line['counts']['occluded'], line['counts']['kept']) == (2, len(near))
    dataset = drives.made(tmp_path / 'all', bag, sky=None, occlusion=None)
    (line,) = drives.manifest(dataset)
    assert 'occluded' not in line['counts']
    assert drives.depth(dataset, line).max() == 25.0


@pytest.mark.parametrize('portion', [1, 200, 1 << 22])
def test_lone_returns_in_the_sky_are_removed_and_poles_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, portion: int
) -> None:
    monkeypatch.setattr(prepare_lidar, 'MAX_WINDOW_VALUES', portion)
    # The camera looks level: the horizon is row 23.5.
    pole = [(20.0, float(v), 15.0) for v in (18, 18.6, 19.2, 19.8, 20.4, 21)]
    wire = [(float(u), 5.0, 30.0) for u in range(40, 48)]
    bird, stone = (50.0, 10.0, 22.0), (50.0, 40.0, 5.0)
    points = drives.lidar_points([*pole, *wire, bird, stone])
    bag = one_frame(tmp_path / 'bag', drives.cloud(0, points))
    # Three pixels of this coarse camera.
    sky = SkyFilter(window_deg=3.0)
    dataset = drives.made(tmp_path / 'out', bag, occlusion=None, sky=sky)
    (line,) = drives.manifest(dataset)
    depth = drives.depth(dataset, line)
    assert (line['counts']['sky'], depth[10, 50], depth[40, 50]) == (1, 0, 5)
    assert depth[18:22, 20].all()
    assert depth[5, 40:48].all()
    kept = only_depth(drives.made(tmp_path / 'all', bag, sky=None))
    assert kept[10, 50] == 22


def test_horizon_follows_the_camera_that_looks_down() -> None:
    tree = TransformTree()
    down = exp_se3((0.0, 0.0, 1.0, 0.0, 0.3, 0.0))
    tree.add(drives.BASE, 'mast', down)
    tree.add('mast', drives.CAMERA, drives.BASE_T_CAMERA)
    up = prepare_lidar.up_in_camera(tree, drives.CAMERA)
    np.testing.assert_allclose(up, (0.0, -np.cos(0.3), -np.sin(0.3)), atol=1e-12)
    level = prepare_lidar.up_in_camera(TransformTree(), drives.CAMERA)
    np.testing.assert_array_equal(level, (0, -1, 0))


def test_distorted_image_is_rectified_and_unseen_pixels_are_masked(tmp_path: Path) -> None:
    i = drives.intrinsics()
    camera = CameraModel(
        width=i.width,
        height=i.height,
        distortion_model='plumb_bob',
        d=(-0.1, 0.0, 0.0, 0.0, 0.0),
        k=tuple(i.K_33.reshape(-1)),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(20.0, 0.0, 31.5, 0.0, 0.0, 20.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    message = drives.MAKE.camera_info(drives.stamp(0), drives.CAMERA, camera)
    angles = [((u - 31.5) / 20, (v - 23.5) / 20) for u, v in ((31, 30), (1, 46))]
    xyz = np.array([[x * 10, y * 10, 10.0, 1.0] for x, y in angles]) @ drives.LIDAR_T_CAMERA.T
    bag = drives.write(
        tmp_path / 'bag',
        [
            drives.static(),
            (drives.INFO_TOPIC, drives.stamp(0), message),
            drives.compressed(0),
            drives.cloud(0, xyz[:, :3].astype(np.float32)),
        ],
    )
    dataset = drives.made(tmp_path / 'out', bag)
    (line,) = drives.manifest(dataset)
    calibration = json.loads((dataset / line['calibration']).read_text())
    seen = cv2.imread(str(dataset / calibration['seen']), cv2.IMREAD_GRAYSCALE)
    assert line['intrinsics']['fx'] == 20.0
    assert line['image'].endswith('.png')
    assert (seen[24, 32], seen[46, 1]) == (255, 0)
    assert (line['counts']['outside_seen'], line['counts']['kept']) == (1, 1)


# --- What is stored --------------------------------------------------------------------------


def test_jpeg_of_the_bag_is_kept_byte_for_byte(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 3, drives.compressed)
    dataset = drives.made(tmp_path / 'out', bag)
    for index, line in enumerate(drives.manifest(dataset)):
        assert (dataset / line['image']).read_bytes() == drives.jpeg(index)


def test_raw_image_is_stored_without_loss_or_as_jpeg(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 1)
    dataset = drives.made(tmp_path / 'out', bag)
    (line,) = drives.manifest(dataset)
    np.testing.assert_array_equal(cv2.imread(str(dataset / line['image'])), drives.pixels(0))
    sizes = []
    for quality in (30, 95):
        dataset = drives.made(
            tmp_path / str(quality), bag, image_format='jpeg', jpeg_quality=quality
        )
        (line,) = drives.manifest(dataset)
        sizes.append((dataset / line['image']).stat().st_size)
    assert sizes[0] < sizes[1]


@settings(max_examples=20, deadline=None)
@given(depth=strategies.floats(0.2, 255.9))
def test_stored_depth_is_within_two_millimetres(depth: float) -> None:
    hit = np.array([1], np.int64)
    sparse = SparseDepth(
        rows_N=hit,
        cols_N=hit,
        depth_N=np.array([depth], np.float32),
        width=3,
        height=2,
        points=1,
        invalid=0,
    )
    data = np.frombuffer(encode_depth(sparse), np.uint8)
    stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    assert stored.dtype == np.uint16
    assert abs(stored[1, 1] / 256 - depth) <= 0.5 / 256 + 1e-5
    assert np.count_nonzero(stored) == 1


def test_manifest_states_pose_speed_sync_and_neighbours(tmp_path: Path) -> None:
    dataset = drives.made(tmp_path / 'out', drives.drive(tmp_path / 'bag', 3))
    first, second, third = drives.manifest(dataset)
    assert [line['stamp_ns'] for line in (first, second, third)] == [
        drives.stamp(i) for i in range(3)
    ]
    assert (second['speed_mps'], second['sync_ms'], second['index']) == (10.0, 0.0, 1)
    expected = drives.world_T_base(1, (10, 0, 0, 0, 0, 0)) @ drives.BASE_T_CAMERA
    np.testing.assert_allclose(second['world_T_camera'], expected[:3], atol=1e-9)
    assert first['neighbours']['previous'] is None
    assert third['neighbours']['next'] is None
    # 10 m/s for 0.1 s along the optical axis: points are 1 m nearer in the next frame.
    following = second['neighbours']['next']
    assert following['image'] == third['image']
    np.testing.assert_allclose(
        np.array(following['neighbour_T_this'])[:, 3], (0, 0, -1), atol=1e-9
    )


def test_counts_add_up_to_the_points_of_the_cloud(tmp_path: Path) -> None:
    dataset = drives.made(tmp_path / 'out', drives.drive(tmp_path / 'bag', 2))
    for line in drives.manifest(dataset):
        counts = dict(line['counts'])
        assert set(counts) <= set(prepare_lidar.COUNTS)
        points, projected, kept = (counts.pop(k) for k in ('points', 'projected', 'kept'))
        lost = counts.pop('no_return') + counts.pop('out_of_image_or_behind_in_pixel')
        assert (points, projected) == (len(drives.WALL), points - lost)
        assert projected == kept + sum(counts.values())
        assert kept == np.count_nonzero(drives.depth(dataset, line))


def test_speed_comes_from_a_twist_topic_where_there_is_no_odometry(tmp_path: Path) -> None:
    def xyz(x: float) -> Any:
        return drives.MAKE.make('geometry_msgs/msg/Vector3', x=x, y=0.0, z=0.0)

    twist = drives.MAKE.make('geometry_msgs/msg/Twist', linear=xyz(7.0), angular=xyz(0.0))
    message = drives.MAKE.make(
        'geometry_msgs/msg/TwistStamped',
        header=drives.MAKE.header(drives.stamp(0), drives.BASE),
        twist=twist,
    )
    bag = one_frame(tmp_path / 'bag', drives.cloud(0), ('/twist', drives.stamp(0), message))
    (line,) = drives.manifest(drives.made(tmp_path / 'out', bag))
    assert (line['speed_mps'], line['world_T_camera']) == (7.0, None)
    assert line['pose_missing'] == 'the bag has no odometry'


def test_page_shows_counts_and_pictures(tmp_path: Path) -> None:
    dataset = drives.made(tmp_path / 'out', drives.drive(tmp_path / 'bag', 5), overlay_every=2)
    page = (dataset / 'index.html').read_text()
    pictures = sorted(dataset.glob('sequences/bag/overlay/*.jpg'))
    assert [path.stem for path in pictures] == [str(drives.stamp(i)) for i in (0, 2, 4)]
    assert all(path.relative_to(dataset).as_posix() in page for path in pictures)
    heads = ['points', 'projected', 'occluded', 'sky', 'kept']
    places = [page.index(f'<th>{head}</th>') for head in heads]
    assert places == sorted(places)
    drawing = cv2.imread(str(pictures[0]))
    assert drawing.shape[1] == 1240
    assert len(np.unique(drawing.astype(np.int64) @ (1, 256, 65536))) > 100


@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
def test_whole_image_is_told_from_one_without_its_end(suffix: str) -> None:
    data = bytes(cv2.imencode(suffix, drives.pixels(0))[1])
    assert image_suffix(data) == suffix
    assert is_whole_image(data)
    assert not is_whole_image(data[:-40])
    assert is_whole_image(drives.jpeg(0) + bytes(8))


# --- Command line ----------------------------------------------------------------------------


def test_split_is_by_bag_and_never_within(tmp_path: Path) -> None:
    bags = [drives.drive(tmp_path / name, 3) for name in ('a', 'b')]
    out = tmp_path / 'out'
    assert drives.run(*bags, '--out', out, '--val', 'b') == 0
    splits = {(line['sequence'], line['split']) for line in drives.manifest(out)}
    assert splits == {('a', 'train'), ('b', 'val')}


def test_simultaneous_bags_in_two_splits_are_pointed_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bags = [drives.drive(tmp_path / name, 3) for name in ('a', 'b')]
    out = tmp_path / 'out'
    drives.run(*bags, '--out', out, '--val', 'b')
    (warning,) = json.loads((out / 'dataset.json').read_text())['warnings']
    assert "'a' (train) and 'b' (val) were recorded at the same time" in warning
    assert warning in capsys.readouterr().out
    drives.run(*bags, '--out', out)
    assert json.loads((out / 'dataset.json').read_text())['warnings'] == []


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['BAG', '--val', 'nobody'], '--val nobody: the bags are bag'),
        (['BAG', 'x=BAG', '--val', 'x', '--test', 'x'], 'x: cannot be in --val and in --test'),
        (['BAG', 'BAG'], "are both called 'bag': write NAME=BAG"),
        (['a b=BAG'], "sequence name 'a b'"),
        (['BAG', '--sweep-time-ms', '100'], 'needs --sweep-direction'),
        (['BAG', '--sweep-direction', 'clockwise'], 'no effect without --sweep-time-ms'),
        (['BAG', '--no-sky-filter', '--sky-support', '3'], 'no effect with --no-sky-filter'),
        (['BAG', '--no-occlusion-filter', '--occlusion-rows', '3'], '--occlusion-rows has no'),
        (['BAG', '--jpeg-quality', '90'], 'no effect without --image-format jpeg'),
        (['BAG', '--max-sync-ms', '-1'], '--max-sync-ms = -1.0: must be 0 to 1000 ms'),
        (['BAG', '--without-lidar', '--lidar-topic', '/points'], '--lidar-topic has no effect'),
        (['BAG', '--twist-topic', '/points'], "--twist-topic '/points' is of type"),
        (['nowhere'], "bag 'nowhere' does not exist"),
    ],
)
def test_wrong_command_line_is_refused_with_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    bag = drives.drive(tmp_path / 'bag', 1)
    given = [argument.replace('BAG', str(bag)) for argument in arguments]
    assert drives.run(*given, '--out', tmp_path / 'out') == 1
    assert message in ' '.join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'overlay_every': -1}, '--overlay-every = -1'),
        ({'motion': 'maybe'}, "--motion = 'maybe'"),
        ({'jpeg_quality': 0}, '--jpeg-quality = 0'),
    ],
)
def test_option_out_of_range_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrepareOptions(**changes)
