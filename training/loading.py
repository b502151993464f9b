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
From datasets to batches, in the order of the sampler, read by worker processes.

A file that cannot be used comes through as its error, so that the program can name it in one
sentence instead of a worker's traceback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
import signal
from typing import Any

import cv2
from depth_ros.errors import DepthRosError
import torch
from torch.utils.data import DataLoader, Dataset
from training.dataset import DepthDataset
from training.samples import Batch, collate, Sample

Item = tuple[int, int]


class _Guarded(Dataset[Any]):
    """A dataset that gives an error back instead of raising it."""

    def __init__(self, dataset: DepthDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, item: Item) -> Sample | DepthRosError:
        try:
            return self._dataset[item]
        except DepthRosError as error:
            return error


def _collate(samples: Sequence[Sample | DepthRosError]) -> Batch | DepthRosError:
    good = [sample for sample in samples if isinstance(sample, Sample)]
    errors = [sample for sample in samples if isinstance(sample, DepthRosError)]
    return errors[0] if errors else collate(good)


def _begin_worker(worker: int) -> None:
    # The main process decides when to stop, and has to be able to end a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(0)


def batches(
    dataset: DepthDataset, items: Iterable[list[Item]], workers: int, device: torch.device
) -> Iterator[Batch]:
    """
    Yield a batch on the device for each list of (index, seed), which is read ahead.

    :raises DatasetError: a file of the dataset is missing or damaged.
    """
    loader = DataLoader(
        _Guarded(dataset),
        batch_sampler=items,
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_begin_worker,
        pin_memory=device.type == 'cuda',
    )
    for batch in loader:
        if isinstance(batch, DepthRosError):
            raise batch
        yield batch.to(device)
