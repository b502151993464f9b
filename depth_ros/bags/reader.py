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
Read bags without a ROS installation: SQLite and MCAP, folders and single files.

Message definitions stored in the bag come first, then those of the distribution that its
metadata names, then Humble's, which all later ones share for the messages used here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from depth_ros.bags.mcap_repair import has_index
from depth_ros.bags.records import (
    BagMessage,
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    ODOMETRY,
    OnSkip,
    POINT_CLOUD,
    RawMessage,
    SkippedMessage,
    TopicInfo,
)
from depth_ros.bags.typestores import DEFAULT_DISTRO, store_of
from depth_ros.errors import BagError, FrameError
from rosbags.interfaces import Connection, MessageDefinitionFormat
from rosbags.rosbag2 import Reader
from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

STORAGE_SUFFIXES = ('.mcap', '.db3')
METADATA_FILE = 'metadata.yaml'
IDL_SEPARATOR = '=' * 80 + '\n'

# What a stream may be made of, and the command-line option that names its topic.
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    'image': ((IMAGE, COMPRESSED_IMAGE), '--image-topic'),
    'camera_info': ((CAMERA_INFO,), '--camera-info-topic'),
    'lidar': ((POINT_CLOUD,), '--lidar-topic'),
    'odometry': ((ODOMETRY,), '--odometry-topic'),
    'depth': ((IMAGE,), '--depth-topic'),
}
# A topic of these encodings carries depth or heat, which no camera stream is made of.
DEPTH_ENCODINGS = ('32FC1', '16UC1', 'mono16')

Item = TypeVar('Item')


class BagReader:
    """
    One bag, open for reading; a context manager.

    :raises BagError: the path does not exist, or is no bag, or is empty or cut off.

    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        storage = _storage_of(self.path)
        self._reader = self._open(storage)
        self._has_index = has_index(storage)
        self._stores: dict[str, Typestore] = {}
        self.topics = self._topics()

    @property
    def distro(self) -> str:
        """Return the distribution that recorded the bag; Humble where the bag does not say."""
        return self._reader.ros_distro or DEFAULT_DISTRO

    @property
    def start_ns(self) -> int:
        """When the first message was recorded [ns]."""
        return self._reader.start_time

    @property
    def stop_ns(self) -> int:
        """One nanosecond after the last message was recorded [ns]."""
        return self._reader.end_time

    def topic(self, name: str) -> TopicInfo:
        """Return one topic; BagError lists those that exist when there is no such one."""
        for info in self.topics:
            if info.name == name:
                return info
        names = ', '.join(info.name for info in self.topics) or 'none'
        raise BagError(f"bag '{self.path}' has no topic '{name}' (topics: {names})")

    def raw_messages(
        self,
        topics: Iterable[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
    ) -> Iterator[RawMessage]:
        """
        Yield the messages of some or all topics in the order of recording.

        :param start_ns: first recording time wanted.
        :param stop_ns: recording time at which to stop, not included.
        :raises BagError: a topic does not exist, or the bag is damaged.

        """
        if not self._reader.is_open:
            raise BagError(f"bag '{self.path}' is closed: nothing more can be read")
        names = None if topics is None else {self.topic(name).name for name in topics}
        with self._own_reader() as reader:
            connections = [c for c in reader.connections if names is None or c.topic in names]
            if not connections:
                return
            messages = reader.messages(connections, start=start_ns, stop=stop_ns)
            for connection, log_ns, data in self._guarded(messages):
                yield RawMessage(
                    topic=connection.topic, msgtype=connection.msgtype, log_ns=log_ns, data=data
                )

    @contextmanager
    def _own_reader(self) -> Iterator[Reader]:
        """
        Yield the reader of one stream.

        A file without an index is read from its beginning to its end, at one place: two streams
        that took turns there would each lose what the other one has passed.
        """
        if self._has_index:
            yield self._reader
            return
        reader = self._open(_storage_of(self.path))
        try:
            yield reader
        finally:
            reader.close()

    def messages(
        self,
        topics: Iterable[str] | None = None,
        start_ns: int | None = None,
        stop_ns: int | None = None,
        on_skip: OnSkip | None = None,
    ) -> Iterator[BagMessage]:
        """
        Yield decoded messages in the order of recording; the arguments are raw_messages'.

        :param on_skip: is told of messages that cannot be decoded. Without it the first of them
            ends the stream.
        :raises BagError: a topic does not exist, or its type is unknown, or the bag is damaged.

        """
        for raw in self.raw_messages(topics, start_ns, stop_ns):
            try:
                message = self.decode(raw)
            except FrameError as error:
                report_skip(on_skip, raw.topic, raw.log_ns, error)
                continue
            yield BagMessage(
                topic=raw.topic, msgtype=raw.msgtype, log_ns=raw.log_ns, message=message
            )

    def decode(self, raw: RawMessage) -> Any:
        """
        Return a message with the attributes of its ROS type.

        :raises BagError: the type is unknown.
        :raises FrameError: the bytes are damaged.

        """
        store = self._store(raw.topic, raw.msgtype)
        try:
            return store.deserialize_cdr(raw.data, raw.msgtype)
        # The decoder meets damaged bytes with many exception types.
        except Exception as error:
            raise FrameError(
                f"topic '{raw.topic}': a message of {len(raw.data)} bytes recorded at "
                f"{raw.log_ns} ns is no '{raw.msgtype}': {error}"
            ) from error

    def field_names(self, topic: str) -> tuple[str, ...]:
        """Return the names of the fields of a topic's message type, in order."""
        msgtype = self.topic(topic).msgtype
        store = self._store(topic, msgtype)
        return tuple(name for name, _ in store.fielddefs[msgtype][1])

    def close(self) -> None:
        """Close the files; nothing can be read after that."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, storage: Path) -> Reader:
        try:
            reader = Reader(storage)
            reader.open()
        # A damaged file is met with whatever the storage libraries and parsers raise.
        except Exception as error:
            raise self._damaged(error) from error
        return reader

    def _topics(self) -> tuple[TopicInfo, ...]:
        infos = (
            TopicInfo(
                name=name,
                msgtype=' or '.join(sorted({c.msgtype for c in topic.connections})),
                count=topic.msgcount,
            )
            for name, topic in self._reader.topics.items()
        )
        return tuple(sorted(infos, key=lambda info: info.name))

    def _guarded(self, items: Iterator[Item]) -> Iterator[Item]:
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except Exception as error:
                raise self._damaged(error) from error
            yield item

    def _damaged(self, error: Exception) -> BagError:
        return BagError(
            f"bag '{self.path}' cannot be read: {error}; if its recording was cut off, recover "
            "it with 'ros2 bag reindex' (folder), 'mcap recover' (file), or evaluate --recover"
        )

    def _store(self, topic: str, msgtype: str) -> Typestore:
        if msgtype not in self._stores:
            self._stores[msgtype] = self._stored_types(msgtype) or store_of(self.distro)
        store = self._stores[msgtype]
        if msgtype not in store.fielddefs:
            raise BagError(
                f"bag '{self.path}': topic '{topic}' has message type '{msgtype}', whose "
                'definition is neither in the bag nor known'
            )
        return store

    def _stored_types(self, msgtype: str) -> Typestore | None:
        """Return a store of the definition that the bag itself holds, if it does."""
        connections = (c for c in self._reader.connections if c.msgtype == msgtype)
        connection = next(connections, None)
        if connection is None or connection.msgdef.format == MessageDefinitionFormat.NONE:
            return None
        store = get_typestore(Stores.EMPTY)
        try:
            _register(store, connection)
        except Exception as error:
            raise BagError(
                f"bag '{self.path}': the stored definition of '{msgtype}' cannot be read: {error}"
            ) from error
        return store if msgtype in store.fielddefs else None


def _register(store: Typestore, connection: Connection) -> None:
    text = connection.msgdef.data
    if connection.msgdef.format == MessageDefinitionFormat.MSG:
        store.register(get_types_from_msg(text, connection.msgtype))
        return
    # Several IDL files in one text are each introduced by a separator and a line 'IDL: name'.
    parts = text.split(IDL_SEPARATOR)[1:] if IDL_SEPARATOR in text else [f'\n{text}']
    for part in parts:
        store.register(get_types_from_idl(part.partition('\n')[2]))


def report_skip(on_skip: OnSkip | None, topic: str, stamp_ns: int, error: Exception) -> None:
    """
    Tell that a message cannot be used.

    :raises BagError: nobody listens, so that it would be lost silently.

    """
    if on_skip is None:
        raise BagError(f"topic '{topic}', stamp {stamp_ns} ns: {error}") from error
    on_skip(SkippedMessage(topic=topic, stamp_ns=stamp_ns, reason=str(error)))


def resolve_topic(
    reader: BagReader,
    kind: str,
    given: str | None = None,
    *,
    near: str | None = None,
    other_than: Collection[str] = (),
) -> str:
    """
    Return the topic to use for a kind of stream.

    :param kind: a key of ``KINDS``.
    :param given: what the user named; checked.
    :param near: where several would do, take the one in the namespace of this topic.
    :param other_than: topics that are known to hold something else.
    :raises BagError: none or several would do, with their names and the option that decides, or
        the given one is absent, empty or of another type.

    """
    msgtypes, option = KINDS[kind]
    if given is not None:
        return _given_topic(reader, kind, given)
    infos = (i for i in reader.topics if i.name not in other_than)
    candidates = [i.name for i in infos if i.msgtype in msgtypes and i.count]
    if kind in ('image', 'depth'):
        is_wanted = kind == 'depth'
        candidates = [name for name in candidates if _holds_depth(reader, name) == is_wanted]
    if len(candidates) > 1 and near is not None:
        candidates = [n for n in candidates if _namespace(n) in _parents(near)] or candidates
    if len(candidates) == 1:
        return candidates[0]
    wanted = ' or '.join(msgtypes)
    if not candidates:
        present = ', '.join(f'{i.name} ({i.msgtype}, {i.count})' for i in reader.topics) or 'none'
        raise BagError(f"bag '{reader.path}' has no {kind} topic ({wanted}); topics: {present}")
    raise BagError(
        f"bag '{reader.path}' has {len(candidates)} {kind} topics: {', '.join(candidates)}; "
        f'choose one with {option}'
    )


def _given_topic(reader: BagReader, kind: str, given: str) -> str:
    msgtypes, option = KINDS[kind]
    info = reader.topic(given)
    if info.msgtype not in msgtypes:
        raise BagError(
            f"{option} '{given}' is of type '{info.msgtype}': must be {' or '.join(msgtypes)}"
        )
    if info.count == 0:
        raise BagError(f"{option} '{given}' has no messages in bag '{reader.path}'")
    return given


def _holds_depth(reader: BagReader, topic: str) -> bool:
    """Tell whether an image topic carries depth, by the encoding of its first readable message."""
    if reader.topic(topic).msgtype != IMAGE:
        return False
    messages = reader.messages([topic], on_skip=lambda skipped: None)
    first = next(messages, None)
    return first is not None and str(first.message.encoding) in DEPTH_ENCODINGS


def _namespace(topic: str) -> str:
    return topic.rpartition('/')[0]


def _parents(topic: str) -> Sequence[str]:
    # image_transport keeps camera_info beside the raw topic: /camera/image_raw/compressed
    # belongs to /camera/camera_info.
    parent = _namespace(topic)
    return parent, _namespace(parent)


def _storage_of(path: Path) -> Path:
    """Return what rosbags opens: a folder with metadata, or a single storage file."""
    if not path.exists():
        raise BagError(f"bag '{path}' does not exist")
    if path.is_dir() and not (path / METADATA_FILE).is_file():
        files = [file for file in sorted(path.iterdir()) if file.suffix in STORAGE_SUFFIXES]
        if len(files) != 1:
            raise BagError(
                f"folder '{path}' has no {METADATA_FILE} and {len(files)} storage files: it is "
                "no bag, or needs 'ros2 bag reindex'"
            )
        return files[0]
    if path.is_file() and path.name == METADATA_FILE:
        return path.parent
    if path.is_file() and path.suffix not in STORAGE_SUFFIXES:
        raise BagError(f"'{path}' is no bag: must be a folder, or a file {STORAGE_SUFFIXES}")
    return path
