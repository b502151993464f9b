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
Trained network to model file: python -m training.export --checkpoint RUN/best.ckpt --out M ...

The file holds the fused network and the model card; its batch size is free, unless it remembers.
It is written only after ONNX Runtime has given what torch gives on the pictures of
``depth_ros.engines.probe`` and on every picture of ``--images``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
import sys
import tempfile
import warnings

import cv2
from depth_ros.core.model_spec import ModelSpec
from depth_ros.core.preprocess import Preprocessor
from depth_ros.engines.factory import load_model
from depth_ros.engines.graph_check import named_outputs
from depth_ros.engines.model_card import read_yaml_card, write_card
from depth_ros.engines.parity import compare_tensors
from depth_ros.engines.probe import probe_images, run_sequence
from depth_ros.errors import ConfigError, DepthRosError, ModelError
import numpy as np
from numpy.typing import NDArray
import onnx
import torch
from torch import nn
from training.deployed_sequence import answers, graph_inputs, Pace
from training.deployment import (
    checked_card,
    Deployment,
    FLIP,
    LEARNED,
    NONE,
    read_deployment,
)
from training.models.layers import fused_for_inference
from training.published import NETWORKS

# The oldest that has LayerNormalization as one operator; ONNX Runtime 1.12, OpenVINO 2022.1 and
# TensorRT 8.6 take it.
OPSET = 17
# Both add in float32, in another order.
MAX_RELATIVE = 1e-4
EXIT_ERROR = 1
REFERENCE = 'onnxruntime'
FIRST_REVISION = '1'
# What only the author of a model can say of it; a card that is given says it all.
WORDS = ('licence', 'training_data', 'revision')

Images = NDArray[np.float32]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        _check_options(arguments)
        run = _export_checkpoint if arguments.network is None else _export_weights
        worst, count = run(arguments)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(f'{arguments.out}: written; differs from torch by {worst:.1e} on {count} inputs')
    return 0


def _check_options(arguments: argparse.Namespace) -> None:
    """Refuse what would be ignored, and ask for what is missing."""
    if arguments.network is not None and arguments.card is None:
        raise ConfigError('--network needs --card: weights do not say what they hold for')
    words = ('licence', 'training_data')
    if arguments.card is None and any(getattr(arguments, word) is None for word in words):
        raise ConfigError('give --licence and --training-data, or --card: a model states these')
    unused = [] if arguments.card is None else [*WORDS, 'name', 'interval_ms', 'max_gap_ms']
    unused += [] if arguments.network is None else ['uncertainty']
    for option in unused:
        value = getattr(arguments, option)
        if value is not None:
            raise ConfigError(
                f'--{option.replace("_", "-")} {value}: the card states it; leave the option out'
            )


def _export_weights(arguments: argparse.Namespace) -> tuple[float, int]:
    """Export a network that was trained elsewhere: all that is known of it is its card."""
    card = read_yaml_card(arguments.card)
    network = NETWORKS[arguments.network](arguments.checkpoint, card)
    return export(network, card, arguments.out, read_pictures(arguments.images, card))


def _export_checkpoint(arguments: argparse.Namespace) -> tuple[float, int]:
    deployment = read_deployment(arguments.checkpoint)
    if arguments.name is not None:
        deployment = replace(deployment, name=arguments.name)
    uncertainty = arguments.uncertainty or (LEARNED if deployment.has_sigma else NONE)
    card = _card(deployment, uncertainty, arguments)
    return export(
        deployment.exported(uncertainty),
        card,
        arguments.out,
        read_pictures(arguments.images, card),
        reference=deployment.reference(uncertainty),
    )


def _card(deployment: Deployment, uncertainty: str, arguments: argparse.Namespace) -> ModelSpec:
    given = None if arguments.card is None else read_yaml_card(arguments.card)
    words = {word: getattr(given or arguments, word) for word in WORDS}
    words['revision'] = words['revision'] or FIRST_REVISION
    pace = Pace(interval_ms=arguments.interval_ms, max_gap_ms=arguments.max_gap_ms)
    derived = deployment.card(uncertainty=uncertainty, pace=pace, **words)
    return derived if given is None else checked_card(given, derived, str(arguments.card))


def export(
    network: nn.Module,
    card: ModelSpec,
    path: Path,
    pictures: Iterable[Images] = (),
    *,
    reference: nn.Module | None = None,
) -> tuple[float, int]:
    """
    Write the model file, whole or not at all.

    :param network: from the tensors that the card's input states, with camera and states, to
        ``named_outputs`` and the next states, in order.
    :param pictures: further inputs, (batch, 3, height, width), to compare torch and ONNX on.
        With a memory they go on with the stream of the probes, and must have a batch of 1.
    :param reference: what the file is compared with; None: the network before its fusion.
    :returns: the largest relative difference to torch, and on how many inputs.
    :raises ModelError: the card contradicts the network, or ONNX Runtime differs from torch.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent)
    except OSError as error:
        raise ModelError(f'{path}: cannot be written: {error.strerror}') from error
    with folder as name:
        draft = Path(name) / path.name
        write_graph(fused_for_inference(network), card, draft)
        write_card(draft, card)
        result = check_parity(reference or network, draft, [*probe_images(card), *pictures])
        draft.replace(path)
    return result


def write_graph(network: nn.Module, card: ModelSpec, path: Path) -> None:
    """
    Write the ONNX graph alone: batch size free unless there are states, other sizes fixed.

    :raises ModelError: the network does not take images of the card's size.
    """
    states = card.temporal.states
    batch = 1 if states else 2
    image = np.zeros((batch, 3, card.input.height, card.input.width), np.float32)
    inputs = graph_inputs(card, image)
    outputs = [name for _, name in named_outputs(card)] + [state.output for state in states]
    free = () if states else (*inputs, *outputs)
    with warnings.catch_warnings():
        # Tracing fixes the sizes on purpose, and the exporter without onnxscript is old.
        warnings.simplefilter('ignore')
        try:
            torch.onnx.export(
                network.eval(),
                tuple(map(torch.from_numpy, inputs.values())),
                str(path),
                input_names=list(inputs),
                output_names=outputs,
                dynamic_axes={name: {0: 'batch'} for name in free},
                opset_version=OPSET,
                dynamo=False,
            )
        except ValueError as error:
            raise ModelError(f'input.width, input.height: {error}') from error
    # The exporter loses sizes behind a Pad; engines want to know those of the outputs.
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def check_parity(reference: nn.Module, path: Path, inputs: Sequence[Images]) -> tuple[float, int]:
    """
    Compare every output of the model file with what torch gives, each with its own states.

    A logarithm is compared by what it is the logarithm of: near zero it has no relative error.

    :returns: the largest relative difference, and on how many inputs.
    :raises ModelError: the difference is larger than ``MAX_RELATIVE``.
    """
    worst: dict[str, float] = {}
    reference.eval()
    with load_model(str(path), engine=REFERENCE) as loaded, torch.inference_mode():
        card = loaded.card
        names = [name for _, name in named_outputs(card)]
        results = run_sequence(loaded.engine, card, inputs)
        for got, wanted in zip(results, answers(reference, card, inputs), strict=True):
            for name, array in zip(names, wanted, strict=True):
                values = [array, got[name]]
                if name == card.uncertainty.name:
                    values = [np.exp(value) for value in values]
                relative = compare_tensors(name, *values).max_relative
                worst[name] = max(worst.get(name, 0.0), relative)
    for name, value in worst.items():
        if not value <= MAX_RELATIVE:
            raise ModelError(
                f"output '{name}' of {REFERENCE} differs from torch by {value:.1e}: must be at "
                f'most {MAX_RELATIVE:.0e}; nothing was written'
            )
    return max(worst.values()), len(inputs)


def read_pictures(paths: Iterable[Path], card: ModelSpec) -> Iterator[Images]:
    """
    Yield each picture as an input of the network, with its mirror image if the batch is free.

    :raises ModelError: a file is no picture.
    """
    mirrored = not card.temporal.states
    preprocess = Preprocessor(card.input, mirrored=mirrored)
    for path in paths:
        image_HW3 = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image_HW3 is None:
            raise ModelError(f"'{path}' cannot be read as a picture: give PNG or JPEG files")
        tensor, _ = preprocess(np.asarray(image_HW3, np.uint8), with_mirror=mirrored)
        yield tensor.copy()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='training.export', description=__doc__)
    parser.add_argument('--checkpoint', type=Path, required=True, help='of training.train')
    parser.add_argument('--out', type=Path, required=True, help='model file to write, .onnx')
    parser.add_argument(
        '--uncertainty',
        choices=(LEARNED, FLIP, NONE),
        help='learned (default where the recipe trains one): the log-sigma head; flip: depth '
        'alone, by two inferences; none',
    )
    parser.add_argument(
        '--network',
        choices=sorted(NETWORKS),
        help='--checkpoint is a published file of weights of this network; needs --card',
    )
    card = parser.add_argument_group('model card')
    card.add_argument('--card', type=Path, help='YAML; must agree with the checkpoint')
    card.add_argument('--name', help='default: the name in the configuration of the training')
    card.add_argument('--licence', help='of the weights')
    card.add_argument('--training-data', help='what the network has seen, in words')
    card.add_argument('--revision', help=f'default: {FIRST_REVISION}')
    card.add_argument(
        '--interval-ms', type=float, help='between frames, of a network with a memory'
    )
    card.add_argument(
        '--max-gap-ms', type=float, help='after which a network with a memory begins anew'
    )
    parser.add_argument(
        '--images', type=Path, nargs='*', default=[], help='pictures to compare with torch on'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
