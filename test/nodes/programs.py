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

"""Replay and recorder as processes of their own, for the tests that watch them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.evaluation.processes import local_graph, Program

READY_S, PLAY_S = 20.0, 40.0


@contextmanager
def program(name: str, folder: Path, *arguments: str) -> Iterator[Program]:
    short = name.rsplit('.')[-1]
    number = len(list(folder.glob(f'{short}*.log')))
    with Program(name, arguments, folder / f'{short}{number}.log', local_graph()) as running:
        yield running


def replay(folder: Path, bag: Path, *options: str) -> Any:
    return program('depth_ros.cli.replay_bag', folder, str(bag), *options)


def recorder(folder: Path, *options: str) -> Any:
    return program('depth_ros.cli.record_topics', folder, str(folder / 'recorded'), *options)


def by_topic(bag: Path) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    with BagReader(bag) as reader:
        for raw in reader.raw_messages():
            found.setdefault(raw.topic, []).append(raw.data)
    return found


def play_and_record(
    folder: Path, bag: Path, topics: tuple[str, ...], *options: str
) -> tuple[dict[str, list[bytes]], str]:
    """Return what another process received, and what the replay printed."""
    with (
        recorder(folder, *topics) as listening,
        replay(folder, bag, '--start-after=0.5', *options) as playing,
    ):
        playing.wait(PLAY_S, others=[listening])
        listening.stop()
        return by_topic(folder / 'recorded'), playing.output()


def environment() -> dict[str, str]:
    import os

    return {**os.environ, **local_graph()}
