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
Read the published files of Depth Anything and of DINOv2, whole or not at all.

The layout is told by the names in the file, see ``depth_anything_keys``. The files do not say
whether a network is relative or metric, or of V1 or V2: that is the caller's knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from depth_ros.errors import ModelError
from torch import nn, Tensor
from training.models.depth_anything import build, DepthAnything, Layout, LAYOUTS
from training.models.depth_anything_keys import (
    AUTHORS_ENCODER,
    count_layers,
    encoder_map,
    hub_name,
    key_map,
    KeyMap,
    to_authors,
    to_hub,
)
from training.weights import read_state, require_same

SAFETENSORS = '.safetensors'
HUB_FIRST_WORDS = ('backbone.', 'neck.', 'head.', 'embeddings.', 'encoder.', 'layernorm.')


def load_depth_anything(
    path: Path, *, version: int = 2, max_depth_m: float | None = None
) -> DepthAnything:
    """
    Return a published network in evaluation mode; its size is that of the file.

    :param max_depth_m: None: it is a relative network; else what the metric one answers up to.
    :raises ModelError: the file cannot be read, is of no known size, or does not fit.
    """
    state = read_tensors(path)
    layout = layout_of(state, str(path)).version(version)
    network = build(layout)
    _load(network, state, key_map(layout.layers), str(path))
    return DepthAnything(network, max_depth_m).eval()


def load_encoder(network: DepthAnything, layout: Layout, path: Path) -> None:
    """
    Load the encoder alone: of a file of DINOv2, or out of one of Depth Anything.

    :raises ModelError: the file cannot be read or its encoder does not fit.
    """
    state = read_tensors(path)
    prefixes = (AUTHORS_ENCODER, 'backbone.')
    inner = {
        name.removeprefix(prefix): value
        for prefix in prefixes
        for name, value in state.items()
        if name.startswith(prefix)
    }
    backbone = network.network.backbone
    assert isinstance(backbone, nn.Module)
    _load(backbone, inner or state, encoder_map(layout.layers), str(path))


def load_whole(network: DepthAnything, layout: Layout, path: Path) -> None:
    """
    Load encoder and head of a file of Depth Anything.

    :raises ModelError: the file cannot be read or does not fit.
    """
    _load(network.network, read_tensors(path), key_map(layout.layers), str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """
    Read a ``.safetensors`` file, or one that ``torch.save`` wrote, running no code from it.

    :raises ModelError: the file is missing, damaged, or holds something else.
    """
    if path.suffix != SAFETENSORS:
        return read_state(path)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except FileNotFoundError as error:
        raise ModelError(f'{path}: there is no such weights file') from error
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelError(f'{path}: cannot be read as weights: {error}') from error


def layout_of(state: Mapping[str, Tensor], where: str) -> Layout:
    """
    Return the layout that a file's width and number of layers tell.

    :raises ModelError: none is so.
    """
    tokens = [value for name, value in state.items() if name.endswith('cls_token')]
    width, layers = int(tokens[0].shape[-1]) if tokens else 0, count_layers(state)
    for layout in LAYOUTS.values():
        if (layout.width, layout.layers) == (width, layers):
            return layout
    known = ', '.join(f'{name} {x.width} in {x.layers}' for name, x in LAYOUTS.items())
    raise ModelError(
        f'{where}: a transformer of width {width} in {layers} layers: must be one of {known}; '
        f'the file begins with {sorted(state)[:3]}'
    )


def _load(network: nn.Module, state: Mapping[str, Tensor], table: KeyMap, where: str) -> None:
    """Load a file of either layout; what does not fit is told by the file's own names."""
    installed = network.state_dict()
    wanted = {hub_name(name): value for name, value in installed.items()}
    if any(name.startswith(HUB_FIRST_WORDS) for name in state):
        require_same(wanted, state, where)
        given: Mapping[str, Tensor] = state
    else:
        require_same(to_authors(wanted, table), state, where)
        given = to_hub(state, table)
    network.load_state_dict({name: given[hub_name(name)] for name in installed}, strict=True)


def authors_state(network: DepthAnything, layout: Layout) -> dict[str, Tensor]:
    """Return the tensors of a network under the authors' names."""
    state = network.network.state_dict()
    return to_authors({hub_name(k): v for k, v in state.items()}, key_map(layout.layers))


def hub_state(network: DepthAnything) -> dict[str, Tensor]:
    """Return the tensors of a network under the hub's names."""
    return {hub_name(name): value for name, value in network.network.state_dict().items()}
