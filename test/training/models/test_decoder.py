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

"""The decoder serves every pyramid, at the scales that were asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from training.models.decoder import Decoder

RESNET18 = (64, 64, 128, 256, 512), (2, 4, 8, 16, 32)
DRN = (32, 64, 128, 512), (2, 4, 8, 8)


def pyramid(channels: tuple[int, ...], strides: tuple[int, ...], size: tuple[int, int]) -> list:
    pairs = zip(channels, strides, strict=True)
    return [torch.rand(2, c, size[0] // s, size[1] // s) for c, s in pairs]


@pytest.mark.parametrize('layout', [RESNET18, DRN])
@pytest.mark.parametrize('scales', [(0, 1, 2, 3), (1, 2, 3), (2,)])
def test_outputs_have_the_scales_asked_for(layout: tuple, scales: tuple[int, ...]) -> None:
    decoder = Decoder(*layout, scales=scales)
    outputs = decoder(pyramid(*layout, (64, 96)))
    wanted = [
        (2, width, 64 >> scale, 96 >> scale)
        for width, scale in zip(decoder.channels, scales, strict=True)
    ]
    assert [tuple(x.shape) for x in outputs] == wanted
    assert decoder.channels == tuple((16, 32, 64, 128)[scale] for scale in scales)


@pytest.mark.parametrize('layout', [RESNET18, DRN])
def test_every_feature_map_and_parameter_is_used(layout: tuple) -> None:
    decoder = Decoder(*layout)
    features = [x.requires_grad_() for x in pyramid(*layout, (32, 32))]
    decoder(features)[0].sum().backward()
    assert all(x.grad is not None and x.grad.abs().max() > 0 for x in features)
    assert all(p.grad is not None for p in decoder.parameters())


def test_enlarging_takes_the_nearest_pixel() -> None:
    decoder = Decoder((1, 1), (1, 2), widths=(1, 1), scales=(0,))
    block = decoder.blocks[0]
    with torch.no_grad():
        for conv in (block.before, block.after):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = 1.0
    coarse = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    result: Tensor = decoder([torch.zeros(1, 1, 4, 4), coarse])[0]
    assert result[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'scales': (1, 0)}, 'must rise'),
        ({'scales': ()}, 'must rise'),
        ({'scales': (-1, 0)}, 'must rise'),
        ({'scales': (0, 5)}, 'from 0 to 4 here'),
        ({'widths': (16, 32)}, '5 are needed'),
        ({'strides': (4, 2, 8, 16, 32)}, 'finest first'),
        ({'strides': (2, 4, 8, 16, 31)}, 'powers of two'),
    ],
)
def test_layout_that_cannot_be_served_is_refused(changes: dict, message: str) -> None:
    arguments = {'channels': RESNET18[0], 'strides': RESNET18[1], **changes}
    with pytest.raises(ValueError, match=message):
        Decoder(**arguments)
