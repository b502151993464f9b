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

"""The attention's memory is measured as it is, and both forms say the same."""

from __future__ import annotations

from benchmarks import temporal_memory
from benchmarks.temporal_memory import MIB
import numpy as np
import pytest
import torch


def test_forms_say_the_same() -> None:
    inputs = temporal_memory.make_inputs(6, 20)
    pieces, maps = (form()(*inputs) for form in temporal_memory.FORMS.values())
    for ours, theirs in zip(pieces, maps, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_forms_say_the_same_in_onnxruntime() -> None:
    inputs = temporal_memory.make_inputs(6, 20)
    for form in temporal_memory.FORMS.values():
        said = temporal_memory.in_onnxruntime(form(), inputs)()
        with torch.no_grad():
            expected = form()(*inputs)
        for ours, theirs in zip(said.values(), expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=1e-5)


def test_peak_counts_what_a_call_held_and_gave_back() -> None:
    def call() -> None:
        np.ones(64 * MIB // 8)

    temporal_memory.peak_bytes(call)
    assert temporal_memory.peak_bytes(lambda: None) < 4 * MIB
    assert 60 * MIB < temporal_memory.peak_bytes(call) < 80 * MIB


def test_pieces_need_less_than_maps_in_processes_of_their_own() -> None:
    # 1920 tokens: a map has 14 MiB.
    pieces, maps = (temporal_memory.measure(form, 'torch', 24, 80) for form in ('pieces', 'maps'))
    assert pieces < 0.2 * maps
    assert maps > 40 * MIB


@pytest.mark.parametrize(('pieces', 'status'), [(5, 0), (6, 1)])
def test_status_is_the_verdict(
    pieces: int,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = {'pieces': pieces * MIB, 'maps': 100 * MIB}
    monkeypatch.setattr(temporal_memory, 'measure', lambda form, *_: sizes[form])
    assert temporal_memory.main([]) == status
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert f'{pieces:.1f} of   100.0 MiB, {pieces}.0% (at most 5%)' in lines[0]
