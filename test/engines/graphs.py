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
"""Small real ONNX files, run by the real libraries, and the cards that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
import json
from pathlib import Path
from test.synthetic import model_spec
from typing import Any

from depth_ros.core.model_spec import ModelSpec, StateSpec, TemporalSpec, UncertaintySpec
import numpy as np
from onnx import helper, numpy_helper, save, TensorProto

WIDTH, HEIGHT = 64, 32
STATE_SHAPE = (1, 1, HEIGHT, WIDTH)
BRIGHTNESS_GAIN = 100.0
FLIP = UncertaintySpec(kind='flip', flip_gain=1.0)
STATE = StateSpec(input='memory', output='memory_next', shape=STATE_SHAPE)
Shape = Sequence[Any] | None


def info(name: str, shape: Shape, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def weights(name: str, array: Any) -> Any:
    return numpy_helper.from_array(np.asarray(array, np.float32), name)


def save_graph(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: list[Any]
) -> Path:
    graph = helper.make_graph(nodes, 'graph', inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 13)], ir_version=8)
    save(model, path)
    return path


def brightness_file(
    path: Path,
    *,
    batch: Any = 'batch',
    image: Shape = (3, HEIGHT, WIDTH),
    depth: Shape = ('batch', 1, HEIGHT, WIDTH),
    dtype: int = TensorProto.FLOAT,
) -> Path:
    """Write a graph whose depth is 100 times the mean of the colour channels."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'gain'], ['depth']),
    ]
    np_dtype = helper.tensor_dtype_to_np_dtype(dtype)
    gain = numpy_helper.from_array(np.array(BRIGHTNESS_GAIN, np_dtype), 'gain')
    shape = None if image is None else [batch, *image]
    return save_graph(
        path, nodes, [info('image', shape, dtype)], [info('depth', depth, dtype)], [gain]
    )


def network_file(path: Path, *, gain: float = 1.0) -> Path:
    """Write two convolutions with fixed random weights: depth in 0-100 m, and a log scale."""
    random = np.random.default_rng(0)
    constants = [
        weights('w1', random.normal(0, 0.3, (8, 3, 3, 3))),
        weights('w2', gain * random.normal(0, 0.3, (2, 8, 3, 3))),
        weights('far', 100.0),
    ]
    nodes = [
        helper.make_node('Conv', ['image', 'w1'], ['a'], pads=[1, 1, 1, 1]),
        helper.make_node('Relu', ['a'], ['b']),
        helper.make_node('Conv', ['b', 'w2'], ['c'], pads=[1, 1, 1, 1]),
        helper.make_node('Split', ['c'], ['d', 'log_scale'], axis=1),
        helper.make_node('Sigmoid', ['d'], ['e']),
        helper.make_node('Mul', ['e', 'far'], ['depth']),
    ]
    out = ['batch', 1, HEIGHT, WIDTH]
    return save_graph(
        path,
        nodes,
        [info('image', ['batch', 3, HEIGHT, WIDTH])],
        [info('depth', out), info('log_scale', out)],
        constants,
    )


def memory_file(path: Path, *, state: Shape = STATE_SHAPE, dtype: int = TensorProto.FLOAT) -> Path:
    """Write a graph with memory_next = memory / 2 + mean, depth = 100 memory_next."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Cast', ['memory'], ['memory32'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['memory32', 'half'], ['old']),
        helper.make_node('Add', ['old', 'mean'], ['memory_next']),
        helper.make_node('Mul', ['memory_next', 'gain'], ['depth']),
    ]
    return save_graph(
        path,
        nodes,
        [info('image', [1, 3, HEIGHT, WIDTH]), info('memory', state, dtype)],
        [info('depth', [1, 1, HEIGHT, WIDTH]), info('memory_next', state)],
        [weights('half', 0.5), weights('gain', BRIGHTNESS_GAIN)],
    )


def steady_file(path: Path, *, state: Shape = STATE_SHAPE, camera: Shape = (1, 4)) -> Path:
    """
    Write a graph with a camera and two states of one shape, without past when they are zero.

    logs_next = logs / 2 + log(1 + 20 mean) + 0.1 ((u - cx) / fx + (v - cy) / fy),
    weights_next = weights / 2 + 1, depth = fx / 64 exp(logs_next / weights_next).
    """
    nodes = [
        helper.make_node('Split', ['camera'], ['fx', 'fy', 'cx', 'cy'], axis=1),
        *_tilt('u', 'cx', 'fx', 'x'),
        *_tilt('v', 'cy', 'fy', 'y'),
        helper.make_node('Add', ['x', 'y'], ['xy']),
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1], keepdims=1),
        helper.make_node('Mul', ['mean', 'gain'], ['metres']),
        helper.make_node('Add', ['metres', 'one'], ['farther']),
        helper.make_node('Log', ['farther'], ['log']),
        helper.make_node('Mul', ['xy', 'tenth'], ['tilt']),
        helper.make_node('Add', ['log', 'tilt'], ['new']),
        helper.make_node('Mul', ['logs', 'half'], ['old']),
        helper.make_node('Add', ['old', 'new'], ['logs_next']),
        helper.make_node('Mul', ['weights', 'half'], ['old_weights']),
        helper.make_node('Add', ['old_weights', 'one'], ['weights_next']),
        helper.make_node('Div', ['logs_next', 'weights_next'], ['steady']),
        helper.make_node('Exp', ['steady'], ['unscaled']),
        helper.make_node('Div', ['fx', 'width'], ['scale']),
        helper.make_node('Mul', ['unscaled', 'scale'], ['depth']),
    ]
    states = ('logs', 'weights')
    return save_graph(
        path,
        nodes,
        [
            info('image', [1, 3, HEIGHT, WIDTH]),
            info('camera', camera),
            *(info(name, state) for name in states),
        ],
        [
            info('depth', [1, 1, HEIGHT, WIDTH]),
            *(info(f'{name}_next', state) for name in states),
        ],
        [
            weights('gain', 20.0),
            weights('one', 1.0),
            weights('tenth', 0.1),
            weights('half', 0.5),
            weights('width', WIDTH),
            weights('u', np.arange(WIDTH).reshape(1, 1, 1, WIDTH)),
            weights('v', np.arange(HEIGHT).reshape(1, 1, HEIGHT, 1)),
        ],
    )


def with_layer(path: Path) -> Path:
    """Put a convolution that changes nothing behind the image of a graph."""
    import onnx

    model = onnx.load(path)
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = 'layer' if name == 'image' else name
    layer = helper.make_node('Conv', ['image', 'same'], ['layer'])
    model.graph.node.insert(0, layer)
    model.graph.initializer.append(weights('same', np.eye(3)[:, :, None, None]))
    save(model, path)
    return path


def _tilt(pixels: str, centre: str, focal: str, out: str) -> list[Any]:
    return [
        helper.make_node('Sub', [pixels, centre], [f'{out}_offset']),
        helper.make_node('Div', [f'{out}_offset', focal], [out]),
    ]


def steady_card(**temporal: Any) -> ModelSpec:
    """Return the card of ``steady_file``."""
    states = tuple(
        StateSpec(input=name, output=f'{name}_next', shape=STATE_SHAPE)
        for name in ('logs', 'weights')
    )
    card = model_spec(temporal=TemporalSpec(states=states, **temporal))
    return with_input(card, camera='camera')


def steady_depths(images: Sequence[Any], camera: Any) -> list[Any]:
    """Return what ``steady_file`` gives for a stream, by its formula in float64."""
    u, v = np.arange(WIDTH), np.arange(HEIGHT)[:, None]
    tilt = 0.1 * ((u - camera.cx) / camera.fx + (v - camera.cy) / camera.fy)
    logs = weights = 0.0
    depths = []
    for image in images:
        mean = np.asarray(image, np.float64).mean(axis=1, keepdims=True)
        logs = logs / 2 + np.log(1 + 20 * mean) + tilt
        weights = weights / 2 + 1
        depths.append(camera.fx / WIDTH * np.exp(logs / weights))
    return depths


def window_file(path: Path, *, window: int = 3) -> Path:
    """Write a graph whose depth is 100 times the mean over images and colours."""
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], axes=[1, 2], keepdims=0),
        helper.make_node('Mul', ['mean', 'gain'], ['depth']),
    ]
    return save_graph(
        path,
        nodes,
        [info('image', [1, window, 3, HEIGHT, WIDTH])],
        [info('depth', [1, HEIGHT, WIDTH])],
        [weights('gain', BRIGHTNESS_GAIN)],
    )


def network_card(**changes: Any) -> ModelSpec:
    uncertainty = UncertaintySpec(kind='log_laplace_scale', name='log_scale')
    return model_spec(uncertainty=uncertainty, **changes)


def memory_card(state: StateSpec = STATE) -> ModelSpec:
    return model_spec(temporal=TemporalSpec(states=(state,)))


def window_card(window: int = 3) -> ModelSpec:
    return model_spec(temporal=TemporalSpec(window=window))


def with_input(card: ModelSpec, **changes: Any) -> ModelSpec:
    return replace(card, input=replace(card.input, **changes))


def with_output(card: ModelSpec, **changes: Any) -> ModelSpec:
    return replace(card, output=replace(card.output, **changes))


def put_metadata(path: Path, data: Any) -> Path:
    """Put any card, also a wrong one, into a file, by the onnx package."""
    import onnx

    model = onnx.load(path)
    text = data if isinstance(data, str) else json.dumps(data)
    helper.set_model_props(model, {'depth_ros': text})
    save(model, path)
    return path


def image_tensor(batch: int = 1, seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    return random.random((batch, 3, HEIGHT, WIDTH), dtype=np.float32)
