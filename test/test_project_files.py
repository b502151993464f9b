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

"""Versions, documents, workflow and Makefile agree with each other and with the tree."""

from __future__ import annotations

import ast
import os
from pathlib import Path
import re
from test.project import relative, ROOT, text_files
from xml.etree import ElementTree

import depth_ros
import pytest
import yaml

# Written in pieces: this file is searched too.
MACHINE_PATHS = re.compile('/(?:' + 'home|root|Users' + r')/\w|/' + r'work/\w|file:' + '///')
DOCUMENTS = ('README.md', 'CONTRIBUTING.md', 'QUALITY_DECLARATION.md')


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding='utf-8')


def setup_arguments() -> dict[str, ast.expr]:
    calls = (node for node in ast.walk(ast.parse(read('setup.py'))) if isinstance(node, ast.Call))
    setup = next(call for call in calls if getattr(call.func, 'id', '') == 'setup')
    return {keyword.arg: keyword.value for keyword in setup.keywords if keyword.arg}


def executables() -> set[str]:
    return {path.name for path in (ROOT / 'scripts').iterdir() if path.is_file()}


def modules_with_main() -> dict[str, str]:
    """Return program name -> module of every module that is a program."""
    paths = [*(ROOT / 'depth_ros/cli').glob('*.py'), *(ROOT / 'depth_ros/nodes').glob('*_node.py')]
    return {
        path.stem: relative(path).removesuffix('.py').replace('/', '.')
        for path in paths
        if re.search(r'^def main\(', path.read_text(encoding='utf-8'), re.MULTILINE)
    }


def test_versions_agree() -> None:
    changelog = re.search(r'^(\d+\.\d+\.\d+) \(', read('CHANGELOG.rst'), re.MULTILINE)
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert changelog is not None
    assert depth_ros.__version__ == changelog[1]
    assert depth_ros.__version__ == package.findtext('version')
    assert depth_ros.__version__ == ast.literal_eval(setup_arguments()['version'])


def test_licence_is_named_everywhere_alike() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    assert package.findtext('license') == ast.literal_eval(setup_arguments()['license'])
    assert 'Apache License' in read('LICENSE')


def test_install_requires_names_no_ros_package() -> None:
    requirements = ast.literal_eval(setup_arguments()['install_requires'])
    assert not [name for name in requirements if re.match(r'(ros-|rclpy|ament)', name)]


def test_package_xml_has_each_dependency_once() -> None:
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    names = [element.text for element in package if element.tag.endswith('depend')]
    assert len(names) == len(set(names))


def test_every_program_has_an_executable() -> None:
    assert executables() == set(modules_with_main())


@pytest.mark.parametrize('name', sorted(executables()))
def test_executable_is_three_lines_that_call_main(name: str) -> None:
    path = ROOT / 'scripts' / name
    lines = [line for line in path.read_text(encoding='utf-8').splitlines() if line]
    assert os.access(path, os.X_OK)
    assert lines == [
        '#!/usr/bin/env python3',
        f'from {modules_with_main()[name]} import main',
        'raise SystemExit(main())',
    ]


@pytest.mark.parametrize('module', sorted(modules_with_main().values()))
def test_program_runs_as_a_module(module: str) -> None:
    source = read(f'{module.replace(".", "/")}.py')
    assert source.endswith("if __name__ == '__main__':\n    sys.exit(main())\n")


def test_console_scripts_are_the_programs_under_names_of_their_own() -> None:
    entry_points = ast.literal_eval(setup_arguments()['entry_points'])['console_scripts']
    scripts = dict(re.split(r' = |:', entry)[:2] for entry in entry_points)
    expected = {
        f'depth-ros-{name.replace("_", "-")}': module
        for name, module in modules_with_main().items()
    }
    assert scripts == expected
    assert not set(scripts) & executables()


@pytest.mark.parametrize('path', sorted(text_files()), ids=relative)
def test_file_names_no_path_of_one_machine(path: Path) -> None:
    assert MACHINE_PATHS.findall(path.read_text(encoding='utf-8')) == []


def test_path_of_one_machine_is_found() -> None:
    assert MACHINE_PATHS.search('model: ' + '/home' + '/someone/model.onnx')


@pytest.mark.parametrize('name', DOCUMENTS)
def test_document_links_to_files_that_exist(name: str) -> None:
    links = re.findall(r'\]\((?!https?:)([^)#]+)', read(name))
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize('name', [*DOCUMENTS, '.github/workflows/ci.yml', '.ci/run'])
def test_document_names_make_targets_that_exist(name: str) -> None:
    targets = set(re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE))
    used = re.findall(r'(?:`|run: |^ *)make ([a-z-]+)', read(name), re.MULTILINE)
    assert set(used) <= targets


@pytest.mark.parametrize('name', [*DOCUMENTS, '.github/workflows/ci.yml'])
def test_document_names_programs_that_exist(name: str) -> None:
    assert set(re.findall(r'ros2 run depth_ros (\w+)', read(name))) <= executables()
    launch_files = re.findall(r'ros2 launch depth_ros (\S+)', read(name))
    assert [file for file in launch_files if not (ROOT / 'launch' / file).exists()] == []


def test_workflow_covers_the_promised_distributions_and_pythons() -> None:
    jobs = yaml.safe_load(read('.github/workflows/ci.yml'))['jobs']
    assert jobs['ros']['strategy']['matrix']['distro'] == ['humble', 'jazzy', 'lyrical']
    pythons = jobs['wheels']['strategy']['matrix']['python']
    classifiers = ast.literal_eval(setup_arguments()['classifiers'])
    assert pythons == [c.rsplit(' ', 1)[1] for c in classifiers if ':: 3.' in c]
