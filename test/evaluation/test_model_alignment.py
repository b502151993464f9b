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

"""A relative model in an evaluation: its metres come from the truth, and the report says so."""

from __future__ import annotations

from dataclasses import replace
import json
from test.project import ROOT
from test.relative_models import SCALE, SHIFT, write_relative_model

from depth_ros.cli.evaluate import main
from depth_ros.core.config import AlignmentConfig
from depth_ros.errors import ConfigError, ModelError
from depth_ros.evaluation.config import EvaluationConfig, FITTED
from depth_ros.evaluation.report import json_bytes
from depth_ros.evaluation.run import evaluate
from depth_ros.evaluation.sources import PipelinePredictor
import pytest

BAG = ROOT / 'demo' / 'kitti_0005'
LIDAR = EvaluationConfig(
    frames=5, pictures=0, checks=(), model_alignment=AlignmentConfig(method='lidar')
)
CLOCKED = ('latency', 'throughput', 'command', 'timeline')


@pytest.fixture(scope='module')
def relative(tmp_path_factory):
    return write_relative_model(tmp_path_factory.mktemp('model') / 'relative.onnx')


def run(model, folder, config, **options):
    return evaluate(
        BAG, folder, model=str(model), engine='onnxruntime', threads=1, config=config, **options
    )


def numbers(result):
    return json_bytes({key: value for key, value in result.items() if key not in CLOCKED})


@pytest.fixture(scope='module')
def aligned(relative, tmp_path_factory):
    evaluation = run(relative, tmp_path_factory.mktemp('run') / 'out', LIDAR)
    evaluation.write()
    return evaluation


def test_relative_model_is_scored_after_alignment_to_the_lidar(aligned, tmp_path):
    metric = run('default', tmp_path / 'metric', replace(LIDAR, model_alignment=AlignmentConfig()))
    assert aligned.result['frames']['scored'] == 5
    # It is the metric model again, apart from what the LiDAR corrects.
    assert aligned.result['depth']['abs_rel'] == pytest.approx(
        metric.result['depth']['abs_rel'], abs=0.02
    )
    assert metric.result['accuracy'] == 'measured'


def test_report_says_that_the_truth_was_used_to_align(aligned):
    assert aligned.result['accuracy'] == FITTED
    assert FITTED.startswith('not metric')
    for name in ('report.md', 'report.html'):
        text = (aligned.folder / name).read_text()
        assert f'Accuracy: {FITTED}' in text
        assert 'Alignment of the model: lidar' in text
    assert json.loads((aligned.folder / 'metrics.json').read_text())['protocol'][
        'model_alignment'
    ] == 'lidar'  # fmt: skip


def test_run_that_was_stopped_goes_on_with_the_same_scale(
    aligned, relative, tmp_path, monkeypatch
):
    predict, calls = PipelinePredictor.predict, []

    def limited(self, frame):
        calls.append(frame.stamp_ns)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return predict(self, frame)

    with monkeypatch.context() as patch:
        patch.setattr(PipelinePredictor, 'predict', limited)
        with pytest.raises(KeyboardInterrupt):
            run(relative, tmp_path / 'out', LIDAR)
    resumed = run(relative, tmp_path / 'out', LIDAR, resume=True)
    assert numbers(resumed.result) == numbers({**aligned.result, 'pictures': []})


def test_relative_model_without_alignment_is_refused(relative, tmp_path):
    with pytest.raises(ModelError, match='has no metres without scale and shift'):
        run(relative, tmp_path / 'out', replace(LIDAR, model_alignment=AlignmentConfig()))


def test_metric_model_with_alignment_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='answers metric_depth'):
        run('default', tmp_path / 'out', LIDAR)


def test_alignment_by_lidar_needs_lidar_as_truth():
    with pytest.raises(ConfigError, match=r"'lidar' with truth 'none': needs LiDAR sweeps"):
        replace(LIDAR, truth='none')


def test_command_line_declares_a_line(relative, tmp_path, capsys):
    out = tmp_path / 'out'
    arguments = [str(BAG), '--model', str(relative), '--engine', 'onnxruntime', '--frames', '1']
    arguments += ['--output', str(out), '--pictures', '0', '--checks']
    line = ['--model-scale', str(SCALE), '--model-shift', str(SHIFT)]
    assert main([*arguments, '--model-alignment', 'declared', *line]) == 0
    result = json.loads((out / 'metrics.json').read_text())
    assert result['accuracy'] == 'measured'
    words = f'declared: 1 / depth = {SCALE:g} * output + {SHIFT:g}'
    assert result['protocol']['model_alignment'] == words
    assert words in (out / 'report.md').read_text()
    assert result['depth']['abs_rel'] < 0.2
    capsys.readouterr()
    assert main([*arguments, '--model-alignment', 'declared']) != 0
    assert 'declare a positive scale' in ' '.join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    'arguments',
    [
        ('--model-scale', '0.1'),
        ('--model-alignment', 'lidar', '--model-shift', '0.1'),
        ('--predictions', 'bag', '--model-alignment', 'lidar'),
        ('--realtime', '--model-alignment', 'lidar'),
    ],
)
def test_option_that_would_be_ignored_ends_the_program(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(BAG), '--output', str(tmp_path / 'out'), *arguments])
    assert 'has no effect in this run' in capsys.readouterr().err
