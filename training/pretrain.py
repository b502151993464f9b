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
Train an encoder on pictures alone, by their gradient fields, and write its weights.

Everything else is as in training.train: config, --resume, several processes. Then give the file
to any recipe as network.weights. docs/pretraining.md explains it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from training.checkpoint import load_recipe
from training.checkpoint_file import LAST
from training.ranks import leave, TrainingError
from training.recipes.gradient_field import GradientField
from training.take_encoder import take_encoder
from training.train import Program, run

ENCODER_FILE = 'encoder.pt'


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    program = Program(
        name='pretrain',
        description=__doc__,
        recipes=('gradient_field',),
        validates=False,
        finish=finish,
    )
    return run(program, argv)


def finish(out: Path) -> str:
    """
    Write the encoder of the last checkpoint beside it; return what was done.

    :raises DepthRosError: no picture had edges, or a file cannot be read or written.
    """
    recipe = cast(GradientField, load_recipe(out / LAST)[0])
    used, dropped = int(recipe.used), int(recipe.dropped)
    if not used:
        raise TrainingError(
            f'none of {dropped} pictures has edges, so that nothing was learned: look at the '
            'pictures, or lower recipe.low_threshold and recipe.high_threshold'
        )
    path = out / ENCODER_FILE
    name = take_encoder(out / LAST, path)
    return (
        f'{used} pictures with edges seen, {dropped} without left out; the encoder '
        f"'{name}' is in '{path}'"
    )


if __name__ == '__main__':
    leave(main())
