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

"""DenseNet-161: both spellings of its published names, and strict loading."""

from __future__ import annotations

from pathlib import Path
import re
from test.training.models.published import published_tensors, write

from depth_ros.errors import ModelError
import pytest
import torch
from training.models.densenet import DenseNet161, load_densenet161

CLASSIFIER = {'classifier.weight': (1000, 2208), 'classifier.bias': (1000,)}
NEW_NAME = re.compile(r'(denselayer\d+\.(?:norm|conv))([12])\.')


@pytest.mark.parametrize('is_old', [True, False])
def test_published_file_is_loaded_whole(is_old: bool, tmp_path: Path) -> None:
    state = published_tensors(DenseNet161(), CLASSIFIER)
    given = {NEW_NAME.sub(r'\1.\2.', k): v for k, v in state.items()} if is_old else state
    assert ('features.denseblock1.denselayer1.norm.1.weight' in given) == is_old
    loaded = load_densenet161(write(given, tmp_path / 'densenet.pth')).state_dict()
    for key, value in state.items():
        if key not in CLASSIFIER:
            assert torch.equal(loaded[key], value), key


def test_names_and_shapes_are_those_of_the_published_weights() -> None:
    names = DenseNet161().state_dict()
    expected = {
        'features.conv0.weight': (96, 3, 7, 7),
        'features.norm0.running_mean': (96,),
        'features.denseblock1.denselayer1.conv1.weight': (192, 96, 1, 1),
        'features.denseblock1.denselayer6.conv2.weight': (48, 192, 3, 3),
        'features.transition1.conv.weight': (192, 384, 1, 1),
        'features.transition3.norm.weight': (2112,),
        'features.denseblock4.denselayer24.norm1.weight': (2160,),
        'features.norm5.weight': (2208,),
    }
    assert {key: tuple(names[key].shape) for key in expected} == expected


def test_dense_block_keeps_what_came_before() -> None:
    block = DenseNet161().features.denseblock1.eval()
    features = torch.rand(1, 96, 5, 6)
    with torch.inference_mode():
        result = block(features)
    assert result.shape == (1, 96 + 6 * 48, 5, 6)
    assert torch.equal(result[:, :96], features)


def test_other_file_is_refused(tmp_path: Path) -> None:
    state = published_tensors(DenseNet161(), CLASSIFIER)
    del state['features.norm5.bias']
    with pytest.raises(ModelError, match=r'features\.norm5\.bias is missing'):
        load_densenet161(write(state, tmp_path / 'densenet.pth'))
    with pytest.raises(ModelError, match=r'classifier\.weight is missing: not the published'):
        load_densenet161(write({'a': torch.ones(1)}, tmp_path / 'other.pth'))
