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

"""The benchmark counts operations as by hand and prints every candidate."""

from __future__ import annotations

from collections.abc import Callable
from test.project import ROOT

import numpy as np
import pytest

onnx = pytest.importorskip('onnx', reason='onnx is only installed for tests and training')

from benchmarks import engine as benchmark  # noqa: E402, I100
from benchmarks.engine import Candidate, count_flop, main, measure, table  # noqa: E402
from depth_ros.errors import ConfigError  # noqa: E402
from onnx import helper, numpy_helper, TensorProto  # noqa: E402


def one_node(node: onnx.NodeProto, weight: tuple[int, ...], data: tuple) -> onnx.ModelProto:
    array = np.zeros(weight, np.float32)
    graph = helper.make_graph(
        [node],
        'graph',
        [helper.make_tensor_value_info('x', TensorProto.FLOAT, data)],
        [helper.make_tensor_value_info('y', TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, 'w')],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)])


def node(kind: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(kind, ['x', 'w'], ['y'], **attributes)


@pytest.mark.parametrize(
    ('made', 'weight', 'data', 'flop'),
    [
        # 8 output channels of 4 x 6, each from 3 x 9 weights.
        (node('Conv', pads=[1] * 4), (8, 3, 3, 3), ('b', 3, 4, 6), 2 * 8 * 24 * 27),
        # Depthwise: each output from 9 weights.
        (node('Conv', pads=[1] * 4, group=8), (8, 1, 3, 3), ('b', 8, 4, 6), 2 * 8 * 24 * 9),
        # Every input value is multiplied with 5 x 9 weights.
        (node('ConvTranspose'), (8, 5, 3, 3), ('b', 8, 4, 6), 2 * 8 * 24 * 45),
        (node('MatMul'), (6, 7), ('b', 4, 6), 2 * 4 * 7 * 6),
        (node('Gemm'), (6, 7), ('b', 6), 2 * 7 * 6),
    ],
)
def test_count_flop_of_one_operator_equals_the_product(
    made: onnx.NodeProto, weight: tuple[int, ...], data: tuple, flop: int
) -> None:
    assert count_flop(one_node(made, weight, data), batch=1) == flop
    assert count_flop(one_node(made, weight, data), batch=2) == 2 * flop


def test_count_flop_of_an_unknown_size_names_the_tensor() -> None:
    model = one_node(node('MatMul'), (6, 7), ('b', 'n', 6))
    with pytest.raises(ConfigError, match="tensor 'y'"):
        count_flop(model, batch=1)


def test_count_flop_of_the_shipped_model_doubles_with_the_batch() -> None:
    path = ROOT / 'models' / 'meter_xxs_kitti.onnx'
    one, two = (count_flop(onnx.load(path), batch=batch) for batch in (1, 2))
    assert two == 2 * one
    assert 1.1e9 < one < 1.2e9


def candidate(name: str, call: Callable[[], object]) -> Candidate:
    return Candidate(name=name, batch=1, threads=1, flop=1e9, call=call)


def test_measure_takes_turns_and_leaves_the_warm_up_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, 'busy_s', lambda: 0.0)
    calls: list[str] = []
    pair = [candidate(name, lambda name=name: calls.append(name)) for name in 'ab']
    assert measure(pair, rounds=3, warmup=2) == 0
    assert calls == ['a', 'b'] * 5
    assert [len(c.times_ns) for c in pair] == [3, 3]


def test_measure_on_a_busy_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter(range(1000))
    monkeypatch.setattr(benchmark, 'busy_s', lambda: float(next(seconds)))
    with pytest.raises(ConfigError, match='busy in all 6 rounds'):
        measure([candidate('a', lambda: None)], rounds=2, warmup=1)


def test_table_gives_the_share_of_the_measured_peak() -> None:
    peak, model = candidate('conv 3x3 x', lambda: None), candidate('x', lambda: None)
    peak.times_ns, model.times_ns = [1_000_000] * 3, [4_000_000] * 3
    lines = table([peak, model]).splitlines()
    assert lines[1].endswith('100%')
    assert lines[2].endswith('25%')
    assert ' 4.00 ' in lines[2]


def test_program_refuses_an_unknown_engine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--engines', 'abacus', '--rounds', '1']) == 1
    assert "engine = 'abacus'" in capsys.readouterr().err


def test_program_times_the_default_model(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, 'busy_s', lambda: 0.0)
    arguments = ['--engines', 'onnxruntime', '--threads', '1', '--batch', '1', '--rounds', '2']
    assert main([*arguments, '--warmup', '0']) == 0
    printed = capsys.readouterr().out
    assert 'conv 3x3 onnxruntime' in printed
    assert 'share of fp32 peak' in printed
