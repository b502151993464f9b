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
Trained network to model file: python -m training.export --checkpoint W --card C --out M.

The file holds the fused network with a free batch size and the model card. It is written only
after ONNX Runtime has given what torch gives on the pictures of ``depth_ros.engines.probe`` and
on every picture of ``--images``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
import sys
import tempfile
import warnings

import cv2
from depth_ros.core.model_spec import InputSpec, ModelSpec
from depth_ros.core.preprocess import Preprocessor
from depth_ros.engines.factory import load_model
from depth_ros.engines.model_card import read_yaml_card, write_card
from depth_ros.engines.parity import compare_tensors
from depth_ros.engines.probe import probe_images
from depth_ros.errors import DepthRosError, ModelError
import numpy as np
from numpy.typing import NDArray
import onnx
import torch
from torch import nn
from training.models.layers import fused_for_inference
from training.models.meter import load_meter_xxs

# The oldest that has LayerNormalization as one operator; ONNX Runtime 1.12, OpenVINO 2022.1 and
# TensorRT 8.6 take it.
OPSET = 17
# Both add in float32, in another order.
MAX_RELATIVE = 1e-4
EXIT_ERROR = 1
REFERENCE = 'onnxruntime'

Images = NDArray[np.float32]

# Name -> reads the weights file and returns the network in evaluation mode.
NETWORKS: dict[str, Callable[[Path], nn.Module]] = {'meter_xxs': load_meter_xxs}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        network = NETWORKS[arguments.network](arguments.checkpoint)
        card = read_yaml_card(arguments.card)
        pictures = read_pictures(arguments.images, card.input)
        worst, count = export(network, card, arguments.out, pictures)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(f'{arguments.out}: written; differs from torch by {worst:.1e} on {count} inputs')
    return 0


def export(
    network: nn.Module, card: ModelSpec, path: Path, pictures: Iterable[Images] = ()
) -> tuple[float, int]:
    """
    Write the model file, whole or not at all.

    :param pictures: further inputs, (batch, 3, height, width), to compare torch and ONNX on.
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
        result = check_parity(network, draft, [*probe_images(card), *pictures])
        draft.replace(path)
    return result


def write_graph(network: nn.Module, card: ModelSpec, path: Path) -> None:
    """Write the ONNX graph alone: batch size free, all other sizes fixed."""
    example = torch.zeros(2, 3, card.input.height, card.input.width)
    free = {0: 'batch'}
    with warnings.catch_warnings():
        # Tracing fixes the sizes on purpose, and the exporter without onnxscript is old.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network.eval(),
            (example,),
            str(path),
            input_names=[card.input.name],
            output_names=[card.output.name],
            dynamic_axes={card.input.name: free, card.output.name: free},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)


def check_parity(network: nn.Module, path: Path, inputs: Sequence[Images]) -> tuple[float, int]:
    """
    Compare the model file with the unfused network.

    :returns: the largest relative difference, and on how many inputs.
    :raises ModelError: the difference is larger than ``MAX_RELATIVE``.
    """
    worst = 0.0
    network.eval()
    with load_model(str(path), engine=REFERENCE) as loaded, torch.inference_mode():
        name = loaded.card.output.name
        for images in inputs:
            wanted = network(torch.from_numpy(images)).numpy()
            got = loaded.engine.infer({loaded.card.input.name: images})[name]
            worst = max(worst, compare_tensors(name, wanted, got).max_relative)
    if not worst <= MAX_RELATIVE:
        raise ModelError(
            f"output '{name}' of {REFERENCE} differs from torch by {worst:.1e}: must be at most "
            f'{MAX_RELATIVE:.0e}; nothing was written'
        )
    return worst, len(inputs)


def read_pictures(paths: Iterable[Path], spec: InputSpec) -> Iterator[Images]:
    """
    Yield each picture with its mirror image as an input of the network.

    :raises ModelError: a file is no picture.
    """
    preprocess = Preprocessor(spec, mirrored=True)
    for path in paths:
        image_HW3 = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image_HW3 is None:
            raise ModelError(f"'{path}' cannot be read as a picture: give PNG or JPEG files")
        tensor, _ = preprocess(np.asarray(image_HW3, np.uint8), with_mirror=True)
        yield tensor.copy()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='training.export', description=__doc__)
    parser.add_argument('--network', choices=sorted(NETWORKS), default='meter_xxs')
    parser.add_argument('--checkpoint', type=Path, required=True, help='file of weights')
    parser.add_argument('--card', type=Path, required=True, help='model card, YAML')
    parser.add_argument('--out', type=Path, required=True, help='model file to write, .onnx')
    parser.add_argument(
        '--images', type=Path, nargs='*', default=[], help='pictures to compare with torch on'
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
