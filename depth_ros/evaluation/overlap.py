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

"""Work beside the engine: what is read ahead of it, and what is done behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any, Generic, TypeVar

ItemT = TypeVar('ItemT')

# A few frames wait at most: memory stays constant, and one slow frame holds nobody up.
WAITING = 4
POLL_SECONDS = 0.1
_END = object()


class Ahead(Generic[ItemT]):
    """
    Iterates in a thread of its own, a few items ahead of the reader.

    :param make: called in that thread, so that what it opens belongs there.
    """

    def __init__(self, make: Callable[[], Iterator[ItemT]]) -> None:
        self._queue: Queue[Any] = Queue(WAITING)
        self._stopped = Event()
        self._thread = Thread(target=self._run, args=(make,), name='read ahead', daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[ItemT]:
        """Yield the items; an error of the thread is raised here."""
        while True:
            item = self._queue.get()
            if item is _END:
                return
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """Stop the thread, whatever is left to read."""
        self._stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=POLL_SECONDS)
            except Empty:
                continue
        self._thread.join()

    def _run(self, make: Callable[[], Iterator[ItemT]]) -> None:
        last: Any = _END
        try:
            for item in make():
                if not self._put(item):
                    return
        except BaseException as error:
            last = error
        self._put(last)

    def _put(self, item: Any) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=POLL_SECONDS)
            except Full:
                continue
            return True
        return False


class Behind(Generic[ItemT]):
    """
    Does one thing after another in a thread of its own, in the order they are handed over.

    :param finish: called last, in that thread, whatever happened.
    """

    def __init__(
        self, work: Callable[[ItemT], None], finish: Callable[[], None] = lambda: None
    ) -> None:
        self._work = work
        self._finish = finish
        self._queue: Queue[Any] = Queue(WAITING)
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name='work behind', daemon=True)
        self._thread.start()

    def put(self, item: ItemT) -> None:
        """
        Hand over one item; waits while too many are open.

        An error of earlier work is raised here, once.
        """
        self._raise()
        self._queue.put(item)

    def close(self) -> None:
        """Wait until all is done; an error of the work is raised here."""
        if self._thread.is_alive():
            self._queue.put(_END)
            self._thread.join()
        self._raise()

    def _raise(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            self._finish()

    def _serve(self) -> None:
        is_broken = False
        while (item := self._queue.get()) is not _END:
            if is_broken:
                continue
            try:
                self._work(item)
            except BaseException as error:
                self._error = error
                is_broken = True
