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

"""Nested decoder: which maps flow where, sizes at every scale, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from test.training.models.test_depth_net import network, session

import pytest
import torch
from torch import nn, Tensor
from training.models.depth_net import DeployedDepthNet
from training.models.nested_decoder import NestedDecoder

CHANNELS, STRIDES = (4, 6, 8, 10, 12), (2, 4, 8, 16, 32)
WIDTHS = (2, 3, 4, 5, 6)
HEIGHT, WIDTH = 64, 96


def maps(strides: tuple[int, ...] = STRIDES) -> list[Tensor]:
    torch.manual_seed(1)
    return [
        torch.rand(2, c, HEIGHT // s, WIDTH // s) for c, s in zip(CHANNELS, strides, strict=False)
    ]


def decoder(**options: object) -> NestedDecoder:
    torch.manual_seed(0)
    return NestedDecoder(CHANNELS, STRIDES, **{'widths': WIDTHS, **options})


@pytest.mark.parametrize('scales', [(0, 1, 2, 3), (1, 3), (2,), (0,)])
def test_every_scale_has_its_size_and_width(scales: tuple[int, ...]) -> None:
    made = decoder(scales=scales)
    results = made(maps())
    assert made.channels == tuple(WIDTHS[s] for s in scales)
    for scale, result in zip(scales, results, strict=True):
        assert tuple(result.shape) == (2, WIDTHS[scale], HEIGHT >> scale, WIDTH >> scale)


def test_nodes_are_the_triangle_and_take_what_stands_beside_and_below() -> None:
    made = decoder()
    taken = {name: (b.before.in_channels, b.after.in_channels) for name, b in made.nodes.items()}
    own = dict(enumerate(WIDTHS[1:]))
    wanted = {
        f'x{i}_{j}': (
            CHANNELS[i + 1] if j == 1 else own[i + 1],
            # The enlarged map, the encoder's, and all nodes between.
            own[i] + CHANNELS[i] + (j - 1) * own[i],
        )
        for j in range(1, 5)
        for i in range(5 - j)
    }
    assert taken == wanted
    # Rows that no scale asks for are not built.
    assert set(decoder(scales=(2, 3)).nodes) == {'x1_1', 'x2_1', 'x3_1', 'x1_2', 'x2_2', 'x1_3'}


def test_every_map_reaches_the_finest_scale_and_shallow_ones_not_the_coarse() -> None:
    made, given = decoder(), [x.requires_grad_() for x in maps()]
    results = made(given)

    def reached(result: Tensor) -> list[bool]:
        found = torch.autograd.grad(result.sum(), given, retain_graph=True, allow_unused=True)
        return [gradient is not None and bool(gradient.any()) for gradient in found]

    # Scale s is row s - 1: rows above have no part in it.
    assert [reached(result) for result in results] == [
        [True] * 5,
        [True] * 5,
        [False] + [True] * 4,
        [False] * 2 + [True] * 3,
    ]


@pytest.mark.parametrize(
    ('strides', 'options', 'message'),
    [
        ((2, 4, 8, 8, 8), {}, r'strides \(2, 4, 8, 8, 8\): a nested decoder wants'),
        ((2, 4, 8, 16), {}, 'a nested decoder wants each twice the one before'),
        (STRIDES, {'scales': (0, 5)}, r'scales \(0, 5\): must rise, from 0 to 4'),
        (STRIDES, {'scales': (2, 1)}, 'must rise'),
        (STRIDES, {'scales': ()}, 'must rise'),
        (STRIDES, {'widths': (2, 2, 2)}, r'widths \(2, 2, 2\): 5 are needed'),
    ],
)
def test_what_cannot_be_served_is_named(
    strides: tuple[int, ...], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NestedDecoder(CHANNELS, strides, **options)


def test_network_with_both_is_exported_for_any_size(tmp_path: Path) -> None:
    net = network(encoder='iresnet18', decoder='nested', widths=(4, 4, 4, 4, 4))
    assert isinstance(net.decoder, NestedDecoder)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
    deployed = DeployedDepthNet(net).eval()
    runner = session(deployed, tmp_path / 'model.onnx')
    for batch, height, width in ((1, 64, 96), (3, 32, 160)):
        picture = torch.rand(batch, 3, height, width)
        with torch.inference_mode():
            wanted = deployed(picture)
        for said, answer in zip(wanted, runner.run(None, {'image': picture.numpy()}), strict=True):
            torch.testing.assert_close(torch.from_numpy(answer), said, rtol=1e-4, atol=1e-4)
