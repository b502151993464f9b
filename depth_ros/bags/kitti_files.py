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

"""
Read the text and binary files of KITTI: calibration, times, GPS/IMU packets, poses, points.

A. Geiger, P. Lenz, C. Stiller, R. Urtasun, "Vision meets Robotics: The KITTI Dataset", IJRR
2013, and the readme of its raw data development kit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
import math
from pathlib import Path

from depth_ros.core.geometry import Matrix
from depth_ros.errors import BagError, FrameError
import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
# The Mercator projection of the development kit takes the earth for a ball of this radius [m].
EARTH_RADIUS_M = 6378137.0
OXTS_FIELDS = 30
POINT_BYTES = 16
FRACTION_DIGITS = 9


def read_text(path: Path) -> str:
    """Return a text file; BagError names it when it cannot be read."""
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise BagError(f"'{path}' cannot be read: {error}") from error


def numbered_files(folder: Path, suffix: str) -> dict[int, Path]:
    """Return the files of a folder by the frame number in their name."""
    if not folder.is_dir():
        raise BagError(f"folder '{folder}' does not exist: is this a complete KITTI drive?")
    found = (path for path in folder.glob(f'*{suffix}') if path.stem.isdecimal())
    return {int(path.stem): path for path in sorted(found)}


@dataclass(frozen=True)
class Calibration:
    """The matrices of one calibration file, by their keys."""

    path: Path
    values: dict[str, tuple[float, ...]]

    def matrix(self, key: str, rows: int, columns: int) -> Matrix:
        """Return a rows x columns matrix; BagError says which key of which file is wrong."""
        values = self.values.get(key, ())
        if len(values) != rows * columns or not np.isfinite(values).all():
            raise BagError(
                f"'{self.path}': key '{key}' has {len(values)} numbers: "
                f'must be {rows * columns} finite ones'
            )
        return np.array(values, np.float64).reshape(rows, columns)

    def rigid(self, rotation_key: str, translation_key: str) -> Matrix:
        """Return the 4x4 transform of a 3x3 rotation and a translation."""
        a_T_b = np.eye(4)
        a_T_b[:3, :3] = self.matrix(rotation_key, 3, 3)
        a_T_b[:3, 3] = self.matrix(translation_key, 1, 3)[0]
        return a_T_b


def read_calibration(path: Path) -> Calibration:
    """Return a file of ``key: numbers`` lines; lines of text, such as dates, are left out."""
    values: dict[str, tuple[float, ...]] = {}
    for line in read_text(path).splitlines():
        key, separator, text = line.partition(':')
        if separator:
            numbers = _numbers(text)
            values[key.strip()] = numbers if numbers is not None else ()
    return Calibration(path, values)


def _numbers(text: str) -> tuple[float, ...] | None:
    try:
        return tuple(float(word) for word in text.split())
    except ValueError:
        return None


def clock_to_ns(text: str) -> int:
    """
    Return ``2011-09-26 13:04:32.345808896`` as nanoseconds since 1970.

    KITTI writes the local wall clock without its zone; it is taken for UTC.

    :raises ValueError: the text has another form.

    """
    whole, _, fraction = text.strip().partition('.')
    if fraction and not (fraction.isdecimal() and len(fraction) <= FRACTION_DIGITS):
        raise ValueError(text)
    moment = datetime.strptime(whole, '%Y-%m-%d %H:%M:%S').replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * NS_PER_S + int(fraction.ljust(FRACTION_DIGITS, '0') or 0)


def read_timestamps(path: Path) -> list[int | None]:
    """Return the stamp of each frame [ns]; None for a blank line, which is a missing frame."""
    lines = read_text(path).splitlines()
    return [_line_stamp(path, number, line) for number, line in enumerate(lines, start=1)]


def _line_stamp(path: Path, number: int, line: str) -> int | None:
    if not line.strip():
        return None
    try:
        return clock_to_ns(line)
    except ValueError as error:
        raise BagError(
            f"'{path}' line {number}: '{line.strip()}' must look like "
            "'2011-09-26 13:04:32.345808896'"
        ) from error


def read_seconds(path: Path) -> list[int]:
    """Return the lines of a times.txt, which are seconds, in nanoseconds."""
    numbers = _numbers(read_text(path))
    if not numbers or not np.isfinite(numbers).all():
        raise BagError(f"'{path}': must hold one time in seconds a line")
    return [round(value * NS_PER_S) for value in numbers]


def read_poses(path: Path) -> list[Matrix]:
    """Return the 4x4 poses world_T_camera of a poses file, 12 numbers a line."""
    poses = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        values = _numbers(line) or ()
        if len(values) != 12 or not np.isfinite(values).all():
            raise BagError(f"'{path}' line {number}: must be 12 finite numbers")
        poses.append(np.vstack([np.array(values).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]]))
    return poses


def read_points(path: Path) -> NDArray[np.float32]:
    """
    Return the points of a Velodyne file, (N, 4) float32: x, y, z [m], reflectance.

    :raises FrameError: the file is damaged.

    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FrameError(f"'{path}' cannot be read: {error}") from error
    if not data or len(data) % POINT_BYTES:
        raise FrameError(
            f"'{path}' has {len(data)} bytes: must be whole points of {POINT_BYTES} bytes"
        )
    return np.frombuffer(data, '<f4').reshape(-1, 4)


@dataclass(frozen=True, kw_only=True)
class OxtsPacket:
    """
    One GPS/IMU packet.

    Fields:
        latitude_deg, longitude_deg, altitude_m: position.
        roll, pitch, yaw: [rad]; yaw 0 is east, counter-clockwise; the unit's x is forward, y
            left, z up.
        velocity_enu: towards east, north and up [m/s].
        rates_body: angular velocity about the unit's axes [rad/s].
        position_sigma_m: what the receiver believes of its position.

    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    roll: float
    pitch: float
    yaw: float
    velocity_enu: tuple[float, float, float]
    rates_body: tuple[float, float, float]
    position_sigma_m: float

    def rotation(self) -> Matrix:
        """Return enu_R_body = Rz(yaw) Ry(pitch) Rx(roll)."""
        return _about_z(self.yaw) @ _about_y(self.pitch) @ _about_x(self.roll)

    def mercator(self, scale: float) -> NDArray[np.float64]:
        """Return east, north, up [m] of the Mercator projection with this scale."""
        radius = scale * EARTH_RADIUS_M
        latitude = math.radians(self.latitude_deg)
        north = radius * math.log(math.tan(math.pi / 4 + latitude / 2))
        return np.array([radius * math.radians(self.longitude_deg), north, self.altitude_m])

    def twist(self) -> NDArray[np.float64]:
        """Return linear [m/s] and angular [rad/s] velocity in the unit's axes, (6,)."""
        linear = self.rotation().T @ np.array(self.velocity_enu)
        return np.concatenate([linear, self.rates_body])


def mercator_scale(latitude_deg: float) -> float:
    """Return the scale at which lengths are true at this latitude."""
    return math.cos(math.radians(latitude_deg))


def read_oxts(path: Path) -> OxtsPacket:
    """
    Return the packet of one file of ``oxts/data``.

    :raises FrameError: the file is damaged.

    """
    values = _numbers(read_text(path)) or ()
    if len(values) != OXTS_FIELDS or not np.isfinite(values[:24]).all():
        raise FrameError(f"'{path}' has {len(values)} numbers: must be {OXTS_FIELDS} finite ones")
    v = values
    return OxtsPacket(
        latitude_deg=v[0],
        longitude_deg=v[1],
        altitude_m=v[2],
        roll=v[3],
        pitch=v[4],
        yaw=v[5],
        velocity_enu=(v[7], v[6], v[10]),
        rates_body=(v[17], v[18], v[19]),
        position_sigma_m=v[23],
    )


def _about_x(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def _about_y(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _about_z(angle: float) -> Matrix:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
