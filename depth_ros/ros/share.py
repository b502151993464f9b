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

"""Find files that are installed beside the package, whichever way it was installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import sys

PACKAGE = 'depth_ros'


def share_file(relative: str) -> Path | None:
    """
    Return the first existing file of this relative path, or None.

    Looked for in the repository, then the ament share folder, then the share folder of the
    Python installation: the files of a checkout go with its code.
    """
    found = (folder / relative for folder in _folders())
    return next((path for path in found if path.is_file()), None)


def _folders() -> Iterator[Path]:
    package = Path(__file__).resolve().parents[1]
    if (package.parent / 'package.xml').is_file():
        yield package.parent
    yield from _ament_share()
    yield Path(sys.prefix) / 'share' / PACKAGE
    yield package.parent
    yield package


def _ament_share() -> Iterator[Path]:
    try:
        from ament_index_python.packages import (
            get_package_share_directory,
            PackageNotFoundError,
        )
    except ImportError:
        return
    try:
        yield Path(get_package_share_directory(PACKAGE))
    except (PackageNotFoundError, OSError):
        return
