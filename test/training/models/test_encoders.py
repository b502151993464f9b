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

"""Every encoder keeps the promise of its feature spec, and imports nothing it must not."""

from __future__ import annotations

import builtins
import subprocess
import sys

from depth_ros.errors import ModelError
import pytest
import torch
from torch import nn
from training.models.encoders import accept_frames, ENCODERS, make_encoder

# Published parameter counts of the feature part: the classifier's are left out.
PARAMETERS = {
    'resnet18': 11_689_512 - (512 * 1000 + 1000),
    'resnet50': 25_557_032 - (2048 * 1000 + 1000),
    # The same layers in another order.
    'iresnet18': 11_689_512 - (512 * 1000 + 1000),
    'iresnet50': 25_557_032 - (2048 * 1000 + 1000),
    'densenet161': 28_681_000 - (2208 * 1000 + 1000),
}
# The authors of the variant count head and classifier too.
LITE_MILLIONS = {'efficientnet_lite0': 4.7, 'efficientnet_lite1': 5.4, 'efficientnet_lite2': 6.1}


@pytest.fixture(scope='module', params=sorted(ENCODERS))
def named(request: pytest.FixtureRequest) -> tuple[str, nn.Module]:
    torch.manual_seed(0)
    return request.param, make_encoder(request.param, 'random').eval()


def test_features_have_the_channels_and_strides_of_the_spec(named: tuple[str, nn.Module]) -> None:
    _, encoder = named
    for height, width in ((64, 96), (32, 160)):
        with torch.inference_mode():
            features = encoder(torch.rand(2, 3, height, width))
        wanted = [
            (2, channels, height // stride, width // stride)
            for channels, stride in zip(encoder.spec.channels, encoder.spec.strides, strict=True)
        ]
        assert [tuple(x.shape) for x in features] == wanted


def test_untrained_features_neither_vanish_nor_explode(named: tuple[str, nn.Module]) -> None:
    _, encoder = named
    encoder.train()
    with torch.no_grad():
        features = encoder(torch.rand(2, 3, 64, 64))
    encoder.eval()
    for feature in features:
        assert 1e-3 < feature.std() < 1e3


def test_every_parameter_gets_a_gradient(named: tuple[str, nn.Module]) -> None:
    _, encoder = named
    encoder.zero_grad()
    sum(x.square().mean() for x in encoder(torch.rand(1, 3, 32, 32))).backward()
    unused = [name for name, p in encoder.named_parameters() if p.grad is None]
    encoder.zero_grad()
    assert unused == []


def test_parameter_count_is_the_published_one(named: tuple[str, nn.Module]) -> None:
    name, encoder = named
    count = sum(p.numel() for p in encoder.parameters())
    if name in PARAMETERS:
        assert count == PARAMETERS[name]
    elif name == 'drn_c_26':
        # Table 1 of the paper says 21.1 million, the classifier among them.
        assert round((count + 512 * 1000 + 1000) / 1e6, 1) == 21.1
    elif name.endswith('_dilated'):
        whole = make_encoder(name.removesuffix('_dilated'), 'random')
        blocks = list(whole.blocks)
        kept = len(encoder.blocks)
        dropped = sum(p.numel() for block in blocks[kept:] for p in block.parameters())
        assert count + dropped == sum(p.numel() for p in whole.parameters())
    else:
        head = encoder.spec.channels[-1] * 1280 + 2 * 1280 + 1280 * 1000 + 1000
        assert round((count + head) / 1e6, 1) == LITE_MILLIONS[name]


def test_stem_over_two_equal_frames_gives_what_one_gave() -> None:
    for name in ('efficientnet_lite0', 'resnet18', 'drn_c_26'):
        torch.manual_seed(0)
        encoder = make_encoder(name, 'random').eval()
        picture = torch.rand(1, 3, 32, 64)
        with torch.inference_mode():
            one = encoder(picture)
            two = accept_frames(encoder, 2)(torch.cat((picture, picture), dim=1))
        for a, b in zip(one, two, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_unknown_encoder_is_refused_with_the_choices() -> None:
    with pytest.raises(ModelError, match=r"encoder 'vgg': must be one of \['densenet161'"):
        make_encoder('vgg', 'random')


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *arguments: object, **keywords: object) -> object:
        if name.startswith('efficientnet_lite_pytorch'):
            raise ModuleNotFoundError(f'No module named {name}', name=name)
        return real_import(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, '__import__', without)
    with pytest.raises(ModelError, match="'efficientnet_lite0' needs the package efficientnet"):
        make_encoder('efficientnet_lite0', 'random')


@pytest.mark.parametrize('name', ['drn_c_26', 'densenet161'])
def test_imagenet_weights_that_are_not_there_say_where_they_are(name: str) -> None:
    with pytest.raises(ModelError, match=r'does not download: give the path of .*\.pth from http'):
        make_encoder(name, 'imagenet')


def test_all_encoders_need_neither_torchvision_nor_timm() -> None:
    program = (
        'import sys\n'
        'for name in ("torchvision", "timm"):\n'
        '    sys.modules[name] = None\n'
        'from training.models.encoders import ENCODERS, make_encoder\n'
        'for name in ENCODERS:\n'
        '    make_encoder(name, "random")\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True, timeout=120)
