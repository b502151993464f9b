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

"""Mixing a trained network with its beginning: the shares, what is mixed, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.training import runs

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from training.blend import blended, main, pretrained_parameters
from training.checkpoint import build_recipe, load_recipe
from training.checkpoint_file import Checkpoint, Position, write_checkpoint
from training.models.meter import MeterXxs
from training.train_config import config_from

NETWORK = {'kind': 'meter_xxs', 'weights': ''}
CONV = 'network.decoder.conv2d_out.weight'
SIGMA = 'network.sigma.head.conv.weight'
STATISTICS = 'network.encoder.conv1.1.running_mean'


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'meter'
    torch.save(MeterXxs().state_dict(), path)
    return path


@pytest.fixture
def trained(weights: Path) -> Checkpoint:
    """Return a checkpoint in which every parameter has moved by one."""
    content = {**runs.CONFIG, 'network': {**NETWORK, 'weights': str(weights)}}
    content['data'] = {'width': 124, 'height': 64}
    config = config_from(content)
    recipe = build_recipe(config)
    with torch.no_grad():
        for parameter in recipe.parameters():
            parameter.add_(1.0)
    return Checkpoint(
        config=config.stored(),
        data={},
        position=Position(),
        best=None,
        recipe=recipe.state_dict(),
        averaged=None,
        optimiser={},
        scaler={},
    )


@pytest.mark.parametrize('share', [0.0, 0.25, 1.0])
def test_share_of_the_training_is_kept(trained: Checkpoint, weights: Path, share: float) -> None:
    mixed, count = blended(trained, share, Path('x'))
    start = torch.load(weights, weights_only=True)['decoder.conv2d_out.weight']
    assert mixed.averaged is not None
    assert torch.allclose(mixed.averaged[CONV], start + share, atol=1e-6)
    assert count == len(pretrained_parameters(build_recipe(config_from(trained.config))))


def test_new_head_stays_as_it_was_trained(trained: Checkpoint) -> None:
    mixed, _ = blended(trained, 0.0, Path('x'))
    assert mixed.averaged is not None
    assert torch.equal(mixed.averaged[SIGMA], trained.recipe[SIGMA])


def test_running_mean_of_the_weights_is_what_is_mixed(trained: Checkpoint, weights: Path) -> None:
    averaged = {CONV: trained.recipe[CONV] + 1.0}
    mixed, _ = blended(replace(trained, averaged=averaged), 0.5, Path('x'))
    start = torch.load(weights, weights_only=True)['decoder.conv2d_out.weight']
    assert mixed.averaged is not None
    assert torch.allclose(mixed.averaged[CONV], start + 1.0, atol=1e-6)


def test_program_writes_what_export_reads(trained: Checkpoint, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / 'last.ckpt', trained)
    out = tmp_path / 'mixed.ckpt'
    assert main([str(tmp_path / 'last.ckpt'), '--out', str(out)]) == 0
    recipe, _ = load_recipe(out)
    wanted = trained.recipe[CONV] - 0.5
    assert torch.allclose(recipe.state_dict()[CONV], wanted, atol=1e-6)


def test_changed_statistics_are_refused(trained: Checkpoint) -> None:
    state = {**trained.recipe, STATISTICS: trained.recipe[STATISTICS] + 1.0}
    with pytest.raises(ModelError, match=f'{STATISTICS} were trained.*batch_norm: frozen'):
        blended(replace(trained, recipe=state), 0.5, Path('x'))


def test_training_from_random_weights_has_nothing_to_mix_with(trained: Checkpoint) -> None:
    config = {**trained.config, 'network': {**trained.config['network'], 'weights': 'random'}}
    with pytest.raises(ModelError, match='began with random weights'):
        blended(replace(trained, config=config), 0.5, Path('x'))


def test_beginning_that_is_not_there_any_more_is_named(trained: Checkpoint) -> None:
    config = {**trained.config, 'network': {**trained.config['network'], 'weights': 'gone'}}
    with pytest.raises(ModelError, match='gone: there is no such weights file'):
        blended(replace(trained, config=config), 0.5, Path('x'))


@pytest.mark.parametrize('share', [-0.1, 1.1])
def test_impossible_share_is_refused(trained: Checkpoint, share: float) -> None:
    with pytest.raises(ConfigError, match=f'share = {share}'):
        blended(trained, share, Path('x'))


def test_program_tells_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'bad.ckpt').write_bytes(b'no checkpoint')
    assert main([str(tmp_path / 'bad.ckpt'), '--out', str(tmp_path / 'x')]) == 1
    assert 'bad.ckpt' in capsys.readouterr().err
    assert not (tmp_path / 'x').exists()
