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

"""The package as it is installed: by pip always, by colcon where colcon is installed."""

from __future__ import annotations

from collections.abc import Mapping
import os
from pathlib import Path
import shutil
import subprocess
import sys
import sysconfig
from test.project import ROOT

import pytest

# What a build reads; the rest would only be copied in vain.
FOLDERS = ('config', 'depth_ros', 'launch', 'models', 'resource', 'scripts')
FILES = ('LICENSE', 'README.md', 'package.xml', 'pyproject.toml', 'setup.cfg', 'setup.py')
SHARED = ('launch', 'config', 'models')
PROGRAMS = sorted(path.name for path in (ROOT / 'scripts').iterdir() if path.is_file())
BUILD_SECONDS = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * BUILD_SECONDS)]


def run(
    *command: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end and show the output of what failed."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    assert result.returncode == 0, f'{command}\n{result.stdout}\n{result.stderr}'
    return result


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the tree: a build writes into the folder it builds."""
    folder = tmp_path_factory.mktemp('source')
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns('__pycache__'))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope='module')
def pip_prefix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that `pip install` filled."""
    prefix = tmp_path_factory.mktemp('pip')
    options = ['--quiet', '--no-deps', '--no-index', '--no-build-isolation', '--ignore-installed']
    run(
        sys.executable, '-m', 'pip', 'install', *options, '--prefix', prefix, '.', folder=source
    )  # fmt: skip
    return prefix


def site_packages(prefix: Path) -> Path:
    return Path(sysconfig.get_path('purelib', vars={'base': str(prefix)}))


def environment_of(prefix: Path) -> dict[str, str]:
    """Return what makes the installed package, not the checkout, the one that is found."""
    return {
        'PYTHONPATH': str(site_packages(prefix)),
        'AMENT_PREFIX_PATH': str(prefix),
        'PATH': os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']]),
    }


def assert_share_is_complete(prefix: Path) -> None:
    share = prefix / 'share/depth_ros'
    assert (prefix / 'share/ament_index/resource_index/packages/depth_ros').is_file()
    assert (share / 'package.xml').read_bytes() == (ROOT / 'package.xml').read_bytes()
    for name in SHARED:
        installed = {path.name for path in (share / name).iterdir() if path.is_file()}
        wanted = {path.name for path in (ROOT / name).iterdir() if path.is_file()}
        assert installed
        assert installed == wanted


def test_pip_share_folder_holds_launch_config_and_models(pip_prefix: Path) -> None:
    assert_share_is_complete(pip_prefix)


def test_pip_installs_every_module_and_no_other_package(pip_prefix: Path) -> None:
    folder = site_packages(pip_prefix)
    wanted = {path.relative_to(ROOT) for path in (ROOT / 'depth_ros').rglob('*.py')}
    assert wanted == {path.relative_to(folder) for path in folder.rglob('*.py')}
    assert (folder / 'depth_ros/py.typed').is_file()


def test_pip_metadata_has_the_name_that_old_setuptools_loses(pip_prefix: Path) -> None:
    metadata = next(site_packages(pip_prefix).glob('*.dist-info')) / 'METADATA'
    lines = metadata.read_text(encoding='utf-8').splitlines()
    assert {'Name: depth_ros', 'Name: depth-ros'}.intersection(lines)
    assert 'Requires-Python: >=3.10' in lines


@pytest.mark.parametrize('name', PROGRAMS)
def test_pip_executable_answers_help(pip_prefix: Path, name: str, tmp_path: Path) -> None:
    program = pip_prefix / 'lib/depth_ros' / name
    result = run(program, '--help', folder=tmp_path, environment=environment_of(pip_prefix))
    assert 'usage' in result.stdout.lower()


def test_pip_package_finds_its_default_model_and_settings(
    pip_prefix: Path, tmp_path: Path
) -> None:
    program = (
        'from depth_ros.engines.factory import resolve_model\n'
        'from depth_ros.ros.share import share_file\n'
        'print(resolve_model("default"), share_file("config/mono_depth.yaml"), sep="\\n")'
    )
    result = run(
        sys.executable, '-c', program, folder=tmp_path, environment=environment_of(pip_prefix)
    )
    share = pip_prefix / 'share/depth_ros'
    model, settings = (Path(line) for line in result.stdout.split())
    assert model.parent == share / 'models'
    assert settings == share / 'config/mono_depth.yaml'


@pytest.mark.parametrize('options', [[], ['--symlink-install']], ids=['copy', 'symlink'])
def test_colcon_build_gives_executables_and_share(
    source: Path, tmp_path: Path, options: list[str]
) -> None:
    colcon = shutil.which('colcon')
    if colcon is None:
        pytest.skip('colcon is not installed: pip install colcon-ros "setuptools<80"')
    run(colcon, 'build', '--base-paths', source, *options, folder=tmp_path)
    prefix = tmp_path / 'install/depth_ros'
    assert_share_is_complete(prefix)
    programs = {path.name for path in (prefix / 'lib/depth_ros').iterdir()}
    assert programs >= set(PROGRAMS)
    assert all(os.access(prefix / 'lib/depth_ros' / name, os.X_OK) for name in PROGRAMS)
