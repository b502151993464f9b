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

"""The terms of one network that learns from sparse depth."""

from __future__ import annotations

import torch
from torch import Tensor
from training.losses import unprojected
from training.losses.l1 import l1, log_l1
from training.losses.laplace_nll import laplace_nll
from training.models.depth_net import Prediction
from training.recipes.branches import full_size
from training.recipes.options import LidarOptions
from training.recipes.recipe import Term
from training.samples import Batch

ABSOLUTE = {'metres': l1, 'log': log_l1}
FILTERS = {'fixed_residual': unprojected.fixed_residual, 'hinge': unprojected.hinge}


def lidar_terms(prediction: Prediction, batch: Batch, options: LidarOptions) -> dict[str, Term]:
    """
    Return ``lidar_nll``, ``lidar_l1`` and ``filter``, as far as the batch has what they need.

    L_S,u of Baek, Kim, Kim, ICRA 2022, arXiv:2203.09737: every scale is enlarged to the
    picture, and the scales are averaged.

    :param prediction: in metres on the cameras of the batch.
    """
    full = full_size(prediction, batch.image_B3HW)
    return {**_errors(full, batch, options), **_filter(full, batch, options)}


def _errors(full: Prediction, batch: Batch, options: LidarOptions) -> dict[str, Term]:
    target_B1HW = batch.depth_B1HW
    hit_B1HW = batch.valid_B1HW & (target_B1HW <= options.max_lidar_m)
    count = int(hit_B1HW.sum())
    if not count:
        return {}
    nll = [
        laplace_nll(
            depth,
            log_sigma,
            target_B1HW,
            hit_B1HW,
            beta=options.beta,
            detach_depth=options.detach_depth,
        )
        for depth, log_sigma in zip(full.depths, full.log_sigmas, strict=True)
    ]
    terms = {'lidar_nll': Term(_mean(nll), count)}
    if options.loss == 'l1_nll':
        absolute = ABSOLUTE[options.loss_space]
        errors = [absolute(depth, target_B1HW, hit_B1HW) for depth in full.depths]
        terms['lidar_l1'] = Term(_mean(errors), count, options.l1_weight)
    return terms


def _filter(full: Prediction, batch: Batch, options: LidarOptions) -> dict[str, Term]:
    if options.filtering == 'off':
        return {}
    # In a frame without any hit nothing says where the LiDAR could have reached.
    has_hits_B111 = batch.valid_B1HW.flatten(1).any(1)[:, None, None, None]
    uncovered = unprojected.never_covered(batch.valid_B1HW, options.filter_radius_px)
    uncovered = uncovered & batch.seen_B1HW & has_hits_B111
    count = int(uncovered.sum())
    if not count:
        return {}
    form = FILTERS[options.filtering]
    values = [form(x, uncovered, options.filter_residual_m) for x in full.log_sigmas]
    return {'filter': Term(_mean(values), count, options.filter_weight)}


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()
