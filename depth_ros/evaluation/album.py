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

"""Choose the frames to draw while they pass: the best, the worst, one between, some spread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
import shutil
from typing import Any

from depth_ros.core.camera import Intrinsics
from depth_ros.core.lidar import SparseDepth
from depth_ros.evaluation.figures import Snapshot
import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A frame to draw and why: 'best', 'worst', 'middle' or 'spread'."""

    role: str
    index: int


class Album:
    """
    A bounded choice from any number of frames, the same every time.

    It keeps the best, the worst, and every n-th frame, with n doubled whenever these are too
    many; so it names at most 2 * size + 2 frames.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._stride = 1
        self._seen = 0
        # Place in the order of frames, index, AbsRel.
        self._spread: list[tuple[int, int, float]] = []
        self._best: tuple[int, float] | None = None
        self._worst: tuple[int, float] | None = None

    def offer(self, index: int, abs_rel: float) -> bool:
        """Look at one scored frame; return whether it is kept."""
        if self._size == 0:
            return False
        if self._best is None or abs_rel < self._best[1]:
            self._best = (index, abs_rel)
        if self._worst is None or abs_rel > self._worst[1]:
            self._worst = (index, abs_rel)
        if self._seen % self._stride == 0:
            self._spread.append((self._seen, index, abs_rel))
        if len(self._spread) > 2 * self._size:
            self._stride *= 2
            self._spread = [item for item in self._spread if item[0] % self._stride == 0]
        self._seen += 1
        return index in self.held()

    def held(self) -> set[int]:
        """Return the frames that may be drawn."""
        ends = {end[0] for end in (self._best, self._worst) if end is not None}
        return ends | {index for _, index, _ in self._spread}

    def chosen(self) -> list[Chosen]:
        """Return the frames to draw: best, middle, worst, then others in the order of time."""
        if self._best is None or self._worst is None:
            return []
        ranked = sorted((abs_rel, index) for _, index, abs_rel in self._spread)
        first = [
            ('best', self._best[0]),
            ('worst', self._worst[0]),
            ('middle', ranked[len(ranked) // 2][1]),
        ]
        taken: dict[int, str] = {}
        for role, index in first[: self._size]:
            taken.setdefault(index, role)
        rest = [index for _, index, _ in self._spread if index not in taken]
        free = self._size - len(taken)
        for number in range(min(free, len(rest))):
            taken.setdefault(
                rest[number * len(rest) // free if free < len(rest) else number], 'spread'
            )
        order = ('best', 'middle', 'worst', 'spread')
        picks = [Chosen(role=role, index=index) for index, role in taken.items()]
        return sorted(picks, key=lambda pick: (order.index(pick.role), pick.index))


class Shelf:
    """
    The snapshots of the frames that an album keeps, in memory and on disk.

    On disk they wait for the case that the run is killed and resumed. A disk that refuses them
    costs nothing else: the resumed run has fewer pictures.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shots: dict[int, tuple[Snapshot, Intrinsics]] = {}

    def put(self, index: int, shot: Snapshot, intrinsics: Intrinsics) -> None:
        """Keep one."""
        self._shots[index] = (shot, intrinsics)
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            with self._file(index).open('wb') as stream:
                np.savez(stream, **_arrays(shot, intrinsics))

    def keep_only(self, indices: set[int]) -> None:
        """Forget all others."""
        for index in set(self._shots) - indices:
            del self._shots[index]
            self._file(index).unlink(missing_ok=True)

    def load(self, indices: set[int]) -> None:
        """Take back what a run that was killed has left."""
        for index in indices:
            with suppress(OSError, ValueError, KeyError):
                self._shots[index] = _from_arrays(self._file(index))

    def get(self, index: int) -> tuple[Snapshot, Intrinsics] | None:
        """Return one, or None where the disk had refused it."""
        return self._shots.get(index)

    def clear_disk(self) -> None:
        """Remove what lies on disk."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _file(self, index: int) -> Path:
        return self._folder / f'{index:06d}.npz'


def _arrays(shot: Snapshot, k: Intrinsics) -> dict[str, Any]:
    truth = shot.truth
    arrays = {
        'words': np.array([shot.name, shot.verdict]),
        'image_HW3': shot.image_HW3,
        'depth_HW': shot.depth_HW,
        'rows_N': truth.rows_N,
        'cols_N': truth.cols_N,
        'depth_N': truth.depth_N,
        'counts': np.array([truth.width, truth.height, truth.points, truth.invalid]),
        'cap_m': np.array(shot.cap_m),
        'size': np.array([k.width, k.height]),
        'focal': np.array([k.fx, k.fy, k.cx, k.cy]),
    }
    return arrays if shot.sigma_HW is None else {**arrays, 'sigma_HW': shot.sigma_HW}


def _from_arrays(path: Path) -> tuple[Snapshot, Intrinsics]:
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    width, height, points, invalid = arrays['counts'].tolist()
    truth = SparseDepth(
        rows_N=arrays['rows_N'],
        cols_N=arrays['cols_N'],
        depth_N=arrays['depth_N'],
        width=width,
        height=height,
        points=points,
        invalid=invalid,
    )
    name, verdict = arrays['words'].tolist()
    shot = Snapshot(
        name=name,
        verdict=verdict,
        image_HW3=arrays['image_HW3'],
        depth_HW=arrays['depth_HW'],
        sigma_HW=arrays.get('sigma_HW'),
        truth=truth,
        cap_m=float(arrays['cap_m']),
    )
    k_width, k_height = arrays['size'].tolist()
    fx, fy, cx, cy = arrays['focal'].tolist()
    return shot, Intrinsics(width=k_width, height=k_height, fx=fx, fy=fy, cx=cx, cy=cy)


def drawable(album: Album, shelf: Shelf) -> Iterator[tuple[Chosen, Snapshot, Intrinsics]]:
    """Yield the chosen frames with what to draw."""
    for pick in album.chosen():
        found = shelf.get(pick.index)
        if found is not None:
            yield pick, *found
