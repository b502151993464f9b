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

"""Which topics of a bag an evaluation reads, and whether accuracy can be measured at all."""

from __future__ import annotations

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.bags.records import ODOMETRY, POINT_CLOUD
from depth_ros.bags.streams import static_transforms
from depth_ros.core.geometry import TransformTree
from depth_ros.errors import BagError
from depth_ros.evaluation.config import EvaluationConfig, FITTED, Topics
from depth_ros.evaluation.passes import BagFacts

MEASURED = 'measured'


def bag_facts(reader: BagReader, topics: Topics, config: EvaluationConfig) -> tuple[BagFacts, str]:
    """
    Return what the passes need, and 'measured' or why accuracy is impossible.

    :raises BagError: a topic that is needed is missing or ambiguous; there is LiDAR but no
        static transform.
    """
    image = resolve_topic(reader, 'image', topics.image)
    found = {
        'image': image,
        'camera_info': resolve_topic(reader, 'camera_info', topics.camera_info, near=image),
    }
    truth, accuracy = _truth_topic(reader, topics, config)
    found.update(truth)
    odometry = _odometry_topic(reader, topics, config)
    if odometry is not None:
        found['odometry'] = odometry
    tree = _transforms(reader, is_needed='lidar' in found)
    return BagFacts(path=reader.path, topics=found, tree=tree, config=config), accuracy


def _truth_topic(
    reader: BagReader, topics: Topics, config: EvaluationConfig
) -> tuple[dict[str, str], str]:
    if config.truth == 'none':
        return {}, 'not asked for: --truth none'
    if config.truth == 'image':
        return {'truth': resolve_topic(reader, 'depth', topics.truth)}, MEASURED
    has_lidar = topics.lidar is not None or _with_messages(reader, POINT_CLOUD)
    if config.truth == 'sweep' and not has_lidar:
        present = ', '.join(f'{info.name} ({info.msgtype})' for info in reader.topics) or 'none'
        return {}, f'impossible: the bag has no lidar topic ({POINT_CLOUD}); topics: {present}'
    accuracy = FITTED if config.model_alignment.method == 'lidar' else MEASURED
    return {'lidar': resolve_topic(reader, 'lidar', topics.lidar)}, accuracy


def _odometry_topic(reader: BagReader, topics: Topics, config: EvaluationConfig) -> str | None:
    """Return the topic of odometry; None where it only serves checks and is not clear."""
    is_needed = config.needs_odometry or topics.odometry is not None
    if is_needed or len(_with_messages(reader, ODOMETRY)) == 1:
        return resolve_topic(reader, 'odometry', topics.odometry)
    return None


def _with_messages(reader: BagReader, msgtype: str) -> list[str]:
    return [info.name for info in reader.topics if info.msgtype == msgtype and info.count]


def _transforms(reader: BagReader, *, is_needed: bool) -> TransformTree:
    try:
        return static_transforms(reader)
    except BagError:
        if is_needed:
            raise
        return TransformTree()
