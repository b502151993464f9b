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

"""ROS calibration files: read, written, and wrong in every way."""

from __future__ import annotations

from pathlib import Path
from test.training import chessboards

from depth_ros.errors import ConfigError
import pytest
from training.camera_file import projection, read_camera, write_camera

# As camera_calibration writes it.
TEXT = """image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [500.5, 0., 320., 0., 501, 240., 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.2, 0.05, 0., 0., 0.]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1., 0., 0., 0., 1., 0., 0., 0., 1.]
projection_matrix:
  rows: 3
  cols: 4
  data: [480., 0., 321., 0., 0., 485., 241., 0., 0., 0., 1., 0.]
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding='utf-8')
    return path


def test_file_of_ros_is_read(tmp_path: Path) -> None:
    camera = read_camera(written(tmp_path / 'camera.yaml', TEXT))
    assert camera.image_size == (640, 480)
    raw, rectified = camera.raw_intrinsics, camera.intrinsics
    assert (raw.fx, raw.fy, raw.cx, raw.cy) == (500.5, 501.0, 320.0, 240.0)
    assert (rectified.fx, rectified.fy, rectified.cx, rectified.cy) == (480, 485, 321, 241)
    assert (camera.distortion_model, camera.d) == ('plumb_bob', (-0.2, 0.05, 0.0, 0.0, 0.0))


def test_file_without_rectification_keeps_its_K(tmp_path: Path) -> None:
    text = TEXT[: TEXT.index('rectification_matrix')]
    camera = read_camera(written(tmp_path / 'camera.yaml', text))
    assert camera.intrinsics == camera.raw_intrinsics
    assert camera.p == projection(camera.k)


def test_written_camera_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / 'camera.yaml'
    write_camera(path, chessboards.camera(), 'front')
    assert read_camera(path) == chessboards.camera()
    with pytest.raises(ConfigError, match='cannot be written: No such file'):
        write_camera(tmp_path / 'nowhere' / 'camera.yaml', chessboards.camera(), 'front')


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('image_width: 640\n', '', "has no key 'image_width'"),
        ('image_width: 640', 'image_width: wide', "image_width = 'wide': must be a whole number"),
        ('[500.5, 0.', '[-1.0, 0.', 'camera_info.k has fx = -1.0'),
        ('320., 0., 501', '320., 501', r'camera_info.k = .* must be 9 finite numbers'),
        ('[-0.2, 0.05', "['a', 0.05", r'distortion_coefficients.data = .* must be numbers'),
        ('plumb_bob', 'magic', "camera_info.distortion_model = 'magic'"),
        ('camera_matrix:', 'matrix:', "has no key 'camera_matrix'"),
        ('  data: [500.5', '  values: [500.5', 'camera_matrix.data = None'),
        ('image_width: 640', '{', 'is no YAML'),
        (TEXT, 'just words', 'holds a str: must be keys'),
    ],
)
def test_wrong_file_is_refused_with_its_key(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert old in TEXT
    path = written(tmp_path / 'camera.yaml', TEXT.replace(old, new))
    with pytest.raises(ConfigError, match=message) as error:
        read_camera(path)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml' cannot be read: No such file"):
        read_camera(tmp_path / 'none.yaml')
