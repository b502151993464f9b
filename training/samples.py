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
What goes from the dataset to the recipes: frames, one by one (Sample) and stacked (Batch).

Shape letters: B batch, N neighbours, H W image, 3 colours (rgb) or matrix size. Masks are
explicit: a depth whose ``valid`` is False means nothing and must not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from training.dataset_format import DatasetError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbour:
    """
    A frame a little before or after, of the same camera; or that of the right one of a pair.

    Fields:
        image_3HW: uint8 rgb.
        gap_s: its stamp minus that of the sample [s].
        neighbour_T_this_44: float64, maps points of the sample's camera to the neighbour's [m];
            None without odometry. The right camera's is always known.
        depth_1HW, valid_1HW: its own LiDAR depth, as of a sample; None where nobody asked.

    """

    image_3HW: Tensor
    gap_s: float
    neighbour_T_this_44: Tensor | None
    depth_1HW: Tensor | None = None
    valid_1HW: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """
    One frame.

    Fields:
        image_3HW: uint8 rgb.
        depth_1HW: float32, z along the optical axis [m]; read it only where valid.
        valid_1HW: bool, True where LiDAR measured.
        seen_1HW: bool, False where rectification has left the image empty.
        objects_1HW: bool, True on road users: people, riders, vehicles, bicycles.
        has_objects: somebody looked for objects; else ``objects_1HW`` is False everywhere.
        K_33: float64 [px], of exactly this image size; integer pixel = pixel centre.
        is_labelled: the frame has LiDAR depth.
        speed_mps: of the vehicle, NaN where not known.
        neighbours: one for each offset that was asked for, usually previous and next; None
            where there is none.
        seed: from which everything random about this item is drawn.
        pseudo_1HW: float32, inverse depth by a model, in its units; 0: sky or beyond its range,
            NaN: unknown, everywhere in a frame that has none. None where nobody asked.
        right: of the other camera of a rectified pair, with the same K; None where there is none
            or nobody asked.

    """

    sequence: str
    stamp_ns: int
    image_3HW: Tensor
    depth_1HW: Tensor
    valid_1HW: Tensor
    seen_1HW: Tensor
    objects_1HW: Tensor
    has_objects: bool
    K_33: Tensor
    is_labelled: bool
    speed_mps: float
    neighbours: tuple[Neighbour | None, ...]
    seed: int = 0
    pseudo_1HW: Tensor | None = None
    right: Neighbour | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """
    Samples of one size, stacked; images are float32 rgb in [0, 1].

    Fields:
        neighbour_BN3HW: one for each offset that was asked for, usually previous and next;
            black where ``has_neighbour_BN`` is False.
        neighbour_T_this_BN44: float32 [m]; identity where ``has_pose_BN`` is False.
        gap_s_BN: stamp of the neighbour minus that of the frame [s]; 0 without one.
        speed_mps_B: NaN where not known.
        objects_B1HW: True on road users; False everywhere where ``has_objects_B`` is False.
        seeds: of each frame, for what is drawn after loading.
        pseudo_B1HW: inverse depth by a model, NaN for frames without; None where nobody asked.
        neighbour_depth_BN1HW, neighbour_valid_BN1HW: LiDAR of the neighbours; None where nobody
            asked, False where there is none.
        right_B3HW, right_T_this_B44, has_right_B: of the other camera of a pair; black and
            identity where a frame has none. None where no frame has one.

    """

    sequences: tuple[str, ...]
    stamps_ns: tuple[int, ...]
    seeds: tuple[int, ...]
    image_B3HW: Tensor
    depth_B1HW: Tensor
    valid_B1HW: Tensor
    seen_B1HW: Tensor
    objects_B1HW: Tensor
    has_objects_B: Tensor
    K_B33: Tensor
    is_labelled_B: Tensor
    speed_mps_B: Tensor
    neighbour_BN3HW: Tensor
    has_neighbour_BN: Tensor
    neighbour_T_this_BN44: Tensor
    has_pose_BN: Tensor
    gap_s_BN: Tensor
    neighbour_depth_BN1HW: Tensor | None = None
    neighbour_valid_BN1HW: Tensor | None = None
    pseudo_B1HW: Tensor | None = None
    right_B3HW: Tensor | None = None
    right_T_this_B44: Tensor | None = None
    has_right_B: Tensor | None = None

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


def collate(samples: Sequence[Sample]) -> Batch:
    """
    Stack samples with as many neighbours each; the ``collate_fn`` of a DataLoader.

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
        objects_B1HW=torch.stack([sample.objects_1HW for sample in samples]),
        has_objects_B=torch.tensor([sample.has_objects for sample in samples]),
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
        **_depths(beside, size),
        pseudo_B1HW=_pseudo(samples),
        **_right(samples, size),
    )


def _right(samples: Sequence[Sample], size: tuple[int, ...]) -> dict[str, Tensor]:
    """Return the pictures of the right camera, when there are any."""
    alone = [(sample.right,) for sample in samples]
    if all(right is None for (right,) in alone):
        return {}
    return {
        'right_B3HW': _stacked(alone, lambda n: _unit(n.image_3HW), torch.zeros(3, *size))[:, 0],
        'right_T_this_B44': _stacked(alone, _pose, torch.eye(4))[:, 0],
        'has_right_B': torch.tensor([right is not None for (right,) in alone]),
    }


def _depths(
    beside: Sequence[tuple[Neighbour | None, ...]], size: tuple[int, ...]
) -> dict[str, Tensor]:
    """Return the depths of the neighbours, when they were read."""
    if not any(n is not None and n.depth_1HW is not None for pair in beside for n in pair):
        return {}
    nothing = torch.zeros(1, *size)
    never = torch.zeros(1, *size, dtype=torch.bool)
    return {
        'neighbour_depth_BN1HW': _stacked(beside, lambda n: _or(n.depth_1HW, nothing), nothing),
        'neighbour_valid_BN1HW': _stacked(beside, lambda n: _or(n.valid_1HW, never), never),
    }


def _or(tensor: Tensor | None, missing: Tensor) -> Tensor:
    return missing if tensor is None else tensor


def _pseudo(samples: Sequence[Sample]) -> Tensor | None:
    if all(sample.pseudo_1HW is None for sample in samples):
        return None
    unknown = torch.full_like(samples[0].depth_1HW, torch.nan)
    return torch.stack([_or(sample.pseudo_1HW, unknown) for sample in samples])


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
