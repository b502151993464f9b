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

"""Model files with a known depth, on drives with a known truth, have known scores."""

from __future__ import annotations

import csv
from dataclasses import replace
import json
import math
from pathlib import Path
from test.synthetic import model_spec
from test.training import drives
from typing import Any

from depth_ros.core.model_spec import ModelSpec, UncertaintySpec
from depth_ros.engines.model_card import write_card
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest

pytest.importorskip('torch', reason='torch is only installed for training')

from training.evaluate import main  # noqa: E402
from training.scores import MIN_SCORED_PIXELS  # noqa: E402

WIDTH, HEIGHT = 64, 48
DEPTH_M, SCALE_M = 12.0, 2.0
# What stands in the drives: a wall.
WALL_M = 10.0
ERROR_M = DEPTH_M - WALL_M
# Enough of them for a frame to count.
POINTS = [(float(u), float(v), WALL_M) for u in range(4, 60, 4) for v in range(24, 46, 2)]


def save(path: Path, spec: ModelSpec, nodes: list[Any], constants: list[Any]) -> Path:
    """Write a graph from ``image`` to the outputs of the card."""
    names = [name for name in (spec.output.name, spec.uncertainty.name) if name]
    shape: list[Any] = ['batch', 3, spec.input.height, spec.input.width]
    graph = helper.make_graph(
        nodes,
        'network',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [shape[0], 1, *shape[2:]])
            for name in names
        ],
        constants,
    )
    opset = helper.make_opsetid('', 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    write_card(path, spec)
    return path


def number(name: str, value: float) -> Any:
    return numpy_helper.from_array(np.array(value, np.float32), name)


def constant_file(path: Path, spec: ModelSpec, **outputs: float) -> Path:
    """Write a network whose outputs are the same everywhere, whatever it sees."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'zero'], ['nothing']),
        *(helper.make_node('Add', ['nothing', f'{name}_value'], [name]) for name in outputs),
    ]
    values = [number(f'{name}_value', value) for name, value in outputs.items()]
    return save(path, spec, nodes, [number('zero', 0.0), *values])


def blind_file(path: Path, spec: ModelSpec) -> Path:
    """Write a network that knows nothing (NaN) of what is darker than a bright sky."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Sub', ['mean', 'bright'], ['above']),
        helper.make_node('Sqrt', ['above'], ['depth']),
    ]
    return save(path, spec, nodes, [number('bright', 0.6)])


def card(name: str, **changes: Any) -> ModelSpec:
    spec = model_spec(**changes)
    given = replace(spec.input, width=WIDTH, height=HEIGHT)
    output = replace(spec.output, focal_px=None, min_depth_m=1.0, max_depth_m=80.0, scale=1.0)
    return replace(spec, name=name, input=given, output=output)


LEARNED = UncertaintySpec(kind='log_laplace_scale', name='log_sigma')


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bag, two more in a dataset, and two models."""
    folder = tmp_path_factory.mktemp('evaluate')
    for name, count in (('bag', 3), ('one', 2), ('two', 4)):
        messages = [drives.static()]
        for index in range(count):
            cloud = drives.cloud(index, drives.lidar_points(POINTS))
            messages += [drives.info(index), cloud, drives.image(index)]
        drives.write(folder / name, messages)
    drives.made(folder / 'dataset', folder / 'one', folder / 'two', val=['one', 'two'])
    constant_file(
        folder / 'learned.onnx',
        card('learned', uncertainty=LEARNED),
        depth=DEPTH_M,
        log_sigma=math.log(SCALE_M),
    )
    constant_file(folder / 'plain.onnx', card('plain'), depth=WALL_M)
    return folder


def run(folder: Path, output: Path, *options: object) -> int:
    models = [str(folder / f'{name}.onnx') for name in ('learned', 'plain')]
    given = ['--model', *models, '--engine', 'onnxruntime', '--threads', '1']
    return main([*given, '--output', str(output), *(str(option) for option in options)])


@pytest.fixture(scope='module')
def result(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    output = tmp_path_factory.mktemp('result')
    assert run(folder, output, '--data', folder / 'dataset', '--bag', folder / 'bag') == 0
    content = json.loads((output / 'metrics.json').read_text())
    content['rows'] = list(csv.DictReader((output / 'per_frame.csv').open()))
    return content


def test_scores_of_a_constant_depth_are_those_of_the_formulas(result: dict[str, Any]) -> None:
    learned, plain = (model['all'] for model in result['models'])
    assert learned['depth']['abs_rel'] == pytest.approx(ERROR_M / WALL_M, rel=1e-4)
    assert learned['depth']['rmse'] == pytest.approx(ERROR_M, rel=1e-4)
    assert learned['depth']['a1'] == 1.0
    assert plain['depth']['abs_rel'] == pytest.approx(0.0, abs=1e-4)


def test_uncertainty_is_scored_where_there_is_one(result: dict[str, Any]) -> None:
    learned, plain = (model['all'] for model in result['models'])
    # sigma = sqrt(2) * 2 m, the error is 2 m.
    assert learned['uncertainty']['coverage_1_sigma'] == 1.0
    assert learned['uncertainty']['mean_sigma_m'] == pytest.approx(SCALE_M * math.sqrt(2))
    nll = ERROR_M / SCALE_M + math.log(2 * SCALE_M)
    assert learned['uncertainty']['nll'] == pytest.approx(nll, rel=1e-4)
    assert plain['uncertainty'] is None


def test_every_drive_has_its_scores_and_its_truth(result: dict[str, Any]) -> None:
    counts = {'bag': 3, 'one': 2, 'two': 4}
    for model in result['models']:
        found = {name: d['frames']['scored'] for name, d in model['drives'].items()}
        assert found == counts
        assert model['all']['frames']['scored'] == sum(counts.values())
    assert result['truth']['bag'] == 'raw LiDAR, single sweep'
    assert 'occluded points removed' in result['truth']['one']


def test_protocol_and_models_are_stated(result: dict[str, Any]) -> None:
    protocol = result['protocol']
    assert (protocol['crop'], protocol['cap_m'], protocol['alignment']) == ('garg', 80.0, 'none')
    assert [model['label'] for model in result['models']] == ['learned', 'plain']
    assert all(len(model['model']['sha256']) == 64 for model in result['models'])
    assert result['command'].startswith('python -m training.evaluate --model')


def test_table_of_frames_has_a_line_for_each_model_and_frame(result: dict[str, Any]) -> None:
    rows = result['rows']
    assert len(rows) == 2 * 9
    places = [(row['drive'], row['frame'], row['stamp_ns']) for row in rows]
    assert places[:9] == places[9:]
    assert {row['model'] for row in rows[:9]} == {'learned'}
    assert all(float(row['latency_ms']) > 0 for row in rows)
    assert all(float(row['abs_rel']) == pytest.approx(0.2, rel=1e-4) for row in rows[:9])


def test_program_prints_the_models_side_by_side(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, tmp_path, '--bag', folder / 'bag') == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if 'AbsRel ' in line and 'AUSE' not in line)
    assert [cell.strip() for cell in line.split('│')[2:4]] == ['0.2000', '0.0000']
    (line,) = (line for line in lines if 'within 1 sigma' in line)
    assert [cell.strip() for cell in line.split('│')[2:4]] == ['1.000', '-']
    assert any('bag, 3 frames' in line for line in lines)
    assert 'bag: raw LiDAR, single sweep' in lines


def test_frame_that_counts_for_one_model_only_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = blind_file(tmp_path / 'blind.onnx', card('blind'))
    models = ['--model', str(folder / 'plain.onnx'), str(blind), '--bag', str(folder / 'bag')]
    assert main([*models, '--engine', 'onnxruntime', '--output', str(tmp_path / 'out')]) == 1
    error = capsys.readouterr().err
    assert "frame 0 of 'bag' counts for some models only (plain: scored, blind: fewer" in error
    assert not (tmp_path / 'out' / 'metrics.json').exists()


def test_models_of_one_name_are_told_by_their_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = constant_file(tmp_path / 'other.onnx', card('plain'), depth=DEPTH_M)
    models = ['--model', str(folder / 'plain.onnx'), str(other), '--bag', str(folder / 'bag')]
    assert main([*models, '--engine', 'onnxruntime', '--output', str(tmp_path / 'out')]) == 0
    content = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert [m['label'] for m in content['models']] == [str(folder / 'plain.onnx'), str(other)]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ((), 'no frame with LiDAR: give --bag'),
        (('--bag', 'nothing'), 'nothing'),
        (('--data', 'nothing'), "'nothing' is no dataset"),
        (('--kitti-object', 'nothing'), 'nothing'),
    ],
)
def test_bad_source_fails_with_one_sentence(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert run(folder, tmp_path / 'out', *options) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert message in error
    assert not (tmp_path / 'out' / 'metrics.json').exists()


def test_same_model_twice_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(folder / 'plain.onnx')
    arguments = ['--model', model, model, '--bag', str(folder / 'bag')]
    assert main([*arguments, '--engine', 'onnxruntime', '--output', str(tmp_path)]) == 1
    assert 'give each model once' in capsys.readouterr().err


def test_drive_with_too_few_hits_is_not_scored(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = drives.lidar_points(POINTS[: MIN_SCORED_PIXELS - 1])
    messages = [drives.static(), drives.info(0), drives.cloud(0, few), drives.image(0)]
    bag = drives.write(tmp_path / 'few', messages)
    assert run(folder, tmp_path / 'out', '--bag', bag) == 1
    error = capsys.readouterr().err
    assert 'no frame with LiDAR could be scored in few' in error
    assert "'not scored': 1" in error


def test_output_that_is_a_file_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'file').write_bytes(b'')
    assert run(folder, tmp_path / 'file', '--bag', folder / 'bag') == 1
    assert 'cannot be made' in capsys.readouterr().err
