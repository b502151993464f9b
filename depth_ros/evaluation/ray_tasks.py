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

"""
Run tasks on a Ray cluster: ``pip install depth_ros[ray]``.

Every machine of the cluster needs this package, and bags, model and output under the same paths
(a network file system).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import import_module
import os
import time
from typing import Any

from depth_ros.errors import ConfigError
from depth_ros.evaluation.tasks import no_progress, OnProgress, Outcome, run_task, Task

LOCAL = 'local'


class RayRunner:
    """
    A Ray task for each of ours.

    :param address: of the cluster, 'auto' for the one this machine belongs to, or 'local' for a
        Ray of its own on this machine.
    :param retries: how often a task is tried again whose worker has died; it is resumed.
    :raises ConfigError: Ray is not installed, or there is no cluster at that address.
    """

    def __init__(self, address: str, *, workers: int | None = None, retries: int = 1) -> None:
        try:
            ray: Any = import_module('ray')
        except ImportError as error:
            raise ConfigError(f'--ray {address}: Ray is not installed: pip install ray') from error
        self._ray = ray
        self._address = address
        self._retries = retries
        is_local = address == LOCAL
        try:
            ray.init(
                address=None if is_local else address,
                num_cpus=workers if is_local else None,
                include_dashboard=False if is_local else None,
                log_to_driver=False,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f'--ray {address}: no cluster there: {error}') from error

    def facts(self) -> dict[str, Any]:
        """Return how it runs."""
        return {
            'runner': 'ray',
            'address': self._address,
            'version': self._ray.__version__,
            'retries': self._retries,
        }

    def close(self) -> None:
        """Leave the cluster; ends a local one."""
        self._ray.shutdown()

    def run(self, tasks: Sequence[Task], on_progress: OnProgress) -> Iterator[Outcome]:
        """Yield the outcomes as they come; progress is that of whole bags."""
        waiting = [(task, 1) for task in tasks]
        started = time.monotonic()
        pending: dict[Any, tuple[Task, int]] = {}
        while waiting or pending:
            pending.update({self._start(task): (task, attempt) for task, attempt in waiting})
            waiting = []
            ready, _ = self._ray.wait(list(pending), num_returns=1)
            task, attempt = pending.pop(ready[0])
            try:
                yield replace(self._ray.get(ready[0]), attempts=attempt)
            except self._ray.exceptions.RayError as error:
                if self._may_retry(error, attempt):
                    waiting.append((task.resumed(), attempt + 1))
                    continue
                yield Outcome(
                    name=task.name,
                    error=f'its Ray task failed in attempt {attempt}: {type(error).__name__}',
                    seconds=time.monotonic() - started,
                    attempts=attempt,
                )

    def _start(self, task: Task) -> Any:
        # Not Ray's own retries: they would begin again instead of going on.
        remote = self._ray.remote(max_retries=0, num_cpus=task.cores)(_work)
        return remote.remote(task, os.getcwd())

    def _may_retry(self, error: Exception, attempt: int) -> bool:
        """Tell whether the worker or its machine died; what the task itself raises stays."""
        has_raised = isinstance(error, self._ray.exceptions.RayTaskError)
        return not has_raised and attempt <= self._retries


def _work(task: Task, folder: str) -> Outcome:
    # Paths may be relative to where the program was started.
    os.chdir(folder)
    return run_task(task, no_progress)
