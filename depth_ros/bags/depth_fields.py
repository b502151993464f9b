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

"""Fields that only recordings need: depth images, and the time of each LiDAR point."""

from __future__ import annotations

from typing import Any

from depth_ros.core.message_fields import read_field
from depth_ros.errors import FrameError
import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
MM_PER_M = 1000.0
# Encoding -> numpy kind and size (REP 118).
DEPTH_KINDS = {'32FC1': 'f4', '16UC1': 'u2'}
# How LiDAR drivers name the time of a point: Ouster t, Livox offset_time, Velodyne time,
# Hesai and RoboSense timestamp.
TIME_FIELDS = ('t', 'offset_time', 'time', 'time_stamp', 'timestamp')
# Larger values are moments since 1970, in seconds or in nanoseconds, not offsets.
ABSOLUTE_S, ABSOLUTE_NS = 1e8, 1e17
# A sweep of a spinning LiDAR takes 0.05 to 0.2 s.
MAX_OFFSET_NS = 1_000_000_000


def decode_depth(message: Any) -> NDArray[np.float32]:
    """
    Return the metres of a depth Image, (H, W) float32; 0 in 16UC1 is NaN.

    :raises FrameError: another encoding, or too few bytes.
    """
    encoding, height, width = str(message.encoding), int(message.height), int(message.width)
    if encoding not in DEPTH_KINDS:
        raise FrameError(f"depth image has encoding '{encoding}': must be {list(DEPTH_KINDS)}")
    dtype = np.dtype(('>' if message.is_bigendian else '<') + DEPTH_KINDS[encoding])
    step, data = int(message.step), np.frombuffer(message.data, np.uint8)
    needed = step * (height - 1) + width * dtype.itemsize
    if min(height, width) < 1 or step < width * dtype.itemsize or data.size < needed:
        raise FrameError(
            f'depth image of {width}x{height} with step {step} has {data.size} bytes: too few'
        )
    values = np.ndarray((height, width), dtype, data, strides=(step, dtype.itemsize))
    depth_HW = values.astype(np.float32)
    if encoding == '16UC1':
        depth_HW[depth_HW == 0] = np.nan
        depth_HW /= np.float32(MM_PER_M)
    return depth_HW


def point_time_offsets(cloud: Any, stamp_ns: int) -> NDArray[np.int64] | None:
    """
    Return when each point was measured relative to the stamp [ns], or None if it is not told.

    Whole numbers are nanoseconds, fractions are seconds; both may be moments instead of offsets.

    :raises FrameError: the values are further from the stamp than a sweep lasts.
    """
    for name in TIME_FIELDS:
        values = read_field(cloud, name)
        if values is not None and values.size:
            return _checked(_offsets_ns(values, stamp_ns), name)
    return None


def _offsets_ns(values: NDArray[Any], stamp_ns: int) -> NDArray[np.int64]:
    largest = float(np.nanmax(np.abs(values.astype(np.float64)), initial=0.0))
    if values.dtype.kind in 'iu':
        whole = values.astype(np.int64)
        return whole - stamp_ns if largest > ABSOLUTE_NS else whole
    if largest > ABSOLUTE_NS:
        return np.rint(values - float(stamp_ns)).astype(np.int64)
    seconds = values.astype(np.float64)
    if largest > ABSOLUTE_S:
        seconds = seconds - stamp_ns / NS_PER_S
    return np.rint(np.nan_to_num(seconds) * NS_PER_S).astype(np.int64)


def _checked(offsets_N: NDArray[np.int64], name: str) -> NDArray[np.int64]:
    largest = int(np.abs(offsets_N).max())
    if largest > MAX_OFFSET_NS:
        raise FrameError(
            f"point field '{name}' is up to {largest / NS_PER_S:.3g} s away from the stamp: "
            'a sweep lasts less than 1 s'
        )
    return offsets_N
