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

"""Alignments, regions and kinds of truth on the miniature drive with exact answers."""

from __future__ import annotations

from dataclasses import replace
from test.evaluation import scenes
from test.evaluation.scenes import Drive, EXPECTED, stamp_of, write_drive, write_model
from test.evaluation.test_run import NO_CROP, run, table_of

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import ConfigError, ReportError
from depth_ros.evaluation.config import EvaluationConfig
import numpy as np
import pytest

RIGHT_HALF = slice(scenes.WIDTH // 2, None, 2)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model') / 'brightness.onnx')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp('bag') / 'drive')


def test_evaluate_median_of_the_sequence_is_one_scale_for_all(bag, model, tmp_path):
    rules = ScoreRules(crop='none', alignment='median_sequence')
    result = run(bag, model, tmp_path, EvaluationConfig(rules=rules, pictures=0)).result
    assert result['sequence_scale'] == pytest.approx(25.5 / 30.0)
    expected = (abs(20 * 0.85 - 20) / 20 + abs(40 * 0.85 - 31) / 31) / 2
    assert result['depth']['abs_rel'] == pytest.approx(expected, rel=1e-6)
    assert {row['scale'] for row in table_of(tmp_path)} == {'0.85'}


def test_evaluate_scale_and_shift_make_two_walls_perfect(bag, model, tmp_path):
    for alignment in ('scale_shift', 'scale_shift_inverse'):
        rules = ScoreRules(crop='none', alignment=alignment)
        result = run(bag, model, tmp_path, EvaluationConfig(rules=rules, pictures=0)).result
        assert result['depth']['abs_rel'] == pytest.approx(0.0, abs=1e-6)


def test_evaluate_regions_are_the_walls(bag, model, tmp_path):
    regions = run(bag, model, tmp_path).result['by_region']
    for row in ('top', 'middle', 'bottom'):
        assert regions[f'{row} left']['abs_rel'] == pytest.approx(0.0, abs=1e-6)
        assert regions[f'{row} right']['abs_rel'] == pytest.approx(9 / 31, rel=1e-6)
    assert sum(region['pixels'] for region in regions.values()) == 4 * 512


def test_evaluate_depth_image_of_the_bag_can_be_the_truth(bag, model, tmp_path):
    make, path = MessageFactory(), tmp_path / 'bag'
    camera = CameraModel.pinhole(scenes.CAMERA)
    with BagWriter(path) as writer:
        for frame in range(3):
            stamp = stamp_of(frame)
            writer.write('/info', stamp, make.camera_info(stamp, 'camera', camera))
            writer.write('/image', stamp, make.image(stamp, 'camera', scenes.picture()))
            truth = np.zeros((scenes.HEIGHT, scenes.WIDTH), np.uint16)
            truth[::2, ::2] = 20_000
            truth[::2, RIGHT_HALF] = 31_000
            writer.write('/truth', stamp, make.image(stamp, 'camera', truth, '16UC1'))
    config = EvaluationConfig(rules=NO_CROP, truth='image', pictures=0)
    result = run(path, model, tmp_path / 'out', config).result
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-6, abs=1e-5)
    assert result['protocol']['truth'] == 'depth images of the bag'
    assert result['bag']['topics']['truth'] == '/truth'


def test_evaluate_lidar_offset_corrects_its_clock(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(sweep_delay_ns=45_000_000))
    config = EvaluationConfig(rules=NO_CROP, max_sync_ms=10, pictures=0)
    with pytest.raises(ReportError, match='no LiDAR sweep within 10 ms'):
        run(bag, model, tmp_path / 'a', config)
    config = replace(config, lidar_offset_ms=-45.0)
    result = run(bag, model, tmp_path / 'b', config).result
    assert result['frames']['scored'] == 4
    assert table_of(tmp_path / 'b')[0]['gap_ms'] == '0.0'


def test_evaluate_clock_of_the_lidar_is_measured_warned_about_and_corrected(model, tmp_path):
    drive = Drive(frames=12, transport_ns=8_000_000, lidar_ahead_ns=300_000_000)
    bag = write_drive(tmp_path / 'bag', drive)
    plain = run(bag, model, tmp_path / 'plain').result
    assert plain['lidar_clock']['offset_ms'] == pytest.approx(300.0)
    assert '300 ms ahead of' in plain['lidar_clock']['warning']
    # The sweep that comes 0.3 s later in truth carries the stamp of this image.
    assert plain['frames']['scored'] < 12
    config = EvaluationConfig(rules=NO_CROP, pictures=0, lidar_offset_ms='auto')
    result = run(bag, model, tmp_path / 'corrected', config).result
    assert result['frames']['scored'] == 12
    assert result['lidar_clock']['warning'] is None
    assert result['protocol']['lidar_offset_ms'] == pytest.approx(-300.0)
    assert float(table_of(tmp_path / 'corrected')[0]['gap_ms']) == pytest.approx(4.0)


def test_evaluate_clock_that_cannot_be_measured_is_not_guessed(bag, model, tmp_path):
    assert run(bag, model, tmp_path / 'a').result['lidar_clock']['offset_ms'] is None
    config = EvaluationConfig(rules=NO_CROP, lidar_offset_ms='auto')
    with pytest.raises(ConfigError, match='recording times equal the stamps'):
        run(bag, model, tmp_path / 'b', config)
