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

"""LiDAR sweeps, odometry, static frames and recorded depth: what comes out of a bag."""

from __future__ import annotations

from pathlib import Path
from test.bags import mini_bags as mini
from typing import Any

from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.bags.messages import POINT_FIELD_TYPES
from depth_ros.bags.reader import BagReader
from depth_ros.bags.records import LidarSweep, SkippedMessage
from depth_ros.bags.streams import (
    depth_images,
    odometry,
    static_transforms,
    sweeps,
)
from depth_ros.bags.typestores import store_of
from depth_ros.errors import BagError
from hypothesis import given, strategies
import numpy as np
import pytest

# --- LiDAR -----------------------------------------------------------------------------------


def only_sweep(bag: Path) -> LidarSweep:
    with BagReader(bag) as reader:
        (sweep,) = sweeps(reader, mini.LIDAR)
    return sweep


def test_sweep_keeps_points_frame_and_stamp(tmp_path: Path) -> None:
    bag = mini.write(tmp_path / 'bag', [(mini.LIDAR, 4, mini.cloud(4))])
    sweep = only_sweep(bag)
    np.testing.assert_array_equal(sweep.xyz_N3, mini.xyz(4))
    assert (sweep.stamp_ns, sweep.frame_id) == (mini.stamp(4), mini.LIDAR_FRAME)
    assert sweep.time_offset_ns_N is None


@given(
    order=strategies.permutations(['x', 'y', 'z', 'intensity']),
    kind=strategies.sampled_from(['f4', 'f8']),
    byte_order=strategies.sampled_from(['<', '>']),
    padding=strategies.integers(0, 7),
    rows=strategies.integers(1, 3),
)
def test_points_of_any_layout_survive_the_bag(
    tmp_path_factory: pytest.TempPathFactory,
    order: list[str],
    kind: str,
    byte_order: str,
    padding: int,
    rows: int,
) -> None:
    values = np.arange(rows * 2 * 4, dtype=np.float64).reshape(rows, 2, 4) / 8
    cloud = laid_out(values, order, kind, byte_order, padding)
    bag = mini.write(tmp_path_factory.mktemp('layout') / 'bag', [(mini.LIDAR, 0, cloud)])
    expected = values[..., :3].reshape(-1, 3).astype(np.float32)
    np.testing.assert_array_equal(only_sweep(bag).xyz_N3, expected)


def laid_out(values: Any, order: list[str], kind: str, byte_order: str, padding: int) -> Any:
    """Return a cloud of (rows, columns, xyzi) with this field order and padding."""
    rows, columns, _ = values.shape
    size = int(kind[1])
    step = 4 * size + padding
    dtype = np.dtype(
        {
            'names': order,
            'formats': [byte_order + kind] * 4,
            'offsets': [size * place for place in range(4)],
            'itemsize': step,
        }
    )
    points = np.zeros((rows, columns), dtype)
    for place, name in enumerate(('x', 'y', 'z', 'intensity')):
        points[name] = values[..., place]
    message = mini.cloud(0)
    message.height, message.width = rows, columns
    message.point_step, message.row_step = step, step * columns
    message.is_bigendian = byte_order == '>'
    message.data = np.frombuffer(points.tobytes(), np.uint8)
    for place, field in enumerate(message.fields):
        field.name, field.offset = order[place], size * place
        field.datatype = POINT_FIELD_TYPES[kind]
    return message


STAMP_S = mini.stamp(0) / 1e9


@pytest.mark.parametrize(
    ('name', 'times', 'expected_ns'),
    [
        ('t', np.array([0, 50_000_000], np.uint32), [0, 50_000_000]),
        ('offset_time', np.array([0, 7], np.uint32), [0, 7]),
        ('time', np.array([-0.05, 0.05], np.float32), [-50_000_000, 50_000_000]),
        ('timestamp', np.array([STAMP_S, STAMP_S + 0.0625], np.float64), [0, 62_500_000]),
        ('timestamp', np.array([mini.stamp(0), mini.stamp(1)], np.float64), [0, 100_000_000]),
    ],
)
def test_point_times_are_offsets_from_the_stamp(
    tmp_path: Path, name: str, times: Any, expected_ns: list[int]
) -> None:
    sweep = only_sweep(timed_bag(tmp_path, name, times))
    assert sweep.time_offset_ns_N is not None
    # Seconds since 1970 in float64 are exact to a quarter of a microsecond.
    np.testing.assert_allclose(sweep.time_offset_ns_N, expected_ns, atol=250)


def timed_bag(tmp_path: Path, name: str, times: Any) -> Path:
    columns = {axis: np.ones(len(times), np.float32) for axis in 'xyz'}
    cloud = mini.MAKE.point_cloud(mini.stamp(0), mini.LIDAR_FRAME, {**columns, name: times})
    return mini.write(tmp_path / 'bag', [(mini.LIDAR, 0, cloud)])


def test_point_times_of_another_meaning_are_refused(tmp_path: Path) -> None:
    bag = timed_bag(tmp_path, 'time', np.array([0.0, 50_000.0], np.float32))
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        assert list(sweeps(reader, mini.LIDAR, on_skip=skipped.append)) == []
    assert "point field 'time' is up to 5e+04 s away from the stamp" in skipped[0].reason


def test_cloud_without_z_is_skipped(tmp_path: Path) -> None:
    cloud = mini.cloud(0)
    cloud.fields[2].name = 'height'
    bag = mini.write(tmp_path / 'bag', [(mini.LIDAR, 0, cloud)])
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        assert list(sweeps(reader, mini.LIDAR, on_skip=skipped.append)) == []
    assert "'z' is missing" in skipped[0].reason


# --- Odometry, transforms, depth -------------------------------------------------------------


def test_odometry_tells_pose_and_twist(tmp_path: Path) -> None:
    with BagReader(mini.full_bag(tmp_path / 'bag')) as reader:
        samples = list(odometry(reader, mini.ODOMETRY))
    assert [s.stamp_ns for s in samples] == [mini.stamp(i) for i in range(3)]
    assert (samples[2].frame_id, samples[2].child_frame_id) == ('odom', 'base_link')
    np.testing.assert_allclose(samples[2].world_T_body_44[:3, 3], (2, 0, 0))
    np.testing.assert_allclose(samples[2].twist, (10, 0, 0, 0, 0, 0.5))


def test_odometry_without_a_rotation_is_skipped(tmp_path: Path) -> None:
    message = mini.odometry(0)
    message.pose.pose.orientation.w = 0.0
    bag = mini.write(tmp_path / 'bag', [(mini.ODOMETRY, 0, message)])
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        assert list(odometry(reader, mini.ODOMETRY, on_skip=skipped.append)) == []
    assert 'quaternion' in skipped[0].reason


def test_static_transforms_compose(tmp_path: Path) -> None:
    with BagReader(mini.full_bag(tmp_path / 'bag')) as reader:
        tree = static_transforms(reader)
    (_, _, base_T_lidar), (_, _, lidar_T_camera) = mini.static_edges()
    found = tree.lookup('base_link', mini.CAMERA_FRAME)
    np.testing.assert_allclose(found, base_T_lidar @ lidar_T_camera, atol=1e-12)


def test_static_transforms_of_several_messages_are_joined(tmp_path: Path) -> None:
    messages = [
        (mini.STATIC, i, mini.MAKE.transforms(0, [e])) for i, e in enumerate(mini.static_edges())
    ]
    with BagReader(mini.write(tmp_path / 'bag', messages)) as reader:
        assert len(static_transforms(reader).frames) == 3


def test_contradicting_static_transforms_are_refused(tmp_path: Path) -> None:
    parent, child, matrix = mini.static_edges()[0]
    other = matrix.copy()
    other[0, 3] += 1
    messages = [
        (mini.STATIC, i, mini.MAKE.transforms(0, [(parent, child, m)]))
        for i, m in enumerate((matrix, other))
    ]
    bag = mini.write(tmp_path / 'bag', messages)
    with BagReader(bag) as reader, pytest.raises(BagError, match=r"'/tf_static'.*stated twice"):
        static_transforms(reader)


def test_bag_without_static_transforms_is_told(tmp_path: Path) -> None:
    bag = mini.write(tmp_path / 'bag', [(mini.IMAGE, 0, mini.image(0))])
    with BagReader(bag) as reader, pytest.raises(BagError, match=r'has no /tf_static: record it'):
        static_transforms(reader)


@pytest.mark.parametrize('byte_order', ['<', '>'])
@pytest.mark.parametrize(
    ('encoding', 'kind', 'stored', 'metres'),
    [
        ('32FC1', 'f4', [[1.5, np.nan, np.inf]], [[1.5, np.nan, np.inf]]),
        ('16UC1', 'u2', [[1500, 0, 65535]], [[1.5, np.nan, 65.535]]),
    ],
)
def test_recorded_depth_is_metres(
    tmp_path: Path, byte_order: str, encoding: str, kind: str, stored: Any, metres: Any
) -> None:
    values = np.array(stored, byte_order + kind)
    message = mini.MAKE.image(mini.stamp(0), 'c', values, encoding)
    message.is_bigendian = int(byte_order == '>')
    bag = mini.write(tmp_path / 'bag', [('/depth', 0, message)])
    with BagReader(bag) as reader:
        (depth,) = depth_images(reader, '/depth')
    np.testing.assert_allclose(depth.depth_HW, np.array(metres, np.float32), rtol=1e-7)
    assert depth.stamp_ns == mini.stamp(0)


def test_depth_of_another_encoding_or_length_is_skipped(tmp_path: Path) -> None:
    short = mini.MAKE.image(1, 'c', np.ones((2, 2), np.float32), '32FC1')
    short.data = short.data[:-1]
    bag = mini.write(tmp_path / 'bag', [('/depth', 0, mini.image(0)), ('/depth', 1, short)])
    skipped: list[SkippedMessage] = []
    with BagReader(bag) as reader:
        assert list(depth_images(reader, '/depth', on_skip=skipped.append)) == []
    assert "encoding 'bgr8'" in skipped[0].reason
    assert 'has 15 bytes: too few' in skipped[1].reason


@pytest.mark.parametrize('little_endian', [True, False])
def test_stamp_is_read_from_either_byte_order(little_endian: bool) -> None:
    message = mini.image(3)
    data = store_of('humble').serialize_cdr(
        message, message.__msgtype__, little_endian=little_endian
    )
    assert header_stamp_ns(data) == mini.stamp(3)
    assert header_stamp_ns(data[:11]) is None
