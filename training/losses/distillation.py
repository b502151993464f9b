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
Distillation from one branch to another, weighted by the teacher's uncertainty.

Baek, Kim, Kim, "Semi-supervised learning with mutual distillation for monocular depth
estimation", ICRA 2022, arXiv:2203.09737: L_U->S and L_S->U are
N sum_p w(p) |D_student(p) - sg D_teacher(p)| with N = 1 / sum_p w(p), and the ablation of the
weighting UW, UT, UWT, CT. The form of the weights is ours, and so is the difference of ln D.

The normaliser makes the slopes over the pixels of an image add to one, however far apart the
two are: a lesson is dry friction. In metres a weight lambda outweighs, in sum over the image, a
likelihood |D - D*| / sigma with sigma > 1 / lambda metres, and then two branches that agree stay
where they are, right or wrong. Of ln D that limit is sigma > D / lambda, whatever the unit of D.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

import torch
from torch import Tensor
from training.losses.checks import require_equal_shapes, require_map, require_mask


@dataclass(frozen=True, kw_only=True)
class Weighting:
    """
    How the teacher's sigma decides who is believed.

    ``scheme``: UW weights by 1 / sigma; UT keeps, with equal weight, the share ``quantile`` of
    each image's pixels with the smallest sigma; UWT does both; CT keeps the pixels with sigma
    below the constant ``max_sigma`` (in the teacher's units).

    :raises ValueError: an unknown scheme or a value out of range.
    """

    scheme: str = 'UW'
    quantile: float = 0.5
    max_sigma: float = 1.0

    def __post_init__(self) -> None:
        if self.scheme not in _LOGITS:
            raise ValueError(f"scheme = '{self.scheme}': must be one of {sorted(_LOGITS)}")
        if not 0 < self.quantile <= 1:
            raise ValueError(f'quantile = {self.quantile}: must be in 0..1 and not 0')
        if not 0 < self.max_sigma < math.inf:
            raise ValueError(f'max_sigma = {self.max_sigma}: must be positive')


def normalised_weights(log_sigma_B1HW: Tensor, valid_B1HW: Tensor, weighting: Weighting) -> Tensor:
    """
    Return w N, (B, 1, H, W): each image's weights add to one; zero where not valid.

    All are zero in an image that has no pixel to believe. Carries no gradient. Computed as a
    softmax of -ln sigma, so that it is exact at every scale of sigma.
    """
    flat = _LOGITS[weighting.scheme](
        log_sigma_B1HW.detach().float().flatten(1), valid_B1HW.flatten(1), weighting
    )
    weights = flat.softmax(dim=1)
    is_believed = torch.isfinite(flat).any(1, keepdim=True)
    return torch.where(is_believed, weights, torch.zeros_like(weights)).view_as(log_sigma_B1HW)


def distillation(
    student_depth_B1HW: Tensor,
    teacher_depth_B1HW: Tensor,
    teacher_log_sigma_B1HW: Tensor,
    valid_B1HW: Tensor,
    weighting: Weighting,
    *,
    space: str = 'metres',
) -> Tensor:
    """
    Return N sum_p w(p) |D_student - sg D_teacher|, the mean over the images.

    No gradient reaches the teacher, neither its depth nor its sigma. Images in which a
    threshold leaves no pixel do not count; 0 if none is left.

    :param teacher_log_sigma_B1HW: ln sigma of the teacher, in any units.
    :param valid_B1HW: True where the teacher's depth may be used.
    :param space: of the difference, see ``weighted_difference``.
    :raises ValueError: wrong shapes, no pixel is valid, or an unknown space.
    """
    require_map('student_depth_B1HW', student_depth_B1HW)
    require_equal_shapes(
        student_depth_B1HW=student_depth_B1HW,
        teacher_depth_B1HW=teacher_depth_B1HW,
        teacher_log_sigma_B1HW=teacher_log_sigma_B1HW,
        valid_B1HW=valid_B1HW,
    )
    require_mask('valid_B1HW', valid_B1HW)
    weights = normalised_weights(teacher_log_sigma_B1HW, valid_B1HW, weighting)
    per_image = weighted_difference(student_depth_B1HW, teacher_depth_B1HW, weights, space=space)
    return per_image.sum() / believed_images(weights).sum().clamp(min=1)


def weighted_difference(
    student_depth_B1HW: Tensor,
    teacher_depth_B1HW: Tensor,
    weights_B1HW: Tensor,
    *,
    space: str = 'metres',
) -> Tensor:
    """
    Return sum_p w(p) |D_student - sg D_teacher| of each image, (B,).

    :param student_depth_B1HW: positive if ``space`` is ``log``, and so is the teacher's where it
        has weight.
    :param weights_B1HW: of ``normalised_weights``; the teacher is not read where they are zero.
    :param space: ``metres``: as published; ``log``: |ln D_student - sg ln D_teacher|.
    :raises ValueError: an unknown space.
    """
    if space not in _DIFFERENCES:
        raise ValueError(f"space = '{space}': must be one of {sorted(_DIFFERENCES)}")
    # The teacher may be NaN where it is not believed; zero times NaN is NaN.
    teacher = torch.where(
        weights_B1HW > 0, teacher_depth_B1HW.detach(), student_depth_B1HW.detach()
    )
    difference = _DIFFERENCES[space](student_depth_B1HW, teacher)
    return (weights_B1HW * difference.abs()).sum((1, 2, 3))


def believed_images(weights_B1HW: Tensor) -> Tensor:
    """Return the images in which a pixel has weight, bool (B,)."""
    return weights_B1HW.flatten(1).amax(1) > 0


def _log_difference(student_depth_B1HW: Tensor, teacher_depth_B1HW: Tensor) -> Tensor:
    return (student_depth_B1HW / teacher_depth_B1HW).log()


_DIFFERENCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    'metres': torch.sub,
    'log': _log_difference,
}


def _unwanted(keep_BN: Tensor, logits_BN: Tensor) -> Tensor:
    return logits_BN.masked_fill(~keep_BN, -math.inf)


def _weighted(log_sigma_BN: Tensor, valid_BN: Tensor, weighting: Weighting) -> Tensor:
    return _unwanted(valid_BN, -log_sigma_BN)


def _most_certain(log_sigma_BN: Tensor, valid_BN: Tensor, share: float) -> Tensor:
    """Return the share of each image's valid pixels with the smallest sigma."""
    ordered = log_sigma_BN.masked_fill(~valid_BN, math.inf).sort(dim=1).values
    last = (valid_BN.sum(1, keepdim=True) * share).ceil().long() - 1
    return valid_BN & (log_sigma_BN <= ordered.gather(1, last.clamp(min=0)))


def _thresholded(log_sigma_BN: Tensor, valid_BN: Tensor, weighting: Weighting) -> Tensor:
    keep = _most_certain(log_sigma_BN, valid_BN, weighting.quantile)
    return _unwanted(keep, torch.zeros_like(log_sigma_BN))


def _weighted_thresholded(log_sigma_BN: Tensor, valid_BN: Tensor, weighting: Weighting) -> Tensor:
    keep = _most_certain(log_sigma_BN, valid_BN, weighting.quantile)
    return _unwanted(keep, -log_sigma_BN)


def _constant(log_sigma_BN: Tensor, valid_BN: Tensor, weighting: Weighting) -> Tensor:
    keep = valid_BN & (log_sigma_BN < math.log(weighting.max_sigma))
    return _unwanted(keep, torch.zeros_like(log_sigma_BN))


_LOGITS: dict[str, Callable[[Tensor, Tensor, Weighting], Tensor]] = {
    'UW': _weighted,
    'UT': _thresholded,
    'UWT': _weighted_thresholded,
    'CT': _constant,
}
