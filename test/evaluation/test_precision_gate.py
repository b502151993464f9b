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

"""The gate on the demo's real street with LiDAR, and its rules."""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import steady_card, steady_file, with_layer
from test.project import ROOT

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.writer import BagWriter
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.engines.model_files import resolve_model
from depth_ros.engines.onnx_file import model_sha256, read_onnx_file
from depth_ros.engines.precision import precision_of, read_record
from depth_ros.errors import BagError, DepthRosError, ModelError
from depth_ros.evaluation.config import Topics
from depth_ros.evaluation.precision_gate import (
    bag_pictures,
    calibration_pictures,
    GateReport,
    make_variant,
    MAX_CHANGE,
    windows,
)
import numpy as np
import pytest

CLIP = ROOT / 'demo' / 'kitti_0005'
FRAMES = 20


def quiet(sentence: str) -> None:
    """Say nothing."""


def report(**changes) -> GateReport:
    fields = {
        'precision': 'fp16',
        'abs_rel_fp32': 0.1,
        'abs_rel': 0.1004,
        'change': 0.004,
        'limit': 0.005,
        'frames': 20,
        'bag': 'drive',
        'bag_fingerprint': 'ab',
    }
    return GateReport(**{**fields, **changes})


def test_make_variant_fp16_of_the_shipped_model_passes_and_carries_the_figures(tmp_path):
    source, target = resolve_model('default'), tmp_path / 'half.onnx'
    said: list[str] = []
    verdict = make_variant(source, target, 'fp16', CLIP, topics=Topics(), say=said.append)
    assert verdict.passed
    assert verdict.frames == FRAMES
    assert abs(verdict.change) < MAX_CHANGE['fp16'] == 0.005
    assert verdict.abs_rel != verdict.abs_rel_fp32
    assert precision_of(target) == 'fp16'
    assert read_card(target) == read_card(source)
    record = read_record(read_onnx_file(target))
    assert record is not None
    assert record.source_sha256 == model_sha256(source)
    assert record.gate['abs_rel'] == verdict.abs_rel
    assert len(said) == 2
    with load_model(str(target), engine='onnxruntime') as loaded:
        assert loaded.card == read_card(source)


@pytest.mark.slow
def test_make_variant_int8_of_the_shipped_model_is_refused_with_the_figures(tmp_path):
    target = tmp_path / 'int8.onnx'
    with pytest.raises(ModelError) as caught:
        make_variant(
            resolve_model('default'), target, 'int8', CLIP, topics=Topics(), say=quiet, count=4
        )
    sentence = str(caught.value)
    assert 'as int8 is refused: AbsRel against LiDAR 0.' in sentence
    assert 'allowed 2 %, on 4 frames of kitti_0005' in sentence
    assert 'Use fp32 or fp16' in sentence
    # A larger change than allowed, but a working model: the calibration is at work.
    change = float(sentence.split(' %, allowed')[0].rsplit(' ', 1)[1])
    assert 2 < change < 20
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('change', 'passed'),
    [(0.0, True), (0.005, True), (-0.004, True), (0.0051, False), (-0.0051, False)],
)
def test_report_passes_within_the_limit_in_both_directions(change, passed):
    assert report(change=change).passed is passed


def test_report_nan_does_not_pass():
    assert not report(change=float('nan')).passed


def test_report_as_text_has_every_figure():
    assert str(report()) == (
        'AbsRel against LiDAR 0.10000 (fp32) and 0.10040 (fp16), +0.400 %, allowed 0.5 %, on 20 '
        'frames of drive'
    )


def test_make_variant_folder_that_cannot_be_made_names_the_file(tmp_path):
    (tmp_path / 'file').touch()
    target = tmp_path / 'file' / 'half.onnx'
    with pytest.raises(ModelError, match=r'half\.onnx: cannot be written: File exists'):
        make_variant(resolve_model('default'), target, 'fp16', CLIP, topics=Topics(), say=quiet)


def test_make_variant_bag_without_lidar_is_refused(tmp_path):
    make = MessageFactory()
    with BagWriter(tmp_path / 'bag') as writer:
        writer.write('/words', 1, make.make('std_msgs/msg/String', data='no lidar'))
    with pytest.raises(DepthRosError, match='image'):
        make_variant(
            resolve_model('default'),
            tmp_path / 'half.onnx',
            'fp16',
            tmp_path / 'bag',
            topics=Topics(),
            say=quiet,
        )
    assert not (tmp_path / 'half.onnx').exists()


def test_make_variant_fp16_of_a_model_with_camera_and_memory_runs_the_stream(tmp_path):
    source, target = tmp_path / 'steady.onnx', tmp_path / 'half.onnx'
    write_card(with_layer(steady_file(source)), steady_card())
    verdict = make_variant(source, target, 'fp16', CLIP, topics=Topics(), say=quiet, count=3)
    assert (verdict.passed, verdict.frames) == (True, 3)
    # Geometry stays single: what is left rounds little, but it rounds.
    assert 0 < abs(verdict.change) < MAX_CHANGE['fp16']
    assert read_card(target) == steady_card()


def test_calibration_pictures_bring_the_camera_of_the_bag():
    pictures = calibration_pictures(CLIP, steady_card(), Topics())
    assert [list(each) for each in pictures] == [['image', 'camera']] * len(pictures)
    # KITTI's camera 2 of this drive at 64 x 32, instead of 1242 x 375.
    fx, fy = 721.5377 * 64 / 1242, 721.5377 * 32 / 375
    cx, cy = (609.5593 + 0.5) * 64 / 1242 - 0.5, (172.854 + 0.5) * 32 / 375 - 0.5
    np.testing.assert_allclose(pictures[0]['camera'], [[fx, fy, cx, cy]], rtol=1e-6)
    assert not np.array_equal(pictures[0]['image'], pictures[1]['image'])


def test_bag_pictures_spread_over_the_bag_or_in_a_row():
    everything = bag_pictures(CLIP, Topics(), FRAMES, in_a_row=True)
    assert len(everything) == FRAMES
    spread = bag_pictures(CLIP, Topics(), 4, in_a_row=False)
    row = bag_pictures(CLIP, Topics(), 4, in_a_row=True)
    for index in range(4):
        np.testing.assert_array_equal(spread[index], everything[5 * index])
        np.testing.assert_array_equal(row[index], everything[index])


def test_bag_pictures_missing_bag_is_named(tmp_path: Path):
    with pytest.raises(BagError, match='no_bag'):
        bag_pictures(tmp_path / 'no_bag', Topics(), 4, in_a_row=True)


def test_windows_overlap_oldest_first():
    images = [np.full((1, 3, 2, 2), i, np.float32) for i in range(4)]
    made = windows(images, 3)
    assert [w.shape for w in made] == [(1, 3, 3, 2, 2)] * 2
    assert made[1][0, :, 0, 0, 0].tolist() == [1, 2, 3]
    assert windows(images, 1)[2] is images[2]
