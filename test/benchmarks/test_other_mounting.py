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

"""A turned camera sees points where geometry says, and the table has a line for each."""

from __future__ import annotations

from dataclasses import replace
import math
from test.project import ROOT

from benchmarks.other_mounting import AS_RECORDED, main, Mounting, MOUNTINGS, points_of, seen_by
from depth_ros.core.camera import Rectifier
from depth_ros.core.datatypes import Frame
from depth_ros.core.lidar import SparseDepth
import numpy as np
import pytest
from training.frames import bag_frames

CLIP = ROOT / 'demo' / 'kitti_0005'


@pytest.fixture(scope='module')
def recorded() -> tuple[Frame, SparseDepth]:
    return next(iter(bag_frames(CLIP)))


def hit(frame: Frame, row: int, col: int, depth_m: float) -> SparseDepth:
    size = frame.camera.intrinsics
    return SparseDepth(
        rows_N=np.array([row]),
        cols_N=np.array([col]),
        depth_N=np.array([depth_m], np.float32),
        width=size.width,
        height=size.height,
        points=1,
        invalid=0,
    )


def test_camera_as_it_was_sees_what_it_saw(recorded: tuple[Frame, SparseDepth]) -> None:
    frame, truth = recorded
    turned, hits = seen_by(AS_RECORDED, frame, truth)
    assert np.array_equal(turned.image_HW3, frame.image_HW3)
    assert np.array_equal(hits.rows_N, truth.rows_N)
    assert np.array_equal(hits.cols_N, truth.cols_N)
    np.testing.assert_allclose(hits.depth_N, truth.depth_N, rtol=1e-5)


@pytest.mark.parametrize('angle', [-1.0, 1.0, 3.0])
def test_camera_turned_down_sees_what_is_ahead_higher_up(
    recorded: tuple[Frame, SparseDepth], angle: float
) -> None:
    frame, _ = recorded
    size = frame.camera.intrinsics
    row, col = round(size.cy), round(size.cx)
    _, hits = seen_by(Mounting('', down_deg=angle), frame, hit(frame, row, col, 20.0))
    assert hits.rows_N[0] == pytest.approx(row - size.fy * math.tan(math.radians(angle)), abs=0.6)
    assert hits.cols_N[0] == col
    assert hits.depth_N[0] == pytest.approx(20.0 * math.cos(math.radians(angle)), abs=0.01)


def test_camera_rolled_clockwise_turns_the_picture_back(
    recorded: tuple[Frame, SparseDepth],
) -> None:
    frame, _ = recorded
    size = frame.camera.intrinsics
    row, col = round(size.cy), round(size.cx) + 400
    turned, hits = seen_by(Mounting('', roll_deg=3.0), frame, hit(frame, row, col, 9.0))
    assert hits.rows_N[0] == pytest.approx(row - 400 * math.sin(math.radians(3.0)), abs=1.0)
    assert hits.depth_N[0] == pytest.approx(9.0, abs=1e-4)
    # The picture turns as the points do.
    seen = turned.image_HW3[hits.rows_N[0], hits.cols_N[0]].astype(int)
    near = np.ix_(row + np.arange(-2, 3), col + np.arange(-2, 3))
    around = frame.image_HW3[near].reshape(-1, 3).astype(int)
    assert np.abs(around - seen).sum(axis=1).min() < 40


def test_longer_focal_length_is_told_and_enlarges(recorded: tuple[Frame, SparseDepth]) -> None:
    frame, _ = recorded
    size = frame.camera.intrinsics
    row, col = round(size.cy) + 100, round(size.cx) - 300
    turned, hits = seen_by(Mounting('', zoom=1.1), frame, hit(frame, row, col, 9.0))
    assert turned.camera.intrinsics.fx == pytest.approx(1.1 * size.fx)
    assert turned.camera.intrinsics.cy == pytest.approx(size.cy)
    assert hits.rows_N[0] == pytest.approx(size.cy + 110, abs=1.0)
    assert hits.cols_N[0] == pytest.approx(size.cx - 330, abs=1.0)


def test_distorted_picture_is_rectified_before_it_is_turned(
    recorded: tuple[Frame, SparseDepth],
) -> None:
    frame, truth = recorded
    distorted = replace(frame.camera, d=(-0.3, 0.1, 0.0, 0.0, 0.0), is_rectified_image=False)
    turned, _ = seen_by(AS_RECORDED, replace(frame, camera=distorted), truth)
    assert np.array_equal(turned.image_HW3, Rectifier(distorted)(frame.image_HW3))
    assert not np.array_equal(turned.image_HW3, frame.image_HW3)
    assert not turned.camera.needs_rectification


def test_points_of_hits_are_where_the_rays_say(recorded: tuple[Frame, SparseDepth]) -> None:
    frame, _ = recorded
    size = frame.camera.intrinsics
    ((x, y, z),) = points_of(hit(frame, 200, 700, 10.0), size)
    assert (x, y, z) == pytest.approx(
        (10 * (700 - size.cx) / size.fx, 10 * (200 - size.cy) / size.fy, 10.0)
    )


def test_the_table_has_a_line_for_each_mounting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = (AS_RECORDED, Mounting('1 deg down', down_deg=1.0))
    monkeypatch.setattr('benchmarks.other_mounting.MOUNTINGS', few)
    assert main([str(CLIP)]) == 0
    _, _, *lines = capsys.readouterr().out.splitlines()
    usual, down = ([cell.strip() for cell in line.split('|')[1:-1]] for line in lines)
    assert [usual[0], down[0]] == [mounting.name for mounting in few]
    # As the demo scores it; and the network knows one angle.
    assert float(usual[2]) == pytest.approx(0.109, abs=0.002)
    assert float(down[2]) > 1.1 * float(usual[2])


def test_names_of_mountings_are_different() -> None:
    assert len({mounting.name for mounting in MOUNTINGS}) == len(MOUNTINGS)


def test_a_bag_that_is_not_there_is_named(
    tmp_path: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f'{tmp_path}/none']) == 1
    assert 'none' in capsys.readouterr().err
