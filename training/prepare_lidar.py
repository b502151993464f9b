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

"""From a LiDAR sweep to the depth that a frame is trained with: motion, projection, filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
from typing import Any

from depth_ros.bags.records import LidarSweep
from depth_ros.core.camera import Intrinsics
from depth_ros.core.geometry import invert, log_se3, Matrix, transform_points, TransformTree
from depth_ros.core.lidar import compensate_motion, NS_PER_S, project, SparseDepth
from depth_ros.errors import BagError, FrameError
import numpy as np
from numpy.typing import NDArray
from training.dataset_format import storable
from training.prepare_options import PrepareOptions, SkyFilter, SpinningScanner, SWEEP_STAMPS
from training.prepare_streams import NS_PER_MS, PoseTrack

Bool = NDArray[np.bool_]
# REP 103: x forward, y left, z up in a body frame; x right, y down, z forward in a camera.
UP_IN_BODY = np.array([0.0, 0.0, 1.0])
UP_IN_CAMERA = np.array([0.0, -1.0, 0.0])
# The counts of a frame, in the order in which points are lost.
COUNTS = (
    'points',
    'no_return',
    'out_of_image_or_behind_in_pixel',
    'projected',
    'beyond_file_range',
    'outside_seen',
    'occluded',
    'sky',
    'kept',
)
# Neighbourhoods are looked at in portions of this many values, 16 MB: they overlap, and all of a
# dense scanner together would take gigabytes.
MAX_WINDOW_VALUES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class View:
    """The camera that a sweep is projected into; ``seen_HW`` False: no pixel of the image."""

    stamp_ns: int
    frame_id: str
    intrinsics: Intrinsics
    seen_HW: Bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Label:
    """
    Depth of one frame.

    Fields:
        kept: what is stored.
        removed: by filter, the hits that were taken out.
        counts: of points and hits, one for each step.

    """

    kept: SparseDepth
    removed: Mapping[str, SparseDepth]
    counts: Mapping[str, int] = field(default_factory=dict)


class Labeller:
    """
    Makes depth of sweeps.

    :param track: poses of the vehicle for motion compensation; None: leave points as they are.
    """

    def __init__(
        self, tree: TransformTree, track: PoseTrack | None, options: PrepareOptions, bag: str
    ) -> None:
        self._tree, self._track, self._options, self._bag = tree, track, options, bag

    def label(self, sweep: LidarSweep, view: View) -> Label:
        """
        Return the depth of a frame.

        :raises BagError: /tf_static does not connect two frames; names both.
        :raises FrameError: this sweep cannot be used, and why.
        """
        cam_T_lidar = self.lookup(view.frame_id, sweep.frame_id)
        xyz_N3 = self._at_one_instant(sweep, view.stamp_ns)
        hits = project(xyz_N3, cam_T_lidar, view.intrinsics)
        counts = {
            'points': hits.points,
            'no_return': hits.invalid,
            'out_of_image_or_behind_in_pixel': hits.points - hits.invalid - len(hits),
            'projected': len(hits),
        }
        removed: dict[str, SparseDepth] = {}
        for name, keep_N in self._filters(view):
            keep = keep_N(hits)
            removed[name], hits = hits.where(~keep), hits.where(keep)
            counts[name] = len(removed[name])
        counts['kept'] = len(hits)
        if not len(hits):
            raise FrameError(_empty_reason(counts))
        return Label(kept=hits, removed=removed, counts=counts)

    def lookup(self, target: str, source: str) -> Matrix:
        """Return target_T_source of the static frames; BagError names both and the bag."""
        try:
            return self._tree.lookup(target, source)
        except FrameError as error:
            raise BagError(f"bag '{self._bag}': {error}") from error

    def _filters(self, view: View) -> list[tuple[str, Any]]:
        options = self._options
        filters: list[tuple[str, Any]] = [('beyond_file_range', storable)]
        if view.seen_HW is not None:
            seen_HW = view.seen_HW
            filters.append(('outside_seen', lambda hits: seen_HW[hits.rows_N, hits.cols_N]))
        if options.occlusion is not None:
            occlusion = options.occlusion
            filters.append(('occluded', lambda hits: _is_in(hits, occlusion(hits))))
        if options.sky is not None:
            up, sky = up_in_camera(self._tree, view.frame_id), options.sky
            filters.append(('sky', lambda hits: ~unsupported(hits, view.intrinsics, up, sky)))
        return filters

    def _at_one_instant(self, sweep: LidarSweep, stamp_ns: int) -> NDArray[np.float32]:
        scanner = self._options.scanner
        if scanner is not None and sweep.time_offset_ns_N is not None:
            raise BagError(
                f"bag '{self._bag}': the points of '{sweep.frame_id}' carry their time, "
                '--sweep-time-ms would have no effect: leave it out'
            )
        if self._track is None:
            return sweep.xyz_N3
        offsets_N = sweep.time_offset_ns_N
        if scanner is not None:
            offsets_N = azimuth_offsets(sweep.xyz_N3, scanner)
        # (0, 0, 0) means no return: moved along, it would become a point.
        is_return: Bool = np.isfinite(sweep.xyz_N3).all(axis=1)
        is_return &= sweep.xyz_N3.any(axis=1)
        xyz_N3 = np.where(is_return[:, None], sweep.xyz_N3, np.float32(np.nan))
        gap_ns = sweep.stamp_ns - stamp_ns
        if offsets_N is None:
            # All at once: one transform moves them.
            image_T_sweep = self._motion(sweep.frame_id, stamp_ns, stamp_ns + gap_ns)
            return transform_points(image_T_sweep, xyz_N3)
        offsets_N = offsets_N + gap_ns
        first = stamp_ns + min(int(offsets_N.min(initial=0)), 0)
        last = stamp_ns + max(int(offsets_N.max(initial=0)), 0)
        if first == last:
            return sweep.xyz_N3
        seconds = (last - first) / NS_PER_S
        twist = log_se3(self._motion(sweep.frame_id, first, last)) / seconds
        return compensate_motion(xyz_N3, offsets_N, twist)

    def _motion(self, lidar_frame: str, then_ns: int, now_ns: int) -> Matrix:
        """Return then_T_now of the LiDAR between two moments."""
        assert self._track is not None
        poses = []
        for stamp in (then_ns, now_ns):
            world_T_body, body = self._track.at(stamp)
            poses.append(world_T_body @ self.lookup(body, lidar_frame))
        return invert(poses[0]) @ poses[1]


def _empty_reason(counts: Mapping[str, int]) -> str:
    if not counts['points']:
        return 'the point cloud is empty'
    if counts['no_return'] == counts['points']:
        return f'none of the {counts["points"]} points is a return'
    if not counts['projected']:
        return f'none of the {counts["points"]} points falls into the image'
    return f'none of the {counts["projected"]} points in the image passes the filters'


def _is_in(hits: SparseDepth, kept: SparseDepth) -> Bool:
    """Tell which hits a filter has kept; each pixel is there at most once."""
    kept_HW = np.zeros((hits.height, hits.width), np.bool_)
    kept_HW[kept.rows_N, kept.cols_N] = True
    return kept_HW[hits.rows_N, hits.cols_N]


def azimuth_offsets(xyz_N3: NDArray[np.float32], scanner: SpinningScanner) -> NDArray[np.int64]:
    """Return when a spinning scanner measured each point, relative to the stamp [ns]."""
    azimuth_N = np.nan_to_num(np.arctan2(xyz_N3[:, 1], xyz_N3[:, 0]).astype(np.float64))
    turned_N = azimuth_N - math.radians(scanner.seam_deg)
    if scanner.direction == 'clockwise':
        turned_N = -turned_N
    share_N = np.mod(turned_N, 2 * math.pi) / (2 * math.pi) - SWEEP_STAMPS[scanner.stamp]
    return np.rint(share_N * scanner.period_ms * NS_PER_MS).astype(np.int64)


def up_in_camera(tree: TransformTree, camera_frame: str) -> Matrix:
    """
    Return the direction away from the ground in the camera's frame.

    It is z of the frame that carries all others (REP 103); without static transforms the
    camera is taken to look level.
    """
    parents = {child: parent for parent, child, _ in tree.edges()}
    root = camera_frame.lstrip('/')
    while root in parents:
        root = parents[root]
    if root == camera_frame.lstrip('/'):
        return UP_IN_CAMERA
    up_3: Matrix = tree.lookup(camera_frame, root)[:3, :3] @ UP_IN_BODY
    return up_3


def unsupported(hits: SparseDepth, intrinsics: Intrinsics, up_3: Matrix, sky: SkyFilter) -> Bool:
    """Tell which hits above the horizon too few neighbours support (see ``SkyFilter``)."""
    x_N = (hits.cols_N - intrinsics.cx) / intrinsics.fx
    y_N = (hits.rows_N - intrinsics.cy) / intrinsics.fy
    above = np.flatnonzero(x_N * up_3[0] + y_N * up_3[1] + up_3[2] > 0)
    half = math.tan(math.radians(sky.window_deg))
    rows, cols = max(1, round(half * intrinsics.fy)), max(1, round(half * intrinsics.fx))
    # Room around the image: no window needs clipping. Infinity supports nobody.
    padded = np.full((hits.height + 2 * rows, hits.width + 2 * cols), np.inf, np.float32)
    padded[hits.rows_N + rows, hits.cols_N + cols] = hits.depth_N
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * rows + 1, 2 * cols + 1))
    lone = np.zeros(len(above), np.bool_)
    step = max(1, MAX_WINDOW_VALUES // windows[0, 0].size)
    for start in range(0, len(above), step):
        part = slice(start, start + step)
        chosen = above[part]
        depth_M11 = hits.depth_N[chosen][:, None, None]
        found = windows[hits.rows_N[chosen], hits.cols_N[chosen]]
        agrees = np.abs(found - depth_M11) < sky.relative * depth_M11 + sky.absolute_m
        # The hit itself is among them.
        lone[part] = np.count_nonzero(agrees, axis=(1, 2)) - 1 < sky.support
    result = np.zeros(len(hits), np.bool_)
    result[above[lone]] = True
    return result
