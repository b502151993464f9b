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
Does the card say what the graph is? Names, types and shapes, before anything runs.

Shapes are those of ``depth_ros.core.model_spec``: image (batch, 3, height, width), or
(1, window, 3, height, width) for a window above 1; camera (batch, 4); depth, uncertainty and sky
mask (batch, 1, h, w) or (batch, h, w).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.onnx_file import GraphTensor, OnnxFile
from depth_ros.errors import ModelError

DTYPE = 'float32'
COLORS = 3
# fx, fy, cx, cy.
CAMERA_NUMBERS = 4
OUTPUT_RANKS = (3, 4)
FLIP_BATCH = 2


def check_graph(card: ModelSpec, file: OnnxFile, where: str) -> None:
    """
    Compare a card with the graph that it describes.

    :param where: the file that holds the card, for messages.
    :raises ModelError: the first disagreement, with key, value and file.
    """
    for problem in _problems(card, file):
        raise ModelError(f'{where}: {problem}')


def _problems(card: ModelSpec, file: OnnxFile) -> Iterator[str]:
    yield from _image_problems(card, file.inputs)
    yield from _camera_problems(card, file.inputs)
    for key, name in named_outputs(card):
        yield from _output_problems(key, name, file.outputs)
    yield from _state_problems(card, file)
    yield from _input_coverage_problems(card, file.inputs)


def named_outputs(card: ModelSpec) -> list[tuple[str, str]]:
    """Return (key, graph output) for each image-like output that the card names."""
    pairs = (
        ('output.name', card.output.name),
        ('uncertainty.name', card.uncertainty.name),
        ('sky.name', card.sky.name),
    )
    return [(key, name) for key, name in pairs if name is not None]


def _image_problems(card: ModelSpec, inputs: Sequence[GraphTensor]) -> Iterator[str]:
    key, name = 'input.name', card.input.name
    tensor = _find(inputs, name)
    if tensor is None:
        yield _no_such('input', key, name, inputs)
        return
    yield from _dtype_problems(key, tensor)
    if tensor.shape is None:
        yield f"{key} = '{name}': the graph does not state the shape of this input"
        return
    yield from _image_shape_problems(card, tensor, tensor.shape)


def _image_shape_problems(
    card: ModelSpec, tensor: GraphTensor, shape: tuple[int | None, ...]
) -> Iterator[str]:
    window = card.temporal.window
    axes: list[tuple[str, object, int, str]] = [
        ('input.name', tensor.name, COLORS, 'colour channels'),
        ('input.height', card.input.height, card.input.height, 'rows'),
        ('input.width', card.input.width, card.input.width, 'columns'),
    ]
    if window > 1:
        axes.insert(0, ('temporal.window', window, window, 'images'))
    if len(shape) != len(axes) + 1:
        layout = '(1, window, 3, height, width)' if window > 1 else '(batch, 3, height, width)'
        yield f'temporal.window = {window}: needs an input {layout}, the graph has {tensor}'
        return
    for (key, value, wanted, unit), size in zip(axes, shape[1:], strict=True):
        if size not in (None, wanted):
            yield f'{key} = {value!r}: the graph takes {size} {unit}, not {wanted}: {tensor}'
    yield from _batch_problems('input.name', card, tensor, shape[0])


def _camera_problems(card: ModelSpec, inputs: Sequence[GraphTensor]) -> Iterator[str]:
    key, name = 'input.camera', card.input.camera
    if name is None:
        return
    tensor = _find(inputs, name)
    if tensor is None:
        yield _no_such('input', key, name, inputs)
        return
    yield from _dtype_problems(key, tensor)
    shape = tensor.shape
    if shape is None or len(shape) != 2 or shape[1] not in (None, CAMERA_NUMBERS):
        yield f"{key} = '{name}': must be (batch, 4): fx, fy, cx, cy; the graph has {tensor}"
        return
    yield from _batch_problems(key, card, tensor, shape[0])


def _batch_problems(
    key: str, card: ModelSpec, tensor: GraphTensor, batch: int | None
) -> Iterator[str]:
    if card.uncertainty.kind == 'flip' and batch is not None:
        yield (
            f"uncertainty.kind = 'flip': runs image and mirror image as a batch of {FLIP_BATCH}, "
            f'and alone as 1, but the batch size of {tensor} is fixed: export it with a free one'
        )
    elif batch not in (None, 1):
        yield f"{key} = '{tensor.name}': batch size {batch}, must be 1 or free: {tensor}"


def _output_problems(key: str, name: str, outputs: Sequence[GraphTensor]) -> Iterator[str]:
    tensor = _find(outputs, name)
    if tensor is None:
        yield _no_such('output', key, name, outputs)
        return
    yield from _dtype_problems(key, tensor)
    shape = tensor.shape
    if shape is None:
        return
    if len(shape) not in OUTPUT_RANKS or (len(shape) == 4 and shape[1] not in (None, 1)):
        yield f'{key} = {name!r}: must be (batch, 1, h, w) or (batch, h, w), but is {tensor}'


def _state_problems(card: ModelSpec, file: OnnxFile) -> Iterator[str]:
    seen = {card.input.name, card.input.camera}
    looked_at = {name: key for key, name in named_outputs(card)}
    for index, state in enumerate(card.temporal.states):
        key = f'temporal.states[{index}]'
        if state.input in seen:
            yield f"{key}.input = '{state.input}': this input is fed twice"
        seen.add(state.input)
        if state.output in looked_at:
            # Engines leave states on their device, where nobody looks at them.
            yield (
                f"{key}.output = '{state.output}': is {looked_at[state.output]} too: give the "
                'state an output of its own (an Identity node)'
            )
        sides = (
            ('input', state.input, file.inputs),
            ('output', state.output, file.outputs),
        )
        for side, name, tensors in sides:
            tensor = _find(tensors, name)
            if tensor is None:
                yield _no_such(side, f'{key}.{side}', name, tensors)
                continue
            yield from _dtype_problems(f'{key}.{side}', tensor)
            if side == 'input' and tensor.shape is None:
                yield f"{key}.input = '{name}': the graph does not state the shape of this input"
            if not _fits(state.shape, tensor.shape):
                yield f'{key}.shape = {list(state.shape)}: the graph has {side} {tensor}'


def _input_coverage_problems(card: ModelSpec, inputs: Sequence[GraphTensor]) -> Iterator[str]:
    states = (state.input for state in card.temporal.states)
    fed = {card.input.name, card.input.camera, *states}
    for tensor in inputs:
        if tensor.name not in fed:
            yield (
                f'temporal.states: nothing feeds graph input {tensor}: it is neither input.name '
                'nor input.camera nor the input of a state'
            )


def _find(tensors: Sequence[GraphTensor], name: str) -> GraphTensor | None:
    return next((tensor for tensor in tensors if tensor.name == name), None)


def _no_such(side: str, key: str, name: str, tensors: Sequence[GraphTensor]) -> str:
    present = ', '.join(map(str, tensors)) or 'none'
    return f'{key} = {name!r}: the graph has no such {side}; it has {present}'


def _dtype_problems(key: str, tensor: GraphTensor) -> Iterator[str]:
    if tensor.dtype != DTYPE:
        yield f'{key} = {tensor.name!r}: must be {DTYPE}, the graph has {tensor}'


def _fits(wanted: tuple[int, ...], stated: tuple[int | None, ...] | None) -> bool:
    if stated is None:
        return True
    pairs = zip(wanted, stated, strict=False)
    return len(wanted) == len(stated) and all(free in (None, size) for size, free in pairs)
