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

"""The network of a checkpoint as the beginning of another, and files that are no checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from test.training import runs
from typing import Any

from depth_ros.errors import ModelError
import pytest
import torch
from training.checkpoint import build_recipe
from training.checkpoint_file import (
    Checkpoint,
    is_checkpoint,
    Position,
    read_checkpoint,
    write_checkpoint,
)
from training.models.attention_stack import StackOptions
from training.models.meter import MeterXxs
from training.models.meter_depth_net import MeterDepthNet, MeterNetConfig
from training.models.meter_tc_net import MeterTcConfig, MeterTcNet
from training.train_config import config_from
from training.trained import trained_network

METER = {'kind': 'meter_xxs', 'weights': 'random'}
DATA = {'width': 124, 'height': 64}


def written(folder: Path, network: Mapping[str, Any], data: Mapping[str, Any]) -> Path:
    config = config_from({**runs.CONFIG, 'network': dict(network), 'data': dict(data)})
    torch.manual_seed(4)
    recipe = build_recipe(config)
    path = folder / 'run.ckpt'
    parts = {'optimiser': {}, 'scaler': {}, 'averaged': None, 'best': None, 'data': {}}
    whole = Checkpoint(
        config=config.stored(), position=Position(), recipe=recipe.state_dict(), **parts
    )
    write_checkpoint(path, whole)
    return path


@torch.no_grad()
def test_a_network_begins_with_all_that_another_has_learned(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    torch.manual_seed(5)
    first = MeterDepthNet(MeterNetConfig(weights=str(path))).eval()
    torch.manual_seed(6)
    second = MeterDepthNet(MeterNetConfig(weights=str(path))).eval()
    runs.assert_equal_states(dict(first.state_dict()), dict(second.state_dict()))
    runs.assert_equal_states(dict(first.state_dict()), trained_network(path, first.state_dict()))


def test_a_network_with_a_memory_holds_it_as_it_was(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    net = MeterTcNet(MeterTcConfig(weights=str(path), focal_px=72.0))
    own = net.base.state_dict()
    runs.assert_equal_states(dict(own), trained_network(path, own))


@torch.no_grad()
def test_frozen_depth_takes_all_but_the_uncertainty_of_another_kind(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    config = MeterNetConfig(weights=str(path))
    old = MeterDepthNet(config).state_dict()
    anew = MeterDepthNet(replace(config, sigma='context', frozen_depth=True)).state_dict()
    kept = {name for name in old if not name.startswith('sigma.')}
    assert kept == {name for name in anew if not name.startswith('sigma.')}
    runs.assert_equal_states({n: old[n] for n in kept}, {n: anew[n] for n in kept})
    with pytest.raises(ModelError, match='holds no such network'):
        MeterDepthNet(replace(config, sigma='context'))


@torch.no_grad()
def test_a_network_with_a_memory_holds_the_uncertainty_with_context_too(tmp_path: Path) -> None:
    path = written(tmp_path, {**METER, 'sigma': 'context'}, DATA)
    single = MeterDepthNet(MeterNetConfig(weights=str(path), sigma='context')).eval()
    net = MeterTcNet(MeterTcConfig(weights=str(path), sigma='context', focal_px=72.0)).eval()
    runs.assert_equal_states(dict(single.state_dict()), dict(net.base.state_dict()))
    image = torch.rand(1, 3, 64, 124)
    assert torch.allclose(net.finest(image)[1], single.finest(image)[1], atol=1e-5)


def test_what_blend_mixes_are_loaded_weights_and_gates_that_were_shut(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    shut = StackOptions(spatial_gate=0.0, temporal_gate=0.0, value_width=8)
    options = {'weights': str(path), 'focal_px': 72.0}
    net = MeterTcNet(MeterTcConfig(**options, attention=shut))
    gates = {'attention.spatial.0.gate', 'attention.temporal.0.gate'}
    loaded = {f'base.{name}' for name in net.base.pretrained_names()}
    assert loaded
    assert net.pretrained_names() == loaded | gates
    ajar = MeterTcConfig(**options, attention=replace(shut, temporal_gate=0.1))
    assert MeterTcNet(ajar).pretrained_names() == loaded | {'attention.spatial.0.gate'}
    assert MeterTcNet(replace(ajar, weights='random')).pretrained_names() == set()


def test_published_weights_are_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / 'meter'
    whole = MeterXxs()
    torch.save(whole.state_dict(), path)
    assert trained_network(path, whole.state_dict()) is None


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 and no more', b'0' * 100])
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'file'
    path.write_bytes(content)
    assert not is_checkpoint(path)


def test_a_checkpoint_of_another_network_is_refused_by_what_differs(tmp_path: Path) -> None:
    path = written(tmp_path, runs.CONFIG['network'], runs.CONFIG['data'])
    with pytest.raises(ModelError, match=r"run\.ckpt' holds no such network: it must be of a run"):
        MeterDepthNet(MeterNetConfig(weights=str(path)))


def test_a_checkpoint_of_two_networks_of_a_kind_is_refused_by_their_names(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    state = trained_network(path, MeterDepthNet(MeterNetConfig(weights='random')).state_dict())
    assert state is not None
    both = {f'{branch}.network.{name}': x for branch in 'su' for name, x in state.items()}
    write_checkpoint(path, replace(read_checkpoint(path), recipe=both))
    with pytest.raises(ModelError, match=r'several such networks \([su]\.network\., [su]\.net'):
        trained_network(path, state)


@torch.no_grad()
def test_the_mean_of_the_weights_is_taken_where_there_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, METER, DATA)
    checkpoint = read_checkpoint(path)
    means = {name: torch.full_like(x, 0.25) for name, x in checkpoint.recipe.items()}
    write_checkpoint(path, replace(checkpoint, averaged=means))
    net = MeterDepthNet(MeterNetConfig(weights=str(path)))
    assert all(bool((p == 0.25).all()) for p in net.parameters())
