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
The making of one sequence as a task: in this process, in a worker, or on another machine.

It needs only its bag and the folder of the dataset, and touches nothing but the folder of its
sequence; so what it leaves there does not depend on who has run it.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_ros.bags.reader import BagReader
from depth_ros.evaluation.facts import fingerprint
from depth_ros.evaluation.tasks import OnProgress
from training.dataset_format import (
    DatasetError,
    json_bytes,
    read_json,
    SCHEMA_VERSION,
    SEQUENCES,
    write_whole,
)
from training.prepare_options import PrepareOptions
from training.prepare_sequence import SequenceMaker

SEQUENCE_FILE = 'sequence.json'


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceTask:
    """Makes, or finishes, the sequence of one bag below the folder of the dataset."""

    name: str
    bag: Path
    out: Path
    options: PrepareOptions

    @property
    def cores(self) -> int:
        """Return 1: images are decoded and encoded one after another."""
        return 1

    def on_one_core(self) -> SequenceTask:
        """Return the task itself: it has no threads of its own."""
        return self

    def resumed(self) -> SequenceTask:
        """Return the task itself: it always goes on where an earlier run has stopped."""
        return self

    def run(self, on_progress: OnProgress) -> dict[str, Any]:
        """
        Make what is missing of the sequence and return what is known of its bag.

        :raises DepthRosError: the bag, the disk or an option makes it impossible.
        """
        folder = self.out / SEQUENCES / self.name
        with BagReader(self.bag) as reader:
            identity = self._identity()
            is_known = _known(folder / SEQUENCE_FILE, identity)
            count = 0

            def on_frame() -> None:
                nonlocal count
                count += 1
                on_progress(self.name, count, total)

            maker = SequenceMaker(reader, self.out, folder, self.options, on_frame)
            total = reader.topic(maker.topics.image).count
            if not is_known:
                _begin(folder, identity)
                maker.run()
                write_whole(folder / SEQUENCE_FILE, json_bytes({**identity, 'complete': True}))
            on_progress(self.name, total, total)
            return {
                'bag': self.bag.name,
                'fingerprint': identity['fingerprint'],
                'topics': maker.topics.stored(),
                'start_ns': reader.start_ns,
                'stop_ns': reader.stop_ns,
                'motion_compensated': maker.is_motion_compensated,
            }

    def check(self) -> None:
        """
        Refuse a folder that was begun with another bag or with other options.

        :raises DatasetError: it was, with both values.
        """
        path = self.out / SEQUENCES / self.name / SEQUENCE_FILE
        # What is wrong with a bag that cannot be read is told by run(), and costs no other bag.
        with suppress(OSError):
            _known(path, self._identity())

    def _identity(self) -> dict[str, Any]:
        return {
            'bag': self.bag.name,
            'fingerprint': fingerprint(self.bag),
            'options': self.options.stored(),
            'schema_version': SCHEMA_VERSION,
        }


def _begin(folder: Path, identity: dict[str, Any]) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DatasetError(f"folder '{folder}' cannot be made: {error.strerror}") from error
    write_whole(folder / SEQUENCE_FILE, json_bytes({**identity, 'complete': False}))


def _known(path: Path, identity: dict[str, Any]) -> bool:
    """
    Tell whether the sequence is finished already.

    :raises DatasetError: it was made of another bag or with other options.
    """
    if not path.is_file():
        return False
    found = read_json(path)
    for key, value in identity.items():
        _check_same(path, key, found.get(key), value)
    return bool(found.get('complete'))


def _check_same(path: Path, key: str, found: Any, value: Any) -> None:
    if isinstance(found, dict) and isinstance(value, dict):
        for name in sorted({*found, *value}):
            _check_same(path, f'{key}.{name}', found.get(name), value.get(name))
    elif found != value:
        raise DatasetError(
            f"'{path.parent}' was begun with {key} = {found!r}, now it is {value!r}: use the "
            'same options, remove that folder, or choose another --out'
        )
