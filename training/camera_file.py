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

"""Camera calibrations as YAML files, in the layout of ROS (camera_calibration writes it)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from depth_ros.core.camera import CameraModel, IDENTITY_R
from depth_ros.errors import ConfigError, FrameError
import yaml

K_KEY, R_KEY, P_KEY, D_KEY = (
    'camera_matrix',
    'rectification_matrix',
    'projection_matrix',
    'distortion_coefficients',
)


def read_camera(path: Path) -> CameraModel:
    """
    Return the calibration of a file.

    :raises ConfigError: it cannot be read, or a key is missing or wrong; names the key.
    """
    content = _content(path)
    try:
        k = _matrix(path, content, K_KEY)
        return CameraModel(
            width=_whole(path, content, 'image_width'),
            height=_whole(path, content, 'image_height'),
            distortion_model=str(_value(path, content, 'distortion_model')),
            d=_matrix(path, content, D_KEY),
            k=k,
            r=_matrix(path, content, R_KEY) if R_KEY in content else IDENTITY_R,
            p=_matrix(path, content, P_KEY) if P_KEY in content else projection(k),
        )
    except FrameError as error:
        raise ConfigError(f"camera file '{path}': {error}") from error


def projection(k: Sequence[float]) -> tuple[float, ...]:
    """Return the 3x4 projection of a camera that keeps its K when rectified."""
    return (*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0)


def write_camera(path: Path, camera: CameraModel, name: str) -> None:
    """
    Write a calibration.

    :raises ConfigError: the disk or its permissions refuse it.
    """
    content = {
        'image_width': camera.width,
        'image_height': camera.height,
        'camera_name': name,
        K_KEY: _stored(camera.k, 3),
        'distortion_model': camera.distortion_model,
        D_KEY: _stored(camera.d, 1),
        R_KEY: _stored(camera.r, 3),
        P_KEY: _stored(camera.p, 3),
    }
    try:
        path.write_text(yaml.safe_dump(content, sort_keys=False), encoding='utf-8')
    except OSError as error:
        raise ConfigError(f"camera file '{path}' cannot be written: {error.strerror}") from error


def _stored(values: Sequence[float], rows: int) -> dict[str, Any]:
    return {'rows': rows, 'cols': len(values) // rows, 'data': [float(v) for v in values]}


def _content(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f"camera file '{path}' cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"camera file '{path}' is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"camera file '{path}' holds a {type(content).__name__}: must be keys")
    return content


def _value(path: Path, content: Mapping[str, Any], key: str) -> Any:
    if key not in content:
        raise ConfigError(f"camera file '{path}' has no key '{key}'")
    return content[key]


def _whole(path: Path, content: Mapping[str, Any], key: str) -> int:
    value = _value(path, content, key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"camera file '{path}': {key} = {value!r}: must be a whole number")
    return value


def _matrix(path: Path, content: Mapping[str, Any], key: str) -> tuple[float, ...]:
    value = _value(path, content, key)
    data = value.get('data') if isinstance(value, dict) else None
    if not isinstance(data, list) or not all(isinstance(v, (int, float)) for v in data):
        raise ConfigError(f"camera file '{path}': {key}.data = {data!r}: must be numbers")
    return tuple(float(v) for v in data)
