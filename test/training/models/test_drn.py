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

"""DRN-C-26: names, field of view, and strict loading."""

from __future__ import annotations

from pathlib import Path
from test.training.models.published import published_tensors, write

from depth_ros.errors import ModelError
import pytest
import torch
from training.models.drn import DrnC26, load_drn_c_26

CLASSIFIER = {'fc.weight': (1000, 512, 1, 1), 'fc.bias': (1000,)}


def test_names_are_those_of_the_published_weights() -> None:
    names = DrnC26().state_dict()
    expected = {
        'conv1.weight': (16, 3, 7, 7),
        'layer1.0.conv1.weight': (16, 16, 3, 3),
        'layer2.0.downsample.0.weight': (32, 16, 1, 1),
        'layer4.1.bn2.running_var': (128,),
        'layer5.0.downsample.1.weight': (256,),
        'layer6.1.conv2.weight': (512, 512, 3, 3),
        'layer8.0.conv1.weight': (512, 512, 3, 3),
    }
    assert {key: tuple(names[key].shape) for key in expected} == expected
    assert 'layer1.0.downsample.0.weight' not in names
    assert 'layer7.0.downsample.0.weight' not in names


def test_published_file_is_loaded_whole(tmp_path: Path) -> None:
    state = published_tensors(DrnC26(), CLASSIFIER)
    network = load_drn_c_26(write(state, tmp_path / 'drn.pth'))
    loaded = network.state_dict()
    for key, value in state.items():
        if key not in CLASSIFIER:
            assert torch.equal(loaded[key], value), key


def test_last_levels_have_no_residual() -> None:
    network = DrnC26().eval()
    features = torch.rand(1, 512, 4, 4)
    for level, wanted in ((network.layer6[1], features), (network.layer8[0], 0 * features)):
        torch.nn.init.zeros_(level.conv2.weight)
        with torch.inference_mode():
            torch.testing.assert_close(level(features), wanted)


@pytest.mark.parametrize(
    ('level', 'channels', 'convolutions', 'dilation'),
    [(5, 128, 4, 2), (6, 256, 4, 4), (7, 512, 2, 2), (8, 512, 2, 1)],
)
def test_dilated_level_reaches_as_far_as_its_convolutions_say(
    level: int, channels: int, convolutions: int, dilation: int
) -> None:
    torch.manual_seed(0)
    layer = getattr(DrnC26(), f'layer{level}').eval()
    point = torch.zeros(1, channels, 41, 41)
    point[:, :, 20, 20] = 1.0
    with torch.inference_mode():
        changed = (layer(point) - layer(torch.zeros_like(point))).abs().sum((0, 1)) > 0
    steps = torch.arange(-convolutions, convolutions + 1)
    assert changed.any(1).nonzero().flatten().tolist() == (20 + dilation * steps).tolist()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda s: s.pop('fc.weight'), 'fc.weight is missing: not the published'),
        (lambda s: s.pop('layer3.1.bn1.weight'), 'layer3.1.bn1.weight is missing'),
        (lambda s: s.update({'layer9.weight': torch.ones(1)}), 'layer9.weight is unknown'),
        (
            lambda s: s.update({'bn1.weight': torch.ones(3)}),
            r'is \(3,\) and not \(16,\)',
        ),
    ],
)
def test_other_file_is_refused(change: object, message: str, tmp_path: Path) -> None:
    state = published_tensors(DrnC26(), CLASSIFIER)
    change(state)
    with pytest.raises(ModelError, match=message):
        load_drn_c_26(write(state, tmp_path / 'drn.pth'))
