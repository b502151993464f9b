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

"""Weights load whole or not at all, and files of them run no code."""

import pytest

torch = pytest.importorskip('torch', reason='torch is only installed for training')

from depth_ros.errors import ModelError  # noqa: E402, I100
from training.models.meter import MeterXxs  # noqa: E402
from training.weights import load_strictly, read_state  # noqa: E402


@pytest.fixture
def state():
    return MeterXxs().state_dict()


def test_loading_names_missing_unknown_and_misshapen_tensors(state):
    state['decoder.surprise'] = state.pop('decoder.conv2d_in.weight')
    state['decoder.conv2d_out.weight'] = torch.zeros(1, 8, 5, 5)
    with pytest.raises(ModelError) as error:
        load_strictly(MeterXxs(), state, 'some.file')
    text = str(error.value)
    assert text.startswith('some.file: 3 tensors do not fit')
    assert 'decoder.conv2d_in.weight is missing' in text
    assert 'decoder.surprise is unknown' in text
    assert 'decoder.conv2d_out.weight is (1, 8, 5, 5) and not (1, 8, 3, 3)' in text


def test_loading_lists_only_the_first_ten(state):
    few = dict(list(state.items())[:100])
    with pytest.raises(ModelError, match='161 tensors') as error:
        load_strictly(MeterXxs(), few, 'some.file')
    assert str(error.value).count('is missing') == 10


def test_refused_weights_change_nothing(state):
    network = MeterXxs()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    state.pop('decoder.conv2d_out.weight')
    with pytest.raises(ModelError):
        load_strictly(network, state, 'some.file')
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_missing_weights_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r'nothing.*no such weights file'):
        read_state(tmp_path / 'nothing')


def test_folder_in_place_of_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r'cannot be read as weights: Is a directory'):
        read_state(tmp_path)


@pytest.mark.parametrize('content', [b'', b'not weights at all', b'PK\x03\x04 cut off'])
def test_damaged_weights_file_is_refused(tmp_path, content):
    path = tmp_path / 'weights'
    path.write_bytes(content)
    with pytest.raises(ModelError, match='weights: cannot be read as weights'):
        read_state(path)


def test_truncated_weights_file_is_refused(tmp_path, state):
    path = tmp_path / 'weights'
    torch.save(state, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match='cannot be read as weights'):
        read_state(path)


@pytest.mark.parametrize('content', [[1, 2], {'a': 1}])
def test_file_without_named_tensors_is_refused(tmp_path, content):
    path = tmp_path / 'weights'
    torch.save(content, path)
    with pytest.raises(ModelError, match='not named tensors'):
        read_state(path)


class RunsCode:
    """What a pickle may hold: a call."""

    def __reduce__(self):
        return (eval, ('1 + 1',))


def test_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / 'weights'
    torch.save({'a': RunsCode()}, path)
    with pytest.raises(ModelError, match='cannot be read as weights'):
        read_state(path)
