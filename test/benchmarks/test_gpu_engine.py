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

"""The benchmark of GPU engines, run on the engine that every machine has."""

from __future__ import annotations

from pathlib import Path
from test.engines.graphs import memory_card, memory_file

from benchmarks.gpu_engine import _Stream, Candidate, main, measure
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
import pytest

COLUMNS = 11
QUICK = ('--engines', 'onnxruntime', '--rounds', '3', '--warmup', '1')


def test_main_prints_a_row_for_each_engine_and_batch(capsys):
    assert main(['--model', 'meter_xxs_kitti', *QUICK]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.count('|') == COLUMNS + 1 for line in lines)
    for line, batch in zip(lines[2:], (1, 2), strict=True):
        cells = [cell.strip() for cell in line.split('|')[1:-1]]
        assert cells[0] == 'meter_xxs_kitti'
        assert cells[1].startswith('onnxruntime 1.')
        assert cells[2:5] == ['fp32', 'CPU', str(batch)]
        p50, p95, p99 = (float(cell) for cell in cells[5:8])
        assert 0 < p50 <= p95 <= p99


def test_main_model_without_a_mirror_image_is_fed_with_one(capsys):
    assert main(['--model', 'meter_xxs_sigma_kitti', *QUICK]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert main(['--model', 'meter_xxs_sigma_kitti', '--batch', '2', *QUICK]) == 1
    assert 'batch 2: meter_xxs_sigma_kitti is fed with one image' in capsys.readouterr().err


def test_stream_of_a_model_with_a_memory_feeds_its_states_back(tmp_path):
    path = memory_file(tmp_path / 'memory.onnx')
    write_card(path, memory_card())
    with load_model(str(path), engine='onnxruntime', threads=1) as loaded:
        run = _Stream(loaded, 1)
        seen = []
        for _ in range(3):
            run()
            seen.append(float(run._states['memory'].mean()))
    # memory / 2 + mean of the picture
    assert seen == pytest.approx([seen[0], 1.5 * seen[0], 1.75 * seen[0]], rel=1e-5)
    assert main(['--model', str(path), *QUICK]) == 0


@pytest.mark.parametrize('engine', ['onnxruntime_cuda', 'tensorrt', 'torch_eager'])
def test_main_engine_that_does_not_run_here_is_told(engine, capsys):
    if any(Path('/dev').glob('nvidia[0-9]*')):
        pytest.skip('there is a GPU here')
    assert main(['--engines', engine, '--rounds', '1']) == 1
    said = capsys.readouterr().err
    assert f'{engine}: not measured: ' in said
    assert 'none of these engines runs here' in said


def test_main_unknown_engine_lists_the_known(capsys):
    assert main(['--engines', 'cuda']) == 1
    assert "engine = 'cuda': must be one of ['onnxruntime'" in capsys.readouterr().err


def test_measure_keeps_the_rounds_after_the_warm_up():
    calls = []
    candidate = Candidate(
        model='m',
        name='a',
        precision='fp32',
        device='CPU',
        batch=1,
        gpu_mib=None,
        call=lambda: calls.append(None),
    )
    measure([candidate], rounds=4, warmup=3)
    assert (len(calls), len(candidate.times_ns)) == (7, 4)
    assert candidate.row().endswith('| unknown |')
