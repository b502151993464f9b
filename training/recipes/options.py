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
Options that recipes share, checked once; field names are the keys of the YAML.

A value that would have no effect beside the others is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
import math
from typing import Any

from depth_ros.core.model_spec import OutputKind
from depth_ros.errors import ConfigError
from training.recipes.recipe import FrameNeeds

LOSSES = ('nll', 'l1_nll')
SPACES = ('metres', 'log')
FILTERS = ('off', 'fixed_residual', 'hinge')
POSES = ('network', 'odometry')
VIDEO, STEREO, BOTH = 'video', 'stereo', 'both'
SOURCES = (VIDEO, STEREO, BOTH)
PHOTOMETRIC = ('plain', 'hard', 'nll')
SMOOTHNESS_ORDERS = (1, 2)
MAX_FEATURE_SCALES = 3
# Features have no bound: beside a photometric error, which is below one, they count little.
FEATURE_WEIGHT_BESIDE, FEATURE_WEIGHT_ALONE = 1e-3, 1.0


def require_choice(options: Any, key: str, choices: Sequence[str]) -> None:
    """Check that an option is one of the choices; ConfigError names it."""
    value = getattr(options, key)
    if value not in choices:
        raise ConfigError(f"{key} = '{value}': must be one of {', '.join(choices)}")


def require_positive(options: Any, *keys: str) -> None:
    """Check for finite numbers above zero; ConfigError names the first other."""
    for key in keys:
        value = getattr(options, key)
        if not 0 < value < math.inf:
            raise ConfigError(f'{key} = {value}: must be a positive number')


def require_not_negative(options: Any, *keys: str) -> None:
    """Check for finite numbers of zero or more; ConfigError names the first other."""
    for key in keys:
        value = getattr(options, key)
        if not 0 <= value < math.inf:
            raise ConfigError(f'{key} = {value}: must be zero or more')


def refuse_unused(options: Any, because: str, *keys: str) -> None:
    """
    Check that options without effect are left at their defaults.

    :param because: the option that makes them useless, with its value.
    :raises ConfigError: one has another value; the sentence names both.
    """
    defaults = {field.name: field.default for field in fields(options)}
    for key in keys:
        value = getattr(options, key)
        if value != defaults[key]:
            raise ConfigError(f'{key} = {value}: has no effect with {because}; leave it out')


@dataclass(frozen=True, kw_only=True)
class LidarOptions:
    """
    How one network learns from sparse depth.

    Fields:
        loss: ``nll``, the Laplace likelihood alone, or ``l1_nll``, the absolute error beside it.
        l1_weight: of the absolute error.
        loss_space: of the absolute error: ``metres``, or ``log`` for |ln D - ln D*|, which
            weighs a near and a far pixel alike.
        beta: weight of ln sigma in the likelihood.
        detach_depth: the likelihood trains sigma alone.
        max_lidar_m: farther hits do not count [m].
        filtering: what keeps sigma up where LiDAR never reaches: ``fixed_residual``, ``hinge``
            or ``off``.
        filter_weight, filter_residual_m, filter_radius_px: weight of that term, its M [m], and
            how near to a hit a pixel counts as reached.

    """

    loss: str = 'nll'
    l1_weight: float = 1.0
    loss_space: str = 'metres'
    beta: float = 1.0
    detach_depth: bool = False
    max_lidar_m: float = 80.0
    filtering: str = 'fixed_residual'
    filter_weight: float = 0.1
    filter_residual_m: float = 10.0
    filter_radius_px: int = 8

    def __post_init__(self) -> None:
        require_choice(self, 'loss', LOSSES)
        require_choice(self, 'loss_space', SPACES)
        require_choice(self, 'filtering', FILTERS)
        require_positive(self, 'l1_weight', 'beta', 'max_lidar_m', 'filter_residual_m')
        require_positive(self, 'filter_weight')
        require_not_negative(self, 'filter_radius_px')
        if self.loss == 'nll':
            if self.detach_depth:
                raise ConfigError(
                    'detach_depth = True: with loss = nll nothing would train the depth; '
                    'use loss = l1_nll'
                )
            refuse_unused(self, 'loss = nll', 'l1_weight', 'loss_space')
        if self.filtering == 'off':
            keys = ('filter_weight', 'filter_residual_m', 'filter_radius_px')
            refuse_unused(self, 'filtering = off', *keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMetricOptions:
    """
    A feature network whose maps are compared like pictures.

    Fields:
        checkpoint: of a training of the recipe ``feature_network``.
        weight: null: 1e-3, or 1 where ``photometric_weight`` is 0.
        scales: feature maps at 1/2, 1/4 and 1/8; 1 to 3 of them.

    """

    checkpoint: str
    weight: float | None = None
    scales: int = MAX_FEATURE_SCALES

    def __post_init__(self) -> None:
        if not self.checkpoint.strip():
            raise ConfigError("checkpoint = '': must name a file of the recipe feature_network")
        if self.weight is not None:
            require_positive(self, 'weight')
        if not 1 <= self.scales <= MAX_FEATURE_SCALES:
            raise ConfigError(f'scales = {self.scales}: must be 1 to {MAX_FEATURE_SCALES}')


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """
    How one network learns from the frames before and after, or from a stereo pair.

    Fields:
        sources: a frame is rebuilt from the frames before and after (``video``), from the right
            image of its pair (``stereo``: depth is metric, and no motion has to be known), or
            from ``both``.
        pose: motion from a ``network`` that is trained with it, or from the dataset's
            ``odometry``: then depth is metric, and frames without poses are left out.
        pose_encoder, pose_weights: of that network, as in ``training.models.encoders``.
        photometric: the error itself (``plain``), of what the auto-mask leaves alone
            (``hard``), or its likelihood under the learned sigma (``nll``; sigma is then in
            units of the photometric error, not in metres).
        photometric_weight: of that term; 0: off, which ``feature_metric`` has to replace.
        auto_mask: pixels that look better when nothing moves do not train.
        feature_metric: pictures are compared by the features of a network too; null: off.
        smoothness_weight: of edge-aware smoothness at scale s, times 1 / 2^s; 0: off.
        smoothness_order: 1, or 2 for first and second differences together.
        travel_weight: of | |t| - s |, s the distance by odometry or speed, which gives the
            metre to depth and motion; 0: off. Frames without either do not count.

    """

    sources: str = VIDEO
    pose: str = 'network'
    pose_encoder: str = 'resnet18'
    pose_weights: str = 'imagenet'
    photometric: str = 'plain'
    photometric_weight: float = 1.0
    auto_mask: bool = True
    feature_metric: FeatureMetricOptions | None = None
    smoothness_weight: float = 1e-3
    smoothness_order: int = 1
    travel_weight: float = 0.05

    def __post_init__(self) -> None:
        require_choice(self, 'sources', SOURCES)
        require_choice(self, 'pose', POSES)
        require_choice(self, 'photometric', PHOTOMETRIC)
        require_not_negative(self, 'photometric_weight', 'smoothness_weight', 'travel_weight')
        if self.smoothness_order not in SMOOTHNESS_ORDERS:
            raise ConfigError(f'smoothness_order = {self.smoothness_order}: must be 1 or 2')
        if not self.smoothness_weight:
            refuse_unused(self, 'smoothness_weight = 0', 'smoothness_order')
        if self.photometric == 'hard' and not self.auto_mask:
            raise ConfigError('photometric = hard: has no mask with auto_mask = False; use plain')
        if not self.photometric_weight:
            self._refuse_without_photometric()
        self._check_sources()
        if self.pose == 'odometry':
            refuse_unused(self, 'pose = odometry', 'pose_encoder', 'pose_weights')
            self._refuse_travel('pose = odometry')

    def _check_sources(self) -> None:
        if self.sees_stereo and self.photometric_weight and self.auto_mask:
            raise ConfigError(
                f'auto_mask = True: with sources = {self.sources} nothing stands still between '
                'the cameras; set it to false'
            )
        if not self.sees_video:
            refuse_unused(self, 'sources = stereo', 'pose', 'pose_encoder', 'pose_weights')
            self._refuse_travel('sources = stereo')

    def _refuse_travel(self, because: str) -> None:
        if self.travel_weight:
            raise ConfigError(
                f'travel_weight = {self.travel_weight}: with {because} there is no motion to '
                'learn; set it to 0'
            )

    @property
    def sees_video(self) -> bool:
        """Tell whether the frames before and after are sources."""
        return self.sources != STEREO

    @property
    def sees_stereo(self) -> bool:
        """Tell whether the right image is a source."""
        return self.sources != VIDEO

    def frames(self, *, needed: bool) -> FrameNeeds:
        """Return which frames take part: those with all sources, or all if not ``needed``."""
        wish = True if needed else None
        return FrameNeeds(
            labelled=None,
            neighbours=wish if self.sees_video else False,
            stereo=wish if self.sees_stereo else False,
        )

    def _refuse_without_photometric(self) -> None:
        if self.feature_metric is None:
            raise ConfigError(
                'photometric_weight = 0: without feature_metric nothing would train the depth'
            )
        if self.photometric == 'nll':
            raise ConfigError(
                'photometric_weight = 0: with photometric = nll nothing would train sigma; give '
                'it a weight, or use plain where the recipe allows it'
            )
        refuse_unused(self, 'photometric_weight = 0', 'auto_mask', 'photometric')

    @property
    def output_kind(self) -> OutputKind:
        """Return what the numbers of a network mean that learns from video alone."""
        has_metre = self.sees_stereo or self.pose == 'odometry' or self.travel_weight > 0
        return 'metric_depth' if has_metre else 'affine_inverse_depth'

    @property
    def feature_weight(self) -> float:
        """Return the weight of the feature-metric error; 0 without."""
        if self.feature_metric is None:
            return 0.0
        if self.feature_metric.weight is not None:
            return self.feature_metric.weight
        return FEATURE_WEIGHT_BESIDE if self.photometric_weight else FEATURE_WEIGHT_ALONE
