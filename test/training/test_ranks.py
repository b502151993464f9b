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

"""What processes tell each other; several of them run in test_trainer."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from training.ranks import leave, Ranks, TrainingError


def test_single_process_hears_itself() -> None:
    ranks = Ranks()
    assert (ranks.rank, ranks.count, ranks.is_first) == (0, 1, True)
    assert ranks.exchange({'a': 1}) == [{'a': 1}]
    ranks.wait()


def test_single_process_that_aborts_has_nobody_to_tell() -> None:
    ranks = Ranks()
    ranks.abort(TrainingError('over'))
    assert ranks.is_agreed
    assert ranks.exchange(3) == [3]


def test_single_process_shares_nothing() -> None:
    tensor = torch.ones(3)
    Ranks().share([tensor])
    assert tensor.tolist() == [1.0, 1.0, 1.0]


HELD = (
    'import sys, threading, time\n'
    'from training.ranks import leave\n'
    'class Late:\n'
    '    def __del__(self):\n'
    '        print("collected")\n'
    'late = Late(); late.itself = late; del late\n'
    # Like a thread of a library that outlives what the program knows of.
    'threading.Thread(target=time.sleep, args=(60,)).start()\n'
    'print("said", end="")\n'
    'leave(int(sys.argv[1]))\n'
)


@pytest.mark.parametrize('status', [0, 1, 143])
def test_process_that_trained_with_others_leaves_with_its_status_at_once(status: int) -> None:
    done = subprocess.run(
        [sys.executable, '-c', HELD, str(status)],
        env={**os.environ, 'WORLD_SIZE': '2'},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, 'saidcollected\n', '')


def test_process_alone_leaves_as_every_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    with pytest.raises(SystemExit) as end:
        leave(3)
    assert end.value.code == 3


def work(rank: int, port: int, results: object) -> None:
    """Let process 1 abort where the others exchange."""
    from torch import distributed

    address = f'tcp://127.0.0.1:{port}'
    distributed.init_process_group('gloo', init_method=address, rank=rank, world_size=3)
    ranks = Ranks()
    found: list[object] = [ranks.exchange(10 * rank)]
    tensor = torch.full((2,), float(rank))
    ranks.share([tensor])
    found.append(tensor.tolist())
    try:
        if rank == 1:
            raise TrainingError('process 1 has had enough')
        ranks.exchange(None)
    except TrainingError as error:
        ranks.abort(error)
        found.append(str(error))
    ranks.wait()
    results.put((rank, found))  # type: ignore[attr-defined]
    results.close()  # type: ignore[attr-defined]
    results.join_thread()  # type: ignore[attr-defined]
    distributed.destroy_process_group()
    os.environ['WORLD_SIZE'] = '3'
    leave(0)


@pytest.mark.slow
def test_all_processes_hear_values_tensors_and_the_error_of_one() -> None:
    import socket

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.get_context('spawn')
    results = context.Queue()
    processes = [context.Process(target=work, args=(r, port, results)) for r in range(3)]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=120) for _ in processes)
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    expected = [[0, 10, 20], [0.0, 0.0], 'process 1 has had enough']
    assert found == dict.fromkeys(range(3), expected)
