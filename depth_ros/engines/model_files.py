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
"""Where the shipped models are, in each of the ways in which the package can be installed."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
import site
import sys
import sysconfig

from depth_ros.errors import ModelError

PACKAGE = 'depth_ros'
FOLDER = 'models'
SUFFIX = '.onnx'
DEFAULT_NAME = 'default'
DEFAULT_MODEL = 'meter_xxs_sigma_kitti'


def resolve_model(path_or_name: str) -> Path:
    """
    Return the ONNX file that a path or the name of a shipped model means.

    'default' and names without a slash and without '.onnx' are shipped models; the first folder
    of ``model_folders`` that has one wins. All else is a path; '~' is the home folder.

    :raises ModelError: there is no such file; for a name, with the names that exist.
    """
    if '/' not in path_or_name and not path_or_name.endswith(SUFFIX):
        return _shipped_model(path_or_name)
    path = Path(path_or_name).expanduser()
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'does not exist'
        raise ModelError(f"model '{path}' {what}: give an ONNX file or one of {shipped_names()}")
    return path


def shipped_names() -> list[str]:
    """Return the names of the models that are installed, sorted."""
    return sorted({path.stem for folder in model_folders() for path in folder.glob(f'*{SUFFIX}')})


def model_folders() -> list[Path]:
    """
    Return the folders with shipped models that exist.

    The repository comes first: code that runs from there goes with its models.
    """
    folders = dict.fromkeys(
        [*_repository_folders(), *_ament_folders(), *_pip_folders(), *_package_folders()]
    )
    return [folder for folder in folders if folder.is_dir()]


def _shipped_model(name: str) -> Path:
    file_name = (DEFAULT_MODEL if name == DEFAULT_NAME else name) + SUFFIX
    for folder in model_folders():
        if (folder / file_name).is_file():
            return folder / file_name
    names = shipped_names()
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ''
    looked = ', '.join(map(str, model_folders())) or 'no folder of models is installed'
    raise ModelError(
        f"model '{name}': {hint}shipped models are {names} ({looked}); for a file of your own "
        'give its path'
    )


def _repository_folders() -> Iterator[Path]:
    root = Path(__file__).resolve().parents[2]
    if (root / 'package.xml').is_file():
        yield root / FOLDER


def _ament_folders() -> Iterator[Path]:
    try:
        from ament_index_python.packages import get_package_share_directory
    except ImportError:
        return
    try:
        yield Path(get_package_share_directory(PACKAGE)) / FOLDER
    except (LookupError, OSError):
        # The package is not in the index, or no ROS 2 installation is sourced.
        return


def _pip_folders() -> Iterator[Path]:
    """Yield where pip puts data files: system, virtual environment, --user and --target."""
    beside_package = Path(__file__).resolve().parents[2]
    prefixes = (sysconfig.get_path('data'), sys.prefix, site.getuserbase(), beside_package)
    for prefix in prefixes:
        yield Path(prefix) / 'share' / PACKAGE / FOLDER


def _package_folders() -> Iterator[Path]:
    yield Path(str(files(PACKAGE))) / FOLDER
