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
"""The pictures that every engine sees first, and what their outputs must be."""

from dataclasses import replace
from test.engines.graphs import (
    FLIP,
    HEIGHT,
    info,
    memory_card,
    memory_file,
    save_graph,
    STATE,
    STATE_SHAPE,
    WIDTH,
    window_card,
    with_input,
    with_output,
)
from test.synthetic import brightness_engine, constant_engine, FunctionEngine, model_spec

from depth_ros.core.model_spec import SkySpec, TemporalSpec
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import write_card
from depth_ros.engines.probe import draw_street, probe_images, run_sequence
from depth_ros.errors import ModelError
import numpy as np
from onnx import helper, TensorProto
import pytest


def test_draw_street_is_always_the_same_picture():
    picture = draw_street(64, 32)
    assert (picture.shape, picture.dtype) == ((32, 64, 3), np.uint8)
    np.testing.assert_array_equal(picture, draw_street(64, 32))


def test_draw_street_has_contrast_at_every_scale():
    picture = draw_street(640, 192).astype(np.float32)
    assert picture.std() > 40
    for step in (1, 8, 64):
        assert np.abs(picture[:, step:] - picture[:, :-step]).mean() > 5


def test_draw_street_shift_moves_left():
    np.testing.assert_array_equal(draw_street(64, 32, 4)[:, :60], draw_street(64, 32)[:, 4:])


@pytest.mark.parametrize('size', [(1, 1), (14, 2), (2, 14)])
def test_draw_street_tiny_sizes_work(size):
    assert draw_street(*size).shape == (size[1], size[0], 3)


def test_probe_images_plain_card_is_one_image():
    (image,) = probe_images(model_spec())
    assert (image.shape, image.dtype) == ((1, 3, 32, 64), np.float32)
    np.testing.assert_allclose(image[0, 0], draw_street(64, 32)[:, :, 0] / 255, atol=1e-6)


def test_probe_images_flip_card_is_one_and_a_mirrored_pair():
    alone, pair = probe_images(model_spec(uncertainty=FLIP))
    assert (alone.shape, pair.shape) == ((1, 3, 32, 64), (2, 3, 32, 64))
    np.testing.assert_array_equal(pair[0], alone[0])
    np.testing.assert_array_equal(pair[1], alone[0, :, :, ::-1])


def test_probe_images_states_are_three_different_images():
    images = probe_images(memory_card())
    assert len(images) == 3
    assert not np.array_equal(images[0], images[1])


def test_probe_images_window_is_one_stack_oldest_first():
    (images,) = probe_images(window_card(3))
    assert images.shape == (1, 3, 3, 32, 64)
    np.testing.assert_array_equal(images[0, 1, :, :, :60], images[0, 0, :, :, 4:])


def test_run_sequence_feeds_states_back_from_zero():
    def step(inputs):
        following = inputs['memory'] + 1
        return {'depth': following, 'memory_next': following}

    engine = FunctionEngine(step)
    outputs = run_sequence(engine, memory_card(), probe_images(memory_card()))
    assert [float(output['depth'].max()) for output in outputs] == [1, 2, 3]
    assert engine.calls[0]['memory'].max() == 0


def test_run_sequence_outputs_are_copies():
    buffer = np.zeros((1, 1, 32, 64), np.float32)

    def overwrite(inputs):
        buffer[:] += 1
        return {'depth': buffer, 'memory_next': buffer}

    outputs = run_sequence(FunctionEngine(overwrite), memory_card(), probe_images(memory_card()))
    assert [float(output['depth'].max()) for output in outputs] == [1, 2, 3]


def refusal(engine, card):
    with pytest.raises(ModelError) as caught:
        run_sequence(engine, card, probe_images(card))
    return str(caught.value)


@pytest.mark.parametrize('shape', [(1, 2, 32, 64), (2, 32, 64), (32, 64), (1, 1, 1, 32, 64)])
def test_run_sequence_output_of_wrong_shape_is_refused(shape):
    sentence = refusal(constant_engine(depth=np.ones(shape)), model_spec())
    assert f"output.name = 'depth': a batch of 1 gave shape {shape}" in sentence


def test_run_sequence_mask_on_another_grid_is_refused():
    card = replace(model_spec(), sky=SkySpec(kind='mask', name='sky'))
    engine = constant_engine(depth=np.ones((1, 1, 8, 16)), sky=np.ones((1, 1, 4, 8)))
    assert "sky.name = 'sky': a batch of 1 gave shape (1, 1, 4, 8)" in refusal(engine, card)


def test_run_sequence_batch_of_two_that_gives_one_is_refused():
    sentence = refusal(constant_engine(depth=np.ones((1, 8, 16))), model_spec(uncertainty=FLIP))
    assert 'a batch of 2 gave shape (1, 8, 16)' in sentence


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_run_sequence_nothing_finite_is_refused(value):
    sentence = refusal(constant_engine(depth=np.full((1, 8, 16), value)), model_spec())
    assert "output.name = 'depth': not one finite value on a test picture" in sentence


def test_run_sequence_state_of_wrong_shape_is_refused():
    engine = constant_engine(depth=np.ones(STATE_SHAPE), memory_next=np.ones((1, 1, 2, 2)))
    card = model_spec(temporal=TemporalSpec(states=(STATE,)))
    assert "temporal.states[0].shape = [1, 1, 32, 64]: output 'memory_next' gave [1, 1, 2, 2]" in (
        refusal(engine, card)
    )


def test_run_sequence_brightness_follows_the_picture():
    (image,) = probe_images(model_spec())
    (outputs,) = run_sequence(brightness_engine(), model_spec(), [image])
    np.testing.assert_allclose(outputs['depth'][0, 0], 100 * image[0].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize(('warmup', 'count'), [(0, 3), (1, 3), (2, 4), (99, 8)])
def test_probe_images_of_a_memory_fill_it_and_go_on(warmup, count):
    temporal = replace(memory_card().temporal, warmup_frames=warmup)
    assert len(probe_images(replace(memory_card(), temporal=temporal))) == count


def test_run_sequence_camera_is_one_that_suits_the_card():
    engine = brightness_engine()
    card = with_input(model_spec(), camera='K')
    run_sequence(engine, card, probe_images(card))
    np.testing.assert_allclose(engine.calls[0]['K'], [[38.4, 38.4, 31.5, 15.5]], rtol=1e-6)
    card = with_output(card, focal_px=50.0)
    run_sequence(engine, card, probe_images(card))
    np.testing.assert_allclose(engine.calls[1]['K'], [[50.0, 50.0, 31.5, 15.5]])


def test_run_sequence_states_that_do_not_run_are_told_with_the_shapes_of_the_card(tmp_path):
    # The graph leaves its sizes free, so that only a run can tell.
    path = memory_file(tmp_path / 'a.onnx', state=['a', 'b', 'c', 'd'])
    card = memory_card(replace(STATE, shape=(1, 1, 7, 5)))
    write_card(path, card)
    with pytest.raises(ModelError) as caught:
        load_model(str(path), engine='onnxruntime')
    sentence = str(caught.value)
    assert sentence.startswith(f'{path}: onnxruntime failed to run')
    assert "temporal.states has 'memory' [1, 1, 7, 5]: do these shapes fit the graph?" in sentence


def test_run_sequence_state_that_comes_back_smaller_is_told_with_both_shapes(tmp_path):
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['depth'], axes=[1], keepdims=1),
        helper.make_node('Slice', ['memory', 'zero', 'one', 'axis'], ['memory_next']),
    ]
    path = save_graph(
        tmp_path / 'a.onnx',
        nodes,
        [info('image', [1, 3, HEIGHT, WIDTH]), info('memory', ['a', 'b'])],
        [info('depth', [1, 1, HEIGHT, WIDTH]), info('memory_next', None)],
        [
            helper.make_tensor(name, TensorProto.INT64, [1], [value])
            for name, value in (('zero', 0), ('one', 1), ('axis', 1))
        ],
    )
    write_card(path, memory_card(replace(STATE, shape=(1, 4))))
    with pytest.raises(ModelError) as caught:
        load_model(str(path), engine='onnxruntime')
    assert str(caught.value) == (
        f"{path}: temporal.states[0].shape = [1, 4]: output 'memory_next' gave [1, 1]"
    )
