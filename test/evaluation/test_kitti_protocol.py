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

"""The protocol of the KITTI tables, against its recipe in plain Python."""

from __future__ import annotations

import json
import math
from pathlib import Path
from test.bags import kitti_folders
from test.evaluation.scenes import write_model

import cv2
from depth_ros.cli.evaluate_kitti import main
from depth_ros.errors import ConfigError
from depth_ros.evaluation.kitti_protocol import KittiFrame, read_list
import numpy as np
import pytest

DRIVE = '2011_09_26/2011_09_26_drive_0001_sync'
COUNT = 3
# The model sees 100 m times the brightness.
GRAY, PREDICTED_M = 51, 20.0


def cloud(index: int) -> np.ndarray:
    """Return points ahead of the scanner, some behind it, some beyond 80 m, some twice a pixel."""
    rng = np.random.default_rng(index)
    count = 900
    forward = rng.uniform(2.0, 95.0, count)
    forward[:40] *= -1
    left = rng.uniform(-1.1, 1.1, count) * np.abs(forward)
    up = rng.uniform(-0.6, 0.6, count) * np.abs(forward)
    return np.stack([forward, left, up, np.zeros(count)], axis=1).astype(np.float32)


@pytest.fixture(scope='module')
def kitti(tmp_path_factory):
    root = tmp_path_factory.mktemp('kitti')
    drive = kitti_folders.raw_drive(root / 'raw', COUNT)
    for index in range(COUNT):
        gray = np.full((kitti_folders.HEIGHT, kitti_folders.WIDTH, 3), GRAY, np.uint8)
        cv2.imwrite(str(drive / f'image_02/data/{index:010}.png'), gray)
        cloud(index).tofile(drive / f'velodyne_points/data/{index:010}.bin')
        folder = root / 'annotated/val' / drive.name / 'proj_depth/groundtruth/image_02'
        folder.mkdir(parents=True, exist_ok=True)
        values = np.zeros((kitti_folders.HEIGHT, kitti_folders.WIDTH), np.uint16)
        values[::2, ::2] = np.rint(256 * (10.0 + index))
        values[1, 1] = 256 * 90
        cv2.imwrite(str(folder / f'{index:010}.png'), values)
    return root, str(write_model(root / 'brightness.onnx'))


def write_list(path: Path, indices=range(COUNT), form='{drive} {index:010} l') -> str:
    path.write_text(''.join(form.format(drive=DRIVE, index=i) + '\n' for i in indices))
    return str(path)


def run(kitti, folder, *arguments):
    root, model = kitti
    options = ['--model', model, '--engine', 'onnxruntime', '--pictures', '0']
    status = main([str(root / 'raw'), *options, '--output', str(folder), *arguments])
    return status, json.loads((folder / 'metrics.json').read_text())


def published_truth(points: np.ndarray) -> dict[tuple[int, int], float]:
    """Return the truth as the recipe of the tables reads, point by point."""
    truth: dict[tuple[int, int], float] = {}
    for forward, left, up in points[:, :3].astype(float):
        if forward < 0:
            continue
        z = forward + kitti_folders.OFFSET[2]
        u = kitti_folders.FOCAL * (-left + kitti_folders.OFFSET[0]) / z + kitti_folders.CENTER_X
        v = kitti_folders.FOCAL * (-up + kitti_folders.OFFSET[1]) / z + kitti_folders.CENTER_Y
        column, row = round(u) - 1, round(v) - 1
        if 0 <= column < kitti_folders.WIDTH and 0 <= row < kitti_folders.HEIGHT:
            truth[row, column] = min(forward, truth.get((row, column), math.inf))
    return truth


def loop_means(truths, crop):
    """Return the mean over images of AbsRel, RMSE and a1 for the constant prediction."""
    height, width = kitti_folders.HEIGHT, kitti_folders.WIDTH
    top, bottom, left, right = crop
    rows = range(int(top * height), int(bottom * height))
    columns = range(int(left * width), int(right * width))
    scores = []
    for truth in truths:
        kept = [d for (r, c), d in truth.items() if r in rows and c in columns and 1e-3 < d < 80.0]
        abs_rel = sum(abs(PREDICTED_M - d) / d for d in kept) / len(kept)
        rmse = math.sqrt(sum((PREDICTED_M - d) ** 2 for d in kept) / len(kept))
        a1 = sum(max(PREDICTED_M / d, d / PREDICTED_M) < 1.25 for d in kept) / len(kept)
        scores.append((abs_rel, rmse, a1))
    return [sum(column) / len(scores) for column in zip(*scores, strict=True)]


def headline(result):
    return [result['depth'][key] for key in ('abs_rel', 'rmse', 'a1')]


def test_raw_truth_scores_as_the_published_recipe_in_plain_python(kitti, tmp_path, capsys):
    status, result = run(kitti, tmp_path / 'out', '--list', write_list(tmp_path / 'eigen.txt'))
    assert status == 0
    truths = [published_truth(cloud(index)) for index in range(COUNT)]
    expected = loop_means(truths, (0.40810811, 0.99189189, 0.03594771, 0.96405229))
    assert headline(result) == pytest.approx(expected, rel=1e-5)
    assert result['protocol']['crop'] == 'garg'
    assert result['protocol']['lidar_depth'] == 'kitti_export'
    assert result['protocol']['list'] == 'eigen.txt: 3 frames'
    assert f'| {expected[0]:.3f} |' in capsys.readouterr().out


def test_improved_truth_is_the_annotation_without_crop(kitti, tmp_path):
    root, _ = kitti
    status, result = run(
        kitti,
        tmp_path / 'out',
        '--list',
        write_list(tmp_path / 'list.txt'),
        '--annotated',
        str(root / 'annotated'),
    )
    assert status == 0
    pixels = [(row, column) for row in range(0, 20, 2) for column in range(0, 40, 2)]
    truths = [dict.fromkeys(pixels, 10.0 + index) for index in range(COUNT)]
    assert headline(result) == pytest.approx(loop_means(truths, (0, 1, 0, 1)), rel=1e-5)
    assert result['truth']['pixels'] == 3 * 200
    assert result['protocol']['truth'].startswith('KITTI depth annotations')


def test_median_alignment_of_a_constant_is_the_median_of_each_image(kitti, tmp_path):
    listed = write_list(tmp_path / 'list.txt', [0])
    arguments = ['--list', listed, '--alignment', 'median', '--crop', 'none']
    _, result = run(kitti, tmp_path / 'out', *arguments)
    depths = [d for d in published_truth(cloud(0)).values() if d < 80.0]
    median = float(np.median(depths))
    expected = sum(abs(median - d) / d for d in depths) / len(depths)
    assert result['depth']['abs_rel'] == pytest.approx(expected, rel=1e-5)


def test_frames_that_are_not_on_disk_make_the_row_incomparable(kitti, tmp_path, capsys):
    listed = write_list(tmp_path / 'list.txt', [0, 1, 77])
    status, result = run(kitti, tmp_path / 'out', '--list', listed)
    assert status == 1
    assert result['frames'] == {'processed': 3, 'scored': 2, 'skipped': {'not on disk': 1}}
    assert '1 frames of the list are not on disk' in ' '.join(capsys.readouterr().err.split())
    assert 'has no image 0000000077' in (tmp_path / 'out/per_frame.csv').read_text()
    assert run(kitti, tmp_path / 'out', '--list', listed, '--allow-missing')[0] == 0


def test_list_without_any_frame_on_disk_is_an_error(kitti, tmp_path, capsys):
    root, model = kitti
    listed = write_list(tmp_path / 'list.txt', [5, 6])
    arguments = [str(root / 'raw'), '--model', model, '--list', listed]
    assert main([*arguments, '--output', str(tmp_path / 'out')]) == 1
    assert 'no frame of' in ' '.join(capsys.readouterr().err.split())


def test_read_list_knows_both_forms(tmp_path):
    left = KittiFrame(drive=DRIVE, index=69, camera=2)
    path = tmp_path / 'list.txt'
    path.write_text(
        f'{DRIVE} 0000000069 l\n'
        f'{DRIVE} 69 r\n'
        f'{DRIVE}/image_02/data/0000000069.png {DRIVE}/image_03/data/0000000069.png\n'
        f'{DRIVE}/image_03/data/0000000069.jpg\n'
    )
    right = KittiFrame(drive=DRIVE, index=69, camera=3)
    assert read_list(path) == [left, right, left, right]


@pytest.mark.parametrize('text', ['', 'drive 12 l\n', f'{DRIVE} 12 x\n'])
def test_read_list_of_another_form_is_refused(text, tmp_path):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(ConfigError, match=r'list\.txt'):
        read_list(tmp_path / 'list.txt')


def test_read_list_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='cannot be read'):
        read_list(tmp_path / 'no.txt')
