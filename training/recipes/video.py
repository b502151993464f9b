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

"""The terms of one network that learns from the frames before and after."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.losses.laplace_nll import residual_nll
from training.losses.photometric import (
    enlarged,
    moving_photometric,
    photometric,
    prepare,
    Reprojection,
    reprojection,
    Views,
)
from training.losses.scale import travelled_distance
from training.losses.smoothness import smoothness
from training.models.network import Prediction
from training.models.pose_net import Motion, PoseNet
from training.recipes.chance import tie_break
from training.recipes.colors import Colored
from training.recipes.features import FeatureMetric
from training.recipes.options import VideoOptions
from training.recipes.recipe import Term
from training.recipes.scene import Scene
from training.samples import Batch
from training.warp import inverse_pose_matrix, pose_matrix


class Watched(NamedTuple):
    """
    The frames of a batch that can be rebuilt, and how well their depths rebuild them.

    ``rows``: their numbers. ``inverse`` and ``log_sigmas``: of each scale, of these frames.
    ``views`` and ``results``, one for each scale, are missing without a photometric error.
    """

    rows: Tensor
    scene: Scene
    inverse: list[Tensor]
    log_sigmas: list[Tensor]
    views: Views | None
    results: list[Reprojection]


class Video(nn.Module):
    """
    Where the motion between frames comes from, and what it teaches.

    Frames without all neighbours, or with ``pose = odometry`` without all poses, have no part;
    with stereo, frames without a right image.
    """

    def __init__(self, options: VideoOptions, offsets: Sequence[int] = (-1, 1)) -> None:
        """
        Build it for batches whose neighbours have these offsets.

        :raises ModelError: the pose network.
        :raises ValueError: a frame between an offset and 0 is missing.
        """
        super().__init__()
        self.options, self.offsets = options, tuple(offsets)
        # The pose network looks at frames next to each other: numbers of the earlier ones.
        self._pairs = sorted({step for offset in offsets for step in range(*_between(offset))})
        known = {0, *offsets}
        if not known.issuperset({*self._pairs, *(pair + 1 for pair in self._pairs)}):
            raise ValueError(f'offsets = {self.offsets}: every frame between them and 0 is needed')
        self.pose_net: PoseNet | None = None
        if options.sees_video and options.pose == 'network':
            self.pose_net = PoseNet(options.pose_encoder, options.pose_weights)
        self.features = None
        if options.feature_metric is not None:
            self.features = FeatureMetric(options.feature_metric)

    @property
    def sees_neighbours(self) -> bool:
        """Tell whether a network looks at the neighbours."""
        return self.pose_net is not None

    def forward(self, batch: Batch, colored: Colored) -> Motion | None:
        """
        Return the motions of all pairs, by default (previous, frame), then (frame, next).

        None without a pose network, or when no frame has all neighbours. All pairs of frames
        that follow each other go through the network at once, each in temporal order.
        """
        rows = self.rows(batch)
        if self.pose_net is None or not len(rows):
            return None
        beside = _chosen(colored.neighbour_BN3HW, rows).unbind(1)
        frames = dict(zip(self.offsets, beside, strict=True))
        frames[0] = _chosen(colored.image_B3HW, rows)
        earlier = torch.cat([frames[pair] for pair in self._pairs])
        return self.pose_net(earlier, torch.cat([frames[pair + 1] for pair in self._pairs]))

    def rows(self, batch: Batch) -> Tensor:
        """Return the numbers of the frames that have all that they are rebuilt from."""
        usable_B = torch.ones_like(batch.is_labelled_B)
        if self.options.sees_video:
            usable_B = batch.has_neighbour_BN.all(1)
            if self.options.pose == 'odometry':
                usable_B = usable_B & batch.has_pose_BN.all(1)
        if self.options.sees_stereo:
            has_right = batch.has_right_B
            usable_B = usable_B & (False if has_right is None else has_right)
        return usable_B.nonzero()[:, 0]

    def terms(
        self, prediction: Prediction, motion: Motion | None, batch: Batch
    ) -> dict[str, Term]:
        """
        Return the terms of all options, as far as the batch allows.

        They are ``photometric``, ``feature_metric_2``, ``_4``, ``_8``, ``smoothness``, ``travel``.

        :param prediction: of all frames, depth in metres.
        :param motion: what ``forward`` returned for this batch.
        """
        watched = self.watched(prediction, motion, batch)
        return {} if watched is None else self.terms_of(watched, motion, batch)

    def watched(
        self, prediction: Prediction, motion: Motion | None, batch: Batch
    ) -> Watched | None:
        """Return what ``terms_of`` makes terms of; None when no frame can be rebuilt."""
        rows = self.rows(batch)
        if not len(rows):
            return None
        inverse = [1.0 / _chosen(depth, rows) for depth in prediction.depths]
        log_sigmas = [_chosen(log_sigma, rows) for log_sigma in prediction.log_sigmas]
        scene = self._scene(batch, rows, motion)
        views = self._views(scene) if self.options.photometric_weight else None
        results = [] if views is None else [reprojection(views, depth) for depth in inverse]
        return Watched(rows, scene, inverse, log_sigmas, views, results)

    def terms_of(self, watched: Watched, motion: Motion | None, batch: Batch) -> dict[str, Term]:
        """Return the terms of ``terms``."""
        terms = self._photometric(watched)
        scene, inverse, rows = watched.scene, watched.inverse, watched.rows
        if self.features is not None:
            weight = self.options.feature_weight
            terms.update(self.features.terms(scene, inverse[0], weight))
        if self.options.smoothness_weight:
            value = _smoothness(inverse, scene.target, self.options.smoothness_order)
            terms['smoothness'] = Term(value, len(rows), self.options.smoothness_weight)
        if self.options.travel_weight and motion is not None:
            terms.update(self._travel(motion, batch, rows))
        return terms

    def _poses(self, motion: Motion, count: int) -> tuple[Tensor, ...]:
        """Return source_T_target for each offset, through the frames between."""
        parts = (values.split(count) for values in motion)
        steps = dict(zip(self._pairs, zip(*parts, strict=True), strict=True))
        poses = []
        for offset in self.offsets:
            if offset < 0:
                chain = [inverse_pose_matrix(*steps[pair]) for pair in range(offset, 0)]
            else:
                chain = [pose_matrix(*steps[pair]) for pair in reversed(range(offset))]
            poses.append(reduce(torch.matmul, chain))
        return tuple(poses)

    def _scene(self, batch: Batch, rows: Tensor, motion: Motion | None) -> Scene:
        sources: list[Tensor] = []
        poses: list[Tensor] = []
        if self.options.sees_video:
            sources += _chosen(batch.neighbour_BN3HW, rows).unbind(1)
            known = _chosen(batch.neighbour_T_this_BN44, rows).unbind(1)
            poses += known if motion is None else self._poses(motion, len(rows))
        if self.options.sees_stereo:
            # Frames without have been left out.
            assert batch.right_B3HW is not None
            assert batch.right_T_this_B44 is not None
            sources.append(_chosen(batch.right_B3HW, rows))
            poses.append(_chosen(batch.right_T_this_B44, rows))
        return Scene(
            target=_chosen(batch.image_B3HW, rows),
            sources=tuple(source.contiguous() for source in sources),
            poses=tuple(poses),
            K_B33=_chosen(batch.K_B33, rows),
            seen_B1HW=_chosen(batch.seen_B1HW, rows),
            seeds=[batch.seeds[row] for row in rows.tolist()],
        )

    def _views(self, scene: Scene) -> Views:
        noise = None
        if self.options.auto_mask:
            noise = tie_break(scene.seeds, len(scene.sources), scene.target)
        return prepare(scene.target, scene.sources, scene.K_B33, scene.poses, tie_break_BNHW=noise)

    def _photometric(self, watched: Watched) -> dict[str, Term]:
        """
        Return the mean over the valid pixels of all scales together.

        Monodepth2 takes the mean of each scale's mean; that is the same unless the scales
        differ in which pixels are visible, and this one can be put together from parts.
        """
        values, counts = [], []
        # Without a photometric error there are no results.
        for result, log_sigma in zip(watched.results, watched.log_sigmas, strict=False):
            trains = result.is_valid if self.options.photometric == 'plain' else result.is_moving
            trains = trains & watched.scene.seen_B1HW
            count = int(trains.sum())
            if count:
                values.append(count * self._error(result, log_sigma, trains))
                counts.append(count)
        if not counts:
            return {}
        value = torch.stack(values).sum() / sum(counts)
        return {'photometric': Term(value, sum(counts), self.options.photometric_weight)}

    def _error(self, result: Reprojection, log_sigma: Tensor, trains_B1HW: Tensor) -> Tensor:
        if self.options.photometric == 'plain':
            return photometric(result._replace(is_valid=trains_B1HW))
        if self.options.photometric == 'hard':
            return moving_photometric(result, trains_B1HW)
        full = enlarged(log_sigma, result.error)
        return residual_nll(result.error, full, trains_B1HW)

    def _travel(self, motion: Motion, batch: Batch, rows: Tensor) -> dict[str, Term]:
        centres = self._by_offset(_centres(_chosen(batch.neighbour_T_this_BN44, rows)))
        has_pose = self._by_offset(_chosen(batch.has_pose_BN, rows))
        gaps = self._by_offset(_chosen(batch.gap_s_BN, rows))
        earlier = torch.tensor(self._pairs, device=rows.device) - min(0, *self.offsets)
        has_pose = has_pose[:, earlier] & has_pose[:, earlier + 1]
        passed = (gaps[:, earlier + 1] - gaps[:, earlier]).abs()
        driven = _chosen(batch.speed_mps_B, rows)[:, None] * passed
        moved = (centres[:, earlier + 1] - centres[:, earlier]).norm(dim=2)
        distance = torch.where(has_pose, moved, driven)
        is_known = has_pose | torch.isfinite(distance)
        count = int(is_known.sum())
        if not count:
            return {}
        # Motions come pair by pair: all of the first one, then all of the next.
        value = travelled_distance(
            motion.translation_B3, distance.T.reshape(-1), is_known.T.reshape(-1)
        )
        return {'travel': Term(value, count, self.options.travel_weight)}

    def _by_offset(self, values_BN: Tensor) -> Tensor:
        """Return values of consecutive frames in temporal order, that of the frame itself 0."""
        this = torch.zeros_like(values_BN[:, :1])
        if values_BN.dtype == torch.bool:
            this = torch.ones_like(this)
        listed = (0, *self.offsets)
        order = sorted(range(len(listed)), key=listed.__getitem__)
        return torch.cat((this, values_BN), dim=1)[:, order]


def _between(offset: int) -> tuple[int, int]:
    """Return the range of the pairs between a frame and the one at this offset."""
    return min(offset, 0), max(offset, 0)


def _centres(source_T_target_BN44: Tensor) -> Tensor:
    """Return where the sources stand in the target's frame [m], (B, N, 3)."""
    rotation, translation = source_T_target_BN44[..., :3, :3], source_T_target_BN44[..., :3, 3:]
    return -(rotation * translation).sum(-2)


def _chosen(tensor: Tensor, rows: Tensor) -> Tensor:
    """Return these rows; usually they are all, and nothing is copied."""
    return tensor if len(rows) == len(tensor) else tensor[rows]


def _smoothness(inverse: list[Tensor], image_B3HW: Tensor, order: int) -> Tensor:
    """Return the mean over the scales of the smoothness there times 1 / 2^s."""
    height = image_B3HW.shape[-2]
    values = []
    for inv_depth in inverse:
        small = image_B3HW
        if inv_depth.shape[-2:] != image_B3HW.shape[-2:]:
            small = functional.interpolate(image_B3HW, inv_depth.shape[-2:], mode='area')
        value = smoothness(inv_depth, small, order=order)
        values.append(value * (inv_depth.shape[-2] / height))
    return torch.stack(values).mean()
