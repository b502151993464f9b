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

from collections.abc import Callable, Mapping, Sequence
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
from training.label_share import LabelShare
from training.label_store import LabelStore
from training.samples import Batch, collate, Neighbour, Sample

__all__ = ['Batch', 'DepthDataset', 'Neighbour', 'Sample', 'check_split', 'collate', 'read_facts']

NS_PER_S = 1e9
PREVIOUS, NEXT = 'previous', 'next'
NEIGHBOURS = (PREVIOUS, NEXT)
# Those of a frame by their names.
BOTH = (-1, 1)
ALL_LABELS = LabelShare()


# Changes a sample at random; all chance comes from the generator.
Augmentation = Callable[[Sample, torch.Generator], Sample]


class DepthDataset(Dataset[Sample]):
    """
    The frames of one split of a dataset folder.

    An item is asked for by its number, or by (number, seed): then ``augment`` draws from that
    seed, so that a resumed run sees what an uninterrupted one would have seen, whichever worker
    reads the item.

    :param labelled: True or False: only frames with, or without, LiDAR depth. None: all.
    :param neighbours: True: only frames that have all neighbours, read with them. False: none
        are read. None: all frames, with the neighbours that they have.
    :param offsets: which frames are neighbours, in this order: -1 the one before, -2 the one
        before that. One that cannot be reached frame by frame, each within the longest gap
        that ``prepare`` allowed and of the same calibration, is no neighbour.
    :param window: refuse a dataset in which no frame has all of them.
    :param stereo: True: only frames that have a right image, read with it. False: none are read.
        None: all frames, with the right images that there are.
    :param neighbour_depths: read the LiDAR depth of the neighbours too.
    :param label_share: which frames keep their LiDAR depth; the others have none.
    :param labels: folder of ``training.pseudo_label`` of this dataset, read with the frames.
    :raises DatasetError: no dataset, an unfinished one, another schema version, or no such frame.
    :raises ValueError: ``offsets`` are empty, hold 0, or one twice.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        *,
        labelled: bool | None = None,
        neighbours: bool | None = None,
        offsets: Sequence[int] = BOTH,
        window: bool = False,
        stereo: bool | None = False,
        neighbour_depths: bool = False,
        label_share: LabelShare = ALL_LABELS,
        labels: str | Path | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        self.folder, self.split = Path(folder), check_split(split)
        self.facts = read_facts(self.folder)
        self.offsets = _checked(offsets)
        self._augment, self._reads_neighbours = augment, neighbours is not False
        self._reads_depths, self._stereo = neighbour_depths, stereo
        self._seen: dict[str, NDArray[np.bool_] | None] = {}
        self.labels = None if labels is None else LabelStore(labels)
        if self.labels is not None:
            self.labels.check_dataset(self.folder, self.split)
        self._places, is_wanted, has_all = self._index(labelled, label_share)
        if stereo is not False:
            is_wanted = self._with_right(is_wanted)
        (self._numbers,) = np.nonzero(is_wanted & has_all if neighbours else is_wanted)
        if not len(self._numbers) or (window and not has_all[self._numbers].any()):
            raise DatasetError(self._nothing(labelled, neighbours or window))

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: int | tuple[int, int]) -> Sample:
        index, seed = key if isinstance(key, tuple) else (key, 0)
        number = int(self._numbers[index])
        sample = replace(self._sample(self._line(number), number), seed=seed)
        if self._augment is None:
            return sample
        return self._augment(sample, torch.Generator().manual_seed(seed))

    @property
    def is_labelled_N(self) -> NDArray[np.bool_]:
        """Return which items have LiDAR depth."""
        return self._has_depth[self._numbers]

    def line(self, index: int) -> dict[str, Any]:
        """Return the manifest's line of an item: paths, counts, poses."""
        return self._line(int(self._numbers[index]))

    def _line(self, number: int) -> dict[str, Any]:
        line = read_line_at(self.folder / MANIFEST_FILE, int(self._places[number]))
        return line if self._has_depth[number] else {**line, 'depth': None}

    def _index(
        self, labelled: bool | None, label_share: LabelShare
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.bool_]]:
        """
        Return where each line begins, whether it is wanted, and whether it has all neighbours.

        Not the lines: long manifests need not fit into memory.
        """
        path, has_right = self.folder / MANIFEST_FILE, []
        places, in_split, has, has_depth = [], [], [], []
        for place, line in lines_with_offsets(path):
            places.append(place)
            # Datasets from before there was stereo have no such key.
            has_right.append(line.get('right') is not None)
            has_depth.append(line['depth'] is not None)
            in_split.append(line['split'] == self.split)
            has.append([line['neighbours'][name] is not None for name in NEIGHBOURS])
        expected = sum(sequence['totals']['frames'] for sequence in self.facts['sequences'])
        if len(places) != expected:
            raise DatasetError(
                f"'{path}' has {len(places)} frames, '{DATASET_FILE}' says {expected}: the folder "
                'is a partial copy; copy it again'
            )
        self._has_depth, wanted = np.array(has_depth, np.bool_), np.array(in_split, np.bool_)
        (labels,) = np.nonzero(self._has_depth & wanted)
        self._has_depth[labels] = label_share.kept(len(labels))
        if labelled is not None:
            wanted &= self._has_depth == labelled
        self._has_right = np.array(has_right, np.bool_)
        has_all = _has_all(np.array(has, np.bool_).reshape(-1, len(NEIGHBOURS)), self.offsets)
        return np.array(places, np.int64), wanted, has_all

    def _with_right(self, is_wanted: NDArray[np.bool_]) -> NDArray[np.bool_]:
        has_right: NDArray[np.bool_] = is_wanted & self._has_right
        if not has_right.any():
            raise DatasetError(
                f"dataset '{self.folder}', split '{self.split}' has no frame with a right image: "
                'make it with --right-topic of training.prepare, of a bag with a stereo pair'
            )
        return has_right if self._stereo else is_wanted

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
        rest = f' with {_told(self.offsets)}' if neighbours else ''
        return f"dataset '{self.folder}', split '{self.split}' ({names}) has no {wish}frame{rest}"

    def _sample(self, line: Mapping[str, Any], number: int) -> Sample:
        i = line['intrinsics']
        shape = (int(i['height']), int(i['width']))
        depth_HW = self._depth(line, shape)
        seen_HW = self._seen_of(line['calibration'], shape)
        # Datasets from before there were masks have no such key.
        objects = line.get('objects')
        objects_HW = np.zeros(shape, np.bool_)
        if objects is not None:
            objects_HW = read_mask(self.folder / objects)
            _check_size(self.folder / objects, objects_HW.shape, shape)
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
            neighbours=tuple(
                self._neighbour(line, number, offset, shape) for offset in self.offsets
            ),
            pseudo_1HW=self._pseudo(line, shape),
            right=self._right(line, shape),
        )

    def _right(self, line: Mapping[str, Any], shape: tuple[int, int]) -> Neighbour | None:
        if self._stereo is False or line.get('right') is None:
            return None
        return Neighbour(
            image_3HW=_read_image(self.folder / line['right'], shape),
            gap_s=0.0,
            neighbour_T_this_44=_matrix(line['right_T_this']),
        )

    def _pseudo(self, line: Mapping[str, Any], shape: tuple[int, int]) -> Tensor | None:
        if self.labels is None:
            return None
        inv_depth_HW = self.labels.read(line, shape)
        if inv_depth_HW is None:
            # A batch of such frames alone is one of unknown labels, not one that nobody asked.
            return torch.full((1, *shape), torch.nan)
        return torch.from_numpy(inv_depth_HW)[None]

    def _depth(self, line: Mapping[str, Any], shape: tuple[int, int]) -> NDArray[np.float32]:
        if line['depth'] is None:
            return np.zeros(shape, np.float32)
        depth_HW = read_depth(self.folder / line['depth'])
        _check_size(self.folder / line['depth'], depth_HW.shape, shape)
        return depth_HW

    def _seen_of(self, calibration: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        if calibration not in self._seen:
            name = read_json(self.folder / calibration)['seen']
            self._seen[calibration] = None if name is None else read_mask(self.folder / name)
        mask_HW = self._seen[calibration]
        return np.ones(shape, np.bool_) if mask_HW is None else mask_HW.copy()

    def _neighbour(
        self, line: Mapping[str, Any], number: int, offset: int, shape: tuple[int, int]
    ) -> Neighbour | None:
        """Go from frame to frame, for only what lies between two is written down."""
        if not self._reads_neighbours:
            return None
        name, step = (PREVIOUS, -1) if offset < 0 else (NEXT, 1)
        at, pose = line, torch.eye(4, dtype=torch.float64)
        for distance in range(1, abs(offset) + 1):
            found = at['neighbours'][name]
            if found is None:
                return None
            pose = _pose(found) @ pose
            if distance < abs(offset) or self._reads_depths:
                at = self._linked(number + step * distance, found, line)
        depths: dict[str, Any] = {}
        if self._reads_depths:
            depth_HW = self._depth(at, shape)
            depths = {
                'depth_1HW': torch.from_numpy(depth_HW)[None],
                'valid_1HW': torch.from_numpy(depth_HW > 0)[None],
            }
        return Neighbour(
            image_3HW=_read_image(self.folder / found['image'], shape),
            gap_s=(found['stamp_ns'] - line['stamp_ns']) / NS_PER_S,
            neighbour_T_this_44=pose if torch.isfinite(pose).all() else None,
            **depths,
        )

    def _linked(
        self, number: int, found: Mapping[str, Any], origin: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the line of a neighbour: the manifest has the frames of a drive in order."""
        line = self._line(number) if 0 <= number < len(self._places) else None
        key = (found['stamp_ns'], origin['sequence'])
        if line is None or (line['stamp_ns'], line['sequence']) != key:
            raise DatasetError(
                f"'{self.folder / MANIFEST_FILE}' has no frame {key[0]} of '{key[1]}' beside the "
                'one that names it as neighbour: make the dataset again with training.prepare'
            )
        return line


def _checked(offsets: Sequence[int]) -> tuple[int, ...]:
    if not offsets or 0 in offsets or len(set(offsets)) != len(offsets):
        raise ValueError(f'offsets = {tuple(offsets)}: must be some, without 0, each once')
    return tuple(offsets)


def _told(offsets: tuple[int, ...]) -> str:
    if offsets == BOTH:
        return 'both neighbours'
    listed = ', '.join(f'{offset:+d}' for offset in offsets)
    return f'all of the neighbours {listed}: its clips are shorter, or have gaps'


def _has_all(has_N2: NDArray[np.bool_], offsets: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell for each line whether all offsets can be reached; columns: has previous, has next."""
    result = np.ones(len(has_N2), np.bool_)
    for offset in offsets:
        links = has_N2[:, 0] if offset < 0 else has_N2[:, 1]
        for distance in range(abs(offset)):
            # The links of a frame that is so far away.
            moved = np.roll(links, -distance if offset > 0 else distance)
            # A drive ends without a link: what was rolled around the end is behind one.
            result &= moved
    return result


def _pose(found: Mapping[str, Any]) -> Tensor:
    """Return neighbour_T_this; NaN without odometry, and so is what it is chained with."""
    if found['neighbour_T_this'] is None:
        return torch.full((4, 4), torch.nan, dtype=torch.float64)
    return _matrix(found['neighbour_T_this'])


def _matrix(rows_34: Sequence[Sequence[float]]) -> Tensor:
    return torch.tensor([*rows_34, [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)


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
