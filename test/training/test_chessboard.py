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

"""Calibration of rendered photos whose camera is known, and photos that are of no use."""

from __future__ import annotations

from pathlib import Path
from test.training import chessboards

import cv2
from depth_ros.errors import ConfigError
import numpy as np
import pytest
from training.chessboard import calibrate, check_functions


def test_known_camera_is_found_from_its_photos(tmp_path: Path) -> None:
    found = calibrate(chessboards.photos(tmp_path / 'photos'), chessboards.PATTERN)
    k = np.array(found.camera.k).reshape(3, 3)
    np.testing.assert_allclose(np.diag(k)[:2], np.diag(chessboards.K_33)[:2], rtol=2e-3)
    np.testing.assert_allclose(k[:2, 2], chessboards.K_33[:2, 2], atol=0.5)
    assert found.camera.d == pytest.approx(chessboards.D, abs=0.02)
    assert found.camera.d[4] == 0.0
    assert found.camera.image_size == (chessboards.WIDTH, chessboards.HEIGHT)
    assert found.rms_px < 0.1
    assert max(found.photo_rms_px.values()) < 0.15
    assert len(found.photo_rms_px) == len(chessboards.TURNS)
    assert found.refused == {}
    # The lens matters: without it the corners of the image are many pixels off.
    corner = np.array([[(0 - 156.0) / 262.0, (0 - 123.0) / 258.0]])
    assert np.abs((chessboards.distorted(corner) - corner) * 260).max() > 10


def test_photos_of_no_use_are_refused_by_name(tmp_path: Path) -> None:
    folder = chessboards.photos(tmp_path / 'photos')
    whole = cv2.imread(str(folder / 'board_0.png'))
    # Half the board lies outside the image.
    cut = np.full_like(whole, 220)
    cut[:, :160] = whole[:, 160:]
    cv2.imwrite(str(folder / 'cut.png'), cut)
    cv2.imwrite(str(folder / 'grey.jpg'), np.full_like(whole, 128))
    cv2.imwrite(str(folder / 'large.png'), cv2.resize(whole, (321, 241)))
    (folder / 'broken.jpg').write_bytes(b'no photo')
    (folder / 'notes.txt').write_text('taken on a Monday')
    found = calibrate(folder, chessboards.PATTERN)
    assert found.refused == {
        'broken.jpg': 'cannot be read',
        'cut.png': 'does not show all 7x5 inner corners',
        'grey.jpg': 'does not show all 7x5 inner corners',
        'large.png': 'is 321x241, the others 320x240',
    }
    assert len(found.photo_rms_px) == len(chessboards.TURNS)
    assert found.rms_px < 0.1


def test_too_few_photos_are_refused_with_every_reason(tmp_path: Path) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in (0, 1):
        cv2.imwrite(
            str(folder / f'good_{number}.png'), chessboards.photo(chessboards.TURNS[number])
        )
    cv2.imwrite(str(folder / 'wall.png'), np.full((240, 320), 200, np.uint8))
    with pytest.raises(
        ConfigError, match=r"2 of 3 photos can be used, at least 3.*'wall.png' does"
    ):
        calibrate(folder, chessboards.PATTERN)
    with pytest.raises(ConfigError, match=r'0 of 3 photos .*all 9x6 inner corners'):
        calibrate(folder, (9, 6))


def test_boards_that_all_face_the_camera_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number, (x, z) in enumerate(((0.0, 8.5), (0.1, 9.0), (-0.2, 9.5), (-0.1, 8.8))):
        flat = chessboards.photo((x, 0.1, z, 0.0, 0.0, 0.0))
        cv2.imwrite(str(folder / f'flat_{number}.png'), flat)
    with pytest.raises(ConfigError, match=r'not determined .*up to \d degrees\): add photos'):
        calibrate(folder, chessboards.PATTERN)


def test_folder_without_photos_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'holds no photo'):
        calibrate(tmp_path, (9, 6))
    with pytest.raises(ConfigError, match=r"nowhere' cannot be read: No such file"):
        calibrate(tmp_path / 'nowhere', (9, 6))


def test_opencv_without_calibration_is_told_with_the_way_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, 'calibrateCameraExtended')
    with pytest.raises(ConfigError, match=r'lacks calibrateCameraExtended.*with --camera'):
        calibrate(tmp_path, (9, 6))
    check_functions(['imread'], 'nothing')
