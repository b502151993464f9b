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

"""The encoder of one training is what another one begins with."""

from __future__ import annotations

from pathlib import Path
from test.training import runs

import pytest
import torch
from training.checkpoint import load_recipe
from training.checkpoint_file import LAST
from training.models.encoders import make_encoder
from training.take_encoder import main


@pytest.fixture(scope='module')
def trained(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the checkpoint of a relative network; nobody may change it."""
    folder = tmp_path_factory.mktemp('trained')
    config = runs.config_file(
        folder,
        epochs=1,
        recipe={'name': 'depth_anything'},
        validation={'alignment': 'scale_shift_inverse'},
    )
    assert runs.train(config, tiny_dataset, folder / 'run') == 0
    return folder / 'run' / LAST


def test_metric_fine_tuning_begins_with_the_encoder_and_a_fresh_head(
    trained: Path, tiny_dataset: Path, tmp_path: Path
) -> None:
    path = tmp_path / 'encoder.pt'
    assert main(['--checkpoint', str(trained), '--out', str(path)]) == 0
    relative = load_recipe(trained)[0].deployed()
    encoder = make_encoder('efficientnet_lite0', str(path))
    runs.assert_equal_states(dict(encoder.state_dict()), dict(relative.encoder.state_dict()))
    network = {**runs.CONFIG['network'], 'weights': str(path), 'parametrisation': 'sigmoid'}
    network |= {'min_depth_m': 0.001, 'max_depth_m': 80.0}
    optimiser = {**runs.CONFIG['optimiser'], 'encoder_learning_rate': 0.0}
    recipe = {'name': 'metric_finetune'}
    changes = {'network': network, 'optimiser': optimiser, 'epochs': 1}
    config = runs.config_file(tmp_path, recipe=recipe, **changes)
    assert runs.train(config, tiny_dataset, tmp_path / 'run') == 0
    metric = load_recipe(tmp_path / 'run' / LAST)[0].deployed()
    for name, tensor in relative.encoder.named_parameters():
        assert torch.equal(dict(metric.encoder.named_parameters())[name], tensor)
    head, other = (net.depth_heads[0].conv.weight for net in (metric, relative))
    assert not torch.equal(head, other)


def test_checkpoint_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / 'nothing.ckpt'
    assert main(['--checkpoint', str(path), '--out', str(tmp_path / 'encoder.pt')]) == 1
    assert "nothing.ckpt' cannot be read" in capsys.readouterr().err


def test_network_without_such_an_encoder_is_named(
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, config = load_recipe(trained)
    monkeypatch.setattr(recipe, 'deployed', torch.nn.Identity)
    monkeypatch.setattr('training.take_encoder.load_recipe', lambda path: (recipe, config))
    assert main(['--checkpoint', str(trained), '--out', str(tmp_path / 'encoder.pt')]) == 1
    assert 'a Identity has no encoder that another network' in capsys.readouterr().err
