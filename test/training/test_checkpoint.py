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

"""Checkpoints: exact, replaced in one step, and every file that is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
import re
import resource
import shutil
import subprocess
import sys
from test.project import ROOT
from test.training import runs
from typing import Any

from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from training.checkpoint import build_recipe, load_recipe, load_state
from training.checkpoint_file import (
    Checkpoint,
    CheckpointError,
    Position,
    read_checkpoint,
    write_checkpoint,
)
from training.recipes.recipe import Recipe
from training.train_config import config_from


def make_recipe(**network: Any) -> Recipe:
    config = config_from({**runs.CONFIG, 'network': {**runs.CONFIG['network'], **network}})
    torch.manual_seed(1)
    return build_recipe(config)


@pytest.fixture(scope='module')
def recipe() -> Recipe:
    return make_recipe()


@pytest.fixture(scope='module')
def checkpoint(recipe: Recipe) -> Checkpoint:
    optimiser = torch.optim.AdamW(recipe.parameters(), lr=1e-3)
    for parameter in recipe.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    return Checkpoint(
        config=config_from(runs.CONFIG).stored(),
        data={'frames': 9},
        position=Position(step=7, epoch=3, batch=1),
        best=0.125,
        recipe=recipe.state_dict(),
        averaged=None,
        optimiser=optimiser.state_dict(),
        scaler={},
    )


@pytest.fixture
def path(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    path = tmp_path / 'last.ckpt'
    write_checkpoint(path, checkpoint)
    return path


def test_checkpoint_comes_back_to_the_bit(path: Path, checkpoint: Checkpoint) -> None:
    found = read_checkpoint(path)
    runs.assert_equal_checkpoints(found, checkpoint)
    assert found.config == checkpoint.config
    assert [*path.parent.iterdir()] == [path]


def test_recipe_of_a_checkpoint_is_whole_and_in_evaluation_mode(path: Path) -> None:
    recipe, config = load_recipe(path)
    assert config == config_from(runs.CONFIG)
    assert not any(module.training for module in recipe.modules())
    runs.assert_equal_states(dict(recipe.state_dict()), dict(read_checkpoint(path).recipe))


def test_recipe_has_the_mean_of_the_weights_where_there_is_one(
    tmp_path: Path, checkpoint: Checkpoint, recipe: Recipe
) -> None:
    means = {name: torch.full_like(p, 0.5) for name, p in recipe.named_parameters()}
    write_checkpoint(tmp_path / 'a.ckpt', replace(checkpoint, averaged=means))
    loaded, _ = load_recipe(tmp_path / 'a.ckpt')
    assert all(bool((p == 0.5).all()) for p in loaded.parameters())
    runs.assert_equal_states(dict(loaded.named_buffers()), dict(recipe.named_buffers()))


def test_config_of_an_older_version_is_filled_in_or_refused_by_key(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    older = {key: value for key, value in checkpoint.config.items() if key != 'channels_last'}
    write_checkpoint(tmp_path / 'a.ckpt', replace(checkpoint, config=older))
    assert load_recipe(tmp_path / 'a.ckpt')[1] == config_from(runs.CONFIG)
    newer = {**checkpoint.config, 'magic': 1}
    write_checkpoint(tmp_path / 'b.ckpt', replace(checkpoint, config=newer))
    with pytest.raises(
        ConfigError, match=r"checkpoint '.*b.ckpt': magic = 1: there is no such key"
    ):
        load_recipe(tmp_path / 'b.ckpt')


def test_recipe_needs_no_weights_that_training_began_with(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    network = {**checkpoint.config['network'], 'weights': str(tmp_path / 'gone.pth')}
    config = {**checkpoint.config, 'network': network}
    write_checkpoint(tmp_path / 'a.ckpt', replace(checkpoint, config=config))
    assert load_recipe(tmp_path / 'a.ckpt')[1].network.weights == str(tmp_path / 'gone.pth')


@pytest.mark.parametrize('share', [0.0, 0.1, 0.5, 0.999])
def test_cut_file_is_named(share: float, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(
        ModelError, match=f"checkpoint '{re.escape(str(path))}' is damaged or none"
    ):
        read_checkpoint(path)


def test_flipped_bit_in_a_tensor_is_found(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match=r"is damaged: the sum of '\S+/data/\d+' is wrong"):
        read_checkpoint(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none.ckpt' cannot be read: No such file"):
        read_checkpoint(tmp_path / 'none.ckpt')


@pytest.mark.parametrize('content', [[1], {'format': 'other'}, {'weight': torch.zeros(2)}])
def test_other_file_of_torch_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / 'other.pt')
    with pytest.raises(ModelError, match=r"other.pt' is no checkpoint of training.train"):
        read_checkpoint(tmp_path / 'other.pt')


def test_file_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({'format': Path}, tmp_path / 'code.pt')
    with pytest.raises(ModelError, match=r"code.pt' is damaged or none"):
        read_checkpoint(tmp_path / 'code.pt')


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [({'version': 99}, 'has version 99: this program reads 1'), ({'best': None}, 'lacks best')],
)
def test_checkpoint_of_another_version_is_refused(
    change: dict[str, Any], sentence: str, path: Path
) -> None:
    content = torch.load(path, weights_only=True)
    content.update(change)
    if 'best' in change:
        del content['best']
    torch.save(content, path)
    with pytest.raises(ModelError, match=sentence):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ('other', 'sentence'),
    [
        ({'encoder': 'efficientnet_lite1'}, 'is of another network: .* is missing and'),
        (
            {'scales': [0, 1]},
            r'is of another network: network.depth_heads.1.conv.weight is missing',
        ),
        ({'widths': [8, 8, 8, 8, 16]}, r'has shape \(\d+, .* instead of \('),
    ],
)
def test_checkpoint_of_another_network_is_refused(
    other: dict[str, Any], sentence: str, path: Path
) -> None:
    recipe = make_recipe(**other)
    before = {name: tensor.clone() for name, tensor in recipe.state_dict().items()}
    with pytest.raises(ModelError, match=sentence):
        load_state(recipe, read_checkpoint(path).recipe, path)
    runs.assert_equal_states(dict(recipe.state_dict()), before)


def test_checkpoint_with_more_than_the_network_is_refused(path: Path, recipe: Recipe) -> None:
    state = {**read_checkpoint(path).recipe, 'network.extra': torch.zeros(1)}
    with pytest.raises(ModelError, match=r'network.extra is unknown to it'):
        load_state(recipe, state, path)


def test_full_device_leaves_the_previous_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    before = path.read_bytes()
    (path.parent / 'last.ckpt.partial').symlink_to('/dev/full')
    sentence = (
        r"last.ckpt' cannot be written: No space left on device; the previous 'last.ckpt' is "
        'kept; make room and go on with --resume'
    )
    with pytest.raises(CheckpointError, match=sentence):
        write_checkpoint(path, checkpoint)
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_first_checkpoint_that_fails_says_that_there_is_none(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    with pytest.raises(CheckpointError, match='No such file or directory; there was none before'):
        write_checkpoint(tmp_path / 'gone' / 'last.ckpt', checkpoint)


LIMITED = """
import resource, sys
from pathlib import Path
from training.checkpoint_file import CheckpointError, read_checkpoint, write_checkpoint
path = Path(sys.argv[1])
checkpoint = read_checkpoint(path)
resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2,) * 2)
try:
    write_checkpoint(path, checkpoint)
except CheckpointError as error:
    print(error)
"""


def test_file_limit_in_the_middle_leaves_the_previous_checkpoint(path: Path) -> None:
    """The kernel refuses the second half of the file, as a disk does that fills up."""
    before = path.read_bytes()
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "last.ckpt' cannot be written: File too large; the previous" in done.stdout
    assert path.read_bytes() == before
    assert [*path.parent.iterdir()] == [path]


def test_copy_of_a_checkpoint_is_as_good(path: Path) -> None:
    copy = shutil.copy(path, path.parent / 'copy.ckpt')
    runs.assert_equal_checkpoints(read_checkpoint(Path(copy)), read_checkpoint(path))
