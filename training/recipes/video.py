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

import torch
from torch import nn, Tensor
from torch.nn import functional
from training.losses.laplace_nll import residual_nll
from training.losses.photometric import (
    enlarged,
    photometric,
    prepare,
    Reprojection,
    reprojection,
    Views,
)
from training.losses.scale import travelled_distance
from training.losses.smoothness import smoothness
from training.models.depth_net import Prediction
from training.models.pose_net import Motion, PoseNet
from training.recipes.chance import tie_break
from training.recipes.colors import Colored
from training.recipes.features import FeatureMetric
from training.recipes.options import VideoOptions
from training.recipes.recipe import Term
from training.recipes.scene import Scene
from training.samples import Batch
from training.warp import inverse_pose_matrix, pose_matrix


class Video(nn.Module):
    """
    Where the motion between frames comes from, and what it teaches.

    Frames without both neighbours, or with ``pose = odometry`` without both poses, have no part.
    """

    def __init__(self, options: VideoOptions) -> None:
        super().__init__()
        self.options = options
        self.pose_net: PoseNet | None = None
        if options.pose == 'network':
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
        Return the motions of all pairs: (previous, frame) of each frame, then (frame, next).

        None without a pose network, or when no frame has both neighbours. Both pairs go through
        the network at once, each in temporal order.
        """
        rows = self.rows(batch)
        if self.pose_net is None or not len(rows):
            return None
        frame = _chosen(colored.image_B3HW, rows)
        previous, following = _chosen(colored.neighbour_BN3HW, rows).unbind(1)
        return self.pose_net(torch.cat((previous, frame)), torch.cat((frame, following)))

    def rows(self, batch: Batch) -> Tensor:
        """Return the numbers of the frames that can be rebuilt from their neighbours."""
        usable_BN = batch.has_neighbour_BN
        if self.options.pose == 'odometry':
            usable_BN = usable_BN & batch.has_pose_BN
        return usable_BN.all(1).nonzero()[:, 0]

    def terms(
        self, prediction: Prediction, motion: Motion | None, batch: Batch
    ) -> dict[str, Term]:
        """
        Return the terms of all options, as far as the batch allows.

        They are ``photometric``, ``feature_metric_2``, ``_4``, ``_8``, ``smoothness``, ``travel``.

        :param prediction: of all frames, depth in metres.
        :param motion: what ``forward`` returned for this batch.
        """
        rows = self.rows(batch)
        if not len(rows):
            return {}
        depths = [_chosen(depth, rows) for depth in prediction.depths]
        log_sigmas = [_chosen(log_sigma, rows) for log_sigma in prediction.log_sigmas]
        inverse = [1.0 / depth for depth in depths]
        scene = self._scene(batch, rows, motion)
        terms: dict[str, Term] = {}
        if self.options.photometric_weight:
            terms.update(self._photometric(inverse, log_sigmas, scene))
        if self.features is not None:
            weight = self.options.feature_weight
            terms.update(self.features.terms(scene, inverse[0], weight))
        if self.options.smoothness_weight:
            value = _smoothness(inverse, scene.target, self.options.smoothness_order)
            terms['smoothness'] = Term(value, len(rows), self.options.smoothness_weight)
        if self.options.travel_weight and motion is not None:
            terms.update(self._travel(motion, batch, rows))
        return terms

    def _scene(self, batch: Batch, rows: Tensor, motion: Motion | None) -> Scene:
        poses = _chosen(batch.neighbour_T_this_BN44, rows).unbind(1)
        if motion is not None:
            count = len(rows)
            angles, translations = motion
            poses = (
                inverse_pose_matrix(angles[:count], translations[:count]),
                pose_matrix(angles[count:], translations[count:]),
            )
        sources = _chosen(batch.neighbour_BN3HW, rows).unbind(1)
        return Scene(
            target=_chosen(batch.image_B3HW, rows),
            sources=tuple(source.contiguous() for source in sources),
            poses=poses,
            K_B33=_chosen(batch.K_B33, rows),
            seen_B1HW=_chosen(batch.seen_B1HW, rows),
            seeds=[batch.seeds[row] for row in rows.tolist()],
        )

    def _views(self, scene: Scene) -> Views:
        noise = None
        if self.options.auto_mask:
            noise = tie_break(scene.seeds, len(scene.sources), scene.target)
        return prepare(scene.target, scene.sources, scene.K_B33, scene.poses, tie_break_BNHW=noise)

    def _photometric(
        self, inverse: list[Tensor], log_sigmas: list[Tensor], scene: Scene
    ) -> dict[str, Term]:
        """
        Return the mean over the valid pixels of all scales together.

        Monodepth2 takes the mean of each scale's mean; that is the same unless the scales
        differ in which pixels are visible, and this one can be put together from parts.
        """
        views, values, counts = self._views(scene), [], []
        for inv_depth, log_sigma in zip(inverse, log_sigmas, strict=True):
            result = reprojection(views, inv_depth)
            trains = result.is_moving if self.options.photometric == 'nll' else result.is_valid
            trains = trains & scene.seen_B1HW
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
        full = enlarged(log_sigma, result.error)
        return residual_nll(result.error, full, trains_B1HW)

    def _travel(self, motion: Motion, batch: Batch, rows: Tensor) -> dict[str, Term]:
        poses = _chosen(batch.neighbour_T_this_BN44, rows)
        has_pose = _chosen(batch.has_pose_BN, rows)
        driven = _chosen(batch.speed_mps_B[:, None] * batch.gap_s_BN.abs(), rows)
        distance = torch.where(has_pose, poses[:, :, :3, 3].norm(dim=2), driven)
        is_known = has_pose | torch.isfinite(distance)
        count = int(is_known.sum())
        if not count:
            return {}
        # Motions come pair by pair: all previous ones, then all next ones.
        value = travelled_distance(
            motion.translation_B3, distance.T.reshape(-1), is_known.T.reshape(-1)
        )
        return {'travel': Term(value, count, self.options.travel_weight)}


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
