# Copyright 2026 depth_ros contributors
# SPDX-License-Identifier: Apache-2.0
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
    except (PackageNotFoundError, EnvironmentError):
        return
