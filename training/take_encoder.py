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
Take the encoder out of a trained network: python -m training.take_encoder --checkpoint C --out F.

Another training begins with it by ``network.weights: F``, whatever its recipe; so does the metric
fine-tuning of a relative network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from depth_ros.errors import DepthRosError, ModelError
from torch import nn
from training.checkpoint import load_recipe
from training.models.encoder_file import write_encoder

EXIT_ERROR = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    given = _parser().parse_args(argv)
    try:
        name = take_encoder(given.checkpoint, given.out)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(f"{given.out}: the encoder '{name}' of {given.checkpoint}")
    return 0


def take_encoder(checkpoint: Path, out: Path) -> str:
    """
    Write the weights of the deployed network's encoder; return the encoder's name.

    :raises DepthRosError: the checkpoint cannot be read, its network has no encoder of
        ``training.models.encoders``, or the file cannot be written.
    """
    recipe, config = load_recipe(checkpoint)
    network = recipe.deployed()
    encoder, name = getattr(network, 'encoder', None), getattr(config.network, 'encoder', None)
    if not isinstance(encoder, nn.Module) or name is None:
        raise ModelError(
            f"checkpoint '{checkpoint}': a {type(network).__name__} has no encoder that another "
            'network could begin with; only those of kind unet or encoder have'
        )
    write_encoder(out, name, encoder)
    return str(name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='python -m training.take_encoder', description=__doc__)
    parser.add_argument('--checkpoint', type=Path, required=True, help='of training.train')
    parser.add_argument('--out', type=Path, required=True, help='the file to write')
    return parser


if __name__ == '__main__':
    sys.exit(main())
