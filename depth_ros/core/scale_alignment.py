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
Where the scale and shift of a relative model come from while frames arrive.

``make_aligner`` returns what a setting asks for: a line that was declared, or one that follows
the LiDAR. The pipeline asks it for the line of each frame.

Shape letters: N points, h, w network grid.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
import math
import threading
from typing import Protocol

from depth_ros.core.camera import Intrinsics
from depth_ros.core.config import AlignmentConfig
from depth_ros.core.geometry import Matrix
from depth_ros.core.lidar import OcclusionFilter, project
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import ImageTransform
from depth_ros.core.scale import fit_scale_shift, FitRules, LineSums, ScaleFit, ScaleShift
from depth_ros.errors import AlignmentError, ConfigError, FrameError, ModelError
import numpy as np
from numpy.typing import NDArray

NS_PER_S = 1_000_000_000
# More do not make the line better, but every frame later.
MAX_POINTS = 5000
# Frames that a sweep may still belong to: it often comes later than its image.
KEPT_FRAMES = 6
# A slow consumer takes the newest sweeps.
KEPT_SWEEPS = 4

Lookup = Callable[[str, str], Matrix]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RelativeFrame:
    """
    The answer of a relative model for one frame.

    Fields:
        inverse_hw: on the network's grid, of no unit.
        focal_ratio: metres are multiplied by it, see ``postprocess.focal_ratio``.
        stamp_ns, frame_id: of the camera frame.
        camera: of the rectified image.
        transform: from that image to the network's input.

    """

    inverse_hw: NDArray[np.float32]
    focal_ratio: float
    stamp_ns: int
    frame_id: str
    camera: Intrinsics
    transform: ImageTransform


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep:
    """
    LiDAR points that may be asked for; ``read`` returns them in the LiDAR's frame [m].

    They are only read where they are used, which is not in the thread that receives them.
    """

    stamp_ns: int
    frame_id: str
    read: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentReport:
    """
    What an aligner has done, for diagnostics.

    Fields:
        line: the newest; None before the first.
        fit: of the newest sweep that was used.
        stamp_ns: of that sweep.
        used, refused, unpaired: sweeps that gave a line, gave none, or fitted no frame in time.
        problem: why the newest refused sweep gave none.

    """

    line: ScaleShift | None = None
    fit: ScaleFit | None = None
    stamp_ns: int | None = None
    used: int = 0
    refused: int = 0
    unpaired: int = 0
    problem: str = ''


class Aligner(Protocol):
    """Knows the scale and shift of each frame of one stream, in order."""

    def align(self, frame: RelativeFrame) -> ScaleShift:
        """
        Return the line of a frame.

        :raises AlignmentError: there is none; the frame is lost, the stream not.
        """
        ...

    def reset(self) -> None:
        """Forget the stream."""
        ...

    def report(self) -> AlignmentReport:
        """Return what has been done; safe to call from another thread."""
        ...


class DeclaredAligner:
    """One line for every frame."""

    def __init__(self, line: ScaleShift) -> None:
        self._line = line

    def align(self, frame: RelativeFrame) -> ScaleShift:
        """Return the line."""
        return self._line

    def reset(self) -> None:
        """Forget nothing: the line does not depend on the stream."""

    def report(self) -> AlignmentReport:
        """Return the line."""
        return AlignmentReport(line=self._line)


class LidarAligner:
    """
    The line that fits the newest LiDAR sweeps.

    A sweep is compared with the frame of the nearest stamp that has been seen by then. Its
    means are averaged with those of the sweeps before, which fade with ``smoothing_s``. A sweep
    that is refused changes nothing. ``add`` may be called from another thread.

    :param lookup: (camera frame, LiDAR frame) -> camera_T_lidar; raises FrameError.
    """

    def __init__(self, config: AlignmentConfig, lookup: Lookup) -> None:
        self._config = config
        self._lookup = lookup
        self._rules = FitRules(min_points=config.min_points)
        self._visible = OcclusionFilter()
        self._lock = threading.Lock()
        self._waiting: deque[Sweep] = deque()
        self._report = AlignmentReport()
        self._forget()

    def add(self, sweep: Sweep) -> None:
        """Take a sweep for the frames to come; the oldest of too many is counted as unpaired."""
        with self._lock:
            self._waiting.append(sweep)
            lost = max(0, len(self._waiting) - KEPT_SWEEPS)
            for _ in range(lost):
                self._waiting.popleft()
        self._note(unpaired=lost)

    def align(self, frame: RelativeFrame) -> ScaleShift:
        """Return the line of a frame, after taking the sweeps that have come."""
        if self._frames and frame.stamp_ns < self._frames[-1].stamp_ns:
            self._forget()
        self._frames.append(frame)
        for sweep in self._due(frame.stamp_ns):
            self._take(sweep)
        line, ratio = self._line_at(frame.stamp_ns), frame.focal_ratio
        return ScaleShift(scale=line.scale * ratio, shift=line.shift * ratio)

    def reset(self) -> None:
        """Forget frames, sweeps and the line."""
        with self._lock:
            self._waiting.clear()
        self._forget()

    def report(self) -> AlignmentReport:
        """Return what has been done."""
        with self._lock:
            return self._report

    def _forget(self) -> None:
        self._frames: deque[RelativeFrame] = deque(maxlen=KEPT_FRAMES)
        self._sums: LineSums | None = None
        self._sums_ns = 0
        # Of the sweeps that the means are made of; each counts 1 when it is new.
        self._weight = 0.0
        with self._lock:
            self._report = AlignmentReport(
                used=self._report.used,
                refused=self._report.refused,
                unpaired=self._report.unpaired,
                problem=self._report.problem,
            )

    def _due(self, now_ns: int) -> list[Sweep]:
        """Return the waiting sweeps that are not of a later time than this frame."""
        limit_ns = now_ns + self._max_difference_ns
        with self._lock:
            due = [sweep for sweep in self._waiting if sweep.stamp_ns <= limit_ns]
            self._waiting = deque(s for s in self._waiting if s.stamp_ns > limit_ns)
        return sorted(due, key=lambda sweep: sweep.stamp_ns)

    def _take(self, sweep: Sweep) -> None:
        frame = min(self._frames, key=lambda each: abs(each.stamp_ns - sweep.stamp_ns))
        is_late = self._sums is not None and sweep.stamp_ns <= self._sums_ns
        if is_late or abs(frame.stamp_ns - sweep.stamp_ns) > self._max_difference_ns:
            self._note(unpaired=1)
            return
        try:
            fit = self._fit(frame, sweep)
            weight = self._faded_weight(sweep.stamp_ns)
            sums = fit.sums.mixed(self._sums or fit.sums, weight / (weight + 1.0))
            line = sums.solve()
        except FrameError as error:
            self._note(refused=1, problem=str(error))
            return
        self._sums, self._sums_ns, self._weight = sums, sweep.stamp_ns, weight + 1.0
        self._note(line=line, fit=fit, stamp_ns=sweep.stamp_ns, used=1)

    def _fit(self, frame: RelativeFrame, sweep: Sweep) -> ScaleFit:
        camera_T_lidar = self._lookup(frame.frame_id, sweep.frame_id)
        hits = self._visible(project(sweep.read(), camera_T_lidar, frame.camera))
        step = max(1, math.ceil(len(hits) / MAX_POINTS))
        rows, cols = hits.rows_N[::step], hits.cols_N[::step]
        x = values_at(frame, rows, cols)
        return fit_scale_shift(x, hits.depth_N[::step], self._rules)

    def _faded_weight(self, stamp_ns: int) -> float:
        """Return what the sweeps before this one still count together."""
        if not self._config.smoothing_s:
            return 0.0
        age_s = (stamp_ns - self._sums_ns) / NS_PER_S
        return self._weight * math.exp(-age_s / self._config.smoothing_s)

    def _line_at(self, stamp_ns: int) -> ScaleShift:
        report = self.report()
        if report.line is None or report.stamp_ns is None:
            why = f': {report.problem}' if report.problem else ''
            raise AlignmentError(f'no LiDAR sweep has given scale and shift yet{why}')
        age_s = (stamp_ns - report.stamp_ns) / NS_PER_S
        if age_s > self._config.max_age_s:
            why = f' ({report.problem})' if report.problem else ''
            raise AlignmentError(
                f'scale and shift are {age_s:.2f} s old: no newer LiDAR sweep was usable{why}'
            )
        return report.line

    @property
    def _max_difference_ns(self) -> int:
        return round(self._config.max_time_difference_s * NS_PER_S)

    def _note(
        self,
        *,
        line: ScaleShift | None = None,
        fit: ScaleFit | None = None,
        stamp_ns: int | None = None,
        used: int = 0,
        refused: int = 0,
        unpaired: int = 0,
        problem: str = '',
    ) -> None:
        with self._lock:
            old = self._report
            self._report = AlignmentReport(
                line=line or old.line,
                fit=fit or old.fit,
                stamp_ns=old.stamp_ns if stamp_ns is None else stamp_ns,
                used=old.used + used,
                refused=old.refused + refused,
                unpaired=old.unpaired + unpaired,
                problem=problem or old.problem,
            )


def values_at(
    frame: RelativeFrame, rows_N: NDArray[np.int64], cols_N: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return the answer at pixels of the rectified image, of the nearest grid cell each."""
    height, width = frame.inverse_hw.shape
    size = (frame.camera.width, frame.camera.height)
    map_23 = frame.transform.output_to_grid_23(size, (width, height))
    columns = np.rint(map_23[0, 0] * cols_N + map_23[0, 2]).astype(np.int64)
    rows = np.rint(map_23[1, 1] * rows_N + map_23[1, 2]).astype(np.int64)
    values: NDArray[np.float32] = frame.inverse_hw[
        np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    ]
    return values


def require_aligner(model: ModelSpec, aligner: Aligner | None) -> None:
    """
    Check that there is an aligner where one is needed, and only there.

    :raises ModelError: a relative model has none.
    :raises ConfigError: another model has one.
    """
    kind = model.output.kind
    if kind == 'affine_inverse_depth' and aligner is None:
        raise ModelError(
            f"output.kind = '{kind}' of model '{model.name}' has no metres without scale and "
            "shift: set alignment.method to 'lidar', or to 'declared' with alignment.scale and "
            'alignment.shift (evaluate: --model-alignment); or use a metric model'
        )
    if kind != 'affine_inverse_depth' and aligner is not None:
        raise ConfigError(
            f"alignment.method: model '{model.name}' answers {kind}, whose scale its card states: "
            "set it to 'none'"
        )


def make_aligner(config: AlignmentConfig, lookup: Lookup) -> Aligner | None:
    """
    Return what ``config.method`` names; None of 'none'.

    :param lookup: for 'lidar', see ``LidarAligner``; not asked where the configuration states
        the pose of the LiDAR.
    """
    stated = config.camera_T_lidar
    made: dict[str, Callable[[], Aligner | None]] = {
        'none': lambda: None,
        'lidar': lambda: LidarAligner(
            config, lookup if stated is None else lambda camera, lidar: stated
        ),
        'declared': lambda: DeclaredAligner(ScaleShift(scale=config.scale, shift=config.shift)),
    }
    return made[config.method]()
