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

"""What holds for all tests, whoever runs them: their own engines, and signals that arrive."""

from __future__ import annotations

from collections.abc import Iterator
import signal

import pytest


@pytest.fixture(scope='session', autouse=True)
def _engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('DEPTH_ROS_ENGINE_CACHE', str(tmp_path_factory.mktemp('engine_cache')))
        yield


@pytest.fixture(scope='session', autouse=True)
def _interrupts() -> None:
    """Hear SIGINT: a shell's background job ignores it, as would every process it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
