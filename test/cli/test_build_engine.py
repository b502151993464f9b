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

"""The program, with the real builder of TensorRT for RTX and the demo's street."""

from __future__ import annotations

import os
from pathlib import Path
import signal
from test.engines import rtx
from test.engines.graphs import network_card, network_file
from test.project import ROOT

from depth_ros.cli import build_engine
from depth_ros.cli.build_engine import main
from depth_ros.engines.engine_cache import EngineCache, FOLDER_VARIABLE
from depth_ros.engines.gate_pictures import FILE
from depth_ros.engines.model_card import write_card
from depth_ros.engines.model_files import DEFAULT_MODEL
from depth_ros.engines.precision import precision_of
import numpy as np
import pytest

CLIP = str(ROOT / 'demo' / 'kitti_0005')
RTX = ['--engine', 'tensorrt_rtx', '--target', 'sm86']


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / 'engines'))
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'engines'


@pytest.fixture
def model(tmp_path):
    rtx.library()
    path = network_file(tmp_path / 'net.onnx')
    write_card(path, network_card())
    return str(path)


def sentence(capsys) -> str:
    return ' '.join(capsys.readouterr().err.split())


def test_build_for_a_target_stores_the_engine_and_says_that_it_is_not_checked(
    model, folder, capsys
):
    assert main([model, *RTX]) == 0
    (entry,) = EngineCache(folder).entries()
    assert entry.key is not None
    assert (entry.key.gpu, entry.key.precision) == ('SM86', 'fp32')
    out = capsys.readouterr().out
    assert f'{folder / entry.digest}: ' in out
    assert 'for SM86, not checked' in out


def test_build_options_are_part_of_the_engine(model, folder):
    assert main([model, *RTX, '--workspace', '64', '--level', '5']) == 0
    (entry,) = EngineCache(folder).entries()
    assert entry.key is not None
    assert '"workspace_mib": 64' in entry.key.options
    assert '"level": 5' in entry.key.options


def test_build_fp16_converts_judges_and_keeps_pictures(folder, tmp_path, capsys):
    rtx.library()
    arguments = ['default', *RTX, '--precision', 'fp16', '--bag', CLIP, '--frames', '3']
    assert main([*arguments, '--output', 'half.onnx']) == 0
    assert precision_of(tmp_path / 'half.onnx') == 'fp16'
    out = capsys.readouterr().out
    assert 'half.onnx: AbsRel against LiDAR 0.1' in out
    assert 'allowed 0.5 %, on 3 frames of kitti_0005' in out
    # The casts of the two outputs, and what stays single for safety.
    assert ' of them give FP32' in out
    with np.load(folder / FILE) as stored:
        assert stored['pictures'].shape == (4, 375, 1242, 3)
    (entry,) = EngineCache(folder).entries()
    assert entry.key is not None
    assert entry.key.precision == 'fp16'


def test_convert_only_needs_neither_tensorrt_nor_gpu(tmp_path, folder, capsys):
    arguments = ['default', '--precision', 'fp16', '--bag', CLIP, '--frames', '2']
    assert main([*arguments, '--convert-only']) == 0
    assert precision_of(tmp_path / f'{DEFAULT_MODEL}.fp16.onnx') == 'fp16'
    assert not folder.exists()


def test_list_and_prune_show_and_remove(model, folder, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    main([model, *RTX])
    capsys.readouterr()
    assert main(['--list']) == 0
    out = capsys.readouterr().out
    assert 'fp32, image 1x3x32x64 to 1x3x32x64' in out
    assert 'SM86 (8.6)' in out
    assert 'not checked yet' in out
    assert main(['--prune']) == 0
    assert 'removed 0 engines' in capsys.readouterr().out
    assert main(['--prune', '0']) == 0
    assert 'removed 1 engines' in capsys.readouterr().out
    assert EngineCache(folder).entries() == []


def test_list_tells_what_is_damaged(model, folder, capsys, monkeypatch):
    monkeypatch.setenv('COLUMNS', '200')
    main([model, *RTX])
    (plan,) = folder.glob('*/plan.engine')
    plan.write_bytes(b'')
    assert main(['--list']) == 0
    assert 'damaged: plan.engine has 0 bytes' in capsys.readouterr().out


def test_build_without_a_gpu_is_refused(model, capsys):
    pytest.importorskip('cuda.bindings', reason='cuda-python is not installed')
    if any(Path('/dev').glob('nvidia[0-9]*')):
        pytest.skip('there is a GPU here')
    assert main([model, '--engine', 'tensorrt_rtx']) == 1
    assert 'no NVIDIA GPU can be used' in sentence(capsys)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        (['--precision', 'fp16'], '--precision fp16 needs --bag with camera and LiDAR'),
        (['--target', 'ampere'], "target 'ampere': must be sm and the compute capability"),
        (['--target', 'sm87'], 'target sm87: tensorrt_rtx'),
        (['--target', 'sm86', '--version-compatible'], 'are options of tensorrt'),
        (['--target', 'sm86', '--workspace', '0'], 'workspace = 0 MiB: must be 1 or more'),
        (['--bag', 'no_bag', '--target', 'sm86'], 'no_bag'),
    ],
)
def test_build_that_cannot_be_is_refused_in_one_sentence(model, capsys, arguments, words):
    assert main([model, '--engine', 'tensorrt_rtx', *arguments]) == 1
    said = sentence(capsys)
    assert said.startswith('build_engine: ')
    assert words in said


def test_build_fp32_of_an_fp16_file_is_refused(tmp_path, capsys):
    main(['default', '--precision', 'fp16', '--bag', CLIP, '--frames', '1', '--convert-only'])
    assert main([f'./{DEFAULT_MODEL}.fp16.onnx', '--precision', 'fp32', *RTX]) == 1
    assert 'is fp16: give the fp32 model that it was made from' in sentence(capsys)


def test_build_interrupted_stops_cleanly(model, folder, capsys, monkeypatch):
    monkeypatch.setattr('depth_ros.engines.build_progress.TELL_PERIOD_S', 0.0)
    honest = build_engine.obtain_plan

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return honest(*arguments)

    monkeypatch.setattr(build_engine, 'obtain_plan', interrupted)
    assert main([model, *RTX]) == 130
    assert 'building was cancelled at' in sentence(capsys)
    assert EngineCache(folder).entries() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        ['default', '--list'],
        ['default', '--prune'],
        ['--list', '--bag', 'x'],
        ['default', '--output', 'x'],
        ['default', '--frames', '3'],
        ['default', '--convert-only'],
        ['default', '--image-topic', '/x'],
        ['default', '--lidar-topic', '/x', '--bag', 'y'],
        ['default', '--precision', 'fp16', '--bag', 'x', '--convert-only', '--target', 'sm86'],
        ['default', '--precision', 'fp16', '--bag', 'x', '--frames', '-1'],
    ],
    ids=' '.join,
)
def test_options_without_effect_are_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
