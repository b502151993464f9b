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

"""The benchmark of scaling runs the program, and its verdict follows the curves."""

from __future__ import annotations

from pathlib import Path

from benchmarks import train_scaling as benchmark
from benchmarks.train_scaling import Curve, Layout
import pytest

SMALL = ['--width', '64', '--height', '32', '--epochs', '1', '--rounds', '1', '--batch', '4']


@pytest.mark.slow
def test_report_has_a_row_for_each_layout_and_equal_curves(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert benchmark.main(SMALL) == 0
    report = capsys.readouterr().out
    assert '64x32, global batch 4, 5 steps, 1 rounds in turns' in report
    rows = [
        line.split() for line in report.splitlines() if ' x ' in line and 'x threads' not in line
    ]
    assert [row[:3] for row in rows] == [['1', 'x', '1'], ['1', 'x', '2'], ['2', 'x', '1']]
    rates = [float(row[3]) for row in rows]
    assert [float(row[4]) for row in rows] == pytest.approx(
        [r / rates[0] for r in rates], abs=0.01
    )


def test_verdict_is_no_when_a_curve_differs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def train(layout: Layout, *paths: Path) -> Curve:
        off = 1e-4 if layout.processes == 2 else 0.0
        return Curve((2.0, 1.0 + off), (10.0 * layout.threads,))

    monkeypatch.setattr(benchmark, 'train', train)
    monkeypatch.setattr(benchmark, 'make_dataset', lambda folder: tmp_path)
    assert benchmark.main(['--rounds', '2']) == 1
    report = capsys.readouterr().out
    assert 'largest relative difference of a loss: 1.0e-04 (target <= 1e-05)' in report
    assert '1 x 2                   20.00   2.00     20.00   2.00' in report


def test_difference_is_relative_to_the_first_curve() -> None:
    curves = [Curve((4.0, 2.0), ()), Curve((4.0, 2.5), ()), Curve((5.0, 2.0), ())]
    assert benchmark.largest_difference(curves) == 0.25
