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

"""Batches from worker processes: in order, and with the error of a file instead of a traceback."""

from __future__ import annotations

from pathlib import Path
import shutil
from test.training import runs

import pytest
import torch
from training.augment import RandomCrop
from training.dataset import DepthDataset
from training.dataset_format import DatasetError
from training.loading import batches
from training.sampler import Sampler
from training.samples import Batch

CPU = torch.device('cpu')


def dataset(folder: Path) -> DepthDataset:
    crop = RandomCrop(width=runs.WIDTH, height=runs.HEIGHT, min_share=0.5)
    return DepthDataset(folder, 'train', labelled=True, neighbours=False, augment=crop)


def read(folder: Path, workers: int, first: int = 0) -> list[Batch]:
    sampler = Sampler(frames=runs.TRAIN_FRAMES, batch_size=2, seed=5)
    return [*batches(dataset(folder), sampler.epoch(0, first), workers, CPU)]


def assert_equal(one: list[Batch], other: list[Batch]) -> None:
    assert [batch.stamps_ns for batch in one] == [batch.stamps_ns for batch in other]
    assert [batch.seeds for batch in one] == [batch.seeds for batch in other]
    for a, b in zip(one, other, strict=True):
        assert torch.equal(a.image_B3HW, b.image_B3HW)
        assert torch.equal(a.depth_B1HW, b.depth_B1HW)


@pytest.mark.parametrize('workers', [1, 2])
def test_batches_are_the_same_whoever_reads_them(workers: int, tiny_dataset: Path) -> None:
    assert_equal(read(tiny_dataset, workers), read(tiny_dataset, 0))


def test_rest_of_an_epoch_is_what_the_whole_would_have_seen(tiny_dataset: Path) -> None:
    assert_equal(read(tiny_dataset, 0, first=2), read(tiny_dataset, 0)[2:])


@pytest.mark.parametrize('workers', [0, 2])
def test_missing_image_is_named_after_the_batches_before_it(
    workers: int, tiny_dataset: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(tiny_dataset, tmp_path / 'data'))
    order = [batch.stamps_ns for batch in read(data, 0)]
    gone = data / 'sequences' / 'town' / 'image' / f'{order[2][1]}.jpg'
    if not gone.exists():
        gone = gone.with_suffix('.png')
    gone.unlink()
    sampler = Sampler(frames=runs.TRAIN_FRAMES, batch_size=2, seed=5)
    found = batches(dataset(data), sampler.epoch(0), workers, CPU)
    assert [next(found).stamps_ns for _ in range(2)] == order[:2]
    with pytest.raises(DatasetError, match=rf"^image '{gone}' cannot be read: No such file"):
        next(found)
