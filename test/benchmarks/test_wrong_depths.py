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

"""What colours and features say of a depth that is wrong, on a scene that is known."""

from __future__ import annotations

from pathlib import Path
from test.training import drives, runs
from test.training.recipes.batches import plane_batch, SCENE
from test.training.recipes.test_features import NETWORK, Slopes, stored

from benchmarks.low_texture import LOW, TEXTURED
from benchmarks.wrong_depths import FACTORS, filled, main, sums_of, table, TRUTH
import numpy as np
import pytest
import torch


def test_nearest_hit_fills_what_lies_around_it() -> None:
    batch = plane_batch(1)
    batch.valid_B1HW[:] = False
    batch.valid_B1HW[0, 0, 3, 4] = batch.valid_B1HW[0, 0, 3, 10] = True
    depth = filled(batch)
    assert (depth[0, 0, :, :7] == SCENE.depth()[0, 0, 3, 4]).all()
    assert (depth[0, 0, :, 8:] == SCENE.depth()[0, 0, 3, 10]).all()


def test_truth_has_the_smallest_error_of_a_textured_plane() -> None:
    batch = plane_batch(1)
    batch.valid_B1HW[:] = True
    sums = sums_of(Slopes(), [batch, batch])
    assert [name for name, region in sums if region == TEXTURED] == [
        'colours',
        *(f'features at 1/{stride}' for stride in (2, 4, 8)),
    ]
    for name in ('colours', 'features at 1/2', 'features at 1/4'):
        values = sums[name, TEXTURED]
        # Both frames count, and where depth is wrong some pixels leave the picture.
        assert values[TRUTH, 1] > 0.5 * 2 * batch.image_B3HW[0, 0].numel()
        assert np.argmin(values[:, 0] / values[:, 1]) == TRUTH
    assert sums['colours', LOW][TRUTH, 1] + sums['colours', TEXTURED][TRUTH, 1] <= 2 * 64 * 96


def test_table_is_relative_to_the_truth_and_leaves_out_what_is_nowhere() -> None:
    values = np.ones((len(FACTORS), 2))
    values[:, 1] = 10
    values[TRUTH] = 1, 20
    empty = np.zeros((len(FACTORS), 2))
    even = np.zeros((len(FACTORS), 2))
    even[:, 1] = 10
    sums = {('colours', LOW): values, ('colours', TEXTURED): empty, ('even', LOW): even}
    rows = table(sums).splitlines()
    assert rows[2].strip('| ').split(' | ') == [
        'colours, low gradient',
        '0.05',
        *('1.00' if number == TRUTH else '2.00' for number in range(len(FACTORS))),
    ]
    assert len(rows) == 3


def test_program_says_it_of_a_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    network = {**NETWORK, 'widths': [4, 4, 4, 4, 4]}
    features = stored(
        tmp_path / 'features.ckpt', network=network, recipe={'name': 'feature_network'}
    )
    words = ['--data', runs.make_dataset(tmp_path / 'data'), '--frames', '2']
    assert main([*map(str, words), '--features', str(features), '--split', 'train']) == 0
    assert '| colours, low gradient |' in capsys.readouterr().out
    size = [*map(str, words), '--features', str(features), '--size', '96']
    assert main([*size, '64']) == 0
    assert main([*size, '65']) == 1
    assert '65' in capsys.readouterr().err
    none = tmp_path / 'none.ckpt'
    assert main([*map(str, words), '--features', str(none)]) == 1
    assert 'cannot be read' in capsys.readouterr().err


def test_dataset_without_poses_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = {**NETWORK, 'widths': [4, 4, 4, 4, 4]}
    features = stored(tmp_path / 'f.ckpt', network=network, recipe={'name': 'feature_network'})
    seen = [f(index) for index in range(4) for f in (drives.info, drives.cloud, drives.image)]
    bag = drives.write(tmp_path / 'unknown', [drives.static(), *seen])
    data = drives.made(tmp_path / 'data', bag)
    words = ['--data', str(data), '--features', str(features), '--split', 'train']
    assert main(words) == 1
    assert "no frame of split 'train' has LiDAR, both neighbours" in capsys.readouterr().err
