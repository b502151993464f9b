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

"""An encoder's file goes into that encoder, wherever it is used, and into no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from depth_ros.errors import ModelError
import pytest
import torch
from torch import nn
from training.models.depth_net import DepthNet, DepthNetConfig
from training.models.encoder_file import read_encoder, write_encoder
from training.models.encoder_net import EncoderNet, EncoderNetConfig
from training.models.encoders import ENCODERS, make_encoder

LITE = 'efficientnet_lite0'


def trained(name: str) -> nn.Module:
    """Return an encoder whose every tensor, statistics too, is none that a fresh one has."""
    torch.manual_seed(1)
    encoder = make_encoder(name, 'random')
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            tensor.add_(3)
    return encoder


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, nn.Module]:
    encoder, path = trained(LITE), tmp_path / 'encoder.pt'
    write_encoder(path, LITE, encoder)
    return path, encoder


@pytest.mark.parametrize('name', sorted(ENCODERS))
def test_every_encoder_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    encoder, path = trained(name), tmp_path / 'encoder.pt'
    write_encoder(path, name, encoder)
    torch.manual_seed(2)
    again = make_encoder(name, str(path))
    state = again.state_dict()
    assert state.keys() == encoder.state_dict().keys()
    for key, tensor in encoder.state_dict().items():
        assert torch.equal(state[key], tensor), key
    assert sorted(tmp_path.iterdir()) == [path]


def test_networks_begin_with_the_file(written: tuple[Path, nn.Module]) -> None:
    path, encoder = written
    depth = DepthNet(DepthNetConfig(encoder=LITE, weights=str(path), scales=(0,)))
    code = EncoderNet(EncoderNetConfig(encoder=LITE, weights=str(path)))
    for network in (depth, code):
        for key, tensor in encoder.state_dict().items():
            assert torch.equal(network.state_dict()[f'encoder.{key}'], tensor)
    assert all(name.startswith('encoder.') for name in depth.pretrained_names())


def test_file_of_another_encoder_is_refused(written: tuple[Path, nn.Module]) -> None:
    sentence = r"encoder\.pt' are of 'efficientnet_lite0' and not of 'resnet18': choose"
    with pytest.raises(ModelError, match=sentence):
        make_encoder('resnet18', str(written[0]))


def changed(path: Path, **values: Any) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({**content, **values}, path)


def test_tensors_that_do_not_fit_are_listed_up_to_ten(written: tuple[Path, nn.Module]) -> None:
    path, encoder = written
    state = {f'other.{key}': tensor for key, tensor in encoder.state_dict().items()}
    changed(path, state=state)
    with pytest.raises(ModelError) as error:
        make_encoder(LITE, str(path))
    told = str(error.value)
    assert f'{2 * len(state)} tensors do not fit the network' in told
    assert told.count(' is missing') == 10
    assert next(iter(encoder.state_dict())) in told


def test_tensor_of_another_shape_is_refused(written: tuple[Path, nn.Module]) -> None:
    path, encoder = written
    state = {**encoder.state_dict(), 'stem.weight': torch.zeros(1, 2)}
    changed(path, state=state)
    with pytest.raises(ModelError, match=r'1 tensors .*: stem.weight is \(1, 2\) and not'):
        make_encoder(LITE, str(path))


def test_other_version_is_refused(written: tuple[Path, nn.Module]) -> None:
    changed(written[0], version=9)
    with pytest.raises(ModelError, match='have version 9: this program reads 1'):
        make_encoder(LITE, str(written[0]))


def test_other_files_are_left_to_who_knows_them(tmp_path: Path) -> None:
    assert read_encoder(tmp_path / 'none.pt') is None
    assert read_encoder(tmp_path) is None
    path = tmp_path / 'published.pt'
    torch.save({'weight': torch.zeros(2)}, path)
    assert read_encoder(path) is None
    torch.save({'weight': torch.zeros(2)}, path, _use_new_zipfile_serialization=False)
    assert read_encoder(path) is None
    path.write_bytes(b'PK\5\6' + bytes(18))
    assert read_encoder(path) is None
    with pytest.raises(ModelError, match='cannot be read as weights'):
        make_encoder(LITE, str(path))


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"encoder weights '.*x.pt' cannot be written: No such"):
        write_encoder(tmp_path / 'absent' / 'x.pt', LITE, nn.Linear(1, 1))
