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
"""The program that shows and embeds model cards."""

from test.engines.graphs import brightness_file, steady_card, steady_file, with_input
from test.synthetic import model_spec

from depth_ros.cli.model_info import main
from depth_ros.engines.model_card import card_to_dict, read_card, write_card
from depth_ros.engines.onnx_file import file_sha256
import pytest
import yaml


@pytest.fixture
def model(tmp_path):
    return brightness_file(tmp_path / 'a.onnx')


def test_main_file_with_card_prints_everything(model, capsys):
    write_card(model, model_spec())
    assert main([str(model)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed['file'] == str(model)
    assert printed['sha256'] == file_sha256(model)
    assert printed['graph'] == {
        'inputs': ['image (float32, ?x3x32x64)'],
        'outputs': ['depth (float32, ?x1x32x64)'],
    }
    assert printed['engines']['onnxruntime'].startswith('onnxruntime 1.')
    assert printed['card'] == card_to_dict(model_spec())


def test_main_file_without_card_prints_the_graph_and_fails(model, capsys):
    assert main([str(model)]) == 1
    printed = capsys.readouterr()
    assert yaml.safe_load(printed.out)['graph']['inputs'] == ['image (float32, ?x3x32x64)']
    assert printed.err.startswith(f'error: {model}: the file carries no model card')


def test_main_write_card_embeds_it(model, tmp_path, capsys):
    card = tmp_path / 'card.yaml'
    card.write_text(yaml.safe_dump(card_to_dict(model_spec())))
    assert main([str(model), '--write-card', str(card)]) == 0
    assert yaml.safe_load(capsys.readouterr().out)['card']['name'] == 'synthetic'
    card.unlink()
    assert read_card(model) == model_spec()


def test_main_write_card_that_contradicts_leaves_the_file(model, tmp_path, capsys):
    before = model.read_bytes()
    card = tmp_path / 'card.yaml'
    card.write_text(yaml.safe_dump(card_to_dict(with_input(model_spec(), width=65))))
    assert main([str(model), '--write-card', str(card)]) == 1
    assert 'input.width = 65: the graph takes 64 columns' in capsys.readouterr().err
    assert model.read_bytes() == before


def test_main_shows_camera_and_states(tmp_path, capsys):
    path = steady_file(tmp_path / 'a.onnx')
    write_card(path, steady_card(warmup_frames=2))
    assert main([str(path)]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert 'camera (float32, 1x4)' in printed['graph']['inputs']
    assert printed['card']['input']['camera'] == 'camera'
    assert [state['input'] for state in printed['card']['temporal']['states']] == [
        'logs',
        'weights',
    ]


def test_main_unknown_name_fails_in_one_line(capsys):
    assert main(['no_such_model']) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: model 'no_such_model': ")
    assert error.count('\n') == 1
