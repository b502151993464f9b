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
Read what ``training.prepare`` made: manifest -> Sample -> Batch.

Shape letters: B batch, N neighbours, H W image, 3 colours (rgb) or matrix size. Masks are
explicit: a depth whose ``valid`` is False means nothing and must not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
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
    SCHEMA_VERSION,
    SPLITS,
)

NS_PER_S = 1e9
NEIGHBOURS = ('previous', 'next')


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbour:
    """
    The frame just before or after, of the same camera.

    Fields:
        image_3HW: uint8 rgb.
        gap_s: its stamp minus that of the sample [s].
        neighbour_T_this_44: float64, maps points of the sample's camera to the neighbour's [m];
            None without odometry.

    """

    image_3HW: Tensor
    gap_s: float
    neighbour_T_this_44: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """
    One frame.

    Fields:
        image_3HW: uint8 rgb.
        depth_1HW: float32, z along the optical axis [m]; read it only where valid.
        valid_1HW: bool, True where LiDAR measured.
        seen_1HW: bool, False where rectification has left the image empty.
        K_33: float64 [px], of exactly this image size; integer pixel = pixel centre.
        is_labelled: the frame has LiDAR depth.
        speed_mps: of the vehicle, NaN where not known.
        neighbours: previous and next, None where there is none.
        seed: from which everything random about this item is drawn.

    """

    sequence: str
    stamp_ns: int
    image_3HW: Tensor
    depth_1HW: Tensor
    valid_1HW: Tensor
    seen_1HW: Tensor
    K_33: Tensor
    is_labelled: bool
    speed_mps: float
    neighbours: tuple[Neighbour | None, Neighbour | None]
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """
    Samples of one size, stacked; images are float32 rgb in [0, 1].

    Fields:
        neighbour_BN3HW: previous and next; black where ``has_neighbour_BN`` is False.
        neighbour_T_this_BN44: float32 [m]; identity where ``has_pose_BN`` is False.
        gap_s_BN: stamp of the neighbour minus that of the frame [s]; 0 without one.
        speed_mps_B: NaN where not known.
        seeds: of each frame, for what is drawn after loading.

    """

    sequences: tuple[str, ...]
    stamps_ns: tuple[int, ...]
    seeds: tuple[int, ...]
    image_B3HW: Tensor
    depth_B1HW: Tensor
    valid_B1HW: Tensor
    seen_B1HW: Tensor
    K_B33: Tensor
    is_labelled_B: Tensor
    speed_mps_B: Tensor
    neighbour_BN3HW: Tensor
    has_neighbour_BN: Tensor
    neighbour_T_this_BN44: Tensor
    has_pose_BN: Tensor
    gap_s_BN: Tensor

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory; torch's DataLoader calls it."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {
            key: change(value) for key, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


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
            return (
                f"dataset '{self.folder}', split '{self.split}' ({names}) has no LiDAR depth: "
                'supervised training needs bags with LiDAR; self-supervised works without'
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
        previous, following = (self._neighbour(line, name, shape) for name in NEIGHBOURS)
        k_33 = [[i['fx'], 0.0, i['cx']], [0.0, i['fy'], i['cy']], [0.0, 0.0, 1.0]]
        return Sample(
            sequence=line['sequence'],
            stamp_ns=line['stamp_ns'],
            image_3HW=_read_image(self.folder / line['image'], shape),
            depth_1HW=torch.from_numpy(depth_HW)[None],
            valid_1HW=torch.from_numpy(depth_HW > 0)[None],
            seen_1HW=torch.from_numpy(seen_HW)[None],
            K_33=torch.tensor(k_33, dtype=torch.float64),
            is_labelled=line['depth'] is not None,
            speed_mps=math.nan if line['speed_mps'] is None else line['speed_mps'],
            neighbours=(previous, following),
        )

    def _seen_of(self, calibration: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
        if calibration not in self._seen:
            name = read_json(self.folder / calibration)['seen']
            self._seen[calibration] = None if name is None else _read_mask(self.folder / name)
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


def collate(samples: Sequence[Sample]) -> Batch:
    """
    Stack samples; the ``collate_fn`` of a DataLoader.

    :raises DatasetError: their sizes differ.
    """
    sizes = {tuple(sample.image_3HW.shape[1:]) for sample in samples}
    if len(sizes) != 1:
        raise DatasetError(f'images of sizes {sorted(sizes)} in one batch: crop or resize them')
    (size,) = sizes
    beside = [sample.neighbours for sample in samples]
    return Batch(
        sequences=tuple(sample.sequence for sample in samples),
        stamps_ns=tuple(sample.stamp_ns for sample in samples),
        seeds=tuple(sample.seed for sample in samples),
        image_B3HW=torch.stack([_unit(sample.image_3HW) for sample in samples]),
        depth_B1HW=torch.stack([sample.depth_1HW for sample in samples]),
        valid_B1HW=torch.stack([sample.valid_1HW for sample in samples]),
        seen_B1HW=torch.stack([sample.seen_1HW for sample in samples]),
        K_B33=torch.stack([sample.K_33.float() for sample in samples]),
        is_labelled_B=torch.tensor([sample.is_labelled for sample in samples]),
        speed_mps_B=torch.tensor([sample.speed_mps for sample in samples]),
        neighbour_BN3HW=_stacked(beside, lambda n: _unit(n.image_3HW), torch.zeros(3, *size)),
        has_neighbour_BN=torch.tensor([[n is not None for n in pair] for pair in beside]),
        neighbour_T_this_BN44=_stacked(beside, _pose, torch.eye(4)),
        has_pose_BN=torch.tensor(
            [[n is not None and n.neighbour_T_this_44 is not None for n in p] for p in beside]
        ),
        gap_s_BN=torch.tensor([[0.0 if n is None else n.gap_s for n in p] for p in beside]),
    )


def _stacked(
    beside: Sequence[tuple[Neighbour | None, ...]],
    value: Callable[[Neighbour], Tensor],
    missing: Tensor,
) -> Tensor:
    rows = [[missing if n is None else value(n) for n in pair] for pair in beside]
    return torch.stack([torch.stack(row) for row in rows])


def _pose(neighbour: Neighbour) -> Tensor:
    pose = neighbour.neighbour_T_this_44
    return torch.eye(4) if pose is None else pose.float()


def _unit(image_3HW: Tensor) -> Tensor:
    return image_3HW.float().div_(255.0).contiguous()


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


def _read_mask(path: Path) -> NDArray[np.bool_]:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise DatasetError(f"mask '{path}' is missing or damaged")
    return np.asarray(mask > 0)


def _check_size(path: Path, found: tuple[int, ...], expected: tuple[int, int]) -> None:
    if tuple(found) != expected:
        raise DatasetError(
            f"'{path}' is {found[1]}x{found[0]}: the manifest says {expected[1]}x{expected[0]}"
        )
