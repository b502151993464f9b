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

"""Programs of ours as processes of their own: started, watched, and stopped cleanly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from types import TracebackType

from depth_ros.errors import DepthRosError

# A clean stop takes well under a second; a machine under load gets this long.
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05
SHOWN_LOG_LINES = 15
# Above them the ports of a domain reach the range that the system hands out to clients.
DOMAINS = 100


class Program:
    """
    A module that runs in a process of its own, with its output in a file.

    Leaving the ``with`` block ends the process in any case.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        """
        Start ``python -m module``.

        :param log: file that takes what the program prints.
        :param environment: added to that of this process.
        """
        self.name = module.rsplit('.', 1)[-1]
        self.log = log
        with log.open('wb') as output:
            self._process = subprocess.Popen(
                [sys.executable, '-u', '-m', module, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                # A terminal's Ctrl-C must not reach it beside our own signal.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def __enter__(self) -> Program:
        """Return the running program."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill the process where it still runs: whoever wanted a clean stop has had it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """
        Ask the program to stop and wait until it has.

        :raises DepthRosError: it had ended before, does not stop, or ends with an error.
        """
        if self._process.poll() is not None:
            raise self._failed('ended too early')
        self._process.send_signal(signal.SIGINT)
        self.wait(STOP_SECONDS)

    def wait(self, timeout_s: float, *, others: Sequence[Program] = ()) -> None:
        """
        Wait until the program has ended well.

        :param others: programs that must keep running meanwhile.
        :raises DepthRosError: it, or one of the others, fails or takes too long.
        """
        stop_at = time.monotonic() + timeout_s
        while self._process.poll() is None:
            for other in others:
                other.check_running()
            if time.monotonic() > stop_at:
                raise self._failed(f'did not end within {timeout_s:.0f} s')
            time.sleep(POLL_SECONDS)
        if self._process.returncode != 0:
            raise self._failed('failed')

    def wait_for_text(
        self, text: str, timeout_s: float, *, others: Sequence[Program] = ()
    ) -> None:
        """
        Wait until the program has printed a text.

        :param others: programs that must keep running meanwhile.
        :raises DepthRosError: it, or one of the others, ends, or it takes too long.
        """
        stop_at = time.monotonic() + timeout_s
        while text not in self.output():
            for program in (*others, self):
                program.check_running()
            if time.monotonic() > stop_at:
                raise self._failed(f'did not print "{text}" within {timeout_s:.0f} s')
            time.sleep(POLL_SECONDS)

    def check_running(self) -> None:
        """
        Make sure that the program still runs.

        :raises DepthRosError: it has ended.
        """
        if self._process.poll() is not None:
            raise self._failed('ended too early')

    def output(self) -> str:
        """Return what the program has printed until now."""
        return self.log.read_text(encoding='utf-8', errors='replace')

    def _failed(self, what: str) -> DepthRosError:
        status = self._process.poll()
        state = 'still running' if status is None else f'exit status {status}'
        lines = self.output().splitlines()[-SHOWN_LOG_LINES:]
        return DepthRosError(
            f'{self.name} {what} ({state}); {self.log} ends:\n' + '\n'.join(lines)
        )


def local_graph() -> dict[str, str]:
    """
    Return the environment of a ROS graph on this machine alone.

    The domain comes from the process id, so that two graphs at once do not meet.
    """
    return {
        'ROS_DOMAIN_ID': str(1 + os.getpid() % DOMAINS),
        # Humble knows the second alone; later distributions warn about it when it is set.
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        **({'ROS_LOCALHOST_ONLY': '1'} if os.environ.get('ROS_DISTRO') == 'humble' else {}),
    }
