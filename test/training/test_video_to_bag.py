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

"""Videos to bags: what a straight line becomes on the whole way, times, cuts, and bad files."""

from __future__ import annotations

from pathlib import Path
from test.training import chessboards, drives
from typing import Any

import cv2
from depth_ros.bags.reader import BagReader
from depth_ros.errors import BagError
import numpy as np
import pytest
from training.camera_file import read_camera, write_camera
from training.dataset import DepthDataset
from training.video_to_bag import convert, IMAGE_TOPIC, INFO_TOPIC, main, VideoOptions

COUNT = 6
REAL_CAPTURE = cv2.VideoCapture


def picture(index: int) -> np.ndarray:
    """Return rows of a colour each that differ from frame to frame."""
    frame = np.zeros((chessboards.HEIGHT, chessboards.WIDTH, 3), np.uint8)
    frame[..., 1] = np.arange(chessboards.HEIGHT)[:, None]
    frame[..., 2] = 30 * index
    return frame


@pytest.fixture(scope='module')
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a video, its calibration, and photos of a board."""
    root = tmp_path_factory.mktemp('video')
    chessboards.video(root / 'drive.avi', [picture(index) for index in range(COUNT)])
    write_camera(root / 'camera.yaml', chessboards.camera(), 'front')
    chessboards.photos(root / 'photos')
    return root


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def messages(bag: Path, topic: str) -> list[Any]:
    with BagReader(bag) as reader:
        return [item.message for item in reader.messages([topic])]


def stamps(bag: Path) -> list[int]:
    found = [m.header.stamp for m in messages(bag, IMAGE_TOPIC)]
    return [stamp.sec * 10**9 + stamp.nanosec for stamp in found]


def decoded(message: Any) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.asarray(message.data), cv2.IMREAD_COLOR))


def test_board_filmed_through_a_bent_lens_is_straight_in_the_dataset(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = chessboards.video(
        tmp_path / 'board.avi', [chessboards.photo(turn) for turn in chessboards.TURNS[:3]]
    )
    camera = tmp_path / 'found.yaml'
    status = run(
        *(video, '--out', tmp_path / 'bag', '--chessboard', files / 'photos', '--pattern', '7x5'),
        *('--save-camera', camera, '--image-format', 'png'),
    )
    told = ' '.join(capsys.readouterr().out.split())
    assert status == 0
    assert '7 photos: reprojection error 0.0' in told
    assert f'{tmp_path / "bag"}: 3 of 3 frames, 320x240, fx 26' in told
    assert drives.run(tmp_path / 'bag', '--out', tmp_path / 'dataset') == 0
    data = DepthDataset(tmp_path / 'dataset', 'train')
    for index, turn in enumerate(chessboards.TURNS[:3]):
        grey = data[index].image_3HW[1].numpy()
        is_found, corners = cv2.findChessboardCornersSB(grey, chessboards.PATTERN)
        assert is_found
        # Where a camera without distortion sees them; motion JPEG blurs a little. Half a turn
        # makes the same board.
        expected, found = chessboards.rectified_corners(turn), corners.reshape(-1, 2)
        assert min(np.abs(order - expected).max() for order in (found, found[::-1])) < 0.5
    assert read_camera(camera).k[0] == pytest.approx(chessboards.K_33[0, 0], rel=2e-3)


def test_frames_keep_their_times_order_and_pixels(tmp_path: Path, files: Path) -> None:
    status = run(
        *(files / 'drive.avi', '--out', tmp_path / 'bag', '--camera', files / 'camera.yaml'),
        *('--start-s', '1000', '--image-format', 'png'),
    )
    assert status == 0
    assert stamps(tmp_path / 'bag') == [1000 * 10**9 + n * 10**8 for n in range(COUNT)]
    images = [decoded(message) for message in messages(tmp_path / 'bag', IMAGE_TOPIC)]
    for index, image in enumerate(images):
        assert np.abs(image.astype(int) - picture(index)).max() < 12
    info = messages(tmp_path / 'bag', INFO_TOPIC)[0]
    np.testing.assert_allclose(info.d, chessboards.D)
    np.testing.assert_allclose(np.reshape(info.k, (3, 3)), chessboards.K_33)


def test_every_nth_frame_and_another_rate(tmp_path: Path, files: Path) -> None:
    options = VideoOptions(every=2, fps=50.0, start_s=0.0)
    made = convert(files / 'drive.avi', tmp_path / 'bag', chessboards.camera(), options)
    assert (made.written, made.read) == (3, COUNT)
    assert stamps(tmp_path / 'bag') == [0, 40_000_000, 80_000_000]


def test_rows_and_binning_change_picture_and_calibration_alike(
    tmp_path: Path, files: Path
) -> None:
    options = VideoOptions(rows=(41, 121), binning=2, image_format='png')
    made = convert(files / 'drive.avi', tmp_path / 'bag', chessboards.camera(), options)
    assert made.camera.image_size == (160, 40)
    image = decoded(messages(tmp_path / 'bag', IMAGE_TOPIC)[0])
    assert image.shape == (40, 160, 3)
    # Green tells the row: each new one is the mean of two.
    np.testing.assert_allclose(image[:, 80, 1], 41.5 + 2 * np.arange(40), atol=4)
    dataset = drives.made(tmp_path / 'out', tmp_path / 'bag')
    i = drives.manifest(dataset)[0]['intrinsics']
    expected = [131.0, 129.0, (156.0 + 0.5) / 2 - 0.5, (123.0 - 41 + 0.5) / 2 - 0.5]
    assert [i[key] for key in ('fx', 'fy', 'cx', 'cy')] == pytest.approx(expected)
    assert DepthDataset(dataset, 'train', neighbours=True)[0].image_3HW.shape == (3, 40, 160)


def test_rows_that_binning_leaves_over_are_not_delivered(tmp_path: Path, files: Path) -> None:
    options = VideoOptions(rows=(0, 100), binning=3)
    made = convert(files / 'drive.avi', tmp_path / 'bag', chessboards.camera(), options)
    assert made.camera.image_size == (106, 33)
    assert decoded(messages(tmp_path / 'bag', IMAGE_TOPIC)[0]).shape == (33, 106, 3)


def test_start_without_a_clock_differs_between_videos_and_repeats(
    tmp_path: Path, files: Path
) -> None:
    other = tmp_path / 'other.avi'
    other.write_bytes((files / 'drive.avi').read_bytes())
    bags = [
        (convert(video, tmp_path / name, chessboards.camera(), VideoOptions()), tmp_path / name)
        for name, video in (('a', files / 'drive.avi'), ('b', files / 'drive.avi'), ('c', other))
    ]
    first, again, elsewhere = (stamps(bag)[0] for _, bag in bags)
    assert first == again
    assert abs(elsewhere - first) >= 3600 * 10**9


# --- Bad input -------------------------------------------------------------------------------


def test_video_that_cannot_be_read_is_named(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / 'text.mp4'
    text.write_bytes(b'no video at all' * 100)
    empty = tmp_path / 'empty.avi'
    empty.write_bytes(b'')
    for video, message in (
        (text, "text.mp4' of 1500 bytes: OpenCV cannot read a frame of it"),
        (empty, "empty.avi' of 0 bytes"),
        (tmp_path / 'none.mp4', "none.mp4' does not exist"),
    ):
        assert run(video, '--out', tmp_path / 'bag', '--camera', files / 'camera.yaml') == 1
        assert message in ' '.join(capsys.readouterr().err.split())
        assert not (tmp_path / 'bag').exists()


def test_video_that_was_cut_off_gives_what_it_has_and_says_so(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (files / 'drive.avi').read_bytes()
    cut = tmp_path / 'cut.avi'
    cut.write_bytes(whole[: len(whole) // 2])
    assert run(cut, '--out', tmp_path / 'bag', '--camera', files / 'camera.yaml') == 0
    told = ' '.join(capsys.readouterr().out.split())
    count = len(stamps(tmp_path / 'bag'))
    assert 0 < count < COUNT
    assert f'{COUNT} frames are promised, {count} could be read: is it cut off?' in told


class Timeless:
    """A back end that tells no times, as some do; everything else is the real one."""

    def __init__(self, path: str) -> None:
        self._real = REAL_CAPTURE(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get(self, key: int) -> float:
        return 0.0 if key == cv2.CAP_PROP_POS_MSEC else float(self._real.get(key))


def test_video_without_times_asks_for_its_rate(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, 'VideoCapture', Timeless)
    camera = chessboards.camera()
    with pytest.raises(BagError, match=r'frame 1 is at 0 ns, not after .* give its .* with --fps'):
        convert(files / 'drive.avi', tmp_path / 'bag', camera, VideoOptions())
    made = convert(files / 'drive.avi', tmp_path / 'good', camera, VideoOptions(fps=10.0))
    assert made.written == COUNT


def test_calibration_of_another_size_is_refused_with_both(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = chessboards.video(tmp_path / 'small.avi', [picture(0)[:120, :160]] * 2)
    arguments = [small, '--out', tmp_path / 'bag', '--camera', files / 'camera.yaml']
    assert run(*arguments) == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert 'the calibration is of 320x240 pixels, the video of 160x120' in told
    assert not (tmp_path / 'bag').exists()


def test_photos_without_a_board_are_refused_by_name(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    for number in range(3):
        cv2.imwrite(str(folder / f'wall_{number}.png'), np.full((240, 320), 90, np.uint8))
    arguments = ['--chessboard', folder, '--pattern', '7x5']
    assert run(files / 'drive.avi', '--out', tmp_path / 'bag', *arguments) == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert '0 of 3 photos can be used' in told
    assert "'wall_2.png' does not show all 7x5 inner corners" in told


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--chessboard', 'PHOTOS'], '--chessboard needs --pattern'),
        (['--chessboard', 'PHOTOS', '--pattern', '9by6'], "--pattern = '9by6': must be of the"),
        (['--chessboard', 'PHOTOS', '--pattern', '2x6'], '--pattern = 2x6: must be 3x3 or more'),
        (['--camera', 'YAML', '--pattern', '7x5'], '--pattern has no effect with --camera'),
        (['--camera', 'YAML', '--save-camera', 'x'], '--save-camera has no effect with --camera'),
        (['--camera', 'YAML', '--rows', '100:400'], '--rows = 100:400: the video has rows 0:240'),
        (['--camera', 'YAML', '--rows', '80:80'], '--rows = 80:80'),
        (['--camera', 'YAML', '--rows', '80'], "--rows = '80': must be of the form 260:660"),
        (['--camera', 'YAML', '--rows', '0:8', '--binning', '16'], '--rows, --binning: '),
        (['--camera', 'YAML', '--binning', '0'], '--binning = 0: must be 1 to 16'),
        (['--camera', 'YAML', '--every', '0'], '--every = 0: must be 1 or more'),
        (['--camera', 'YAML', '--fps', 'nan'], '--fps = nan: must be above 0'),
        (['--camera', 'YAML', '--start-s', '-1'], '--start-s = -1.0: must be seconds'),
        (['--camera', 'YAML', '--jpeg-quality', '0'], '--jpeg-quality = 0: must be 1 to 100'),
    ],
)
def test_wrong_option_is_refused_with_its_value(
    tmp_path: Path,
    files: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    known = {'PHOTOS': files / 'photos', 'YAML': files / 'camera.yaml'}
    given = [known.get(argument, argument) for argument in arguments]
    assert run(files / 'drive.avi', '--out', tmp_path / 'bag', *given) == 1
    assert message in ' '.join(capsys.readouterr().err.split())
    assert not (tmp_path / 'bag').exists()


def test_loose_calibration_is_refused(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / 'photos'
    folder.mkdir()
    v, u = np.mgrid[:240, :320].astype(np.float32)
    # A board of rubber: each photo is bent in another way, as no lens does.
    for number, turn in enumerate(chessboards.TURNS * 9):
        wave = 4.5 * np.sin(u / 35 + number).astype(np.float32)
        bent = cv2.remap(
            chessboards.photo(turn), u, v + wave, cv2.INTER_LINEAR, borderValue=(220,)
        )
        cv2.imwrite(str(folder / f'{number}.png'), bent)
    arguments = ['--chessboard', folder, '--pattern', '7x5']
    assert run(files / 'drive.avi', '--out', tmp_path / 'bag', *arguments) == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert 'px: must be at most 2; take out the photos with the largest' in told
