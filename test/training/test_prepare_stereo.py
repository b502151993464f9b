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

"""From bags with a stereo pair to frames with a right image; pairs that are none are named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import math
from pathlib import Path
from test.training.drives import (
    BASE,
    BASE_T_CAMERA,
    BASE_T_LIDAR,
    CAMERA,
    cloud,
    dropped,
    files,
    image,
    info,
    intrinsics,
    LIDAR,
    made,
    MAKE,
    manifest,
    Message,
    PERIOD_NS,
    pixels,
    run,
    stamp,
    static,
    write,
)
from test.training.test_prepare_resume import stop_after, Stopped
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel
from depth_ros.core.geometry import Matrix, transform_from
from depth_ros.errors import BagError, ConfigError
import numpy as np
import pytest
import torch
from training.augment import Geometry, Resize
from training.dataset import collate, DepthDataset
from training.dataset_format import DatasetError, read_json
from training.prepare_options import PrepareOptions

RIGHT_IMAGE, RIGHT_INFO, RIGHT = '/right/image', '/right/camera_info', 'right_optical'
BASELINE_M = 0.54
COUNT = 4


def placed(x: float, y: float = 0.0, turn_deg: float = 0.0) -> Matrix:
    """Return left_T_right."""
    turn = math.radians(turn_deg)
    rows = [
        [math.cos(turn), 0.0, math.sin(turn)],
        [0.0, 1.0, 0.0],
        [-math.sin(turn), 0.0, math.cos(turn)],
    ]
    return transform_from(rows, (x, y, 0.0))


def projected(model: CameraModel, baseline_m: float) -> CameraModel:
    """Return the right camera as P states it."""
    p = list(model.p)
    p[3] = -p[0] * baseline_m
    return replace(model, p=tuple(p))


def right_image(index: int) -> np.ndarray:
    return np.ascontiguousarray(pixels(index)[:, ::-1])


def pair_bag(
    path: Path,
    *,
    left_T_right: Matrix | None = None,
    model: CameraModel | None = None,
    frame: str = RIGHT,
    late_ns: int = 0,
    numbers: Sequence[int] = range(COUNT),
    picture: Any = None,
) -> Path:
    """Write a drive; by default the right camera's place is in the static transforms."""
    edges = [(BASE, CAMERA, BASE_T_CAMERA), (BASE, LIDAR, BASE_T_LIDAR)]
    if left_T_right is not None:
        edges.append((CAMERA, RIGHT, left_T_right))
    messages: list[Message] = [static(edges)]
    camera = CameraModel.pinhole(intrinsics()) if model is None else model
    for index in range(COUNT):
        messages += [info(index), cloud(index), image(index)]
        if index in numbers:
            ns = stamp(index) + late_ns
            shown = right_image(index) if picture is None else picture
            messages.append((RIGHT_INFO, ns, MAKE.camera_info(ns, frame, camera)))
            messages.append((RIGHT_IMAGE, ns, MAKE.image(ns, frame, shown)))
    return write(path, messages)


def test_place_comes_from_the_transforms_and_the_image_is_kept(tmp_path: Path) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(BASELINE_M))
    dataset = made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE)
    for index, line in enumerate(manifest(dataset)):
        stored = cv2.imread(str(dataset / line['right']))
        np.testing.assert_array_equal(stored, right_image(index))
        np.testing.assert_array_equal(cv2.imread(str(dataset / line['image'])), pixels(index))
        wanted = np.eye(4)[:3]
        wanted[0, 3] = -BASELINE_M
        np.testing.assert_allclose(line['right_T_this'], wanted, atol=1e-12)
        assert line['right_missing'] is None
    (sequence,) = read_json(dataset / 'dataset.json')['sequences']
    assert sequence['totals']['with_right'] == COUNT
    assert sequence['topics']['right'] == RIGHT_IMAGE
    assert sequence['topics']['image'] == '/camera/image'


def test_projection_matrix_wins_and_needs_no_transform(tmp_path: Path) -> None:
    model = projected(CameraModel.pinhole(intrinsics()), BASELINE_M)
    # Both images of a rectified pair may carry the left one's frame.
    bag = pair_bag(tmp_path / 'pair', model=model, frame=CAMERA)
    line = manifest(made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE))[0]
    assert line['right_T_this'][0] == pytest.approx([1, 0, 0, -BASELINE_M])


def test_right_image_is_rectified_by_its_own_calibration(tmp_path: Path) -> None:
    i = intrinsics()
    plain = projected(CameraModel.pinhole(i), BASELINE_M)
    bent = replace(plain, d=(-0.2, 0.05, 0.0, 0.0, 0.0))
    bag = pair_bag(tmp_path / 'pair', model=bent)
    dataset = made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE)
    k_33 = i.K_33
    for index, line in enumerate(manifest(dataset)):
        wanted = cv2.undistort(right_image(index), k_33, np.array(bent.d))
        stored = cv2.imread(str(dataset / line['right']))
        assert np.abs(stored.astype(int) - wanted).mean() < 1.0


def test_frame_without_partner_is_kept_and_told(tmp_path: Path) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(BASELINE_M), numbers=(0, 2))
    dataset = made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE)
    assert [line['right'] is not None for line in manifest(dataset)] == [1, 0, 1, 0]
    told = [line for line in dropped(dataset) if line['what'] == 'right']
    assert [line['stamp_ns'] for line in told] == [stamp(1), stamp(3)]
    assert {line['reason'] for line in told} == {'no right image within 5 ms'}
    data = DepthDataset(dataset, 'train', neighbours=False, stereo=True)
    assert len(data) == 2
    assert len(DepthDataset(dataset, 'train', neighbours=False, stereo=None)) == COUNT


def test_dataset_gives_the_pair_and_mirrors_its_pose(tmp_path: Path) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(BASELINE_M))
    out = made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE)
    data = DepthDataset(out, 'train', neighbours=False, stereo=True)
    sample = data[1]
    assert sample.right is not None
    assert sample.right.gap_s == 0
    pixels_HW3 = sample.right.image_3HW.permute(1, 2, 0).numpy()[:, :, ::-1]
    np.testing.assert_array_equal(pixels_HW3, right_image(1))
    mirror = Geometry(x=0, y=0, width=64, height=48, out_width=64, out_height=48, flip=True)
    flipped = mirror.apply(sample).right
    assert flipped is not None
    torch.testing.assert_close(flipped.image_3HW, sample.right.image_3HW.flip(2))
    # In the mirrored world the right camera stands to the left.
    assert flipped.neighbour_T_this_44[0, 3].item() == pytest.approx(BASELINE_M)
    batch = collate([sample, replace(data[2], right=None)])
    assert batch.has_right_B.tolist() == [True, False]
    assert batch.right_B3HW.shape == (2, 3, 48, 64)
    assert batch.right_T_this_B44[0, 0, 3].item() == pytest.approx(-BASELINE_M)
    assert torch.equal(batch.right_T_this_B44[1], torch.eye(4))
    unread = DepthDataset(out, 'train', neighbours=False)[1]
    assert unread.right is None
    assert collate([unread]).right_B3HW is None
    small = Resize(width=32, height=24)(sample, torch.Generator()).right
    assert small is not None
    assert small.image_3HW.shape == (3, 24, 32)


def test_dataset_without_right_images_says_how_to_make_them(tmp_path: Path) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(BASELINE_M))
    out = made(tmp_path / 'out', bag, image_topic='/camera/image')
    for stereo in (True, None):
        with pytest.raises(
            DatasetError, match='no frame with a right image: make it with --right'
        ):
            DepthDataset(out, 'train', neighbours=False, stereo=stereo)


def other_intrinsics(**changes: float) -> CameraModel:
    return projected(CameraModel.pinhole(replace(intrinsics(), **changes)), BASELINE_M)


@pytest.mark.parametrize(
    ('bag', 'message'),
    [
        ({}, 'neither P of camera_info nor a transform: .*right_optical'),
        ({'frame': CAMERA}, r'the baseline is 0\.000 m: P of camera_info has no Tx'),
        ({'left_T_right': placed(0.0)}, r'the baseline is 0\.000 m'),
        ({'left_T_right': placed(0.5, turn_deg=1.0)}, r'turned by 1\.00 degrees .* not rectified'),
        ({'left_T_right': placed(0.5, y=0.1)}, r'stands 0\.100 m off the line .* not rectified'),
        ({'model': other_intrinsics(fx=52.0)}, r'have fx = 52\.00 px and the left ones 50\.00'),
        ({'model': other_intrinsics(cx=30.0)}, r'have cx = 30\.00 px .* not rectified to one'),
        (
            {
                'model': other_intrinsics(width=32, height=24),
                'picture': np.zeros((24, 32, 3), np.uint8),
            },
            'are 32x24 and the left ones 64x48: a rectified pair has one size',
        ),
        (
            {'left_T_right': placed(0.5), 'late_ns': PERIOD_NS // 2},
            'none is within 5 ms of a left one: the cameras of a pair have to be synchronised',
        ),
    ],
)
def test_pair_that_is_none_is_named(tmp_path: Path, bag: dict[str, Any], message: str) -> None:
    path = pair_bag(tmp_path / 'pair', **bag)
    with pytest.raises(BagError, match=message):
        made(tmp_path / 'out', path, right_topic=RIGHT_IMAGE)


def test_stopped_and_resumed_equals_one_run_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(0.5))
    whole = files(made(tmp_path / 'one' / 'out', bag, right_topic=RIGHT_IMAGE))
    out = tmp_path / 'two' / 'out'
    with monkeypatch.context() as patch:
        # Calibration, then depth, right image and image of each frame.
        stop_after(patch, 5)
        with pytest.raises(Stopped):
            made(out, bag, right_topic=RIGHT_IMAGE)
    made(out, bag, right_topic=RIGHT_IMAGE)
    assert files(out) == whole


def test_wider_limit_takes_later_images(tmp_path: Path) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(0.5), late_ns=20_000_000)
    dataset = made(tmp_path / 'out', bag, right_topic=RIGHT_IMAGE, max_stereo_ms=20.0)
    assert all(line['right'] for line in manifest(dataset))


def test_command_line_names_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = pair_bag(tmp_path / 'pair', left_T_right=placed(0.5))
    arguments = (bag, '--out', tmp_path / 'out')
    assert run(*arguments, '--right-topic', RIGHT_IMAGE) == 0
    assert f'{COUNT} with right image' in capsys.readouterr().out
    assert run(bag, '--out', tmp_path / 'other', '--right-topic', '/none') == 1
    assert "--right-topic '/none': no bag has such a topic" in capsys.readouterr().err
    assert run(*arguments, '--max-stereo-ms', '3') == 1
    assert '--max-stereo-ms has no effect without --right-topic' in capsys.readouterr().err
    info = ('--right-camera-info-topic', '/camera/camera_info')
    assert run(bag, '--out', tmp_path / 'third', '--right-topic', RIGHT_IMAGE, *info) == 1
    assert "camera_info '/camera/camera_info' is that of both" in capsys.readouterr().err
    same = ('--right-topic', '/camera/image', '--image-topic', '/camera/image')
    assert run(bag, '--out', tmp_path / 'fourth', *same) == 1
    assert "--right-topic '/camera/image' is the left image too" in capsys.readouterr().err


def test_bad_option_is_named() -> None:
    with pytest.raises(ConfigError, match=r'--max-stereo-ms = -1\.0: must be 0 to 1000 ms'):
        PrepareOptions(right_topic=RIGHT_IMAGE, max_stereo_ms=-1.0)
    with pytest.raises(ConfigError, match='--right-camera-info-topic has no effect without'):
        PrepareOptions(right_camera_info_topic=RIGHT_INFO)
