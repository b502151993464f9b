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

"""Read what ``training.prepare`` made: manifest -> Sample; ``samples`` makes a Batch of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.utils.data import Dataset
from training.dataset_format import (
    DATASET_FILE,
    DatasetError,
    is_whole_image,
    lines_with_offsets,
    MANIFEST_FILE,
    read_depth,
    read_json,
    read_line_at,
    read_mask,
    SCHEMA_VERSION,
    SPLITS,
)
from training.samples import Batch, collate, Neighbour, Sample

__all__ = ['Batch', 'DepthDataset', 'Neighbour', 'Sample', 'check_split', 'collate', 'read_facts']

NS_PER_S = 1e9
NEIGHBOURS = ('previous', 'next')


# Changes a sample at random; all chance comes from the generator.
Augmentation = Callable[[Sample, torch.Generator], Sample]


class DepthDataset(Dataset[Sample]):
    """
    The frames of one split of a dataset folder.

    An item is asked for by its number, or by (number, seed): then ``augment`` draws from that
    seed, so that a resumed run sees what an uninterrupted one would have seen, whichever worker
    reads the item.

    :param labelled: True or False: only frames with, or without, LiDAR depth. None: all.
    :param neighbours: True: only frames that have both neighbours, read with them. False: none
        are read. None: all frames, with the neighbours that they have.
    :raises DatasetError: no dataset, an unfinished one, another schema version, or no such frame.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        *,
        labelled: bool | None = None,
        neighbours: bool | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        self.folder, self.split = Path(folder), check_split(split)
        self.facts = read_facts(self.folder)
        self._augment, self._reads_neighbours = augment, neighbours is not False
        self._seen: dict[str, NDArray[np.bool_] | None] = {}
        self._offsets = self._index(labelled, neighbours)
        if not len(self._offsets):
            raise DatasetError(self._nothing(labelled, neighbours))

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        sample = replace(self._sample(self.line(index)), seed=seed)
        if self._augment is None:
            return sample
        return self._augment(sample, torch.Generator().manual_seed(seed))

    def line(self, index: int) -> dict[str, Any]:
        """Return the manifest's line of an item: paths, counts, poses."""
        return read_line_at(self.folder / MANIFEST_FILE, int(self._offsets[index]))

    def _index(self, labelled: bool | None, neighbours: bool | None) -> NDArray[np.int64]:
        """Return where the wanted lines begin: long manifests need not fit into memory."""
        path, offsets, count = self.folder / MANIFEST_FILE, [], 0
        for offset, line in lines_with_offsets(path):
            count += 1
            if self._is_wanted(line, labelled, neighbours):
                offsets.append(offset)
        expected = sum(sequence['totals']['frames'] for sequence in self.facts['sequences'])
        if count != expected:
            raise DatasetError(
                f"'{path}' has {count} frames, '{DATASET_FILE}' says {expected}: the folder is "
                'a partial copy; copy it again'
            )
        return np.array(offsets, np.int64)

    def _is_wanted(
        self, line: Mapping[str, Any], labelled: bool | None, neighbours: bool | None
    ) -> bool:
        if line['split'] != self.split:
            return False
        has_both = all(line['neighbours'][name] is not None for name in NEIGHBOURS)
        is_labelled = line['depth'] is not None
        return (labelled is None or labelled == is_labelled) and (has_both or not neighbours)

    def _nothing(self, labelled: bool | None, neighbours: bool | None) -> str:
        """Say why no frame is left."""
        sequences = [s for s in self.facts['sequences'] if s['split'] == self.split]
        names = ', '.join(s['name'] for s in sequences)
        if not sequences:
            known = ', '.join(f'{s["name"]} ({s["split"]})' for s in self.facts['sequences'])
            return (
                f"dataset '{self.folder}' has no sequence in split '{self.split}' ({known}): "
                f'choose some with --{self.split} of training.prepare'
            )
        if labelled and not sum(s['totals']['labelled'] for s in sequences):
            found = [(n, why) for s in sequences for why, n in s['totals']['unlabelled'].items()]
            told = f' ({" x ".join(map(str, max(found)))})' if found else ''
            return (
                f"dataset '{self.folder}', split '{self.split}' ({names}) has no LiDAR depth"
                f'{told}: supervised training needs bags with LiDAR; self-supervised works without'
            )
        wish = {True: 'labelled ', False: 'unlabelled ', None: ''}[labelled]
        rest = ' with both neighbours' if neighbours else ''
        return f"dataset '{self.folder}', split '{self.split}' ({names}) has no {wish}frame{rest}"

    def _sample(self, line: Mapping[str, Any]) -> Sample:
        i = line['intrinsics']
        shape = (int(i['height']), int(i['width']))
        depth_HW = np.zeros(shape, np.float32)
        if line['depth'] is not None:
            depth_HW = read_depth(self.folder / line['depth'])
            _check_size(self.folder / line['depth'], depth_HW.shape, shape)
        seen_HW = self._seen_of(line['calibration'], shape)
        # Datasets from before there were masks have no such key.
        objects = line.get('objects')
        objects_HW = np.zeros(shape, np.bool_)
        if objects is not None:
            objects_HW = read_mask(self.folder / objects)
            _check_size(self.folder / objects, objects_HW.shape, shape)
        previous, following = (self._neighbour(line, name, shape) for name in NEIGHBOURS)
        k_33 = [[i['fx'], 0.0, i['cx']], [0.0, i['fy'], i['cy']], [0.0, 0.0, 1.0]]
        return Sample(
            sequence=line['sequence'],
            stamp_ns=line['stamp_ns'],
            image_3HW=_read_image(self.folder / line['image'], shape),
            depth_1HW=torch.from_numpy(depth_HW)[None],
            valid_1HW=torch.from_numpy(depth_HW > 0)[None],
            seen_1HW=torch.from_numpy(seen_HW)[None],
            objects_1HW=torch.from_numpy(objects_HW)[None],
            has_objects=objects is not None,
            K_33=torch.tensor(k_33, dtype=torch.float64),
            is_labelled=line['depth'] is not None,
            speed_mps=math.nan if line['speed_mps'] is None else line['speed_mps'],
            neighbours=(previous, following),
        )

    def _seen_of(self, calibration: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        if calibration not in self._seen:
            name = read_json(self.folder / calibration)['seen']
            self._seen[calibration] = None if name is None else read_mask(self.folder / name)
        mask_HW = self._seen[calibration]
        return np.ones(shape, np.bool_) if mask_HW is None else mask_HW.copy()

    def _neighbour(
        self, line: Mapping[str, Any], name: str, shape: tuple[int, int]
    ) -> Neighbour | None:
        found = line['neighbours'][name]
        if found is None or not self._reads_neighbours:
            return None
        pose = None
        if found['neighbour_T_this'] is not None:
            rows = [*found['neighbour_T_this'], [0.0, 0.0, 0.0, 1.0]]
            pose = torch.tensor(rows, dtype=torch.float64)
        return Neighbour(
            image_3HW=_read_image(self.folder / found['image'], shape),
            gap_s=(found['stamp_ns'] - line['stamp_ns']) / NS_PER_S,
            neighbour_T_this_44=pose,
        )


def read_facts(folder: Path) -> dict[str, Any]:
    """
    Return dataset.json of a finished dataset.

    :raises DatasetError: it is missing, unfinished, or of another schema version.
    """
    path = folder / DATASET_FILE
    if not path.is_file():
        raise DatasetError(f"'{folder}' is no dataset: it has no {DATASET_FILE}")
    facts = read_json(path)
    if facts.get('schema_version') != SCHEMA_VERSION:
        raise DatasetError(
            f"'{path}' has schema_version {facts.get('schema_version')!r}: this program reads "
            f'{SCHEMA_VERSION}; make the dataset again with training.prepare'
        )
    if facts.get('complete') is not True:
        raise DatasetError(
            f"dataset '{folder}' is half written: run the same training.prepare command again, "
            'it goes on where it was stopped'
        )
    return facts


def check_split(split: str) -> str:
    """Return the name of a split; DatasetError for an unknown one."""
    if split not in SPLITS:
        raise DatasetError(f"split '{split}': must be one of {', '.join(SPLITS)}")
    return split


def _read_image(path: Path, shape: tuple[int, int]) -> Tensor:
    """Return rgb (3, H, W) uint8, the memory of an (H, W, 3) array."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"image '{path}' cannot be read: {error.strerror}") from error
    image: Any = None
    if data and is_whole_image(data):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DatasetError(f"image '{path}' of {len(data)} bytes is damaged")
    _check_size(path, image.shape[:2], shape)
    return torch.from_numpy(cv2.cvtColor(image, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)


def _check_size(path: Path, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if tuple(found) != expected:
        raise DatasetError(
            f"'{path}' is {found[1]}x{found[0]}: the manifest says {expected[1]}x{expected[0]}"
        )
