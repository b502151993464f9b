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

"""Files that are whole or not there, and the table of frames that grows while frames pass."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
import csv
import os
from pathlib import Path
from typing import Any, TextIO

from depth_ros.core.boundary import BOUNDARY_METRICS
from depth_ros.core.cloud_metrics import CLOUD_METRICS
from depth_ros.core.metrics import DEPTH_METRICS
from depth_ros.core.uncertainty_metrics import RANKING_NAMES
from depth_ros.errors import ReportError

PARTIAL_SUFFIX = '.partial'
CHECK_NAMES = (
    'consistency',
    'scale_step',
    'step_in_sigma',
    'tcm_abs_m',
    'tcm_sq_m2',
    'tcm_rmse_m',
    'flicker',
    *CLOUD_METRICS,
    *BOUNDARY_METRICS,
    'edge_width_px',
    'ground_height_m',
    'ground_tilt_deg',
    'ground_roughness',
    'ground_flat_share',
    'wall_distance_m',
    'wall_tilt_deg',
    'wall_roughness',
    'wall_flat_share',
    'wall_bow',
)
COLUMNS = (
    'frame',
    'stamp_ns',
    'lidar_stamp_ns',
    'gap_ms',
    'status',
    'truth_pixels',
    'missing_pixels',
    'infinite_pixels',
    'scale',
    'shift',
    *DEPTH_METRICS,
    'coverage_1_sigma',
    'coverage_2_sigma',
    'nll',
    'mean_sigma_m',
    *RANKING_NAMES,
    'latency_ms',
    'position_x_m',
    'position_y_m',
    *CHECK_NAMES,
)


def make_folder(path: Path) -> Path:
    """
    Create the folder for results, or take the one that is there.

    :raises ReportError: it cannot be created or written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"output folder '{path}' cannot be made: {error.strerror}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise ReportError(f"output folder '{path}' cannot be written to: check its permissions")
    return path


def write_whole(path: Path, data: bytes) -> None:
    """
    Replace a file in one step: after a failure the old one, or none, is there.

    :raises OSError: as the system says it.
    """
    partial = path.with_name(path.name + PARTIAL_SUFFIX)
    try:
        with partial.open('wb') as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise


class FileSet:
    """
    The files of one report, written one by one; a failure does not stop the others.

    :raises ReportError: from ``finish``, when some could not be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: list[str] = []
        self._missing: dict[str, str] = {}

    def write(self, name: str, content: Callable[[], bytes]) -> bool:
        """Write one file below the folder; return whether it is there."""
        path = self.folder / name
        try:
            path.parent.mkdir(exist_ok=True)
            write_whole(path, content())
        except OSError as error:
            self.fail(name, error)
            return False
        self._written.append(name)
        return True

    def fail(self, name: str, error: OSError) -> None:
        """Note a file that could not be written."""
        self._missing[name] = error.strerror or str(error)

    def finish(self) -> None:
        """Raise when a file is missing, and say which and why."""
        if not self._missing:
            return
        reasons = ', '.join(sorted(set(self._missing.values())))
        raise ReportError(
            f"results in '{self.folder}' are incomplete ({reasons}): missing "
            f'{", ".join(self._missing)}; written {", ".join(self._written) or "nothing"}; make '
            'room and run again'
        )


class FrameTable:
    """
    per_frame.csv, one line a frame, on disk while it grows.

    A disk that fills up does not stop the scoring: the error is kept for ``close``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = path.with_name(path.name + PARTIAL_SUFFIX)
        self._stream: TextIO | None = None
        self._error: OSError | None = None
        self._guard(self._open)

    def add(self, row: dict[str, Any]) -> None:
        """Append one frame; columns that it lacks stay empty."""
        self._guard(lambda: self._writer.writerow(row))

    def close(self) -> OSError | None:
        """Put the file in its place; return why that was impossible, if it was."""
        self._guard(self._finish)
        if self._error is not None and self._stream is not None:
            # Closing flushes what is buffered, which a full disk refuses again.
            with suppress(OSError):
                self._stream.close()
        return self._error

    def _open(self) -> None:
        self._stream = self._partial.open('w', newline='', encoding='utf-8')
        self._writer = csv.DictWriter(self._stream, COLUMNS, lineterminator='\n')
        self._writer.writeheader()

    def _finish(self) -> None:
        if self._stream is None or self._stream.closed:
            return
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._partial.replace(self.path)

    def _guard(self, action: Callable[[], Any]) -> None:
        if self._error is not None:
            return
        try:
            action()
        except OSError as error:
            self._error = error
