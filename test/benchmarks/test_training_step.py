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

"""The benchmark compares equal steps, and its verdict follows its figures."""

from __future__ import annotations

from benchmarks import training_step as benchmark
import pytest
import torch

SMALL = ['--encoder', 'efficientnet_lite0', '--height', '32', '--width', '64']
ENCODER, SIZE = 'efficientnet_lite0', (32, 64)


def test_report_names_size_ratios_and_differences(capsys: pytest.CaptureFixture[str]) -> None:
    status = benchmark.main([*SMALL, '--rounds', '1', '--threads', '1'])
    report = capsys.readouterr().out
    assert 'step with efficientnet_lite0, batch 1 of 64x32, 1 threads' in report
    fp32, bf16 = (float(line.split('ratio ')[1].split()[0]) for line in report.splitlines()[2:4])
    assert min(fp32, bf16) > 0
    is_fast = fp32 <= benchmark.TARGET_FP32 and bf16 <= benchmark.TARGET_BF16
    assert status == (0 if is_fast else 1)


def test_loss_and_gradients_are_equal_in_float64() -> None:
    assert max(benchmark.differences(ENCODER, SIZE)) <= benchmark.TARGET_DIFFERENCE


@pytest.mark.parametrize('formula', ['_plain_smoothness', 'plain_errors'])
def test_difference_in_any_formula_is_seen(monkeypatch: pytest.MonkeyPatch, formula: str) -> None:
    original = getattr(benchmark, formula)

    def changed(*arguments: torch.Tensor) -> object:
        result = original(*arguments)
        if isinstance(result, tuple):
            return result[0] * (1 + 1e-6), result[1]
        return result * (1 + 1e-3)

    monkeypatch.setattr(benchmark, formula, changed)
    value, gradient = benchmark.differences(ENCODER, SIZE)
    assert value > benchmark.TARGET_DIFFERENCE
    assert gradient > benchmark.TARGET_DIFFERENCE


def test_steps_change_every_network_and_mixed_precision_only_the_networks() -> None:
    batch = benchmark.make_batch(1, SIZE, torch.float32)
    for candidate in benchmark.make_candidates(ENCODER, batch):
        before = [p.detach().clone() for p in candidate.recipe.parameters()]
        candidate.step(batch)
        after = dict(candidate.recipe.named_parameters())
        changed = {
            name.split('.')[0]
            for (name, new), old in zip(after.items(), before, strict=True)
            if not torch.equal(new, old)
        }
        assert changed == {'network', 'video'}
        assert all(p.grad is None or p.grad.dtype == torch.float32 for p in after.values())
