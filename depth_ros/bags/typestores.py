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

"""Message definitions of each ROS 2 distribution, as ``rosbags`` ships them."""

from __future__ import annotations

from functools import cache

from depth_ros.errors import BagError
from rosbags.typesys import get_typestore, Stores
from rosbags.typesys.store import Typestore

# Distributions whose bags can be written, and the newest metadata version that they read.
METADATA_VERSIONS = {'humble': 8, 'jazzy': 9, 'kilted': 9, 'lyrical': 9}
# Every later distribution reads what Humble writes, and the messages used here have not
# changed since.
DEFAULT_DISTRO = 'humble'


@cache
def store_of(distro: str) -> Typestore:
    """Return the message definitions of a distribution; those of Humble for an unknown one."""
    try:
        return get_typestore(Stores(f'ros2_{distro}'))
    except ValueError:
        return store_of(DEFAULT_DISTRO)


def metadata_version(distro: str) -> int:
    """
    Return the bag metadata version for readers of a distribution.

    :raises BagError: bags for this distribution cannot be written.

    """
    if distro not in METADATA_VERSIONS:
        raise BagError(f"distro = '{distro}': must be one of {sorted(METADATA_VERSIONS)}")
    return METADATA_VERSIONS[distro]
