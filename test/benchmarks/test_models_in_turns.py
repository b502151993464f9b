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

"""Models take turns, one with a memory hands its past on, and the last is the reference."""

from __future__ import annotations

from benchmarks.models_in_turns import frames, main, report
from depth_ros.engines.factory import load_model
import numpy as np
import pytest


def test_ratios_are_medians_of_the_rounds_to_the_last_model() -> None:
    taken = {'slow': [(0.2, 0.3), (0.3, 0.2), (9.0, 0.4)], 'fast': [(0.1, 0.1)] * 3}
    slow, fast = report(taken)
    assert slow.split()[1:] == ['wall', '300.0', 'ms', '3.00', 'processor', '300.0', 'ms', '3.00']
    assert fast.split()[1:] == ['wall', '100.0', 'ms', '1.00', 'processor', '100.0', 'ms', '1.00']


def test_a_memory_is_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with load_model('meter_tc_kitti', engine='onnxruntime', threads=1) as loaded:
        seen, infer = [], loaded.engine.infer

        def watched(inputs: dict) -> dict:
            seen.append({name: array.copy() for name, array in inputs.items()})
            return infer(inputs)

        monkeypatch.setattr(loaded.engine, 'infer', watched)
        stream = frames(loaded)
        times = [next(stream) for _ in range(3)]
    assert all(wall > 0 and processor > 0 for wall, processor in times)
    facts = [inputs['past_motion'][0] for inputs in seen]
    # Nothing; one frame, no motion yet; a motion.
    assert [list(fact[3:]) for fact in facts] == [[0, 0], [0, 1], [1, 1]]
    assert not np.array_equal(seen[1]['image'], seen[2]['image'])


def test_the_shipped_models_are_told_in_their_order(capsys: pytest.CaptureFixture) -> None:
    assert main(['--engines', 'onnxruntime', '--threads', '1', '--rounds', '2']) == 0
    head, with_memory, single = capsys.readouterr().out.splitlines()
    assert head == 'onnxruntime, 1 thread(s), 2 rounds'
    assert with_memory.split()[0] == 'meter_tc_kitti'
    assert single.split()[0] == 'default'
    assert single.count(' 1.00') == 2


def test_a_model_that_is_not_there_is_named(capsys: pytest.CaptureFixture) -> None:
    assert main(['no_such_model']) == 1
    assert 'no_such_model' in capsys.readouterr().err
