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

"""What an evaluation can be told, with the only defaults."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import math
from typing import Any, get_args, Literal

from depth_ros.core.config import AlignmentConfig
from depth_ros.core.lidar import DepthConvention, OcclusionFilter
from depth_ros.core.metrics import ScoreRules
from depth_ros.core.plane_checks import Region
from depth_ros.errors import ConfigError

# With fewer scored pixels than this a frame's metrics say more about chance than about the
# model (a share such as a1 moves by 2 % a pixel): the frame is reported, not averaged.
TruthKind = Literal['sweep', 'accumulated', 'image', 'none']
CheckGroup = Literal['temporal', 'cloud', 'boundary', 'planes']
CHECK_GROUPS: tuple[CheckGroup, ...] = get_args(CheckGroup)

# What a report says of the accuracy of a relative model that had the truth for its metres.
FITTED = 'not metric: scale and shift of the model were fitted to the LiDAR that scores it'

MIN_SCORED_PIXELS = 50
MAX_ACCUMULATED_SWEEPS = 50
NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Topics:
    """Which topics to read; None: the only one of its type in the bag."""

    image: str | None = None
    camera_info: str | None = None
    lidar: str | None = None
    odometry: str | None = None
    truth: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """
    The protocol of an evaluation.

    Fields:
        rules: crop, range, alignment.
        max_sync_ms: largest gap between the stamps of an image and its sweep [ms].
        lidar_depth: which coordinate of a LiDAR point is the truth.
        occlusion: drops points that the camera cannot see; None: keeps all.
        motion_compensation: move the points of a sweep to the time of the image by odometry.
        rectify: images of a distorted camera are rectified first; False: they already are.
        frames: score only the first ones of the bag; 0: all.
        pictures: how many frames to draw.
        truth: 'sweep' one LiDAR sweep; 'accumulated' that and those before it, moved by odometry,
            without what is hidden; 'image' depth images of the bag (``Topics.truth``); 'none'.
        accumulated_sweeps: how many sweeps 'accumulated' takes together.
        checks: groups of further metrics to compute.
        wall: where in the image there is a flat wall to be checked; None: nowhere.
        model_alignment: where a relative model has its metres from, as in the node.
        lidar_offset_ms: added to the stamps of the LiDAR, to correct its clock; 'auto': what the
            recording times say, see ``clocks``.

    """

    rules: ScoreRules = field(default_factory=ScoreRules)
    max_sync_ms: float = 50.0
    lidar_depth: DepthConvention = 'camera_z'
    occlusion: OcclusionFilter | None = None
    motion_compensation: bool = False
    rectify: bool = True
    frames: int = 0
    pictures: int = 6
    truth: TruthKind = 'sweep'
    accumulated_sweeps: int = 5
    checks: tuple[CheckGroup, ...] = CHECK_GROUPS
    wall: Region | None = None
    lidar_offset_ms: float | Literal['auto'] = 0.0
    model_alignment: AlignmentConfig = field(default_factory=AlignmentConfig)

    def __post_init__(self) -> None:
        if not 0 <= self.max_sync_ms < math.inf:
            raise ConfigError(f'max sync = {self.max_sync_ms} ms: must be zero or more')
        if self.lidar_depth not in get_args(DepthConvention):
            raise ConfigError(
                f'LiDAR depth {self.lidar_depth!r}: must be one of {get_args(DepthConvention)}'
            )
        self._check_truth()
        for key in ('frames', 'pictures'):
            if getattr(self, key) < 0:
                raise ConfigError(f'{key} = {getattr(self, key)}: must be zero or more')

    def _check_truth(self) -> None:
        if self.model_alignment.method == 'lidar' and self.truth not in ('sweep', 'accumulated'):
            raise ConfigError(
                f"model alignment 'lidar' with truth {self.truth!r}: needs LiDAR sweeps as truth"
            )
        if self.truth not in get_args(TruthKind):
            raise ConfigError(f'truth {self.truth!r}: must be one of {get_args(TruthKind)}')
        if not 1 <= self.accumulated_sweeps <= MAX_ACCUMULATED_SWEEPS:
            raise ConfigError(
                f'accumulated sweeps = {self.accumulated_sweeps}: must be 1 to '
                f'{MAX_ACCUMULATED_SWEEPS}'
            )
        offset = self.lidar_offset_ms
        if offset != 'auto' and not math.isfinite(float(offset)):
            raise ConfigError(f'LiDAR offset = {self.lidar_offset_ms} ms: must be finite')
        unknown = [name for name in self.checks if name not in CHECK_GROUPS]
        if unknown:
            raise ConfigError(f'checks {unknown}: must be among {CHECK_GROUPS}')

    @property
    def needs_odometry(self) -> bool:
        """Tell whether the truth cannot be made without odometry."""
        return self.motion_compensation or self.truth == 'accumulated'

    @property
    def lidar_offset_ns(self) -> int:
        """
        Correction of the LiDAR's clock [ns].

        :raises ValueError: it is 'auto', so not known before the bag was looked at.
        """
        return round(float(self.lidar_offset_ms) * NS_PER_MS)

    @property
    def max_sync_ns(self) -> int:
        """Largest gap between image and sweep [ns]."""
        return round(self.max_sync_ms * NS_PER_MS)

    def protocol(self) -> dict[str, Any]:
        """Return what a reader has to know to compare the numbers with others."""
        return {
            'crop': self.rules.crop,
            'min_depth_m': self.rules.min_depth_m,
            'cap_m': self.rules.cap_m,
            'alignment': self.rules.alignment,
            'averaging': 'mean over frames of each frame; by_pixel over all pixels',
            'truth': self._truth_words(),
            'lidar_depth': self.lidar_depth,
            'occlusion_filter': None if self.occlusion is None else asdict(self.occlusion),
            'motion_compensation': self.motion_compensation,
            'max_sync_ms': self.max_sync_ms,
            'min_scored_pixels': MIN_SCORED_PIXELS,
            'frames_limit': self.frames,
            'rectify': self.rectify,
            'lidar_offset_ms': self.lidar_offset_ms,
            'model_alignment': self._alignment_words(),
            'checks': list(self.checks),
            'wall': None if self.wall is None else asdict(self.wall),
            'infinite_predictions': 'scored as the cap (+Inf) or the least depth (-Inf)',
            'missing_predictions': 'NaN: left out of every mean, counted as missing_share',
        }

    def _alignment_words(self) -> str:
        chosen = self.model_alignment
        return {
            'none': 'none',
            'declared': f'declared: 1 / depth = {chosen.scale:g} * output + {chosen.shift:g}',
            'lidar': 'lidar',
        }[chosen.method]

    def _truth_words(self) -> str:
        return {
            'sweep': 'raw LiDAR, single sweep',
            'accumulated': f'raw LiDAR, {self.accumulated_sweeps} sweeps accumulated',
            'image': 'depth images of the bag',
            'none': 'none',
        }[self.truth]
