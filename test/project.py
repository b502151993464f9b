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

"""What the project's own files say, for the tests that hold them against each other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ('depth_ros', 'training', 'benchmarks', 'launch', 'test')
TEXT_FOLDERS = (*SOURCE_FOLDERS, 'config', 'docs', 'models', 'scripts', 'tools', '.ci', '.github')
TEXT_SUFFIXES = (
    '',
    '.json',
    '.md',
    '.py',
    '.rst',
    '.rviz',
    '.sh',
    '.toml',
    '.xml',
    '.yaml',
    '.yml',
)
HEADER = """\
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


def python_files(*folders: str) -> list[Path]:
    """Return the Python files of these folders, and setup.py where no folder is named."""
    found = [path for name in folders or SOURCE_FOLDERS for path in (ROOT / name).rglob('*.py')]
    return sorted(found if folders else [*found, ROOT / 'setup.py'])


def text_files() -> Iterator[Path]:
    """Yield every file that people read or write, at the top and in the source folders."""
    inside = (path for name in TEXT_FOLDERS for path in (ROOT / name).rglob('*'))
    for path in (*ROOT.iterdir(), *inside):
        ours = path.is_file() and '__pycache__' not in path.parts
        if ours and path.suffix in TEXT_SUFFIXES and path.name != '.git':
            yield path


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
