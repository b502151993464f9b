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

"""The whole evaluation on a miniature drive with exact answers."""

from __future__ import annotations

import csv
from dataclasses import replace
import json
from pathlib import Path
from test.engines.graphs import memory_card, memory_file
from test.evaluation import scenes
from test.evaluation.scenes import (
    Drive,
    EXPECTED,
    record,
    stamp_of,
    write_drive,
    write_model,
)
import tracemalloc

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.writer import BagWriter
from depth_ros.core.camera import CameraModel
from depth_ros.core.lidar import OcclusionFilter
from depth_ros.core.metrics import ScoreRules
from depth_ros.engines.model_card import write_card
from depth_ros.errors import BagError, ConfigError, ReportError
from depth_ros.evaluation.config import EvaluationConfig, Topics
from depth_ros.evaluation.facts import fingerprint
from depth_ros.evaluation.report import SCHEMA_VERSION
from depth_ros.evaluation.run import evaluate, evaluate_recorded
import numpy as np
import pytest

NO_CROP = ScoreRules(crop='none')
CONFIG = EvaluationConfig(rules=NO_CROP, pictures=2)
MEASURED = ('depth', 'by_range', 'by_pixel', 'uncertainty', 'truth')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model') / 'brightness.onnx')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp('bag') / 'drive')


def run(bag, model, folder, config=CONFIG, **options):
    return evaluate(
        bag, folder, model=str(model), engine='onnxruntime', threads=1, config=config, **options
    )


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / 'per_frame.csv').open() as stream:
        return list(csv.DictReader(stream))


def test_evaluate_walls_gives_the_closed_form(bag, model, tmp_path):
    result = run(bag, model, tmp_path).result
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-6, abs=1e-5)
    assert result['by_pixel']['pixels'] == 4 * 512
    assert result['by_range']['10-30']['abs_rel'] == pytest.approx(0.0, abs=1e-6)
    assert result['by_range']['30-50']['abs_rel'] == pytest.approx(9 / 31, rel=1e-6)
    assert result['by_range']['0-10']['frames'] == 0
    assert result['frames'] == {'processed': 4, 'scored': 4, 'skipped': {}}
    assert result['truth']['lidar_points_without_return'] == 4 * 2
    # |e| = 9 m, sigma = sqrt(2) * 4 m there: outside one sigma, inside two.
    assert result['uncertainty']['coverage_1_sigma'] == 0.5
    assert result['uncertainty']['coverage_2_sigma'] == 1.0
    assert result['uncertainty']['mean_sigma_m'] == pytest.approx(3 * np.sqrt(2), rel=1e-6)


def test_evaluate_garg_crop_scores_only_inside(bag, model, tmp_path):
    result = run(bag, model, tmp_path, EvaluationConfig(pictures=0)).result
    # Rows 13..30 and columns 2..60 of 32 x 64; points on even rows and columns.
    assert result['by_pixel']['pixels'] == 4 * 9 * 30
    assert result['pictures'] == []


def test_evaluate_first_key_is_depth_and_the_protocol_is_told(bag, model, tmp_path):
    run(bag, model, tmp_path, command='evaluate me').write()
    result = json.loads((tmp_path / 'metrics.json').read_text())
    assert next(iter(result)) == 'depth'
    assert list(result['depth']) == list(EXPECTED)
    assert result['protocol']['crop'] == 'none'
    assert result['protocol']['lidar_depth'] == 'camera_z'
    assert result['command'] == 'evaluate me'
    assert result['model']['name'] == 'synthetic'
    assert len(result['model']['sha256']) == 64
    assert result['bag']['topics']['lidar'] == '/lidar'
    assert result['versions']['numpy'] == np.__version__
    assert result['schema_version'] == SCHEMA_VERSION
    assert result['latency']['total']['p50'] > 0


def test_evaluate_twice_gives_the_same_numbers_and_files(bag, model, tmp_path):
    folders = [tmp_path / 'a', tmp_path / 'b']
    results = []
    for folder in folders:
        evaluation = run(bag, model, folder)
        evaluation.write()
        results.append({key: evaluation.result[key] for key in (*MEASURED, 'pictures', 'bag')})
        for row in (rows := table_of(folder)):
            row.pop('latency_ms')
        results[-1]['table'] = rows
    assert results[0] == results[1]
    names = [sorted(p.name for p in (folder / 'pictures').iterdir()) for folder in folders]
    assert names[0] == names[1]
    for name in names[0]:
        one, other = ((folder / 'pictures' / name).read_bytes() for folder in folders)
        assert one == other


def test_evaluate_table_has_a_line_for_each_frame_with_its_reason(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(frames=5, damaged=(1,), without_sweep=(3,)))
    evaluation = run(bag, model, tmp_path / 'out')
    evaluation.write()
    rows = {int(row['frame']): row for row in table_of(tmp_path / 'out')}
    assert sorted(rows) == [0, 1, 2, 3, 4]
    assert 'mystery7' in rows[1]['status']
    assert rows[3]['status'] == 'no LiDAR sweep within 50 ms'
    assert [int(rows[index]['stamp_ns']) for index in range(5)] == [stamp_of(i) for i in range(5)]
    assert float(rows[0]['abs_rel']) == pytest.approx(EXPECTED['abs_rel'], rel=1e-6)
    assert float(rows[0]['gap_ms']) == 4.0
    assert evaluation.result['frames'] == {
        'processed': 5,
        'scored': 3,
        'skipped': {'image cannot be used': 1, 'no LiDAR sweep within 50 ms': 1},
    }


def test_evaluate_frames_limit_scores_the_first(bag, model, tmp_path):
    seen = []
    config = EvaluationConfig(rules=NO_CROP, frames=2, pictures=0)
    result = run(
        bag, model, tmp_path, config, on_frame=lambda done, total: seen.append((done, total))
    ).result
    assert result['frames']['processed'] == 2
    assert seen == [(1, 2), (2, 2)]


def test_evaluate_median_alignment_is_used(bag, model, tmp_path):
    config = EvaluationConfig(rules=ScoreRules(crop='none', alignment='median'), pictures=0)
    result = run(bag, model, tmp_path, config).result
    # Medians over 256 + 256 pixels: (20 + 31) / 2 and (20 + 40) / 2.
    scale = 25.5 / 30.0
    expected = (abs(20 * scale - 20) / 20 + abs(40 * scale - 31) / 31) / 2
    assert result['depth']['abs_rel'] == pytest.approx(expected, rel=1e-6)


def test_evaluate_kitti_export_truth_is_the_forward_distance(bag, model, tmp_path):
    config = EvaluationConfig(rules=NO_CROP, lidar_depth='kitti_export', pictures=0)
    result = run(bag, model, tmp_path, config).result
    # The LiDAR is 0.3 m behind the camera. Its pixels move by one: of 32 columns the first drops
    # out, and the first one on the right half falls on the left one.
    left, right = 0.3 / 20.3, abs(40 - 31.3) / 31.3
    astray = abs(20 - 31.3) / 31.3
    expected = (15 * left + astray + 15 * right) / 31
    assert result['depth']['abs_rel'] == pytest.approx(expected, rel=1e-5)


def test_evaluate_moving_car_needs_motion_compensation(model, tmp_path):
    drive = Drive(frames=4, speed=10.0, sweep_delay_ns=40_000_000)
    bag = write_drive(tmp_path / 'bag', drive)
    plain = run(bag, model, tmp_path / 'plain').result
    # Nearer walls fill more pixels, so that some points leave the picture.
    assert plain['depth']['mae'] == pytest.approx((0.4 + 9.4) / 2, abs=0.2)
    config = EvaluationConfig(rules=NO_CROP, motion_compensation=True, pictures=0)
    moved = run(bag, model, tmp_path / 'moved', config).result
    assert moved['depth'] == pytest.approx(EXPECTED, rel=1e-5, abs=1e-4)
    assert moved['bag']['topics']['odometry'] == '/odometry'


def test_evaluate_motion_compensation_without_odometry_is_refused(bag, model, tmp_path):
    config = EvaluationConfig(motion_compensation=True)
    with pytest.raises(BagError, match='odometry'):
        run(bag, model, tmp_path, config)


def test_evaluate_occlusion_filter_drops_what_the_nearer_wall_hides(bag, model, tmp_path):
    # A window as wide as the picture: the wall at 20 m hides the one at 31 m.
    everything = OcclusionFilter(rows=0, cols=64, relative=0.0, absolute_m=0.1)
    config = EvaluationConfig(rules=NO_CROP, occlusion=everything, pictures=0)
    result = run(bag, model, tmp_path, config).result
    assert result['by_pixel']['pixels'] == 4 * 256
    assert result['depth']['abs_rel'] == pytest.approx(0.0, abs=1e-6)


def test_evaluate_frames_that_the_model_holds_back_are_not_scored(bag, tmp_path):
    model = memory_file(tmp_path / 'memory.onnx')
    card = memory_card()
    temporal = replace(card.temporal, warmup_frames=2, first_frames='hold')
    write_card(model, replace(card, temporal=temporal))
    frames = run(bag, model, tmp_path / 'out').result['frames']
    assert frames['scored'] == 2
    assert list(frames['skipped'].values()) == [2]
    assert next(iter(frames['skipped'])).startswith('held')


def test_evaluate_repeated_stamp_is_not_scored_twice(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(repeats_first=True))
    result = run(bag, model, tmp_path / 'out').result
    assert result['frames'] == {
        'processed': 5,
        'scored': 4,
        'skipped': {'stamp not after that of the frame before': 1},
    }
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-6, abs=1e-5)


def test_evaluate_bag_without_lidar_tells_its_topics_and_checks_the_rest(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(has_lidar=False, has_transform=False))
    result = run(bag, model, tmp_path / 'out').result
    assert 'no lidar topic' in result['accuracy']
    assert '/camera/image_rect' in result['accuracy']
    assert result['frames'] == {
        'processed': 4,
        'scored': 0,
        'skipped': {'no truth in this run': 4},
    }
    assert result['checks']['edge_width_px']['mean'] == pytest.approx(1.0, rel=1e-4)
    assert result['confidence'] is None


def test_evaluate_without_path_to_the_camera_names_both_frames(model, tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        make = MessageFactory()
        bag.write('/tf_static', 0, make.transforms(0, [('base_link', 'lidar', np.eye(4))]))
        stamp = stamp_of(0)
        camera = CameraModel.pinhole(scenes.CAMERA)
        bag.write('/camera/camera_info', stamp, make.camera_info(stamp, 'camera', camera))
        bag.write('/camera/image', stamp, make.image(stamp, 'camera', scenes.picture()))
        scenes.write_sweep(bag, make, stamp, Drive())
    with pytest.raises(BagError, match=r"'lidar' to 'camera'.*'camera' is not in the tree"):
        run(tmp_path / 'bag', model, tmp_path / 'out')


def test_evaluate_without_tf_static_is_refused(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(has_transform=False))
    with pytest.raises(BagError, match='tf_static'):
        run(bag, model, tmp_path / 'out')


def test_evaluate_two_image_topics_asks_which_and_takes_the_answer(model, tmp_path):
    topics = ('/left/image', '/right/image')
    bag = write_drive(tmp_path / 'bag', Drive(image_topics=topics))
    with pytest.raises(
        BagError, match=r'2 image topics: /left/image, /right/image.*--image-topic'
    ):
        run(bag, model, tmp_path / 'out')
    result = run(bag, model, tmp_path / 'out', topics=Topics(image='/right/image')).result
    assert result['bag']['topics']['image'] == '/right/image'


def test_evaluate_nothing_in_time_is_an_error_that_says_why(bag, model, tmp_path):
    config = EvaluationConfig(max_sync_ms=3)
    with pytest.raises(
        ReportError, match=r'nothing could be scored.*4 x no LiDAR sweep within 3 ms'
    ):
        run(bag, model, tmp_path, config)
    assert len(table_of(tmp_path)) == 4


def test_evaluate_too_few_pixels_are_reported_not_averaged(bag, model, tmp_path):
    # Only the nearest range holds truth, and there is none.
    config = EvaluationConfig(rules=ScoreRules(crop='none', cap_m=10.0))
    with pytest.raises(ReportError, match='4 x fewer than 50 pixels'):
        run(bag, model, tmp_path, config)


def test_evaluate_output_that_is_a_file_is_refused_before_the_work(bag, model, tmp_path):
    (tmp_path / 'taken').write_text('mine')
    with pytest.raises(ReportError, match='taken'):
        run(bag, model, tmp_path / 'taken')
    assert (tmp_path / 'taken').read_text() == 'mine'


def test_evaluate_model_without_sigma_has_no_uncertainty(bag, tmp_path):
    model = write_model(tmp_path / 'plain.onnx', has_sigma=False)
    evaluation = run(bag, model, tmp_path / 'out')
    evaluation.write()
    assert evaluation.result['uncertainty'] is None
    assert 'no uncertainty to score' in (tmp_path / 'out/report.md').read_text()


def test_evaluate_memory_does_not_grow_with_the_bag(model, tmp_path):
    peaks = []
    for count in (200, 400):
        bag = write_drive(tmp_path / f'bag{count}', Drive(frames=count))
        tracemalloc.start()
        config = EvaluationConfig(rules=NO_CROP, pictures=2, checks=())
        run(bag, model, tmp_path / f'out{count}', config)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A frame of this bag has 16 kB: keeping them would cost 3 MB. Both bags fill a chunk. When
    # the collector runs is chance: up to 0.35 MB were seen in a process with many tests.
    assert peaks[1] - peaks[0] < 1000 * 1000, peaks


def test_recorded_depth_scores_exactly_as_the_pipeline(bag, model, tmp_path):
    recording = record(bag, model, tmp_path / 'recording')
    direct = run(bag, model, tmp_path / 'a').result
    recorded = evaluate_recorded(bag, recording, tmp_path / 'b', config=CONFIG)
    recorded.write()
    for key in MEASURED:
        assert recorded.result[key] == direct[key], key
    assert recorded.result['frames'] == direct['frames']
    assert recorded.result['latency'] is None
    assert recorded.result['model']['depth_topic'] == '/mono/depth/image_rect'
    assert recorded.result['model']['uncertainty_topic'] == '/mono/depth/uncertainty'


def test_recorded_depth_in_millimetres_scores_alike(bag, model, tmp_path):
    recording = record(bag, model, tmp_path / 'recording', in_mm=True)
    result = evaluate_recorded(bag, recording, tmp_path / 'out', config=CONFIG).result
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-3, abs=1e-2)
    assert result['uncertainty']['mean_sigma_m'] == pytest.approx(3 * np.sqrt(2), rel=1e-3)


def test_recorded_depth_counts_frames_that_were_dropped(bag, model, tmp_path):
    recording = record(bag, model, tmp_path / 'recording', published=(0, 3))
    result = evaluate_recorded(bag, recording, tmp_path / 'out', config=CONFIG).result
    assert result['frames']['skipped'] == {'not published by the node': 2}
    assert result['frames']['scored'] == 2


def test_recorded_depth_of_another_bag_scores_nothing(bag, model, tmp_path):
    recording = record(bag, model, tmp_path / 'recording', published=())
    with pytest.raises(BagError, match='0 topics of depth images'):
        evaluate_recorded(bag, recording, tmp_path / 'out', config=CONFIG)


def test_recorded_depth_without_camera_info_is_refused(bag, tmp_path):
    make = MessageFactory()
    with BagWriter(tmp_path / 'recording') as recording:
        depth = make.image(stamp_of(0), 'camera', np.ones((32, 64), np.float32), '32FC1')
        recording.write('/depth/image_rect', stamp_of(0), depth)
    with pytest.raises(BagError, match="no '/depth/camera_info'"):
        evaluate_recorded(bag, tmp_path / 'recording', tmp_path / 'out', config=CONFIG)


def test_fingerprint_changes_with_one_byte(tmp_path):
    (tmp_path / 'a.db3').write_bytes(b'x' * 3_000_000)
    before = fingerprint(tmp_path)
    assert before == fingerprint(tmp_path)
    (tmp_path / 'a.db3').write_bytes(b'x' * 2_999_999 + b'y')
    assert fingerprint(tmp_path) != before


@pytest.mark.parametrize(
    'wrong',
    [
        {'max_sync_ms': -1},
        {'lidar_depth': 'radial'},
        {'frames': -1},
        {'pictures': -2},
        {'truth': 'radial'},
        {'accumulated_sweeps': -1},
        {'checks': ('radial',)},
        {'lidar_offset_ms': float('inf')},
    ],
)
def test_config_bad_value_is_refused(wrong):
    with pytest.raises(ConfigError, match=r'-1|-2|radial|inf'):
        EvaluationConfig(**wrong)
