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
Mix a trained network with what it began with: python -m training.blend CHECKPOINT --out OUT.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), CVPR 2022,
arXiv:2109.01903: a network that was trained on a few drives, starting from weights of many,
forgets; the mean of both sets of weights keeps most of what either knows, at no cost when it
runs. Only parameters that began pretrained are mixed; new heads stay as they were trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
import sys

from depth_ros.errors import ConfigError, DepthRosError, ModelError
import torch
from torch import nn, Tensor
from training.checkpoint import build_recipe, load_state
from training.checkpoint_file import Checkpoint, read_checkpoint, write_checkpoint
from training.models.network import DepthNetwork
from training.train_config import config_from

# What the paper recommends when nothing is known of where the network will run.
SHARE = 0.5
EXIT_ERROR = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        checkpoint = read_checkpoint(arguments.checkpoint)
        mixed, count = blended(checkpoint, arguments.share, arguments.checkpoint)
        write_checkpoint(arguments.out, mixed)
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    print(f'{arguments.out}: {arguments.share:g} of the training in {count} parameters')
    return 0


def blended(checkpoint: Checkpoint, share: float, path: Path) -> tuple[Checkpoint, int]:
    """
    Return the checkpoint with mixed weights where export looks, and how many were mixed.

    :param share: of the trained weights, 0 to 1; the rest is what they began as.
    :param path: of the checkpoint, for messages.
    :raises ConfigError: the share, or the checkpoint's config.
    :raises ModelError: nothing began pretrained, its weights are not there any more, or the
        statistics of batch normalisation have changed.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigError(f'share = {share}: must be 0 to 1')
    recipe = build_recipe(config_from(checkpoint.config))
    start = {name: value.detach().clone() for name, value in recipe.state_dict().items()}
    names = pretrained_parameters(recipe)
    if not names:
        raise ModelError(
            f"checkpoint '{path}': training began with random weights: nothing to mix with"
        )
    trained = {**checkpoint.recipe, **(checkpoint.averaged or {})}
    load_state(recipe, trained, path)
    _check_statistics(recipe, start, path)
    own = {name for name, _ in recipe.named_parameters()}
    mixed = {name: value for name, value in trained.items() if name in own}
    for name in names:
        mixed[name] = torch.lerp(start[name], trained[name], share)
    return replace(checkpoint, averaged=mixed), len(names)


def pretrained_parameters(recipe: nn.Module) -> list[str]:
    """Return the names, in the recipe, of the parameters that began pretrained."""
    found = []
    for prefix, module in recipe.named_modules():
        if isinstance(module, DepthNetwork):
            found += [f'{prefix}.{name}' for name in sorted(module.pretrained_names())]
    return found


def _check_statistics(recipe: nn.Module, start: Mapping[str, Tensor], path: Path) -> None:
    for name, buffer in recipe.named_buffers():
        if name in start and not torch.equal(buffer, start[name]):
            raise ModelError(
                f"checkpoint '{path}': the statistics {name} were trained, and do not belong to "
                'mixed weights; train with batch_norm: frozen'
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='training.blend', description=__doc__)
    parser.add_argument('checkpoint', type=Path, help='last.ckpt or best.ckpt of a run')
    parser.add_argument('--out', type=Path, required=True, help='checkpoint to write')
    parser.add_argument(
        '--share',
        type=float,
        default=SHARE,
        help='of the trained weights, 0 to 1 (default: %(default)s)',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
