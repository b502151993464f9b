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

"""The command line of the evaluation."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys
from test.engines.graphs import steady_card, steady_file
from test.evaluation.scenes import Drive, EXPECTED, record, write_drive, write_model

from depth_ros.cli.evaluate import main
from depth_ros.engines.model_card import write_card
from depth_ros.evaluation.sources import PipelinePredictor
import pytest


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return str(write_model(tmp_path_factory.mktemp('model') / 'brightness.onnx'))


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return str(write_drive(tmp_path_factory.mktemp('bag') / 'drive'))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_evaluate_writes_the_report_and_says_where(bag, model, tmp_path, capsys):
    out = tmp_path / 'out'
    status = run(bag, '--model', model, '--output', out, '--crop', 'none', '--pictures', 1)
    assert status == 0
    result = json.loads((out / 'metrics.json').read_text())
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-5, abs=1e-4)
    assert result['command'].startswith('python -m depth_ros.cli.evaluate ')
    assert '--crop none' in result['command']
    printed = capsys.readouterr().out
    assert f'{EXPECTED["abs_rel"]:.3f}' in printed
    assert 'report.html' in printed
    assert {path.name for path in out.iterdir()} == {
        'frames.jsonl',
        'metrics.json',
        'per_frame.csv',
        'pictures',
        'report.html',
        'report.md',
    }


def test_evaluate_as_a_module_runs_and_fails_with_one_sentence(tmp_path):
    command = [
        sys.executable,
        '-m',
        'depth_ros.cli.evaluate',
        'nowhere',
        '--output',
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bag 'nowhere' does not exist" in done.stderr
    assert 'Traceback' not in done.stderr


def test_evaluate_every_protocol_option_reaches_the_protocol(bag, model, tmp_path):
    options = '--crop eigen --cap 70 --min-depth 0.5 --alignment median --max-sync-ms 20'
    flags = '--frames 3 --points-from-lidar-forward --occlusion-filter --image-is-rectified'
    arguments = [bag, '--model', model, '--output', tmp_path, *options.split(), *flags.split()]
    assert run(*arguments, '--engine', 'onnxruntime', '--threads', 1, '--pictures', 0) == 0
    result = json.loads((tmp_path / 'metrics.json').read_text())
    protocol = result['protocol']
    assert (protocol['crop'], protocol['cap_m'], protocol['min_depth_m']) == ('eigen', 70.0, 0.5)
    assert (protocol['alignment'], protocol['max_sync_ms']) == ('median', 20.0)
    assert protocol['lidar_depth'] == 'kitti_export'
    assert protocol['occlusion_filter']['rows'] > 0
    assert protocol['rectify'] is False
    assert protocol['frames_limit'] == result['frames']['processed'] == 3
    assert result['model']['engine'] == 'onnxruntime'
    assert list(result['by_range'])[-1] == '50-70'


def test_evaluate_recorded_depth_gives_the_numbers_of_the_model(bag, model, tmp_path):
    recording = record(bag, model, tmp_path / 'recording')
    common = [bag, '--crop', 'none', '--pictures', 0]
    direct, recorded = tmp_path / 'direct', tmp_path / 'recorded'
    assert run(*common, '--model', model, '--engine', 'onnxruntime', '--output', direct) == 0
    assert run(*common, '--predictions', recording, '--output', recorded) == 0
    results = [json.loads((f / 'metrics.json').read_text()) for f in (direct, recorded)]
    for key in ('depth', 'by_range', 'by_pixel', 'uncertainty', 'truth', 'frames'):
        assert results[0][key] == results[1][key]


@pytest.mark.parametrize(
    ('drive', 'sentence'),
    [
        (Drive(has_transform=False), 'tf_static'),
        (Drive(image_topics=('/a/image', '/b/image')), '--image-topic'),
        (Drive(without_sweep=(0, 1, 2, 3), frames=5, damaged=(4,)), 'nothing could be scored'),
    ],
)
def test_evaluate_bad_bag_is_one_sentence_and_status_one(drive, sentence, model, tmp_path, capsys):
    bag = write_drive(tmp_path / 'bag', drive)
    assert run(bag, '--model', model, '--output', tmp_path / 'out') == 1
    message = ' '.join(capsys.readouterr().err.split())
    assert sentence in message
    assert str(tmp_path / 'bag') in message.replace(' ', '')


def test_evaluate_interrupted_keeps_the_frames_so_far(bag, model, tmp_path, monkeypatch, capsys):
    calls = []

    def interrupted(self, frame):
        calls.append(frame)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, frame)

    predict = PipelinePredictor.predict
    monkeypatch.setattr(PipelinePredictor, 'predict', interrupted)
    assert run(bag, '--model', model, '--output', tmp_path, '--crop', 'none') == 130
    assert 'stopped' in capsys.readouterr().err
    assert len((tmp_path / 'per_frame.csv').read_text().splitlines()) == 1 + 2


def test_evaluate_missing_model_is_status_one(bag, tmp_path, capsys):
    assert run(bag, '--model', tmp_path / 'no.onnx', '--output', tmp_path / 'out') == 1
    assert 'no.onnx' in ''.join(capsys.readouterr().err.split())


def test_evaluate_bad_protocol_value_is_status_one(bag, model, tmp_path, capsys):
    assert run(bag, '--model', model, '--output', tmp_path, '--cap', -1) == 1
    assert '-1.0 m' in capsys.readouterr().err


@pytest.mark.parametrize(
    'extra',
    [
        ['--crop', 'middle'],
        ['--depth-topic', '/depth'],
        ['--predictions', 'rec', '--engine', 'onnxruntime'],
        ['--predictions', 'rec', '--threads', '0'],
        ['--predictions', 'rec', '--model', 'x'],
        ['--rate', '2'],
        ['--realtime', '--threads', '1'],
    ],
)
def test_evaluate_option_without_effect_is_wrong_usage(extra, bag, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(bag, '--output', tmp_path, *extra)
    assert caught.value.code == 2
    assert extra[-2] in capsys.readouterr().err


def test_evaluate_bag_without_lidar_checks_the_rest_and_says_what_is_impossible(
    model, tmp_path, capsys
):
    bag = write_drive(tmp_path / 'bag', Drive(has_lidar=False, speed=2.0))
    assert run(bag, '--model', model, '--output', tmp_path / 'out', '--pictures', 0) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'Accuracy: impossible: the bag has no lidar topic' in printed
    result = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert result['depth']['abs_rel'] is None
    assert result['uncertainty'] is None
    assert result['sigma_without_truth']['median_relative_sigma']['frames'] == 4
    assert result['checks']['consistency']['frames'] == 3
    assert result['checks']['ground_height_m']['frames'] == 4
    page = (tmp_path / 'out/report.html').read_text()
    assert 'impossible: the bag has no lidar topic' in page


def test_evaluate_damaged_mcap_scores_what_can_be_recovered(bag, model, tmp_path, capsys):
    whole = next(Path(bag).glob('*.mcap')).read_bytes()
    damaged = tmp_path / 'damaged.mcap'
    # The end is gone, and with it the index and a part of the last chunk.
    damaged.write_bytes(whole[:-20])
    common = ['--model', model, '--engine', 'onnxruntime', '--crop', 'none', '--pictures', 0]
    assert run(damaged, *common, '--output', tmp_path / 'a') == 1
    told = ' '.join(capsys.readouterr().err.split())
    assert 'cannot be read' in told
    assert 'evaluate --recover' in told
    assert run(damaged, *common, '--output', tmp_path / 'b', '--recover') == 0
    assert 'Recovered:' in capsys.readouterr().out
    result = json.loads((tmp_path / 'b/metrics.json').read_text())
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-5, abs=1e-4)
    assert result['recovered']['from'] == str(damaged)


@pytest.mark.dds
@pytest.mark.parametrize('kind', ['plain', 'camera and memory'])
def test_evaluate_realtime_without_drops_gives_the_numbers_of_the_deterministic_run(
    model, tmp_path, kind
):
    if kind == 'camera and memory':
        model = steady_file(tmp_path / 'steady.onnx')
        write_card(model, steady_card())
    bag = write_drive(tmp_path / 'bag', Drive(frames=12, transport_ns=1_000_000))
    common = [bag, '--model', model, '--engine', 'onnxruntime', '--crop', 'none', '--pictures', 0]
    direct = tmp_path / 'direct'
    assert run(*common, '--output', direct) == 0
    # A machine that does other work may make the node drop a frame: then once more, slowly.
    for rate in ('0.5', '0.2'):
        live = tmp_path / f'live_{rate}'
        assert run(*common, '--output', live, '--realtime', '--rate', rate) == 0
        results = [json.loads((f / 'metrics.json').read_text()) for f in (direct, live)]
        skipped = results[1]['frames']['skipped']
        if not skipped:
            break
    assert skipped == {}, f'the node has dropped frames: {skipped}, {results[1]["node"]}'
    for key in ('depth', 'by_range', 'by_region', 'by_pixel', 'uncertainty', 'checks', 'truth'):
        assert results[0][key] == results[1][key], key
    assert set(results[0]) == set(results[1])
    assert any('[ms]' in name for name in results[1]['node'])
