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

"""The benchmark measures what it says, and its verdict follows its figures."""

from __future__ import annotations

from benchmarks import photometric_loss as benchmark
import pytest
import torch


def test_report_names_size_ratio_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    status = benchmark.main(['--height', '32', '--width', '64', '--rounds', '3'])
    report = capsys.readouterr().out
    assert 'batch 1 of 64x32, 4 scales, 2 sources' in report
    ratio = float(report.split('  ratio ')[1].split()[0])
    assert ratio > 0
    assert status == (0 if ratio <= benchmark.TARGET_RATIO else 1)


def test_difference_between_two_losses_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = benchmark.make_problem(1, (32, 64), torch.float64)
    fast = benchmark.fast_loss
    monkeypatch.setattr(benchmark, 'fast_loss', lambda p: fast(p) + 1e-6 * p.inv_depths[3].sum())
    value, gradient = benchmark.differences(problem)
    assert value > benchmark.TARGET_DIFFERENCE
    assert gradient > benchmark.TARGET_DIFFERENCE


def test_problem_moves_pixels_and_has_gradients_everywhere() -> None:
    problem = benchmark.make_problem(2, (32, 64), torch.float64)
    _, gradients = benchmark.value_and_gradients(benchmark.plain_loss, problem)
    assert len(gradients) == benchmark.SCALES + 2
    assert all(g.abs().max() > 0 for g in gradients)
