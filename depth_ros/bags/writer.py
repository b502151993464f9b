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
Write bags that every ROS 2 distribution from Humble on reads.

What has been written survives: a program that fails still closes its bag, SQLite transactions
are committed every second, and a bag that meets a full disk is ended after its last whole
record.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
import sqlite3
import time
from types import TracebackType
from typing import Any, Literal, TypeVar

from depth_ros.bags.mcap_repair import end_after_last_record
from depth_ros.bags.records import TF_MESSAGE
from depth_ros.bags.typestores import DEFAULT_DISTRO, metadata_version, store_of
from depth_ros.errors import BagError
from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

Storage = Literal['mcap', 'sqlite3']
STORAGE_PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
# RMW_DURATION_INFINITE: no deadline, lifespan or lease.
NO_LIMIT = QosTime(9223372036, 854775807)
OFFERED_DEPTH = 10
# At most this much of a recording is lost when the power goes.
COMMIT_INTERVAL_S = 1.0

Result = TypeVar('Result')


class BagWriter:
    """
    Write one new bag, a folder with one storage file and its metadata.

    :raises BagError: the path exists already, or a message or the disk refuses the writing.

    """

    def __init__(
        self, path: str | Path, storage: Storage = 'mcap', distro: str = DEFAULT_DISTRO
    ) -> None:
        self.path = Path(path)
        self.counts: dict[str, int] = {}
        self._storage_name = storage
        self._store = store_of(distro)
        self._connections: dict[str, Connection] = {}
        self._last_commit_s = time.monotonic()
        self._writer: Writer | None = self._open(storage, metadata_version(distro))

    def _open(self, storage: str, version: int) -> Writer:
        if storage not in STORAGE_PLUGINS:
            raise BagError(f"storage = '{storage}': must be one of {sorted(STORAGE_PLUGINS)}")
        if self.path.exists():
            raise BagError(f"bag '{self.path}' exists already: choose another path or remove it")
        plugin = STORAGE_PLUGINS[storage]
        try:
            writer = Writer(self.path, version=9 if version == 9 else 8, storage_plugin=plugin)
            writer.open()
        except (OSError, sqlite3.Error, WriterError) as error:
            raise BagError(f"bag '{self.path}' cannot be created: {error}") from error
        return writer

    def add_topic(self, topic: str, msgtype: str, *, is_latched: bool | None = None) -> None:
        """
        Declare a topic; ``write`` does it by itself.

        :param is_latched: offer it transient-local, so that a player serves late subscribers.
            None: only a TFMessage topic whose name ends in ``tf_static``.
        :raises BagError: the message type is unknown to the distribution of this bag.

        """
        if topic in self._connections:
            return
        if is_latched is None:
            is_latched = msgtype == TF_MESSAGE and topic.endswith('tf_static')
        writer, store = self._opened(), self._store
        if msgtype not in store.fielddefs:
            raise BagError(
                f"topic '{topic}' has message type '{msgtype}': its definition is unknown"
            )
        self._connections[topic] = self._guarded(
            lambda: writer.add_connection(
                topic, msgtype, typestore=store, offered_qos_profiles=[_offered(is_latched)]
            )
        )
        self.counts[topic] = 0

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Write one message of the classes of ``rosbags``; ``log_ns`` is its recording time."""
        msgtype = str(message.__msgtype__)
        self.write_raw(topic, msgtype, log_ns, self._store.serialize_cdr(message, msgtype))

    def write_raw(self, topic: str, msgtype: str, log_ns: int, data: bytes | memoryview) -> None:
        """
        Write one message that is CDR bytes already.

        :raises BagError: the topic has another type, or the disk is full.

        """
        self.add_topic(topic, msgtype)
        connection = self._connections[topic]
        if connection.msgtype != msgtype:
            raise BagError(
                f"topic '{topic}' holds '{connection.msgtype}': a '{msgtype}' cannot be added"
            )
        writer = self._opened()
        self._guarded(lambda: writer.write(connection, log_ns, data))
        self.counts[topic] += 1
        self._commit_sometimes(writer)

    def close(self) -> None:
        """End the bag and write its metadata; a closed bag stays closed."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except (OSError, sqlite3.Error) as error:
            self._rescue(writer)
            raise self._disk_error(error) from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Also after an error: what has been written is worth having.
        if error is None:
            self.close()
            return
        with suppress(BagError):
            self.close()

    def _opened(self) -> Writer:
        if self._writer is None:
            raise BagError(f"bag '{self.path}' is closed: nothing more can be written")
        return self._writer

    def _guarded(self, action: Callable[[], Result]) -> Result:
        try:
            return action()
        except (OSError, sqlite3.Error) as error:
            writer, self._writer = self._opened(), None
            self._rescue(writer)
            raise self._disk_error(error) from error

    def _disk_error(self, error: Exception) -> BagError:
        written = sum(self.counts.values())
        return BagError(
            f"bag '{self.path}' cannot be written after {written} messages: {error}; what was "
            'stored before is kept; make room on the disk and record to a new path'
        )

    def _commit_sometimes(self, writer: Writer) -> None:
        if time.monotonic() - self._last_commit_s > COMMIT_INTERVAL_S:
            self._guarded(lambda: _commit(writer))
            self._last_commit_s = time.monotonic()

    def _rescue(self, writer: Writer) -> None:
        """Make a readable bag of what reached the disk, as far as the disk lets us."""
        with suppress(sqlite3.Error):
            _commit(writer)
        # Whatever fails on the broken file: the first error is the one to report.
        with suppress(Exception):
            writer.abort()
        for storage_file in self.path.glob('*.mcap'):
            with suppress(OSError):
                end_after_last_record(storage_file)


def _commit(writer: Writer) -> None:
    # rosbags itself commits at the end only, and everything before would be lost.
    connection = getattr(writer.storage, 'conn', None)
    if isinstance(connection, sqlite3.Connection):
        connection.commit()


def _offered(is_latched: bool) -> Qos:
    durability = QosDurability.TRANSIENT_LOCAL if is_latched else QosDurability.VOLATILE
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=1 if is_latched else OFFERED_DEPTH,
        reliability=QosReliability.RELIABLE,
        durability=durability,
        deadline=NO_LIMIT,
        lifespan=NO_LIMIT,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=NO_LIMIT,
        avoid_ros_namespace_conventions=False,
    )
