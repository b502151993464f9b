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

"""Several bags: found, spread over workers, failing alone, merged to the same bytes."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from test.engines.graphs import memory_card, memory_file
from test.evaluation.fragile import FragileTask
from test.evaluation.scenes import Drive, EXPECTED, write_drive, write_model
from test.project import ROOT

from depth_ros.cli.evaluate import main
from depth_ros.core.metrics import ScoreRules
from depth_ros.engines.model_card import write_card
from depth_ros.errors import ConfigError, ReportError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.fleet import evaluate_many, find_bags, names_of, Plan
from depth_ros.evaluation.ray_tasks import RayRunner
from depth_ros.evaluation.sources import PipelinePredictor
from depth_ros.evaluation.tasks import SerialRunner
from depth_ros.evaluation.worker_processes import ProcessRunner
import pytest

CONFIG = EvaluationConfig(rules=ScoreRules(crop='none'), pictures=2, checks=('temporal',))
DRIVES = {
    'long': Drive(frames=9, speed=0.2),
    'damaged': Drive(frames=5, damaged=(1,)),
    'short': Drive(frames=3),
    'blind': Drive(frames=4, has_transform=False),
}


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    bags = [write_drive(folder / name, drive) for name, drive in DRIVES.items()]
    return bags, write_model(folder / 'brightness.onnx')


@pytest.fixture(scope='module')
def serial(inputs, tmp_path_factory):
    """Return the folder of a run of one bag after another; one of the bags fails."""
    folder = tmp_path_factory.mktemp('fleet') / 'out'
    run(inputs, folder, SerialRunner())
    return folder


def run(inputs, folder, runner, **options):
    bags, model = inputs
    options = {'engine': 'onnxruntime', 'threads': 1, 'config': CONFIG, **options}
    return evaluate_many(bags, folder, runner, Plan(model=str(model), **options))


def whole(folder: Path) -> dict[str, bytes]:
    """Return the files that every way of running must agree on, to the byte."""
    text = (folder / 'metrics.json').read_text().replace(str(folder), 'OUT')
    pages = {name: (folder / name).read_bytes() for name in ('report.html', 'report.md')}
    return {
        'metrics.json': text,
        **{k: v.replace(str(folder).encode(), b'OUT') for k, v in pages.items()},
    }


def test_many_bags_are_one_result_with_a_line_for_each(serial):
    result = json.loads((serial / 'metrics.json').read_text())
    assert result['depth'] == pytest.approx(EXPECTED, rel=1e-3)
    assert result['frames']['scored'] == 9 + 4 + 3
    assert [bag['name'] for bag in result['bags']] == ['blind', 'damaged', 'long', 'short']
    assert 'has no /tf_static' in result['bags'][0]['error']
    assert result['confidence']['over'] == 'drives'
    assert result['confidence']['units'] == 3
    assert [picture['role'] for picture in result['pictures']] == ['best', 'worst']
    assert 'has no /tf_static' in (serial / 'report.md').read_text()
    assert (serial / 'bags/long/report.html').is_file()
    assert json.loads((serial / 'run.json').read_text())['bags'][2]['throughput']['frames'] == 9


def test_worker_processes_give_the_same_bytes(inputs, serial, tmp_path):
    run(inputs, tmp_path / 'out', ProcessRunner(3))
    assert whole(tmp_path / 'out') == whole(serial)


def test_worker_processes_give_the_same_bytes_for_a_model_with_memory(inputs, tmp_path):
    model = memory_file(tmp_path / 'memory.onnx')
    card = memory_card()
    # A missing image drops the memory of the drive 'damaged'.
    temporal = replace(card.temporal, max_gap_ms=150.0, warmup_frames=1, first_frames='hold')
    write_card(model, replace(card, temporal=temporal))
    bags = [bag for bag in inputs[0] if bag.name in ('damaged', 'short')]
    for name, runner in (('one', SerialRunner()), ('two', ProcessRunner(2))):
        run((bags, model), tmp_path / name, runner)
    assert whole(tmp_path / 'one') == whole(tmp_path / 'two')
    result = json.loads((tmp_path / 'one/metrics.json').read_text())
    assert result['frames']['scored'] == 2 + 2


def outcomes(runner, *names):
    """Return what becomes of tasks whose workers die at the first attempt, by name."""
    tasks = [FragileTask(name=name) for name in names]
    return {outcome.name: outcome for outcome in runner.run(tasks, lambda *progress: None)}


@pytest.mark.skipif(find_spec('ray') is None, reason='Ray is not installed: pip install ray')
def test_ray_tasks_give_the_same_bytes_and_are_tried_again(inputs, serial, tmp_path, monkeypatch):
    monkeypatch.setenv(
        'PYTHONPATH', os.pathsep.join([os.getcwd(), os.environ.get('PYTHONPATH', '')])
    )
    runner = RayRunner('local', workers=2)
    try:
        run(inputs, tmp_path / 'out', runner)
        found = outcomes(runner, 'a')['a']
    finally:
        runner.close()
    assert whole(tmp_path / 'out') == whole(serial)
    assert (found.error, found.facts, found.attempts) == (None, {'was_resumed': True}, 2)


def test_workers_that_die_are_resumed_as_often_as_allowed():
    found = outcomes(ProcessRunner(2, retries=1), 'a', 'b')
    assert [(found[name].error, found[name].attempts) for name in 'ab'] == [(None, 2), (None, 2)]
    assert found['a'].facts == {'was_resumed': True}
    died = outcomes(ProcessRunner(1, retries=0), 'a')['a']
    assert died.error == 'its worker died (signal 9) in attempt 1'


@pytest.mark.skipif(find_spec('ray') is not None, reason='Ray is installed')
def test_ray_that_is_not_installed_is_said(inputs, tmp_path, capsys):
    bags, _ = inputs
    assert main([*map(str, bags), '--ray', 'auto', '--output', str(tmp_path)]) == 1
    assert 'pip install ray' in ' '.join(capsys.readouterr().err.split())


def test_worker_that_dies_is_tried_again_and_loses_no_other(inputs, serial, tmp_path):
    class Deadly(ProcessRunner):
        """Kills the first process that reports progress on one bag."""

        def run(self, tasks, on_progress):
            killed = []

            def kill(name, *progress):
                if name == 'long' and not killed:
                    killed.append(self.pids[name])
                    os.kill(self.pids[name], signal.SIGKILL)

            yield from super().run(tasks, kill)
            assert killed

    run(inputs, tmp_path / 'out', Deadly(2, retries=1))
    assert whole(tmp_path / 'out') == whole(serial)


def test_resumed_fleet_does_not_repeat_what_is_done(inputs, serial, tmp_path, monkeypatch):
    run(inputs, tmp_path / 'out', SerialRunner())
    (tmp_path / 'out/bags/short/metrics.json').unlink()
    calls = []
    predict = PipelinePredictor.predict
    monkeypatch.setattr(
        PipelinePredictor, 'predict', lambda self, frame: calls.append(1) or predict(self, frame)
    )
    run(inputs, tmp_path / 'out', SerialRunner(), resume=True)
    # Only the bag whose result is gone.
    assert len(calls) == 3
    assert whole(tmp_path / 'out') == whole(serial)


@pytest.fixture(scope='module')
def doubtful(tmp_path_factory):
    """Return a bag whose LiDAR has a clock of its own, and one without LiDAR."""
    folder = tmp_path_factory.mktemp('doubtful')
    ahead = Drive(frames=9, transport_ns=8_000_000, lidar_ahead_ns=300_000_000)
    return [
        write_drive(folder / 'ahead', ahead),
        write_drive(folder / 'pictures', Drive(frames=3, has_lidar=False)),
    ]


def test_program_says_of_each_bag_what_is_doubtful(doubtful, inputs, tmp_path, capsys):
    options = ['--model', str(inputs[1]), '--engine', 'onnxruntime', '--crop', 'none']
    out = tmp_path / 'out'
    assert main([*map(str, doubtful), *options, '--output', str(out)]) == 0
    printed = ' '.join(capsys.readouterr().out.split())
    pages = [(out / name).read_text() for name in ('report.html', 'report.md')]
    for text in (printed, *pages):
        assert 'stamps are 300 ms ahead of' in text.replace('&#39;', "'")
        assert 'impossible: the bag has no lidar topic' in text


def test_clock_that_is_measured_in_each_bag_is_told_as_that(doubtful, inputs, tmp_path):
    config = replace(CONFIG, lidar_offset_ms='auto')
    result = run((doubtful[:1], inputs[1]), tmp_path, SerialRunner(), config=config)
    assert result['frames']['scored'] == 9
    assert result['protocol']['lidar_offset_ms'] == 'auto'
    own = json.loads((tmp_path / 'bags/ahead/metrics.json').read_text())
    assert own['protocol']['lidar_offset_ms'] == pytest.approx(-300.0)


def test_all_bags_failing_is_an_error_that_names_each(inputs, tmp_path):
    bags, model = inputs
    with pytest.raises(ReportError, match=r'none of 2 bags.*blind: bag.*nowhere: bag'):
        evaluate_many(
            [bags[3], tmp_path / 'nowhere'],
            tmp_path / 'out',
            SerialRunner(),
            Plan(model=str(model), engine='onnxruntime', config=CONFIG),
        )


def test_program_with_a_bad_bag_reports_the_others_and_ends_with_one(inputs, tmp_path, capsys):
    bags, model = inputs
    options = ['--model', str(model), '--output', str(tmp_path / 'out'), '--pictures', '0']
    protocol = ['--crop', 'none', '--checks', '--engine', 'onnxruntime']
    status = main([str(bags[0]), str(tmp_path / 'nowhere'), *options, *protocol])
    assert status == 1
    captured = capsys.readouterr()
    assert 'bag nowhere failed' in ' '.join(captured.err.split())
    assert 'long' in captured.out
    assert json.loads((tmp_path / 'out/metrics.json').read_text())['frames']['scored'] == 9


def test_find_bags_by_glob_takes_bags_alone_once_and_sorted(inputs, tmp_path):
    bags, _ = inputs
    folder = bags[0].parent
    assert find_bags([f'{folder}/*', str(bags[0])]) == sorted(bags)
    with pytest.raises(ConfigError, match='finds no bag'):
        find_bags([f'{folder}/*.onnx'])


def test_find_bags_by_manifest_is_relative_to_it(inputs):
    bags, _ = inputs
    manifest = bags[0].parent / 'drives.txt'
    manifest.write_text('# two drives\nlong\n\nsh*t  # by glob\n')
    assert find_bags([], manifest) == sorted([bags[0], bags[2]])
    with pytest.raises(ConfigError, match='cannot be read'):
        find_bags([], bags[0].parent / 'no.txt')
    with pytest.raises(ConfigError, match='no bag is given'):
        find_bags([])


def test_names_of_bags_of_one_name_have_their_folders():
    bags = [Path('/a/x/bag'), Path('/a/y/bag'), Path('/a/other')]
    assert names_of(bags) == ['x__bag', 'y__bag', 'other']


@pytest.mark.parametrize(
    'arguments',
    [
        ['--workers', '2'],
        ['--ray', 'auto'],
        ['--retries', '2'],
        ['b', '--predictions', 'recording'],
        ['b', '--workers', '0'],
        ['b', '--ray', 'auto', '--workers', '2'],
    ],
)
def test_option_that_does_not_fit_is_wrong_usage(arguments, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(['a', *arguments, '--output', str(tmp_path)])
    assert caught.value.code == 2
    capsys.readouterr()


def test_workers_of_a_program_without_a_guard_do_not_run_it_again(inputs, tmp_path):
    bags, model = inputs
    script = tmp_path / 'evaluate'
    # As the executables are installed for `ros2 run`.
    script.write_text((ROOT / 'scripts/evaluate').read_text())
    protocol = ['--crop', 'none', '--checks', '--engine', 'onnxruntime', '--pictures', '0']
    options = ['--model', model, '--output', str(tmp_path / 'out'), '--workers', '2', *protocol]
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, str(script), str(bags[0]), str(bags[2]), *options],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / 'out/metrics.json').read_text())
    assert result['frames']['scored'] == 9 + 3
