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
TC-Depth: a network that remembers, from video, LiDAR, or both.

Ruhkamp, Gao, Chen, Navab, Busam, "Attention meets Geometry", 3DV 2021, arXiv:2110.08192. Ours are
the causal window, LiDAR beside video so that depth is metric, and the two ``temporal`` terms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import cast

from depth_ros.core.model_spec import OutputKind
from depth_ros.errors import ConfigError
import torch
from training.losses.photometric import enlarged
from training.losses.reference import reference_error
from training.models.network import Prediction
from training.models.sequence import SequenceNetwork
from training.recipes import colors
from training.recipes.branches import exactly, in_metres, MakeNetwork, OneNetwork
from training.recipes.consistency import Compared, compared, Consistency, ConsistencyOptions
from training.recipes.lidar import lidar_terms
from training.recipes.options import (
    LidarOptions,
    refuse_unused,
    require_choice,
    require_not_negative,
    VIDEO,
)
from training.recipes.recipe import focal_ratio, FrameNeeds, Progress, Term
from training.recipes.teacher import AFFINE_LOSS, Teacher, TeacherOptions
from training.recipes.video import Video, Watched
from training.recipes.video_network import ColoredVideoOptions
from training.recipes.window import all_frames, causal_window, centred_window, Shown, THIS
from training.samples import Batch
from training.warp import ray_map

VIEWS = {'causal': causal_window, 'centred': centred_window}
# What needs neither LiDAR nor a teacher.
REFINING = frozenset({'photometric', 'geometric', 'smoothness'})
LIDAR_FRAMES = ('window', 'current', 'off')
CENTRED = (-1, 1)


@dataclass(frozen=True, kw_only=True)
class TcDepthConfig(LidarOptions, ColoredVideoOptions, ConsistencyOptions):
    """
    Options of LiDAR, of video, of consistency, and these.

    Fields:
        views: ``causal``: a frame sees those before it; ``centred``: the frames on both sides,
            as published. A node can only run what was trained causally.
        past: frames before it in the causal window.
        lidar_frames: LiDAR trains all frames of the ``window``, the ``current`` one, or is
            ``off``; what LiDAR there is decides, frame by frame.
        colors_apart: every picture gets a change of colours of its own, as published.
        reference_weight: of what trains the reference of the spatial attention; 0: off.
        teacher: a model, or stored pseudo-labels, that the current frame learns from too.

    """

    photometric: str = 'hard'
    views: str = 'causal'
    past: int = 2
    lidar_frames: str = 'window'
    colors_apart: bool = True
    reference_weight: float = 1.0
    teacher: TeacherOptions | None = None

    def __post_init__(self) -> None:
        LidarOptions.__post_init__(self)
        ColoredVideoOptions.__post_init__(self)
        ConsistencyOptions.__post_init__(self)
        require_choice(self, 'views', tuple(VIEWS))
        # A window is of one camera.
        require_choice(self, 'sources', (VIDEO,))
        require_choice(self, 'lidar_frames', LIDAR_FRAMES)
        require_not_negative(self, 'reference_weight')
        if self.past < 1:
            raise ConfigError(f'past = {self.past}: must be 1 or more')
        if self.photometric == 'nll':
            raise ConfigError('photometric = nll: sigma is in metres, by LiDAR; use hard or plain')
        self._refuse_what_has_no_effect()
        if len(self._stores) > 1:
            raise ConfigError(
                f'motion.labels and teacher.labels are {" and ".join(sorted(self._stores))}: a '
                'frame has pseudo-labels of one folder; ask one of the two by model'
            )

    def _refuse_what_has_no_effect(self) -> None:
        if self.views == 'centred':
            refuse_unused(self, 'views = centred', 'past')
        if self.colors == 'off':
            refuse_unused(self, 'colors = off', 'colors_apart')
        if self.lidar_frames == 'off':
            keys = (field.name for field in fields(LidarOptions))
            refuse_unused(self, 'lidar_frames = off', *keys)
        for key in ('temporal_weight', 'temporal_lidar_weight'):
            if getattr(self, key) and self.pose != 'odometry':
                raise ConfigError(
                    f'{key} = {getattr(self, key)}: needs to know how the camera moved; use '
                    'pose = odometry'
                )

    def _refuse_without_photometric(self) -> None:
        # LiDAR trains the depth too.
        if self.lidar_frames == 'off':
            super()._refuse_without_photometric()
        refuse_unused(self, 'photometric_weight = 0', 'auto_mask', 'photometric')

    @property
    def _stores(self) -> set[str]:
        sources = (self.motion, self.teacher)
        return {one.labels for one in sources if one is not None and one.labels is not None}

    @property
    def offsets(self) -> tuple[int, ...]:
        """Return which neighbours a window has."""
        return CENTRED if self.views == 'centred' else tuple(range(-1, -1 - self.past, -1))

    @property
    def needs(self) -> FrameNeeds:
        """Return which frames take part."""
        return FrameNeeds(
            labelled=None,
            neighbours=None,
            offsets=self.offsets,
            window=True,
            neighbour_depths=self.lidar_frames == 'window',
            labels=next(iter(self._stores), None),
        )

    @property
    def is_metric(self) -> bool:
        """Tell whether something gives the metre."""
        sources = (self.lidar_frames != 'off', self.pose == 'odometry', self.travel_weight)
        teaches_metres = self.teacher is not None and self.teacher.loss != AFFINE_LOSS
        return any((*sources, self.motion is not None, teaches_metres))


class TcDepth(OneNetwork):
    """One network that remembers, trained on windows of frames."""

    network_type = SequenceNetwork

    def __init__(self, options: TcDepthConfig, make_network: MakeNetwork, focal_px: float) -> None:
        """
        Build it.

        :raises ModelError: one of the networks.
        :raises ValueError: the network remembers more frames than the window has.
        """
        super().__init__(make_network, focal_px)
        memory = self._remembering.memory
        if options.views == 'causal' and options.past < memory:
            raise ValueError(
                f'past = {options.past}: the network remembers {memory} frames, and the window '
                'has to have as many'
            )
        self.options, self.needs = options, options.needs
        self.has_sigma = options.lidar_frames != 'off'
        self.output_kind: OutputKind = (
            'metric_depth' if options.is_metric else 'affine_inverse_depth'
        )
        self.video = Video(options, options.offsets)
        self.consistency = Consistency(options)
        self.teacher = None if options.teacher is None else Teacher(options.teacher)

    @property
    def _remembering(self) -> SequenceNetwork:
        # The registry has seen to it.
        return cast(SequenceNetwork, self.network)

    def forward(self, batch: Batch, progress: Progress) -> dict[str, Term]:
        seen = self._colored(batch)
        window = self._window(batch, seen)
        motion = self.video(batch, seen)
        with exactly(batch):
            terms = {**self._lidar(window, batch), **self._reference(window)}
            current = self._in_metres(window[THIS], batch)
            if self.teacher is not None:
                terms.update(self.teacher.term(current, batch))
            watched = self.video.watched(current, motion, batch)
            if watched is not None:
                terms.update(self.video.terms_of(watched, motion, batch))
                terms.update(self._consistency(watched, window, batch, progress))
        return terms

    def refinement(self, batch: Batch) -> dict[str, Term]:
        """Return the terms that a network can go on learning from when it is used."""
        seen = colors.Colored(batch.image_B3HW, batch.neighbour_BN3HW)
        window = self._window(batch, seen)
        motion = self.video(batch, seen)
        with exactly(batch):
            current = self._in_metres(window[THIS], batch)
            watched = self.video.watched(current, motion, batch)
            if watched is None:
                return {}
            terms = self.video.terms_of(watched, motion, batch)
            static = torch.ones_like(watched.scene.seen_B1HW)
            if self.options.geometric_weight:
                scales = self._compared(watched, window, batch)
                terms.update(self.consistency.terms(watched.scene, scales, static))
        return {name: term for name, term in terms.items() if name in REFINING}

    def predictions(self, batch: Batch) -> Mapping[str, Prediction]:
        window = self._window(batch, colors.Colored(batch.image_B3HW, batch.neighbour_BN3HW))
        return {'depth': self._in_metres(window[THIS], batch)}

    def _colored(self, batch: Batch) -> colors.Colored:
        change = colors.recolored_apart if self.options.colors_apart else colors.recolored
        return change(batch, self.options.colors, 'colors', neighbours=True)

    def _window(self, batch: Batch, seen: colors.Colored) -> dict[int, Shown]:
        return VIEWS[self.options.views](self._remembering, batch, seen, self.options.offsets)

    def _in_metres(self, shown: Shown, batch: Batch) -> Prediction:
        ratio = focal_ratio(batch.K_B33[shown.rows], self.focal_px)
        return in_metres(shown.view.prediction, ratio, with_sigma=self.has_sigma)

    def _lidar(self, window: Mapping[int, Shown], batch: Batch) -> dict[str, Term]:
        """Return the terms of ``lidar_terms`` over all frames that LiDAR trains."""
        if self.options.lidar_frames == 'off':
            return {}
        if self.options.lidar_frames == 'current' or batch.neighbour_depth_BN1HW is None:
            return lidar_terms(self._in_metres(window[THIS], batch), batch, self.options)
        rows, view = all_frames(window)
        hits = {THIS: (batch.depth_B1HW, batch.valid_B1HW)}
        assert batch.neighbour_valid_BN1HW is not None
        beside = (batch.neighbour_depth_BN1HW.unbind(1), batch.neighbour_valid_BN1HW.unbind(1))
        hits |= dict(zip(self.options.offsets, zip(*beside, strict=True), strict=True))
        depth, valid = (
            torch.cat([hits[offset][part][shown.rows] for offset, shown in window.items()])
            for part in (0, 1)
        )
        frames = replace(
            batch,
            image_B3HW=batch.image_B3HW[rows],
            depth_B1HW=depth,
            valid_B1HW=valid,
            seen_B1HW=batch.seen_B1HW[rows],
        )
        return lidar_terms(self._in_metres(Shown(rows, view), batch), frames, self.options)

    def _reference(self, window: Mapping[int, Shown]) -> dict[str, Term]:
        """Return ``reference``, the mean over all frames of the window; nothing without one."""
        rows, view = all_frames(window)
        if not self.options.reference_weight or view.inverse_depth_B1hw is None:
            return {}
        # Both are the network's own, for one focal length.
        value = reference_error(view.inverse_depth_B1hw, view.prediction.depths[0])
        return {'reference': Term(value, len(rows), self.options.reference_weight)}

    def _consistency(
        self, watched: Watched, window: Mapping[int, Shown], batch: Batch, progress: Progress
    ) -> dict[str, Term]:
        terms: dict[str, Term] = {}
        scene, rows = watched.scene, watched.rows
        static = torch.ones_like(scene.seen_B1HW)
        if self.consistency.asks_teacher(progress.epochs):
            depth = enlarged(watched.inverse[0], scene.target).reciprocal()
            teacher = self.consistency.teacher_m(batch, rows)
            terms, static = self.consistency.motion_terms(scene, depth, teacher)
        if self.options.compares_depths:
            scales = self._compared(watched, window, batch)
            terms.update(self.consistency.terms(scene, scales, static))
            depth, valid = batch.depth_B1HW[rows], batch.valid_B1HW[rows]
            hit = valid & (depth <= self.options.max_lidar_m)
            terms.update(self.consistency.lidar_terms(scales[0], depth, hit, static))
        return terms

    def _compared(
        self, watched: Watched, window: Mapping[int, Shown], batch: Batch
    ) -> list[Compared]:
        scene, rows = watched.scene, watched.rows
        if watched.views is not None:
            rays = watched.views.rays
        else:
            size = (scene.target.shape[2], scene.target.shape[3])
            rays = tuple(
                ray_map(scene.K_B33, pose, size, scene.target.dtype) for pose in scene.poses
            )
        ratio = focal_ratio(scene.K_B33, self.focal_px)
        scales = []
        for number, inverse in enumerate(watched.inverse[: self.options.consistency_scales]):
            beside = [window[offset] for offset in self.options.offsets]
            others = [
                1.0 / (shown.of(rows, shown.view.prediction.depths[number]) * ratio)
                for shown in beside
            ]
            results = watched.results
            moving = results[number].is_moving if results else scene.seen_B1HW
            scales.append(compared(scene, inverse, others, rays, moving))
        return scales
