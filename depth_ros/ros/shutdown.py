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
Start and stop a ROS program so that Ctrl-C always ends it cleanly.

A terminal signals the launch process and the node, and launch signals the node once more: the
second SIGINT arrives 5-20 ms after the first, in the middle of rclpy's own shutdown, and ends
it with a traceback. Here the first SIGINT or SIGTERM sets a flag, and every later one does
nothing, down to the end of the interpreter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import signal
import threading
from types import FrameType
from typing import Any

from depth_ros.ros.qos import load_fastdds_profile
import rclpy
from rclpy.signals import SignalHandlerOptions

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The longest wait for a stop to be seen: rclpy's wait does not end at a signal of ours.
SPIN_TIMEOUT_S = 0.05


class StopRequest:
    """Tells the main loop to end; set by a signal, or by the program through ``set``."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.exit_code = 0

    @property
    def is_set(self) -> bool:
        """Tell whether the program has to end."""
        return self._event.is_set()

    def set(self, exit_code: int = 0) -> None:  # noqa: A003
        """Ask for the end; the first non-zero exit code stays."""
        self.exit_code = self.exit_code or exit_code
        self._event.set()

    def wait(self, timeout_s: float) -> bool:
        """Sleep until the stop or the timeout, and return ``is_set``."""
        return self._event.wait(timeout_s)


def install_stop_signals(stop: StopRequest) -> None:
    """Let SIGINT and SIGTERM set ``stop``; a second one changes nothing."""

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in STOP_SIGNALS:
        signal.signal(number, on_signal)


def ignore_stop_signals() -> None:
    """
    Ignore SIGINT and SIGTERM from now on: for the end of a program.

    While it ends, the interpreter puts handlers back to the deadly default, but leaves ignored
    signals ignored. Not done in the handler itself: Python complains with a traceback about a
    signal that came while the handler was replaced.
    """
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def ros_session(args: Sequence[str] | None = None) -> Iterator[StopRequest]:
    """
    Initialise rclpy for a program's main loop, and shut it down at the end.

    Large messages get the Fast DDS profile first. Call it from the main thread, make nodes
    inside, and ``spin`` them.
    """
    stop = StopRequest()
    install_stop_signals(stop)
    load_fastdds_profile()
    rclpy.init(
        args=None if args is None else list(args),
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        yield stop
    finally:
        rclpy.try_shutdown()
        ignore_stop_signals()


def spin(executor: Any, stop: StopRequest) -> int:
    """Run the executor until the stop, and return the program's exit code."""
    while not stop.is_set:
        executor.spin_once(timeout_sec=SPIN_TIMEOUT_S)
    return stop.exit_code
