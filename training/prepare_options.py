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

"""The settings of ``training.prepare``, checked once, and stored with the dataset they made."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
import math
import re
from typing import Any

from depth_ros.core.lidar import OcclusionFilter
from depth_ros.errors import ConfigError

IMAGE_FORMATS = ('png', 'jpeg')
MOTION_MODES = ('auto', 'on', 'off')
DIRECTIONS = ('clockwise', 'counterclockwise')
OBJECT_KINDS = ('mask', 'boxes')
LABELS = re.compile(r'(\d+)(?:-(\d+))?')
SWEEP_STAMPS = {'start': 0.0, 'middle': 0.5, 'end': 1.0}


def _require(condition: bool, key: str, value: object, rule: str) -> None:
    if not condition:
        raise ConfigError(f'{key} = {value!r}: must be {rule}')


@dataclass(frozen=True, kw_only=True)
class SpinningScanner:
    """
    When a scanner that does not say so measured each point: by the direction of the point.

    Fields:
        period_ms: duration of one turn.
        direction: as seen from above, in the LiDAR's frame (x forward, y left, z up).
        stamp: the moment of the turn that the message's stamp names.
        seam_deg: azimuth at which a turn begins and ends; 180 is behind.

    """

    period_ms: float
    direction: str
    stamp: str = 'middle'
    seam_deg: float = 180.0

    def __post_init__(self) -> None:
        _require(0 < self.period_ms <= 1000, '--sweep-time-ms', self.period_ms, 'up to 1000 ms')
        is_known = self.direction in DIRECTIONS
        _require(is_known, '--sweep-direction', self.direction, f'one of {list(DIRECTIONS)}')
        is_known = self.stamp in SWEEP_STAMPS
        _require(is_known, '--sweep-stamp', self.stamp, f'one of {list(SWEEP_STAMPS)}')
        is_angle = -360 <= self.seam_deg <= 360
        _require(is_angle, '--sweep-seam-deg', self.seam_deg, 'an angle in degrees')


@dataclass(frozen=True, kw_only=True)
class SkyFilter:
    """
    Drop returns above the horizon that nothing beside them supports.

    What stands above the horizon is a wall, a tree, a pole, a sign or a wire: as the beams are
    close together, each of its returns has neighbours at about its own depth. A lone return
    among others, or in an empty sky, is a bird, rain, an insect, or a hit that the motion of
    the vehicle or the parallax of the sensors moved off its object into the sky.

    Fields:
        window_deg: half size of the neighbourhood. 0.7 degrees hold two scan lines of a 64-line
            scanner (0.42 degrees apart) and eight columns (0.17 degrees at 10 Hz).
        relative, absolute_m: a neighbour supports when its depth differs by less than
            relative * depth + absolute.
        support: so many neighbours are needed.

    """

    window_deg: float = 0.7
    relative: float = 0.1
    absolute_m: float = 0.5
    support: int = 2

    def __post_init__(self) -> None:
        _require(0 < self.window_deg <= 5, '--sky-window-deg', self.window_deg, 'above 0, up to 5')
        _require(0 <= self.relative < math.inf, '--sky-relative', self.relative, '0 or more')
        _require(0 <= self.absolute_m < math.inf, '--sky-absolute-m', self.absolute_m, '0 or more')
        _require(1 <= self.support <= 100, '--sky-support', self.support, '1 to 100')


@dataclass(frozen=True, kw_only=True)
class ObjectSource:
    """
    Where road users are told: people, riders, vehicles, bicycles.

    Fields:
        topic: of the images' own pixels, before any rectification.
        kind: 'mask': sensor_msgs/Image of labels; 'boxes': vision_msgs/Detection2DArray.
        labels: which count; for masks numbers and ranges ('11-18,24'), None: all but 0; for boxes
            class ids ('car,person'), None: all.

    """

    topic: str
    kind: str
    labels: str | None = None

    def __post_init__(self) -> None:
        _require(self.kind in OBJECT_KINDS, 'kind', self.kind, f'one of {OBJECT_KINDS}')
        if self.kind == 'mask':
            self.ranges()
        elif self.labels is not None:
            is_named = all(self.class_ids() or [])
            _require(is_named, '--boxes-labels', self.labels, "class ids such as 'car,person'")

    def ranges(self) -> list[tuple[int, int]] | None:
        """Return first and last value of the labels of a mask; None: all but 0."""
        if self.labels is None:
            return None
        rule = "numbers and ranges such as '11-18,24'"
        ranges = []
        for part in self.labels.split(','):
            found = LABELS.fullmatch(part.strip())
            if found is None:
                raise ConfigError(f'--mask-labels = {self.labels!r}: must be {rule}')
            first, last = int(found[1]), int(found[2] or found[1])
            _require(first <= last, '--mask-labels', part, f'{rule}, lower one first')
            ranges.append((first, last))
        return ranges

    def class_ids(self) -> list[str] | None:
        """Return the class ids of boxes that count; None: all."""
        return None if self.labels is None else [p.strip() for p in self.labels.split(',')]


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """
    How frames are made; every field changes the dataset.

    Fields:
        image_topic ... twist_topic: None: the only one of its type.
        is_rectified: the images have been rectified, whatever camera_info says.
        use_lidar: False: an unlabelled dataset even where there is LiDAR.
        objects: None: nobody tells where road users are.
        right_topic: of the other camera of a stereo pair; None: there is none.
        right_camera_info_topic: None: the one beside ``right_topic``.
        max_stereo_ms: largest difference between the stamps of a pair: at 10 m/s the car goes
            5 cm in 5 ms.
        max_sync_ms: largest difference between the stamps of image and sweep, or object mask.
        motion: compensate the motion of the vehicle: when there is odometry, always, never.
        scanner: None: points are taken at the time their field tells, else at the stamp.
        occlusion, sky: None: keep what they would remove.
        image_format, jpeg_quality: for images that cannot be kept as they are.
        overlay_every: a picture to look at for every n-th frame; 0: none.
        neighbour_ms: frames further apart than this are no neighbours.

    """

    image_topic: str | None = None
    camera_info_topic: str | None = None
    lidar_topic: str | None = None
    odometry_topic: str | None = None
    twist_topic: str | None = None
    is_rectified: bool = False
    use_lidar: bool = True
    objects: ObjectSource | None = None
    right_topic: str | None = None
    right_camera_info_topic: str | None = None
    max_stereo_ms: float = 5.0
    max_sync_ms: float = 50.0
    motion: str = 'auto'
    scanner: SpinningScanner | None = None
    occlusion: OcclusionFilter | None = field(default_factory=OcclusionFilter)
    sky: SkyFilter | None = field(default_factory=SkyFilter)
    image_format: str = 'png'
    jpeg_quality: int = 95
    overlay_every: int = 20
    neighbour_ms: float = 250.0

    def __post_init__(self) -> None:
        is_sync = 0 <= self.max_sync_ms <= 1000
        _require(is_sync, '--max-sync-ms', self.max_sync_ms, '0 to 1000 ms')
        is_pair = 0 <= self.max_stereo_ms <= 1000
        _require(is_pair, '--max-stereo-ms', self.max_stereo_ms, '0 to 1000 ms')
        if self.right_topic is None and self.right_camera_info_topic is not None:
            raise ConfigError('--right-camera-info-topic has no effect without --right-topic')
        is_gap = 0 <= self.neighbour_ms <= 10_000
        _require(is_gap, '--neighbour-ms', self.neighbour_ms, '0 to 10000 ms')
        _require(self.motion in MOTION_MODES, '--motion', self.motion, f'one of {MOTION_MODES}')
        is_known = self.image_format in IMAGE_FORMATS
        _require(is_known, '--image-format', self.image_format, f'one of {IMAGE_FORMATS}')
        is_quality = 1 <= self.jpeg_quality <= 100
        _require(is_quality, '--jpeg-quality', self.jpeg_quality, '1 to 100')
        _require(self.overlay_every >= 0, '--overlay-every', self.overlay_every, '0 or more')
        if self.scanner is not None and self.motion == 'off':
            raise ConfigError('--sweep-time-ms has no effect with --motion off: leave one out')
        if self.lidar_topic is not None and not self.use_lidar:
            raise ConfigError('--lidar-topic has no effect with --without-lidar: leave one out')

    def stored(self) -> dict[str, Any]:
        """Return the settings as they stand in dataset.json."""
        return asdict(self)
