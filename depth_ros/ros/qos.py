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

"""Quality of service of every topic, and the Fast DDS profile that large messages need."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
import os
from pathlib import Path

from depth_ros.ros.share import share_file
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

FASTDDS_PROFILE = 'config/fastdds.xml'
# Read by Fast DDS 3 (Kilted and later) and by Fast DDS 2 (Jazzy, Humble). Kilted's warns at
# every start when the old name is set, so only the one that is read gets set.
FASTDDS3_VARIABLE = 'FASTDDS_DEFAULT_PROFILES_FILE'
FASTDDS2_VARIABLE = 'FASTRTPS_DEFAULT_PROFILES_FILE'
TRANSPORTS_VARIABLE = 'FASTDDS_BUILTIN_TRANSPORTS'
FIRST_RCLPY_WITH_FASTDDS3 = 9
# As tf2 listens: one message for each static broadcaster of a robot.
LATCHED_DEPTH = 100


def camera_qos() -> QoSProfile:
    """
    Return the profile of the camera subscriptions, which matches every camera.

    Best effort and volatile are the weakest requests, so reliable and latched publishers match
    too. Depth 1: an older image would be overtaken anyway, and waiting in a queue ages it.
    """
    return _profile(ReliabilityPolicy.BEST_EFFORT, depth=1)


def latched_qos() -> QoSProfile:
    """Return the profile of /tf_static: what was sent before counts, and none may be lost."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=LATCHED_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def output_qos(depth: int) -> QoSProfile:
    """Return the profile of the outputs: a reliable offer serves both kinds of subscriber."""
    return _profile(ReliabilityPolicy.RELIABLE, depth=depth)


def qos_overrides() -> QoSOverridingOptions:
    """Let ``qos_overrides.<topic>.<publisher|subscription>.<policy>`` replace a policy."""
    return QoSOverridingOptions.with_default_policies()


def _profile(reliability: ReliabilityPolicy, *, depth: int) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=DurabilityPolicy.VOLATILE,
    )


def load_fastdds_profile() -> Path | None:
    """
    Point Fast DDS to the shared-memory profile of this package; call it before rclpy.init.

    A profile that the user has set stays, and so does the user's choice of transports.

    :returns: the profile that was set, or None when the user's own stays or none was found.
    """
    chosen_by_user = (FASTDDS3_VARIABLE, FASTDDS2_VARIABLE, TRANSPORTS_VARIABLE)
    if any(os.environ.get(name) for name in chosen_by_user):
        return None
    profile = share_file(FASTDDS_PROFILE)
    if profile is not None:
        os.environ.update(dict.fromkeys(_profile_variables(), str(profile)))
    return profile


def _profile_variables() -> tuple[str, ...]:
    try:
        major = int(version('rclpy').split('.')[0])
    except (PackageNotFoundError, ValueError):
        return FASTDDS3_VARIABLE, FASTDDS2_VARIABLE
    is_fastdds3 = major >= FIRST_RCLPY_WITH_FASTDDS3
    return (FASTDDS3_VARIABLE if is_fastdds3 else FASTDDS2_VARIABLE,)
