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

"""Quality of service of the replay's publishers, and of subscriptions that copy a publisher's."""

from __future__ import annotations

from typing import Any

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

# Five images of 1080p are 31 MB, which the shared-memory segment holds twice.
SENSOR_DEPTH = 5
# Several programs may each have latched one message in the same topic.
MAX_LATCHED_DEPTH = 100
SUBSCRIPTION_DEPTH = 10


def replay_qos(*, is_latched: bool, count: int) -> QoSProfile:
    """Return the offer of a replayed topic: reliable, and latched where the recording was."""
    durability = DurabilityPolicy.TRANSIENT_LOCAL if is_latched else DurabilityPolicy.VOLATILE
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=min(max(count, 1), MAX_LATCHED_DEPTH) if is_latched else SENSOR_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=durability,
    )


def clock_qos() -> QoSProfile:
    """Return the offer of /clock: only the newest time is of use."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.RELIABLE
    )


def matching_qos(node: Any, topic: str) -> QoSProfile:
    """Return the strongest request that every present publisher of a topic serves."""
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    is_reliable = all(o.reliability == ReliabilityPolicy.RELIABLE for o in offers)
    is_latched = all(o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers)
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=SUBSCRIPTION_DEPTH,
        reliability=(ReliabilityPolicy.RELIABLE if is_reliable else ReliabilityPolicy.BEST_EFFORT),
        durability=(
            DurabilityPolicy.TRANSIENT_LOCAL
            if is_latched and offers
            else DurabilityPolicy.VOLATILE
        ),
    )
