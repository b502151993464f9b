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
"""Every way in which a card can contradict its graph."""

from dataclasses import replace
from test.engines.graphs import (
    brightness_file,
    FLIP,
    HEIGHT,
    memory_card,
    memory_file,
    network_card,
    network_file,
    STATE,
    steady_card,
    steady_file,
    WIDTH,
    window_card,
    window_file,
    with_input,
    with_output,
)
from test.synthetic import model_spec

from depth_ros.core.model_spec import SkySpec, StateSpec, TemporalSpec
from depth_ros.engines.graph_check import check_graph
from depth_ros.engines.onnx_file import read_onnx_file
from depth_ros.errors import ModelError
from onnx import TensorProto
import pytest


def refusal(card, path):
    with pytest.raises(ModelError) as caught:
        check_graph(card, read_onnx_file(path), 'card.file')
    sentence = str(caught.value)
    assert sentence.startswith('card.file: ')
    return sentence


@pytest.mark.parametrize(
    ('write', 'card'),
    [
        (brightness_file, model_spec()),
        (brightness_file, model_spec(uncertainty=FLIP)),
        (network_file, network_card()),
        (memory_file, memory_card()),
        (window_file, window_card()),
        (steady_file, steady_card()),
    ],
)
def test_check_graph_agreeing_card_passes(tmp_path, write, card):
    check_graph(card, read_onnx_file(write(tmp_path / 'a.onnx')), 'card.file')


@pytest.mark.parametrize(
    ('card', 'sentence'),
    [
        (
            with_input(model_spec(), name='img'),
            "input.name = 'img': the graph has no such input; it has image (float32, ?x3x32x64)",
        ),
        (with_input(model_spec(), width=128), 'input.width = 128: the graph takes 64 columns'),
        (with_input(model_spec(), height=48), 'input.height = 48: the graph takes 32 rows'),
        (with_output(model_spec(), name='dept'), "output.name = 'dept': the graph has no such"),
        (
            network_card(),
            "uncertainty.name = 'log_scale': the graph has no such output; it has depth",
        ),
        (model_spec(sky=SkySpec(kind='mask', name='sky')), "sky.name = 'sky': the graph has no"),
        (window_card(), 'temporal.window = 3: needs an input (1, window, 3, height, width)'),
        (memory_card(), "temporal.states[0].input = 'memory': the graph has no such input"),
    ],
)
def test_check_graph_brightness_graph_refuses(tmp_path, card, sentence):
    assert sentence in refusal(card, brightness_file(tmp_path / 'a.onnx'))


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'image': (1, HEIGHT, WIDTH)}, "input.name = 'image': the graph takes 1 colour channels"),
        ({'image': (HEIGHT, WIDTH)}, 'temporal.window = 1: needs an input (batch, 3, height'),
        ({'image': None}, "input.name = 'image': the graph does not state the shape"),
        ({'dtype': TensorProto.FLOAT16}, "input.name = 'image': must be float32"),
        ({'batch': 2}, "input.name = 'image': batch size 2, must be 1 or free"),
        (
            {'depth': ('batch', 2, HEIGHT, WIDTH)},
            "output.name = 'depth': must be (batch, 1, ",
        ),
        ({'depth': (HEIGHT, WIDTH)}, "output.name = 'depth': must be (batch, 1, "),
    ],
)
def test_check_graph_unusable_graph_is_refused(tmp_path, changes, sentence):
    assert sentence in refusal(model_spec(), brightness_file(tmp_path / 'a.onnx', **changes))


@pytest.mark.parametrize('batch', [1, 2])
def test_check_graph_flip_with_fixed_batch_is_refused(tmp_path, batch):
    path = brightness_file(tmp_path / 'a.onnx', batch=batch)
    sentence = refusal(model_spec(uncertainty=FLIP), path)
    assert "uncertainty.kind = 'flip': runs image and mirror image as a batch of 2" in sentence
    assert f'image (float32, {batch}x3x32x64)' in sentence


def test_check_graph_fixed_batch_of_one_without_flip_passes(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx', batch=1)
    check_graph(model_spec(), read_onnx_file(path), 'card.file')


def test_check_graph_output_shape_not_stated_passes(tmp_path):
    path = brightness_file(tmp_path / 'a.onnx', depth=None)
    check_graph(model_spec(), read_onnx_file(path), 'card.file')


@pytest.mark.parametrize(
    ('state', 'sentence'),
    [
        (
            replace(STATE, shape=(1, 1, 32, 63)),
            'temporal.states[0].shape = [1, 1, 32, 63]: the graph has input memory (float32, ',
        ),
        (replace(STATE, shape=(1, 32, 64)), 'temporal.states[0].shape = [1, 32, 64]'),
        (replace(STATE, output='next'), "temporal.states[0].output = 'next': the graph has no"),
        (replace(STATE, input='image'), "temporal.states[0].input = 'image': this input is fed"),
    ],
)
def test_check_graph_wrong_state_is_refused(tmp_path, state, sentence):
    assert sentence in refusal(memory_card(state), memory_file(tmp_path / 'a.onnx'))


def test_check_graph_state_fed_twice_is_refused(tmp_path):
    card = model_spec(temporal=TemporalSpec(states=(STATE, STATE)))
    sentence = refusal(card, memory_file(tmp_path / 'a.onnx'))
    assert "temporal.states[1].input = 'memory': this input is fed twice" in sentence


def test_check_graph_state_that_is_the_depth_too_is_refused(tmp_path):
    card = memory_card(replace(STATE, output='depth'))
    sentence = refusal(card, memory_file(tmp_path / 'a.onnx'))
    assert "temporal.states[0].output = 'depth': is output.name too: give the state" in sentence


def test_check_graph_state_of_another_type_is_refused(tmp_path):
    path = memory_file(tmp_path / 'a.onnx', dtype=TensorProto.FLOAT16)
    sentence = refusal(memory_card(), path)
    assert (
        "temporal.states[0].input = 'memory': must be float32, the graph has memory (" in sentence
    )


def test_check_graph_state_of_free_size_takes_the_card(tmp_path):
    path = memory_file(tmp_path / 'a.onnx', state=['b', 1, 'h', 'w'])
    check_graph(memory_card(), read_onnx_file(path), 'card.file')
    smaller = StateSpec(input='memory', output='memory_next', shape=(1, 2, 8, 8))
    assert 'shape = [1, 2, 8, 8]' in refusal(memory_card(smaller), path)


def test_check_graph_input_that_nothing_feeds_is_refused(tmp_path):
    sentence = refusal(model_spec(), memory_file(tmp_path / 'a.onnx'))
    assert 'temporal.states: nothing feeds graph input memory (float32, 1x1x32x64)' in sentence


def test_check_graph_wrong_window_is_refused(tmp_path):
    path = window_file(tmp_path / 'a.onnx', window=4)
    assert 'temporal.window = 3: the graph takes 4 images, not 3' in refusal(window_card(), path)


@pytest.mark.parametrize(
    ('changes', 'sentence'),
    [
        ({'camera': 'K'}, "input.camera = 'K': the graph has no such input; it has image"),
        ({'camera': None}, 'nothing feeds graph input camera (float32, 1x4): it is neither'),
        ({'camera': 'logs'}, "input.camera = 'logs': must be (batch, 4): fx, fy, cx, cy; the gra"),
    ],
)
def test_check_graph_wrong_camera_is_refused(tmp_path, changes, sentence):
    card = with_input(steady_card(), **changes)
    assert sentence in refusal(card, steady_file(tmp_path / 'a.onnx'))


@pytest.mark.parametrize(
    ('shape', 'sentence'),
    [
        ((1, 3), "input.camera = 'camera': must be (batch, 4)"),
        ((4,), "input.camera = 'camera': must be (batch, 4)"),
        (None, "input.camera = 'camera': must be (batch, 4)"),
        ((2, 4), "input.camera = 'camera': batch size 2, must be 1 or free"),
    ],
)
def test_check_graph_camera_of_wrong_shape_is_refused(tmp_path, shape, sentence):
    assert sentence in refusal(steady_card(), steady_file(tmp_path / 'a.onnx', camera=shape))


def test_check_graph_camera_that_is_a_state_too_is_refused(tmp_path):
    states = (*steady_card().temporal.states, StateSpec(input='camera', output='x', shape=(1, 4)))
    card = replace(steady_card(), temporal=TemporalSpec(states=states))
    sentence = refusal(card, steady_file(tmp_path / 'a.onnx'))
    assert "temporal.states[2].input = 'camera': this input is fed twice" in sentence


def test_check_graph_state_of_unstated_shape_is_refused(tmp_path):
    sentence = refusal(memory_card(), memory_file(tmp_path / 'a.onnx', state=None))
    assert "temporal.states[0].input = 'memory': the graph does not state the shape" in sentence
