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

"""iResNet: where its ReLUs are, what its shortcuts see, and which weights it takes."""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ModelError
import pytest
import torch
from torch import nn
from training.models.iresnet import IResNet, load_iresnet, Residual, Stage
from training.models.resnet import load_resnet

SHIFT = 10.0


def idle(stage: Stage) -> Stage:
    """Let the residuals add nothing, and lift the result above zero."""
    for block in stage.blocks:
        convs = [layer for layer in block.modules() if isinstance(layer, nn.Conv2d)]
        nn.init.zeros_(convs[-1].weight)
    nn.init.constant_(stage.norm.bias, SHIFT)
    return stage.eval()


@pytest.mark.parametrize('expansion', [1, 4])
@pytest.mark.parametrize('depth', [2, 3])
def test_main_path_is_cut_off_nowhere_before_the_end_of_the_stage(
    expansion: int, depth: int
) -> None:
    torch.manual_seed(0)
    stage = idle(Stage(4 * expansion, 4, depth, 2, expansion))
    features = torch.randn(1, 4 * expansion, 8, 8) - 2.0
    pooled = nn.functional.max_pool2d(features, 3, 2, 1)
    assert pooled.min() < 0
    gain = 1 / (1 + stage.norm.eps) ** 0.5
    torch.testing.assert_close(stage(features), pooled * gain + SHIFT)
    # And there it is.
    nn.init.zeros_(stage.norm.bias)
    torch.testing.assert_close(stage(features), (pooled * gain).clamp(min=0))


def test_layers_of_the_blocks_are_those_of_the_paper() -> None:
    def kinds(place: int, channels: tuple[int, ...]) -> str:
        short = {nn.Conv2d: 'c', nn.BatchNorm2d: 'b', nn.ReLU: 'r'}
        return ''.join(short[type(layer)] for layer in Residual(channels, 1, place).layers)

    assert [kinds(place, (8, 2, 2, 8)) for place in range(3)] == [
        'cbrcbrcb',
        'rcbrcbrc',
        'brcbrcbrc',
    ]
    assert [kinds(place, (8, 8, 8)) for place in range(3)] == ['cbrcb', 'rcbrc', 'brcbrc']


def test_shortcut_sees_every_pixel_before_its_convolution() -> None:
    torch.manual_seed(0)
    stage = idle(Stage(2, 4, 2, 2, 1))
    base = torch.zeros(1, 2, 8, 8)
    with torch.no_grad():
        for row, col in ((2, 2), (2, 3), (3, 2), (3, 3)):
            lit = base.clone()
            lit[..., row, col] = 5.0
            assert not torch.equal(stage(lit), stage(base))
    assert [type(x) for x in stage.shortcut] == [nn.MaxPool2d, nn.Conv2d, nn.BatchNorm2d]
    assert stage.shortcut[1].stride == (1, 1)
    assert [type(x) for x in Stage(4, 4, 2, 2, 1).shortcut] == [nn.MaxPool2d]
    assert [type(x) for x in Stage(2, 4, 2, 1, 1).shortcut] == [nn.Conv2d, nn.BatchNorm2d]


@pytest.mark.parametrize('depth', [18, 50])
def test_features_and_cost_are_those_of_resnet(depth: int) -> None:
    ours, theirs = IResNet(depth), load_resnet(depth, 'random')
    assert ours.spec == theirs.spec
    counts = [sum(p.numel() for p in network.parameters()) for network in (ours, theirs)]
    assert counts[0] == counts[1]
    assert not any(isinstance(layer, nn.MaxPool2d) for layer in ours.stem)


def test_weights_of_a_file_are_loaded_strictly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = IResNet(18).state_dict()
    torch.save(state, tmp_path / 'own.pth')
    read = load_iresnet(18, str(tmp_path / 'own.pth')).state_dict()
    assert all(torch.equal(read[key], state[key]) for key in state)
    torch.save(load_resnet(18, 'random').state_dict(), tmp_path / 'resnet.pth')
    with pytest.raises(ModelError, match='tensors do not fit the network'):
        load_iresnet(18, str(tmp_path / 'resnet.pth'))
    with pytest.raises(ModelError, match="encoder 'iresnet18' has no ImageNet weights"):
        load_iresnet(18, 'imagenet')
