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

"""The recorder as a process of its own, fed by the replay over DDS."""

from __future__ import annotations

from pathlib import Path
import resource
import subprocess
import sys
from test.bags import mini_bags as mini
from test.nodes.programs import (
    by_topic,
    environment,
    PLAY_S,
    recorder,
    replay,
)
import time

from depth_ros.bags.writer import BagWriter
from depth_ros.cli import record_topics
from depth_ros.errors import DepthRosError
import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='ROS 2 is not installed')


@pytest.mark.dds
def test_recorder_ends_after_the_messages_asked_for(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag', count=30)
    options = (mini.IMAGE, mini.INFO, '--stop-after', f'{mini.IMAGE}=4', f'{mini.INFO}=2')
    with recorder(tmp_path, *options) as listening, replay(tmp_path, bag, '--loop'):
        listening.wait(PLAY_S)
    received = by_topic(tmp_path / 'recorded')
    assert len(received[mini.IMAGE]) >= 4
    # It drains what is on its way for 2 s at most.
    assert len(received[mini.IMAGE]) < 30


@pytest.mark.dds
def test_recorder_ends_when_nothing_comes_any_more(tmp_path: Path) -> None:
    bag = mini.full_bag(tmp_path / 'bag')
    with (
        recorder(tmp_path, mini.IMAGE, '--idle-timeout', '1.0') as listening,
        replay(tmp_path, bag) as playing,
    ):
        listening.wait(PLAY_S)
        playing.wait(PLAY_S)
    assert len(by_topic(tmp_path / 'recorded')[mini.IMAGE]) == 3


@pytest.mark.dds
def test_recorder_of_nothing_fails_and_says_so(tmp_path: Path) -> None:
    with recorder(tmp_path, '/nothing') as listening:
        time.sleep(3.0)
        with pytest.raises(DepthRosError, match='exit status 1'):
            listening.stop()
        assert "error: nothing was recorded to '" in listening.output()
        assert 'warning: nothing came on /nothing' in listening.output()


@pytest.mark.dds
def test_recorder_on_a_full_disk_fails_and_keeps_what_it_has(tmp_path: Path) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    with BagWriter(tmp_path / 'bag') as writer:
        for index in range(40):
            stamp = mini.START_NS + index * 20_000_000
            writer.write(mini.IMAGE, stamp, mini.MAKE.image(stamp, 'c', image))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, 4_000_000))

    recorded = tmp_path / 'recorded'
    command = [sys.executable, '-m', 'depth_ros.cli.record_topics', str(recorded), mini.IMAGE]
    listening = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment(), preexec_fn=limit
    )
    try:
        with replay(tmp_path, tmp_path / 'bag') as playing:
            _, errors = listening.communicate(timeout=PLAY_S)
            assert playing.output() is not None
    finally:
        listening.kill()
    assert listening.returncode == 1
    assert f"error: bag '{recorded}' cannot be written after" in errors
    kept = by_topic(recorded)[mini.IMAGE]
    assert 4 <= len(kept) < 40


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--stop-after', 'image'], "--stop-after 'image': must look like depth/image_rect=20"),
        (['--stop-after', '/other=3'], "stop after 3 of '/other': must be 1 or more of a rec"),
        (['--stop-after', '/a=0'], "stop after 0 of '/a'"),
        (['--idle-timeout', '0'], 'idle time 0.0: must be positive'),
    ],
)
def test_recorder_refuses_a_wrong_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert record_topics.main([str(tmp_path / 'bag'), '/a', *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / 'bag').exists()
