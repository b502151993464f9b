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
The first inferences of a model: on pictures that are always the same.

They warm the engine up, show that the outputs have the shapes that the card promises, and give
the numbers by which two engines are compared. The pictures are drawn, because no real ones are
installed on a robot; they have what a street has: a bright sky, a textured road in perspective,
boxes with edges, and detail at every scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
from depth_ros.core.datatypes import ImageU8
from depth_ros.core.engine_api import Engine
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import image_inputs, Preprocessor, usual_camera
from depth_ros.engines.graph_check import named_outputs
from depth_ros.errors import DeviceError, ModelError
import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]

SEED = 5
# The second frame shows that states come back, the third that they come back to the right input.
FRAMES_WITH_MEMORY = 3
# Each costs an inference at the start.
MAX_FRAMES_WITH_MEMORY = 8
SHIFT_PX = 4
HORIZON = 0.45
BOX_COUNT = 12
OCTAVES = 6
SKY_BGR = (235.0, 206.0, 170.0)
ROAD_BGR = (96.0, 98.0, 100.0)
NOISE_GAIN = 60.0


def draw_street(width: int, height: int, shift_px: int = 0) -> NDArray[np.uint8]:
    """Return a bgr picture, the same for the same arguments; ``shift_px`` moves it left."""
    random = np.random.default_rng(SEED)
    horizon = int(height * HORIZON)
    image_HW3 = np.empty((height, width, 3), np.float32)
    image_HW3[:horizon] = SKY_BGR
    brightness = np.linspace(0.6, 1.2, height - horizon, dtype=np.float32)
    image_HW3[horizon:] = brightness[:, None, None] * np.array(ROAD_BGR, np.float32)
    for _ in range(BOX_COUNT):
        # Nearer boxes are lower, larger and drawn over farther ones.
        size = int(random.uniform(0.05, 0.35) * height)
        left = int(random.uniform(-0.1, 1.0) * width)
        foot = min(height, horizon + size)
        color = random.uniform(20, 220, 3).tolist()
        cv2.rectangle(image_HW3, (left, foot - 2 * size), (left + size, foot), color, cv2.FILLED)
    image_HW3 += NOISE_GAIN * _pink_noise(random, width, height)[:, :, None]
    return np.roll(np.clip(image_HW3, 0, 255).astype(np.uint8), -shift_px, axis=1)


def _pink_noise(random: np.random.Generator, width: int, height: int) -> NDArray[np.float32]:
    noise_HW = np.zeros((height, width), np.float32)
    for octave in range(OCTAVES):
        shape = (max(1, height >> octave), max(1, width >> octave))
        layer = random.standard_normal(shape).astype(np.float32)
        noise_HW += cv2.resize(layer, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(noise_HW / OCTAVES, np.float32)


def probe_images(card: ModelSpec) -> list[NDArray[np.float32]]:
    """
    Return the image tensors of the inferences that a card asks for.

    One alone; with flip uncertainty then one with its mirror image; with a memory a stream that
    moves, until the states are full and beyond.
    """
    window = card.temporal.window
    count = window - 1 + (_stream_length(card) if card.temporal.states else 1)
    pictures = [
        draw_street(card.input.width, card.input.height, SHIFT_PX * i) for i in range(count)
    ]
    return image_tensors(card, pictures)


def _stream_length(card: ModelSpec) -> int:
    beyond_full = card.temporal.warmup_frames + 2
    return min(max(FRAMES_WITH_MEMORY, beyond_full), MAX_FRAMES_WITH_MEMORY)


def image_tensors(card: ModelSpec, pictures: Sequence[ImageU8]) -> list[NDArray[np.float32]]:
    """
    Return bgr pictures, in order of time, as the graph takes them.

    With flip uncertainty the first one comes once more, with its mirror image. Of fewer pictures
    than the window holds the oldest is repeated.
    """
    preprocess = Preprocessor(card.input, mirrored=card.uncertainty.kind == 'flip')
    window = card.temporal.window
    images = [preprocess(picture)[0].copy() for picture in pictures]
    if window > 1:
        images = images[:1] * (window - len(images)) + images
        starts = range(len(images) - window + 1)
        images = [np.concatenate(images[slice(i, i + window)])[np.newaxis] for i in starts]
    if card.uncertainty.kind == 'flip':
        images.append(preprocess(pictures[0], with_mirror=True)[0].copy())
    return images


def no_past(card: ModelSpec) -> dict[str, Any]:
    """Return the state inputs of a first frame."""
    return {state.input: np.zeros(state.shape, np.float32) for state in card.temporal.states}


def run_sequence(
    engine: Engine, card: ModelSpec, images: Sequence[NDArray[np.float32]]
) -> list[Outputs]:
    """
    Run image after image, each with the states of the one before; the outputs are copies.

    :raises ModelError: an output does not have the shape that the card promises, or holds
        nothing finite; or the graph does not run with the states of the card.
    """
    camera, states = usual_camera(card), no_past(card)
    results: list[Outputs] = []
    for image in images:
        raw = _infer(engine, card, {**image_inputs(card.input, image, camera), **states})
        outputs = {name: np.array(array) for name, array in raw.items()}
        _check_outputs(card, outputs, batch=image.shape[0])
        # A state that stays on a device goes back as it is, as in use.
        kept = {**raw, **{n: a for n, a in outputs.items() if isinstance(raw[n], np.ndarray)}}
        states = {s.input: kept[s.output] for s in card.temporal.states}
        results.append(outputs)
    return results


def _infer(engine: Engine, card: ModelSpec, inputs: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return engine.infer(inputs)
    except DeviceError as error:
        if not card.temporal.states:
            raise
        # A graph with free sizes says at run time only what does not fit.
        shapes = ', '.join(f"'{s.input}' {list(s.shape)}" for s in card.temporal.states)
        raise type(error)(
            f'{error}; temporal.states has {shapes}: do these shapes fit the graph?'
        ) from error


def _check_outputs(card: ModelSpec, outputs: Outputs, batch: int) -> None:
    grid = outputs[card.output.name].shape[-2:]
    for key, name in named_outputs(card):
        array = outputs[name]
        if array.shape not in ((batch, *grid), (batch, 1, *grid)):
            raise ModelError(
                f"{key} = '{name}': a batch of {batch} gave shape {array.shape}: must be "
                '(batch, 1, h, w) or (batch, h, w), with the h and w of output.name'
            )
        if not np.isfinite(array).any():
            raise ModelError(
                f"{key} = '{name}': not one finite value on a test picture: the weights are "
                'damaged, or the precision is too low for them'
            )
    for index, state in enumerate(card.temporal.states):
        shape = outputs[state.output].shape
        if shape != state.shape:
            raise ModelError(
                f'temporal.states[{index}].shape = {list(state.shape)}: output '
                f"'{state.output}' gave {list(shape)}"
            )
