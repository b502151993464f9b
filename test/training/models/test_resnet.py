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

"""ResNet through transformers: its own hidden states, and its folders."""

from __future__ import annotations

from pathlib import Path

from depth_ros.errors import ModelError
import pytest
import torch
from training.models.resnet import LAYOUTS, load_resnet
from transformers import ResNetConfig, ResNetModel


def saved(folder: Path, depth: int) -> ResNetModel:
    torch.manual_seed(depth)
    network = ResNetModel(ResNetConfig(embedding_size=64, **LAYOUTS[depth])).eval()
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize('depth', [18, 50])
def test_features_of_a_saved_folder_are_the_librarys(depth: int, tmp_path: Path) -> None:
    network = saved(tmp_path, depth)
    encoder = load_resnet(depth, str(tmp_path)).eval()
    picture = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        features = encoder(picture)
        wanted = network(picture, output_hidden_states=True).hidden_states
    assert len(features) == 5
    for got, want in zip(features[1:], wanted[1:], strict=True):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(encoder.pool(features[0]), wanted[0])


def test_encoder_starts_in_training_mode(tmp_path: Path) -> None:
    saved(tmp_path, 18)
    assert all(m.training for m in load_resnet(18, str(tmp_path)).modules())


def test_folder_of_another_depth_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, 18)
    with pytest.raises(ModelError, match='layer_type is basic and not bottleneck'):
        load_resnet(50, str(tmp_path))


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='cannot be read: '):
        load_resnet(18, str(tmp_path))
