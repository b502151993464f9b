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
Do LiDAR and camera share a clock. Seen against the clock of the recorder.

Each message has its own stamp and the time at which the recorder took it. The median delay
between the two is transport plus the difference of the sensor's clock from the recorder's; so the
difference between the delays of LiDAR and camera is that of their clocks, up to the difference
of their transport times (some milliseconds; up to a sweep's length, where the driver
stamps the beginning of the sweep).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from depth_ros.bags.cdr import header_stamp_ns
from depth_ros.bags.reader import BagReader
from depth_ros.errors import ConfigError
from depth_ros.evaluation.config import EvaluationConfig, NS_PER_MS
import numpy as np

# So many messages of each topic are looked at, from the beginning of the bag.
MESSAGES = 60
# More than the transport of a large message and than a sweep of 10 Hz make together.
WARN_MS = 150.0


def lidar_clock(reader: BagReader, image_topic: str, lidar_topic: str) -> dict[str, Any]:
    """
    Return how far the LiDAR's stamps are ahead of the camera's [ms], and a warning or None.

    ``offset_ms`` is None when the recording times equal the stamps, as in converted bags.
    """
    delays = {topic: _delays_ms(reader, topic) for topic in (image_topic, lidar_topic)}
    facts: dict[str, Any] = {'messages': {t: len(found) for t, found in delays.items()}}
    if not all(delays.values()) or not any(any(found) for found in delays.values()):
        return {**facts, 'offset_ms': None, 'spread_ms': None, 'warning': None}
    image, lidar = (np.array(delays[topic]) for topic in (image_topic, lidar_topic))
    offset = float(np.median(image) - np.median(lidar))
    spread = float(np.hypot(_spread(image), _spread(lidar)))
    return {**facts, 'offset_ms': offset, 'spread_ms': spread, 'warning': _warning(offset)}


def corrected(
    config: EvaluationConfig, clock: dict[str, Any] | None, bag: Path
) -> EvaluationConfig:
    """
    Return the configuration with the offset that was measured; drop a warning it answers.

    :raises ConfigError: the offset is to be measured, and the bag does not tell it.
    """
    if config.lidar_offset_ms != 'auto':
        if clock is not None and config.lidar_offset_ms:
            clock['warning'] = None
        return config
    if clock is None or clock['offset_ms'] is None:
        raise ConfigError(
            f"--lidar-offset-ms auto: bag '{bag}' does not tell it, because its recording times "
            'equal the stamps; give milliseconds'
        )
    clock['warning'] = None
    return replace(config, lidar_offset_ms=-clock['offset_ms'])


def _delays_ms(reader: BagReader, topic: str) -> list[float]:
    delays = []
    for raw in islice(reader.raw_messages([topic]), MESSAGES):
        stamp = header_stamp_ns(raw.data)
        if stamp is not None:
            delays.append((raw.log_ns - stamp) / NS_PER_MS)
    return delays


def _spread(delays: Any) -> float:
    """Return half of what the middle half of the delays spans."""
    low, high = np.quantile(delays, (0.25, 0.75))
    return float(high - low) / 2.0


def _warning(offset_ms: float) -> str | None:
    if abs(offset_ms) <= WARN_MS:
        return None
    side = 'ahead of' if offset_ms > 0 else 'behind'
    return (
        f"The LiDAR's stamps are {abs(offset_ms):.0f} ms {side} the camera's, by the recorder's "
        f'clock: frames are scored against sweeps of another time. --lidar-offset-ms '
        f'{-offset_ms:.0f}, or auto, corrects it'
    )
