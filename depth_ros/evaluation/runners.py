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

"""Who runs the tasks of a command line: ``--workers``, ``--ray`` and ``--retries``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from depth_ros.errors import ConfigError
from depth_ros.evaluation.ray_tasks import LOCAL, RayRunner
from depth_ros.evaluation.tasks import Runner, SerialRunner
from depth_ros.evaluation.worker_processes import ProcessRunner

DEFAULT_RETRIES = 1


@contextmanager
def runner_of(workers: int | None, ray: str | None, retries: int | None) -> Iterator[Runner]:
    """
    Yield the runner that is asked for; without any of the three it is this process.

    :param workers: tasks at a time, each in a process of its own.
    :param ray: address of a cluster, 'auto', or 'local' for a Ray of its own with that many
        workers.
    :param retries: how often a task is tried again whose worker has died.
    :raises ConfigError: a number is too small, or the cluster has as many workers as it has.
    """
    _check(workers, ray, retries)
    again = DEFAULT_RETRIES if retries is None else retries
    if ray is not None:
        cluster = RayRunner(ray, workers=workers, retries=again)
        try:
            yield cluster
        finally:
            cluster.close()
    elif (workers or 1) > 1 or retries is not None:
        yield ProcessRunner(workers or 1, retries=again)
    else:
        yield SerialRunner()


def _check(workers: int | None, ray: str | None, retries: int | None) -> None:
    for option, value, least in (('workers', workers, 1), ('retries', retries, 0)):
        if value is not None and value < least:
            raise ConfigError(f'--{option} {value}: must be {least} or more')
    if workers is not None and ray not in (None, LOCAL):
        raise ConfigError(
            f'--workers {workers} has no effect with --ray {ray}, which has its own: leave one out'
        )
