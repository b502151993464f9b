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
Tasks over bags, and who runs them: one after another, worker processes, or Ray.

``evaluate`` and ``training.prepare`` go this road alike. A task that cannot be done is an
outcome and not an error, so that it loses no other; what the tasks leave in their folders does
not depend on who has run them, or in which order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
import time
from typing import Any, Protocol, TypeVar

from depth_ros.errors import DepthRosError


class OnProgress(Protocol):
    """Is told how far tasks are."""

    def __call__(self, name: str, done: int, total: int, doing: str = '') -> None:
        """
        Take the progress of one task.

        :param name: of the task.
        :param done: frames so far; ``total`` 0: not known.
        :param doing: what keeps it from the next frame, such as building an engine.
        """
        ...


def no_progress(name: str, done: int, total: int, doing: str = '') -> None:
    """Tell nobody."""


class Task(Protocol):
    """What a worker needs for one bag; travels between processes and machines, so it pickles."""

    @property
    def name(self) -> str:
        """Return the name that no other task has."""
        ...

    @property
    def cores(self) -> int:
        """Return how many cores it keeps busy."""
        ...

    def run(self, on_progress: OnProgress) -> dict[str, Any]:
        """
        Do it, and return what is to be told of it.

        :raises DepthRosError: it cannot be done.
        """
        ...

    def on_one_core(self: TaskT) -> TaskT:
        """Return the task without threads of its own, which would be in the way of others."""
        ...

    def resumed(self: TaskT) -> TaskT:
        """Return the task that goes on where this one has stopped."""
        ...


TaskT = TypeVar('TaskT', bound=Task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What became of one task.

    Fields:
        error: None: it is done, and ``facts`` is what it returned.
        kind: of the error; None: the worker died.

    """

    name: str
    error: str | None
    seconds: float
    kind: type[DepthRosError] | None = None
    facts: dict[str, Any] | None = None
    attempts: int = 1


class Runner(Protocol):
    """Runs tasks, in any order and place, each until it is done or has failed for good."""

    def run(self, tasks: Sequence[Task], on_progress: OnProgress) -> Iterable[Outcome]:
        """Yield the outcomes as they come."""
        ...

    def facts(self) -> dict[str, Any]:
        """Return how it runs."""
        ...


class SerialRunner:
    """One task after another, in this process."""

    def run(self, tasks: Sequence[Task], on_progress: OnProgress) -> Iterable[Outcome]:
        """Yield the outcomes in the order of the tasks."""
        for task in tasks:
            yield run_task(task, on_progress)

    def facts(self) -> dict[str, Any]:
        """Return how it runs."""
        return {'runner': 'serial', 'workers': 1}


def run_task(task: Task, on_progress: OnProgress) -> Outcome:
    """Do one task; one that cannot be done is an outcome, not an error."""
    started = time.monotonic()
    try:
        facts = task.run(on_progress)
    except DepthRosError as error:
        return Outcome(
            name=task.name,
            error=str(error),
            kind=type(error),
            seconds=time.monotonic() - started,
        )
    return Outcome(name=task.name, error=None, seconds=time.monotonic() - started, facts=facts)


def outcomes_of(tasks: Sequence[Task], runner: Runner, on_progress: OnProgress) -> list[Outcome]:
    """Run the tasks and return their outcomes in the order of the tasks."""
    found = {outcome.name: outcome for outcome in runner.run(tasks, on_progress)}
    return [found[task.name] for task in tasks]
