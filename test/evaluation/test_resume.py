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

"""Runs that were killed go on, read ahead and scored behind give what a plain loop gives."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from test.engines.graphs import memory_card, memory_file
from test.evaluation.scenes import Drive, stamp_of, write_drive, write_model
import threading

from depth_ros.core.metrics import ScoreRules
from depth_ros.engines.model_card import write_card
from depth_ros.errors import FrameError, ReportError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.overlap import Ahead, Behind, WAITING
from depth_ros.evaluation.report import json_bytes, SCHEMA_VERSION
from depth_ros.evaluation.run import evaluate
from depth_ros.evaluation.scoring import FrameScorer
from depth_ros.evaluation.sources import PipelinePredictor
import pytest

CONFIG = EvaluationConfig(rules=ScoreRules(crop='none'), pictures=3)
CLOCKED = ('latency', 'throughput', 'command', 'timeline')
KILLED = """
import os, signal, sys
from depth_ros.cli.evaluate import main
from depth_ros.evaluation.sources import PipelinePredictor

predict, calls = PipelinePredictor.predict, []

def until_killed(self, frame):
    calls.append(frame)
    if len(calls) > 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return predict(self, frame)

PipelinePredictor.predict = until_killed
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp('model') / 'brightness.onnx')


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_drive(
        tmp_path_factory.mktemp('bag') / 'drive',
        Drive(frames=30, damaged=(4, 21), without_sweep=(7,), speed=0.2),
    )


def run(bag, model, folder, config=CONFIG, **options):
    return evaluate(
        bag, folder, model=str(model), engine='onnxruntime', threads=1, config=config, **options
    )


def numbers(result):
    """Return what the clock cannot change."""
    return json_bytes({key: value for key, value in result.items() if key not in CLOCKED})


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / 'pictures').iterdir()}


def stop_after(monkeypatch, count, error=KeyboardInterrupt):
    """Make the run end before it predicts one frame more."""
    predict, calls = PipelinePredictor.predict, []

    def limited(self, frame):
        calls.append(frame.stamp_ns)
        if len(calls) > count:
            raise error
        return predict(self, frame)

    monkeypatch.setattr(PipelinePredictor, 'predict', limited)
    return calls


def test_overlapped_run_gives_the_numbers_of_a_plain_loop(bag, model, tmp_path):
    results = []
    for name, is_overlapped in (('plain', False), ('overlapped', True)):
        evaluation = run(bag, model, tmp_path / name, is_overlapped=is_overlapped)
        evaluation.write()
        results.append(numbers(evaluation.result))
    assert results[0] == results[1]
    assert pictures(tmp_path / 'plain') == pictures(tmp_path / 'overlapped')


def test_checks_in_a_thread_of_their_own_give_the_same_records(bag, model, tmp_path, monkeypatch):
    whole = run(bag, model, tmp_path / 'plain', is_overlapped=False)
    whole.write()
    threads, checks = set(), FrameScorer._checks
    monkeypatch.setattr(os, 'sched_getaffinity', lambda pid: {0, 1, 2, 3})
    monkeypatch.setattr(
        FrameScorer,
        '_checks',
        lambda *given: threads.add(threading.current_thread().name) or checks(*given),
    )
    parallel = run(bag, model, tmp_path / 'parallel')
    parallel.write()
    assert threads == {'checks_0'}
    assert numbers(parallel.result) == numbers(whole.result)
    assert parallel.result['checks']['flicker']['frames'] > 0


def test_killed_run_goes_on_and_has_the_result_of_a_whole_one(bag, model, tmp_path):
    whole = run(bag, model, tmp_path / 'whole')
    whole.write()
    options = ['--model', str(model), '--engine', 'onnxruntime', '--threads', '1']
    protocol = ['--crop', 'none', '--pictures', '3', '--output', str(tmp_path / 'killed')]
    command = [sys.executable, '-c', KILLED, str(bag), *options, *protocol]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / 'killed/metrics.json').exists()
    assert (tmp_path / 'killed/frames.jsonl.partial').stat().st_size > 0
    resumed = run(bag, model, tmp_path / 'killed', resume=True)
    resumed.write()
    assert numbers(resumed.result) == numbers(whole.result)
    assert pictures(tmp_path / 'killed') == pictures(tmp_path / 'whole')
    assert sorted(p.name for p in (tmp_path / 'killed').iterdir()) == sorted(
        p.name for p in (tmp_path / 'whole').iterdir()
    )


def test_resumed_run_predicts_only_what_is_missing_and_its_context(
    bag, model, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(patch, 20)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path)
    with monkeypatch.context() as patch:
        calls = stop_after(patch, 100)
        run(bag, model, tmp_path, resume=True).write()
    # 28 of 30 images can be used; 20 were done; those before tell what was there.
    assert len(calls) == 28 - 20 + CONFIG.accumulated_sweeps


def test_resumed_run_of_a_model_with_memory_has_the_same_result(bag, tmp_path, monkeypatch):
    model = memory_file(tmp_path / 'memory.onnx')
    card = memory_card()
    write_card(model, replace(card, temporal=replace(card.temporal, max_gap_ms=5000.0)))
    whole = run(bag, model, tmp_path / 'whole').result
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path / 'parts')
    assert numbers(run(bag, model, tmp_path / 'parts', resume=True).result) == numbers(whole)


def remembering(folder: Path, **changes) -> Path:
    """Write a model with a memory; a missing image is a gap that drops it."""
    path = memory_file(folder / 'memory.onnx')
    card = memory_card()
    rules = {'max_gap_ms': 150.0, **changes}
    write_card(path, replace(card, temporal=replace(card.temporal, **rules)))
    return path


@pytest.mark.parametrize(
    ('first_frames', 'done', 'first'),
    [('publish', 9, 0), ('publish', 15, 9), ('hold', 16, 9)],
)
def test_resume_around_a_reset_does_not_change_what_the_model_remembers(
    tmp_path, monkeypatch, first_frames, done, first
):
    # Images 8 and 16 are missing: the memory is dropped after them.
    drive = Drive(frames=20, damaged=(8, 16), speed=0.2)
    bag = write_drive(tmp_path / 'drive', drive)
    model = remembering(tmp_path, first_frames=first_frames, warmup_frames=2)
    whole = run(bag, model, tmp_path / 'whole', is_overlapped=False).result
    with monkeypatch.context() as patch:
        stop_after(patch, done)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path / 'parts')
    with monkeypatch.context() as patch:
        calls = stop_after(patch, 100)
        resumed = run(bag, model, tmp_path / 'parts', resume=True).result
    assert numbers(resumed) == numbers(whole)
    # From the last reset before the first image that is needed, but not from the beginning.
    assert calls[0] == stamp_of(first)


def test_clip_that_is_shorter_than_the_memory_is_held_back_with_the_reason(tmp_path):
    bag = write_drive(tmp_path / 'drive', Drive(frames=3))
    model = remembering(tmp_path, first_frames='hold', warmup_frames=9)
    with pytest.raises(ReportError, match=r'3 x held: too little past after a reset'):
        run(bag, model, tmp_path / 'run')


def test_clip_that_is_shorter_than_the_memory_is_scored_where_the_card_publishes(tmp_path):
    bag = write_drive(tmp_path / 'drive', Drive(frames=3))
    model = remembering(tmp_path, first_frames='publish', warmup_frames=9)
    assert run(bag, model, tmp_path / 'run').result['frames']['scored'] == 3


def test_resume_of_another_protocol_is_refused_with_the_difference(
    bag, model, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        stop_after(patch, 5)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path)
    config = EvaluationConfig(rules=ScoreRules(crop='garg'))
    with pytest.raises(ReportError, match=r"is of another run.*protocol.*'none'.*'garg'"):
        run(bag, model, tmp_path, config, resume=True)


def test_resume_of_a_folder_of_another_schema_version_is_refused(bag, model, tmp_path):
    run(bag, model, tmp_path).write()
    version = re.compile(f'("schema_version": ?){SCHEMA_VERSION}')
    for name in ('frames.jsonl', 'metrics.json'):
        text, count = version.subn(rf'\g<1>{SCHEMA_VERSION - 1}', (tmp_path / name).read_text())
        assert count == 1
        (tmp_path / name).write_text(text)
    with pytest.raises(ReportError, match='schema_version'):
        run(bag, model, tmp_path, resume=True)


def test_resume_without_an_earlier_run_begins(bag, model, tmp_path):
    assert run(bag, model, tmp_path, resume=True).result['frames']['processed'] == 30


def test_journal_with_a_broken_end_goes_on_after_the_last_whole_line(
    bag, model, tmp_path, monkeypatch
):
    whole = run(bag, model, tmp_path / 'whole').result
    with monkeypatch.context() as patch:
        stop_after(patch, 15)
        with pytest.raises(KeyboardInterrupt):
            run(bag, model, tmp_path / 'parts')
    journal = tmp_path / 'parts/frames.jsonl.partial'
    journal.write_bytes(journal.read_bytes()[:-30])
    assert numbers(run(bag, model, tmp_path / 'parts', resume=True).result) == numbers(whole)


def test_error_of_the_scoring_ends_the_run_with_that_error(bag, model, tmp_path, monkeypatch):
    stop_after(monkeypatch, 3, FrameError('lens cap'))
    with pytest.raises(FrameError, match='lens cap'):
        run(bag, model, tmp_path)


def test_metrics_json_is_valid_for_strict_readers(bag, model, tmp_path):
    run(bag, model, tmp_path).write()

    def refuse(name):
        raise AssertionError(f'{name} is no JSON')

    json.loads((tmp_path / 'metrics.json').read_text(), parse_constant=refuse)


def test_ahead_reads_only_a_few_items_ahead():
    made = []

    def items():
        for number in range(100):
            made.append(number)
            yield number

    ahead = Ahead(items)
    stream = iter(ahead)
    assert next(stream) == 0
    ahead.close()
    assert len(made) <= WAITING + 3


def test_ahead_raises_the_error_of_the_source_after_its_items():
    def items():
        yield 1
        raise ValueError('damaged')

    stream = iter(Ahead(items))
    assert next(stream) == 1
    with pytest.raises(ValueError, match='damaged'):
        next(stream)


def test_behind_keeps_the_order_and_finishes_in_its_thread():
    done, threads = [], set()

    def work(item):
        done.append(item)
        threads.add(threading.get_ident())

    behind = Behind(work, lambda: threads.add(threading.get_ident()))
    for number in range(20):
        behind.put(number)
    behind.close()
    assert done == list(range(20))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}


def test_behind_tells_the_error_of_its_work_once_and_does_nothing_after_it():
    done = []

    def work(item):
        done.append(item)
        raise ValueError(f'item {item}')

    behind = Behind(work)
    behind.put(1)
    with pytest.raises(ValueError, match='item 1'):
        behind.close()
    assert done == [1]
