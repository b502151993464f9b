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

"""The terms that hold the depths of the frames of a window together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from depth_ros.errors import ConfigError
import torch
from torch import Tensor
from training.losses.checks import masked_mean
from training.losses.motion import is_static, MAX_DIFFERENCE, motion_consistency
from training.losses.photometric import enlarged
from training.losses.temporal import (
    cycle_error,
    cycle_mask,
    error_change,
    geometric_error,
    log_drift,
    mean_over_sources,
    meet,
    Meeting,
)
from training.recipes.options import refuse_unused, require_not_negative, require_positive
from training.recipes.recipe import Term
from training.recipes.scene import Scene
from training.recipes.teacher import Labels, LabelSource
from training.samples import Batch
from training.warp import ray_map, RayMap


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionOptions(LabelSource):
    """
    A teacher of single frames that says what moves: ``model`` or ``labels``, and these.

    Fields:
        weight: of what it teaches there.
        epochs: it is asked that long.
        max_difference: of the depths, relative to the nearer, below which nothing moves.

    """

    weight: float = 1.0
    epochs: float = 20.0
    max_difference: float = MAX_DIFFERENCE

    def __post_init__(self) -> None:
        LabelSource.__post_init__(self)
        require_positive(self, 'weight', 'epochs', 'max_difference')


@dataclass(frozen=True, kw_only=True)
class ConsistencyOptions:
    """
    What the depths of neighbouring frames have to agree in.

    Fields:
        geometric_weight: of 1 - min / max of the depths of a point in two frames; 0: off.
        consistency_scales: so many scales, finest first, are compared; the paper compares 4.
        cycle_mask: compare only pixels that look alike after a way to the other frame and back.
        cycle_share: how many of each image.
        temporal_weight: of |ln| of the ratio of these depths, the same for near and far; 0: off.
        temporal_lidar_weight: of the change of the error in ln depth at LiDAR hits; 0: off.
        temporal_limit: larger ratios and changes, in ln, are occlusions and do not train.
        motion: what a teacher says moves, learns from it instead; null: off.

    """

    geometric_weight: float = 0.1
    consistency_scales: int = 1
    cycle_mask: bool = True
    cycle_share: float = 0.7
    temporal_weight: float = 0.0
    temporal_lidar_weight: float = 0.0
    temporal_limit: float = 0.3
    motion: MotionOptions | None = None

    def __post_init__(self) -> None:
        weights = ('geometric_weight', 'temporal_weight', 'temporal_lidar_weight')
        require_not_negative(self, *weights)
        require_positive(self, 'consistency_scales', 'temporal_limit')
        if not 0 < self.cycle_share <= 1:
            raise ConfigError(f'cycle_share = {self.cycle_share}: must be above 0, up to 1')
        if not (self.geometric_weight or self.temporal_weight):
            because = 'geometric_weight = 0 and temporal_weight = 0'
            refuse_unused(self, because, 'cycle_mask', 'consistency_scales')
        if not (self.cycle_mask and (self.geometric_weight or self.temporal_weight)):
            refuse_unused(self, 'no cycle mask', 'cycle_share')
        if not (self.temporal_weight or self.temporal_lidar_weight):
            refuse_unused(self, 'no temporal weight', 'temporal_limit')

    @property
    def compares_depths(self) -> bool:
        """Tell whether depths of neighbours are needed."""
        weights = (self.geometric_weight, self.temporal_weight, self.temporal_lidar_weight)
        return any(weights)


class Compared(NamedTuple):
    """
    One scale of the frames of a scene, everything at the size of the pictures.

    ``inv_depth`` of the target, ``others`` of each source [1/m]; ``rays`` to each source;
    ``moving``: where rebuilding the picture wins against standing still.
    """

    inv_depth_B1HW: Tensor
    others: Sequence[Tensor]
    rays: Sequence[RayMap]
    moving_B1HW: Tensor

    def meetings(self) -> list[Meeting]:
        """Return where the target's points are in each source."""
        pairs = zip(self.others, self.rays, strict=True)
        return [meet(self.inv_depth_B1HW, other, rays) for other, rays in pairs]


def compared(
    scene: Scene,
    inv_depth_B1hw: Tensor,
    others: Sequence[Tensor],
    rays: Sequence[RayMap],
    moving_B1HW: Tensor,
) -> Compared:
    """Enlarge inverse depths to the pictures."""
    full = [enlarged(other, scene.target) for other in others]
    return Compared(enlarged(inv_depth_B1hw, scene.target), full, rays, moving_B1HW)


class Consistency:
    """The terms that options ask for."""

    def __init__(self, options: ConsistencyOptions) -> None:
        self.options = options
        self.labels = None if options.motion is None else Labels(options.motion)

    def terms(
        self, scene: Scene, scales: Sequence[Compared], static_B1HW: Tensor
    ) -> dict[str, Term]:
        """
        Return ``geometric`` and ``temporal``, as far as options and pictures allow.

        :param scales: of these frames, finest first.
        """
        options, pixels = self.options, int(scene.seen_B1HW.sum())
        if not pixels or not (options.geometric_weight or options.temporal_weight):
            return {}
        geometric, drifts, counts = [], [], 0
        for scale in scales[: options.consistency_scales]:
            meetings = scale.meetings()
            masks = self._masks(scene, scale, meetings)
            if options.geometric_weight:
                where = scale.moving_B1HW & static_B1HW
                errors = [geometric_error(meeting) for meeting in meetings]
                geometric.append(mean_over_sources(errors, masks, where, scene.seen_B1HW))
            if options.temporal_weight:
                total, count = self._drift(meetings, masks, static_B1HW & scene.seen_B1HW)
                drifts.append(total)
                counts += count
        terms = {}
        if geometric:
            value = torch.stack(geometric).mean()
            terms['geometric'] = Term(value, pixels, options.geometric_weight)
        if counts:
            value = torch.stack(drifts).sum() / counts
            terms['temporal'] = Term(value, counts, options.temporal_weight)
        return terms

    def _masks(self, scene: Scene, scale: Compared, meetings: Sequence[Meeting]) -> list[Tensor]:
        if not self.options.cycle_mask:
            return [meeting.is_visible for meeting in meetings]
        size = (scene.target.shape[2], scene.target.shape[3])
        masks = []
        for other, rays, pose in zip(scale.others, scale.rays, scene.poses, strict=True):
            back = torch.linalg.inv(pose.detach().double())
            rays_back = ray_map(scene.K_B33, back, size, scene.target.dtype)
            error = cycle_error(scene.target, scale.inv_depth_B1HW, rays, other, rays_back)
            masks.append(cycle_mask(error, self.options.cycle_share))
        return masks

    def _drift(
        self, meetings: Sequence[Meeting], masks: Sequence[Tensor], where_B1HW: Tensor
    ) -> tuple[Tensor, int]:
        """Return the sum over the pixels that agree about, and their number."""
        total, count = where_B1HW.new_zeros((), dtype=meetings[0].depth_m.dtype), 0
        for meeting, mask in zip(meetings, masks, strict=True):
            drift = log_drift(meeting)
            agrees = mask & where_B1HW & meeting.is_visible
            agrees = agrees & (drift.detach() < self.options.temporal_limit)
            total = total + torch.where(agrees, drift, torch.zeros_like(drift)).sum()
            count += int(agrees.sum())
        return total, count

    def lidar_terms(
        self, finest: Compared, depth_B1HW: Tensor, hit_B1HW: Tensor, static_B1HW: Tensor
    ) -> dict[str, Term]:
        """
        Return ``temporal_lidar``, the mean over hits whose error changes little, or nothing.

        :param depth_B1HW: LiDAR of the target [m], read where ``hit_B1HW``.
        """
        where = hit_B1HW & static_B1HW
        if not self.options.temporal_lidar_weight or not where.any():
            return {}
        true = torch.where(where, depth_B1HW, torch.ones_like(depth_B1HW)).reciprocal()
        changes, used = [], []
        for other, rays in zip(finest.others, finest.rays, strict=True):
            meeting = meet(true, other, rays)
            change = error_change(meeting, finest.inv_depth_B1HW, true)
            changes.append(change)
            is_small = change.detach() < self.options.temporal_limit
            used.append(where & meeting.is_visible & is_small)
        mask = torch.stack(used)
        count = int(mask.sum())
        if not count:
            return {}
        value = masked_mean(torch.stack(changes), mask)
        return {'temporal_lidar': Term(value, count, self.options.temporal_lidar_weight)}

    def asks_teacher(self, epochs: float) -> bool:
        """Tell whether the teacher still says what moves."""
        return self.options.motion is not None and epochs < self.options.motion.epochs

    def teacher_m(self, batch: Batch, rows: Tensor) -> Tensor:
        """
        Return the teacher's depth of these frames [m], not finite where unknown.

        :raises DepthRosError: it cannot be asked, or has no metres.
        """
        assert self.labels is not None
        wanted_B = torch.zeros(len(batch), dtype=torch.bool, device=rows.device)
        wanted_B[rows] = True
        self.labels.require_metres('motion')
        return self.labels.depths(batch, wanted_B)[rows]

    def motion_terms(
        self, scene: Scene, depth_B1HW: Tensor, teacher_m_B1HW: Tensor
    ) -> tuple[dict[str, Term], Tensor]:
        """Return ``motion``, the mean over what the teacher knows, and where nothing moves."""
        options = self.options.motion
        assert options is not None
        static = is_static(depth_B1HW, teacher_m_B1HW, options.max_difference)
        known = torch.isfinite(teacher_m_B1HW) & scene.seen_B1HW
        count = int(known.sum())
        if not count:
            return {}, static
        value = motion_consistency(depth_B1HW, teacher_m_B1HW, static, known)
        return {'motion': Term(value, count, options.weight)}, static
