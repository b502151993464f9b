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
"""Names and paths of models, for every way of installing the package."""

from pathlib import Path
import sys
import sysconfig

from depth_ros.engines import model_files
from depth_ros.engines.model_files import (
    DEFAULT_MODEL,
    model_folders,
    resolve_model,
    shipped_names,
)
from depth_ros.errors import ModelError
import pytest


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """Return two folders of models that stand for those of an installation."""
    folders = [tmp_path / 'first', tmp_path / 'second']
    for folder, names in zip(folders, ([DEFAULT_MODEL], [DEFAULT_MODEL, 'other']), strict=True):
        folder.mkdir()
        for name in names:
            (folder / f'{name}.onnx').touch()
    monkeypatch.setattr(model_files, 'model_folders', lambda: folders)
    return folders


def test_resolve_model_default_is_the_default_model(shipped):
    assert resolve_model('default') == shipped[0] / f'{DEFAULT_MODEL}.onnx'


def test_resolve_model_name_is_found_in_any_folder(shipped):
    assert resolve_model('other') == shipped[1] / 'other.onnx'
    assert shipped_names() == sorted([DEFAULT_MODEL, 'other'])


def test_resolve_model_unknown_name_lists_what_there_is(shipped):
    with pytest.raises(ModelError) as caught:
        resolve_model('othr')
    assert "model 'othr': did you mean 'other'?" in str(caught.value)
    assert f"['{DEFAULT_MODEL}', 'other']" in str(caught.value)
    assert str(shipped[1]) in str(caught.value)


def test_resolve_model_nothing_installed_says_so(monkeypatch):
    monkeypatch.setattr(model_files, 'model_folders', list)
    with pytest.raises(ModelError, match=r'shipped models are \[\] \(no folder of models'):
        resolve_model('default')


def test_resolve_model_path_is_taken_as_it_is(tmp_path, monkeypatch):
    path = tmp_path / 'mine.onnx'
    path.touch()
    assert resolve_model(str(path)) == path
    monkeypatch.chdir(tmp_path)
    assert resolve_model('mine.onnx') == Path('mine.onnx')
    monkeypatch.setenv('HOME', str(tmp_path))
    assert resolve_model('~/mine.onnx') == path


@pytest.mark.parametrize('name', ['no.onnx', './no', 'sub/no.onnx'])
def test_resolve_model_missing_path_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=rf"model '{Path(name)}' does not exist"):
        resolve_model(name)


def test_resolve_model_folder_is_refused(tmp_path):
    with pytest.raises(ModelError, match='is a folder: give an ONNX file'):
        resolve_model(f'{tmp_path}/')


def test_model_folders_repository_comes_first():
    assert model_folders()[0] == Path(__file__).parents[2] / 'models'


def test_model_folders_without_sourced_ros_still_work(monkeypatch):
    monkeypatch.delenv('AMENT_PREFIX_PATH', raising=False)
    assert model_folders()


def test_model_folders_ament_prefix_is_found(tmp_path, monkeypatch):
    pytest.importorskip('ament_index_python', reason='needs ROS 2 or its wheels')
    marker = tmp_path / 'share/ament_index/resource_index/packages/depth_ros'
    folder = tmp_path / 'share/depth_ros/models'
    marker.parent.mkdir(parents=True)
    marker.touch()
    folder.mkdir(parents=True)
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path))
    assert folder in model_folders()


def test_model_folders_pip_prefix_is_found(tmp_path, monkeypatch):
    folder = tmp_path / 'share/depth_ros/models'
    folder.mkdir(parents=True)
    monkeypatch.setattr(sys, 'prefix', str(tmp_path))
    assert folder in model_folders()


def test_model_folders_pip_data_scheme_is_found(tmp_path, monkeypatch):
    folder = tmp_path / 'local/share/depth_ros/models'
    folder.mkdir(parents=True)
    monkeypatch.setattr(sysconfig, 'get_path', lambda name: str(tmp_path / 'local'))
    assert folder in model_folders()


def test_model_folders_target_install_is_found(tmp_path, monkeypatch):
    folder = tmp_path / 'share/depth_ros/models'
    folder.mkdir(parents=True)
    module = tmp_path / 'depth_ros/engines/model_files.py'
    monkeypatch.setattr(model_files, '__file__', str(module))
    assert folder in model_folders()
    assert tmp_path / 'models' not in model_folders()
