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

"""What a user is told, and which status the program ends with, for a whole bag gone wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from test.training import drives

import numpy as np
import pytest
from training.dataset import DepthDataset
from training.dataset_format import DatasetError

BEHIND = np.array([[-10.0, 0.0, 0.0]], np.float32)
NO_RETURN = np.array([[np.nan, 0.0, 0.0], [0.0, 0.0, 0.0]], np.float32)
Messages = list[drives.Message]


def moments(make: Callable[[int], Messages], count: int = 3) -> Messages:
    return [drives.static(), *(message for index in range(count) for message in make(index))]


def view(index: int) -> Messages:
    return [drives.info(index), drives.image(index)]


UNUSUAL: dict[str, tuple[Messages, str]] = {
    'without LiDAR': (moments(view), '3 x unlabelled: the bag has no LiDAR'),
    'clouds behind the camera': (
        moments(lambda i: [*view(i), drives.cloud(i, BEHIND)]),
        "warning: 'bag' has LiDAR but no depth: 3 x none of the 1 points falls into the image",
    ),
    'clouds of no return': (
        moments(lambda i: [*view(i), drives.cloud(i, NO_RETURN)]),
        "warning: 'bag' has LiDAR but no depth: 3 x none of the 2 points is a return",
    ),
    'sweeps of another time': (
        moments(lambda i: [*view(i), drives.cloud(i + 100)]),
        "warning: 'bag' has LiDAR but no depth: 3 x no sweep within 50 ms",
    ),
    'calibration that changes': (
        moments(lambda i: [drives.info(i, 50.0 + i), drives.image(i), drives.cloud(i)]),
        'bag (train): 3 frames, 3 with depth',
    ),
    'one corrupt image': (
        moments(lambda i: [drives.info(i), drives.compressed(i, b'no' if i == 1 else None)]),
        '1 x dropped frame: compressed image of 2 bytes',
    ),
}


@pytest.mark.parametrize('kind', list(UNUSUAL))
def test_unusual_bag_becomes_a_dataset_and_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    messages, told = UNUSUAL[kind]
    out = tmp_path / 'out'
    assert drives.run(drives.write(tmp_path / 'bag', messages), '--out', out) == 0
    assert told in ' '.join(capsys.readouterr().out.split())
    # What self-supervised training asks for is there.
    frames = len(drives.manifest(out))
    assert len(DepthDataset(out, 'train')) == frames == (2 if kind == 'one corrupt image' else 3)


STOPPING: dict[str, tuple[Messages, str]] = {
    'without transforms': (
        [*view(0), drives.cloud(0)],
        "no static transform from 'lidar' to 'camera_optical'",
    ),
    'without calibration': ([drives.image(0)], 'has no camera_info topic'),
    'without images': ([drives.info(0), drives.cloud(0)], 'has no image topic'),
}


@pytest.mark.parametrize('kind', list(STOPPING))
def test_bag_that_cannot_be_used_stops_and_leaves_no_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    messages, told = STOPPING[kind]
    out = tmp_path / 'out'
    assert drives.run(drives.write(tmp_path / 'bag', messages), '--out', out) == 1
    assert told in ' '.join(capsys.readouterr().err.split())
    with pytest.raises(DatasetError, match='half written'):
        DepthDataset(out, 'train')


def test_bag_of_corrupt_images_only_ends_with_an_error_and_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    messages = moments(lambda i: [drives.info(i), drives.compressed(i, b'no'), drives.cloud(i)])
    out = tmp_path / 'out'
    assert drives.run(drives.write(tmp_path / 'bag', messages), '--out', out) == 1
    told = capsys.readouterr()
    assert "warning: 'bag' has no frame that can be used: 3 x frame: compressed image" in ' '.join(
        told.out.split()
    )
    assert 'no frame of any bag can be used' in told.err
    with pytest.raises(DatasetError, match=r"split 'train' \(bag\) has no frame"):
        DepthDataset(out, 'train')


def test_good_bag_is_told_without_warnings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert drives.run(drives.drive(tmp_path / 'bag'), '--out', tmp_path / 'out') == 0
    assert 'warning' not in capsys.readouterr().out
