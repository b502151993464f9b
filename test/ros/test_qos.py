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

"""Quality of service, and the Fast DDS profile that never replaces the user's."""

from __future__ import annotations

import os
from pathlib import Path
from test.project import ROOT
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')

from depth_ros.ros import qos  # noqa: E402, I100
from depth_ros.ros.share import share_file  # noqa: E402
from rclpy.qos import (  # noqa: E402
    DurabilityPolicy,
    qos_check_compatible,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
)

VARIABLES = (qos.FASTDDS2_VARIABLE, qos.FASTDDS3_VARIABLE, qos.TRANSPORTS_VARIABLE)
RELIABILITIES = [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in VARIABLES:
        # Set first, so that what the code sets is taken back at the end.
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    'reliability', [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE]
)
@pytest.mark.parametrize(
    'durability', [DurabilityPolicy.VOLATILE, DurabilityPolicy.TRANSIENT_LOCAL]
)
def test_camera_subscription_matches_every_camera(
    reliability: ReliabilityPolicy, durability: DurabilityPolicy
) -> None:
    camera = QoSProfile(depth=5, reliability=reliability, durability=durability)
    # A warning only says that a policy is left to the system.
    assert qos_check_compatible(camera, qos.camera_qos())[0] != QoSCompatibility.ERROR
    assert qos.camera_qos().depth == 1


@pytest.mark.parametrize(
    'reliability', [ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE]
)
def test_outputs_serve_every_volatile_subscriber(reliability: ReliabilityPolicy) -> None:
    listener = QoSProfile(depth=5, reliability=reliability)
    assert qos_check_compatible(qos.output_qos(3), listener)[0] != QoSCompatibility.ERROR
    assert qos.output_qos(3).depth == 3


def test_profile_is_set_where_the_user_has_none(environment: pytest.MonkeyPatch) -> None:
    profile = qos.load_fastdds_profile()
    assert profile == ROOT / qos.FASTDDS_PROFILE
    chosen = [os.environ.get(name) for name in VARIABLES if name in os.environ]
    assert chosen == [str(profile)]


@pytest.mark.parametrize('name', VARIABLES)
def test_profile_of_the_user_stays(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.setenv(name, 'mine')
    assert qos.load_fastdds_profile() is None
    assert {key: os.environ[key] for key in VARIABLES if key in os.environ} == {name: 'mine'}


def test_profile_has_a_large_segment_and_is_the_default() -> None:
    text = (ROOT / qos.FASTDDS_PROFILE).read_text()
    root = ET.fromstring(text)
    space = {'f': root.tag.strip('{').partition('}')[0]}
    size = root.findtext('.//f:segment_size', namespaces=space)
    assert int(size or 0) == 64 * 1024 * 1024
    participant = root.find('f:participant', space)
    assert participant is not None
    assert participant.get('is_default_profile') == 'true'


def test_share_file_finds_the_repository_and_not_what_is_missing() -> None:
    assert share_file('config/fastdds.xml') == Path(ROOT / 'config/fastdds.xml')
    assert share_file('config/none.xml') is None
