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

"""Run tasks in worker processes, so that a bag that kills its process loses nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
import os
import subprocess
import sys
import time
from typing import Any

from depth_ros.evaluation.tasks import OnProgress, Outcome, run_task, Task

PROGRESS_SECONDS = 0.5
MODULE = 'depth_ros.evaluation.worker_processes'


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Running:
    """A task in a process of its own."""

    task: Task
    process: subprocess.Popen[bytes]
    inbox: Connection
    attempt: int
    started: float


class ProcessRunner:
    """
    A new process for each task, some at a time.

    :param workers: how many at a time.
    :param retries: how often a task is tried again whose process has died; it is resumed.
    """

    def __init__(self, workers: int, *, retries: int = 1) -> None:
        self._workers = workers
        self._retries = retries
        # Process of each task that is being done.
        self.pids: dict[str, int] = {}

    def facts(self) -> dict[str, Any]:
        """Return how it runs."""
        return {'runner': 'processes', 'workers': self._workers, 'retries': self._retries}

    def run(self, tasks: Sequence[Task], on_progress: OnProgress) -> Iterator[Outcome]:
        """Yield the outcomes as they come; leaving early ends the processes."""
        # A worker beside another has one core: threads of its own would only get in the way.
        is_roomy = (os.cpu_count() or 1) >= 2 * self._workers
        tasks = [task if is_roomy else task.on_one_core() for task in reversed(tasks)]
        waiting = [(task, 1) for task in tasks]
        running: dict[Connection, _Running] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._workers:
                    job = _started(*waiting.pop())
                    running[job.inbox] = job
                    self.pids[job.task.name] = job.process.pid
                for inbox in wait(list(running)):
                    assert isinstance(inbox, Connection)
                    done = self._read(running[inbox], on_progress)
                    if done is None:
                        continue
                    job = running.pop(inbox)
                    del self.pids[job.task.name]
                    if done.error is not None and job.process.returncode and self._may_retry(job):
                        waiting.append((job.task.resumed(), job.attempt + 1))
                        continue
                    yield done
        finally:
            for job in running.values():
                job.process.kill()
                job.process.wait()

    def _may_retry(self, job: _Running) -> bool:
        return job.attempt <= self._retries

    def _read(self, job: _Running, on_progress: OnProgress) -> Outcome | None:
        """Return the outcome of a process that has ended, or pass on what it says."""
        try:
            message = job.inbox.recv()
        except EOFError:
            code = job.process.wait()
            how = f'signal {-code}' if code < 0 else f'exit status {code}'
            return Outcome(
                name=job.task.name,
                error=f'its worker died ({how}) in attempt {job.attempt}',
                seconds=time.monotonic() - job.started,
                attempts=job.attempt,
            )
        if isinstance(message, Outcome):
            job.process.wait()
            return replace(message, attempts=job.attempt)
        on_progress(*message)
        return None


def _started(task: Task, attempt: int) -> _Running:
    # A fresh interpreter, because engines and their threads do not survive a fork. It runs this
    # module: the spawn of multiprocessing would run the program again that has started us.
    inbox, outbox = Pipe(duplex=False)
    task_in, task_out = Pipe(duplex=False)
    handles = (task_in.fileno(), outbox.fileno())
    process = subprocess.Popen(
        [sys.executable, '-m', MODULE, *map(str, handles)],
        stdin=subprocess.DEVNULL,
        pass_fds=handles,
        # A terminal's Ctrl-C must not reach it beside our own signal.
        start_new_session=True,
    )
    task_in.close()
    outbox.close()
    # One that dies at once says so by its silence.
    with suppress(BrokenPipeError):
        task_out.send(task)
    task_out.close()
    return _Running(
        task=task, process=process, inbox=inbox, attempt=attempt, started=time.monotonic()
    )


def _work(task_handle: int, out_handle: int) -> None:
    """Do the task that comes from one pipe; tell of it through the other."""
    task: Task = Connection(task_handle, writable=False).recv()
    outbox: Connection = Connection(out_handle, readable=False)
    last = 0.0

    def tell(name: str, done: int, total: int, doing: str = '') -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > PROGRESS_SECONDS or done == total:
            last = now
            outbox.send((name, done, total, doing))

    outbox.send(run_task(task, tell))


if __name__ == '__main__':
    _work(*map(int, sys.argv[1:]))
