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

"""A model that remembers and is told the camera, as TC-Depth: the same numbers in every mode."""

from __future__ import annotations

from dataclasses import replace
import json
from test.engines.graphs import steady_card, steady_depths, steady_file
from test.evaluation.scenes import (
    CAMERA,
    Drive,
    HEIGHT,
    LEFT_M,
    picture,
    RIGHT_M,
    WIDTH,
    write_drive,
)

from depth_ros.core.metrics import ScoreRules
from depth_ros.engines.model_card import read_card, write_card
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.fleet import evaluate_many, Plan
from depth_ros.evaluation.observers import Recordings
from depth_ros.evaluation.run import evaluate, evaluate_recorded
from depth_ros.evaluation.sources import PipelinePredictor
from depth_ros.evaluation.tasks import SerialRunner
from depth_ros.evaluation.worker_processes import ProcessRunner
import numpy as np
import pytest

RULES = ScoreRules(crop='none')
CONFIG = EvaluationConfig(rules=RULES, pictures=0, checks=('temporal',))
SCORES = ('depth', 'by_range', 'by_region', 'by_pixel', 'truth', 'frames')
FRAMES = 8


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = steady_file(tmp_path_factory.mktemp('model') / 'steady.onnx')
    write_card(path, steady_card())
    return path


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_drive(tmp_path_factory.mktemp('bag') / 'drive', Drive(frames=FRAMES))


def run(bag, model, folder, config=CONFIG, **options):
    evaluation = evaluate(
        bag, folder, model=str(model), engine='onnxruntime', threads=1, config=config, **options
    )
    evaluation.write()
    return evaluation.result


def scores(result):
    return {key: result[key] for key in SCORES}


def formula(frames):
    """Return AbsRel of each frame by the formula of the graph, in plain numpy."""
    images = [np.moveaxis(picture() / 255.0, 2, 0)[None]] * frames
    truth = np.where(np.arange(0, WIDTH, 2) < WIDTH // 2, LEFT_M, RIGHT_M)
    depths = (depth.reshape(HEIGHT, WIDTH)[::2, ::2] for depth in steady_depths(images, CAMERA))
    return [float((np.abs(depth - truth) / truth).mean()) for depth in depths]


def test_deterministic_run_is_the_formula_with_camera_and_memory(bag, model, tmp_path):
    assert read_card(model).input.camera == 'camera'
    result = run(bag, model, tmp_path)
    by_frame = formula(FRAMES)
    assert result['frames']['scored'] == FRAMES
    assert result['depth']['abs_rel'] == pytest.approx(sum(by_frame) / FRAMES, rel=1e-5)


def test_memory_of_a_missing_image_begins_anew_and_is_in_the_numbers(model, tmp_path):
    bag = write_drive(tmp_path / 'bag', Drive(frames=FRAMES, damaged=(3,)))
    gapless = tmp_path / 'gapless.onnx'
    card = read_card(model)
    steady_file(gapless)
    write_card(gapless, replace(card, temporal=replace(card.temporal, max_gap_ms=150.0)))
    result = run(bag, gapless, tmp_path / 'out')
    expected = [*formula(3), *formula(FRAMES - 4)]
    assert result['depth']['abs_rel'] == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_stopped_run_goes_on_with_the_same_numbers(bag, model, tmp_path, monkeypatch):
    whole = run(bag, model, tmp_path / 'whole')
    predict, calls = PipelinePredictor.predict, []

    def limited(self, frame):
        calls.append(frame)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return predict(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(PipelinePredictor, 'predict', limited)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path / 'out', is_overlapped=False)
    resumed = run(bag, model, tmp_path / 'out', resume=True)
    assert scores(resumed) == scores(whole)
    assert resumed['checks'] == whole['checks']


def test_recorded_predictions_have_the_same_scores(bag, model, tmp_path):
    recorded = tmp_path / 'predicted'
    direct = run(bag, model, tmp_path / 'direct', recordings=Recordings(bag_out=recorded))
    again = evaluate_recorded(bag, recorded, tmp_path / 'again', config=CONFIG).result
    assert scores(again) == scores(direct)


def test_second_pass_of_the_sequence_scale_remembers_nothing_of_the_first(bag, model, tmp_path):
    rules = replace(RULES, alignment='median_sequence')
    result = run(bag, model, tmp_path / 'a', replace(CONFIG, rules=rules))
    images = [np.moveaxis(picture() / 255.0, 2, 0)[None]] * FRAMES
    depths = [d.reshape(HEIGHT, WIDTH)[::2, ::2] for d in steady_depths(images, CAMERA)]
    truth = np.where(np.arange(0, WIDTH, 2) < WIDTH // 2, LEFT_M, RIGHT_M)
    truth = np.broadcast_to(truth, depths[0].shape)
    scale = np.median([np.median(truth) / np.median(depth) for depth in depths])
    errors = [np.mean(np.abs(scale * depth - truth) / truth) for depth in depths]
    assert result['sequence_scale'] == pytest.approx(scale, rel=1e-5)
    assert result['depth']['abs_rel'] == pytest.approx(np.mean(errors), rel=1e-5)


def test_workers_give_the_bytes_of_one_process(bag, model, tmp_path):
    other = write_drive(tmp_path / 'other', Drive(frames=4))
    plan = Plan(model=str(model), engine='onnxruntime', threads=1, config=CONFIG)
    files = []
    for name, runner in (('one', SerialRunner()), ('two', ProcessRunner(2))):
        evaluate_many([bag, other], tmp_path / name, runner, plan)
        text = (tmp_path / name / 'metrics.json').read_text()
        files.append(text.replace(str(tmp_path / name), 'OUT'))
    assert files[0] == files[1]
    assert json.loads(files[0])['frames']['scored'] == FRAMES + 4
