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

"""The benchmark of the evaluation runs, and its longer drive is a real one."""

from __future__ import annotations

from benchmarks.evaluation import CLIP, main, repeated
from depth_ros.bags.reader import BagReader
from depth_ros.bags.streams import frames, sweeps


def test_repeated_clip_is_a_drive_with_rising_stamps(tmp_path):
    with BagReader(repeated(CLIP, tmp_path / 'bag', 2)) as reader:
        image, info = '/camera/image_rect/compressed', '/camera/camera_info'
        images = [frame.stamp_ns for frame in frames(reader, image, info, rectify=True)]
        clouds = [sweep.stamp_ns for sweep in sweeps(reader, '/velodyne_points')]
    assert len(images) == len(clouds) == 40
    assert images == sorted(set(images))
    assert clouds == sorted(set(clouds))


def test_benchmark_prints_both_ways_and_both_numbers_of_workers(capsys):
    assert main(['--frames', '20', '--rounds', '1']) == 0
    printed = capsys.readouterr().out
    assert 'plain loop' in printed
    assert 'beside the engine' in printed
    assert 'two workers are' in printed
