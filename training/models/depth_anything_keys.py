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
Names of Depth Anything's tensors in the files that are published, and how they map.

There are two layouts. The authors' files (``.pth``) say ``pretrained.*`` and ``depth_head.*``;
the files of the Hugging Face hub (``.safetensors``) say ``backbone.*``, ``neck.*`` and
``head.*``. DINOv2 alone has the same names without their first word. ``key_map`` is the table:
an authors' tensor is one of the hub's, but for attention, where queries, keys and values are
one tensor, in this order along its first axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import re

import torch
from torch import Tensor

KeyMap = dict[str, tuple[str, ...]]

AUTHORS_ENCODER, HUB_ENCODER = 'pretrained.', 'backbone.'
WHOLE_LAYER = re.compile(r'(^|\.)(blocks|layer)\.(\d+)\.')

_STEM = {
    'cls_token': 'embeddings.cls_token',
    'mask_token': 'embeddings.mask_token',
    'pos_embed': 'embeddings.position_embeddings',
    'patch_embed.proj.weight': 'embeddings.patch_embeddings.projection.weight',
    'patch_embed.proj.bias': 'embeddings.patch_embeddings.projection.bias',
    'norm.weight': 'layernorm.weight',
    'norm.bias': 'layernorm.bias',
}
# Inside each block; those without an own suffix have a weight and a bias.
_SCALES = {'ls1.gamma': 'layer_scale1.lambda1', 'ls2.gamma': 'layer_scale2.lambda1'}
_BLOCK = {
    'norm1': ('norm1',),
    'norm2': ('norm2',),
    'mlp.fc1': ('mlp.fc1',),
    'mlp.fc2': ('mlp.fc2',),
    'attn.proj': ('attention.output.dense',),
    'attn.qkv': tuple(f'attention.attention.{part}' for part in ('query', 'key', 'value')),
}
# How releases of transformers since 5 name the same modules of the network that they build.
_RENAMED = {
    'attention.attention.query': 'attention.q_proj',
    'attention.attention.key': 'attention.k_proj',
    'attention.attention.value': 'attention.v_proj',
    'attention.output.dense': 'attention.o_proj',
}
_HEAD = {
    'depth_head.scratch.output_conv1': 'head.conv1',
    'depth_head.scratch.output_conv2.0': 'head.conv2',
    'depth_head.scratch.output_conv2.2': 'head.conv3',
}
LEVELS = 4
# The third level is neither enlarged nor shrunk.
RESIZED_LEVELS = (0, 1, 3)
KINDS = ('weight', 'bias')


def encoder_map(layers: int) -> KeyMap:
    """Return the table of DINOv2 alone, with names as its own files have them."""
    table: KeyMap = {authors: (hub,) for authors, hub in _STEM.items()}
    for index in range(layers):
        ours, theirs = f'blocks.{index}.', f'encoder.layer.{index}.'
        table.update({ours + a: (theirs + hub,) for a, hub in _SCALES.items()})
        for name, parts in _BLOCK.items():
            for kind in KINDS:
                table[f'{ours}{name}.{kind}'] = tuple(f'{theirs}{p}.{kind}' for p in parts)
    return table


def key_map(layers: int) -> KeyMap:
    """Return the table of the whole network: authors' name -> the hub's."""
    table = {
        AUTHORS_ENCODER + authors: tuple(HUB_ENCODER + name for name in hub)
        for authors, hub in encoder_map(layers).items()
    }
    for authors_name, hub_name in _decoder_modules():
        for kind in KINDS:
            table[f'{authors_name}.{kind}'] = (f'{hub_name}.{kind}',)
    for level in range(LEVELS):
        table[f'depth_head.scratch.layer{level + 1}_rn.weight'] = (f'neck.convs.{level}.weight',)
    return table


def _decoder_modules() -> Iterator[tuple[str, str]]:
    stage = 'neck.reassemble_stage.layers'
    for level in range(LEVELS):
        yield f'depth_head.projects.{level}', f'{stage}.{level}.projection'
    for level in RESIZED_LEVELS:
        yield f'depth_head.resize_layers.{level}', f'{stage}.{level}.resize'
    for level in range(LEVELS):
        # The authors count from the finest level, the hub in the order of the computation.
        authors = f'depth_head.scratch.refinenet{level + 1}'
        hub = f'neck.fusion_stage.layers.{LEVELS - 1 - level}'
        yield f'{authors}.out_conv', f'{hub}.projection'
        for unit in (1, 2):
            for conv in (1, 2):
                yield (
                    f'{authors}.resConfUnit{unit}.conv{conv}',
                    f'{hub}.residual_layer{unit}.convolution{conv}',
                )
    yield from _HEAD.items()


def to_authors(state: Mapping[str, Tensor], table: KeyMap) -> dict[str, Tensor]:
    """Return tensors of the hub's names under the authors'; those not in the table stay."""
    known = {hub for names in table.values() for hub in names}
    result = {name: value for name, value in state.items() if name not in known}
    for authors, names in table.items():
        parts = [state[name] for name in names if name in state]
        if parts:
            result[authors] = torch.cat(parts) if len(parts) > 1 else parts[0]
    return result


def to_hub(state: Mapping[str, Tensor], table: KeyMap) -> dict[str, Tensor]:
    """Return tensors of the authors' names under the hub's; those not in the table stay."""
    result = {name: value for name, value in state.items() if name not in table}
    for authors, names in table.items():
        if authors in state:
            result.update(zip(names, state[authors].chunk(len(names)), strict=True))
    return result


def hub_name(installed: str) -> str:
    """Return the hub's name of a tensor of the network that transformers has built."""
    for hub, renamed in _RENAMED.items():
        installed = installed.replace(f'{renamed}.', f'{hub}.')
    return installed


def count_layers(names: Mapping[str, object]) -> int:
    """Return how many transformer blocks a file has, in whichever layout; 0 of another file."""
    found = [int(match[3]) for name in names if (match := WHOLE_LAYER.search(name))]
    return max(found, default=-1) + 1
