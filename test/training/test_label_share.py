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

"""A share of the labels: so many, evenly spread, the same for a seed, and nowhere more."""

from __future__ import annotations

from pathlib import Path
from test.training import drives, runs

from depth_ros.errors import ConfigError
from hypothesis import given, strategies
import numpy as np
import pytest
from training.dataset import DepthDataset
from training.label_share import LabelShare
from training.train_config import config_from


@given(
    count=strategies.integers(0, 500),
    share=strategies.floats(0.001, 1.0),
    seed=strategies.integers(0, 2**31),
)
def test_kept_labels_are_so_many_and_evenly_spread(count: int, share: float, seed: int) -> None:
    kept = LabelShare(share, seed).kept(count)
    wanted = max(1, round(share * count)) if count else 0
    assert (kept.shape, int(kept.sum())) == ((count,), wanted)
    gaps = np.diff(np.flatnonzero(kept))
    assert all(abs(gap - count / wanted) < 1 + 1e-6 for gap in gaps)


@pytest.mark.parametrize(('share', 'number'), [(0.01, 2), (0.03, 6), (0.05, 10), (0.1, 19)])
def test_share_of_194_labels(share: float, number: int) -> None:
    assert int(LabelShare(share).kept(194).sum()) == number
    chosen = {LabelShare(share, seed).kept(194).tobytes() for seed in range(5)}
    assert len(chosen) >= 3
    assert LabelShare(share, 3).kept(194).tobytes() in chosen


def test_whole_share_keeps_all() -> None:
    assert LabelShare().kept(7).all()


@pytest.fixture(scope='module')
def two_drives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of two labelled drives and one for validation."""
    folder = tmp_path_factory.mktemp('drives')
    bags = [drives.drive(folder / name, 6) for name in ('city', 'road', 'village')]
    return drives.made(folder / 'dataset', *bags, val=['village'])


def labelled(dataset: DepthDataset) -> list[tuple[str, int]]:
    return [(dataset[i].sequence, dataset[i].stamp_ns) for i in range(len(dataset))]


def test_dataset_keeps_some_labels_of_each_drive_and_hides_the_others(two_drives: Path) -> None:
    third = LabelShare(1 / 3, 1)
    few = DepthDataset(two_drives, 'train', labelled=True, label_share=third)
    kept = labelled(few)
    assert len(kept) == 4
    assert [name for name, _ in kept] == ['city', 'city', 'road', 'road']
    assert all(few[i].valid_1HW.any() and few[i].is_labelled for i in range(4))
    every = DepthDataset(two_drives, 'train', label_share=third)
    assert int(every.is_labelled_N.sum()) == 4
    for number in range(12):
        sample = every[number]
        has_label = (sample.sequence, sample.stamp_ns) in kept
        assert sample.is_labelled == bool(sample.valid_1HW.any()) == has_label
        assert (every.line(number)['depth'] is not None) == has_label
    hidden = DepthDataset(two_drives, 'train', labelled=False, label_share=third)
    assert sorted([*labelled(hidden), *kept]) == sorted(labelled(every))


def test_depth_of_a_neighbour_is_hidden_too(two_drives: Path) -> None:
    options = {'neighbours': True, 'offsets': (-1,), 'neighbour_depths': True}
    dataset = DepthDataset(two_drives, 'train', label_share=LabelShare(0.5, 0), **options)
    own = {(s.sequence, s.stamp_ns): s.is_labelled for s in (dataset[i] for i in range(10))}
    found = set()
    for number in range(len(dataset)):
        sample = dataset[number]
        (neighbour,) = sample.neighbours
        assert neighbour is not None
        at = (sample.sequence, sample.stamp_ns + round(neighbour.gap_s * 1e9))
        if at in own:
            found.add(own[at])
            assert bool(neighbour.valid_1HW.any()) == own[at]
    assert found == {True, False}


def test_training_uses_the_share_and_validation_all(
    two_drives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {**runs.CONFIG['data'], 'label_share': 0.34}
    config = runs.config_file(tmp_path, data=data, epochs=1)
    assert runs.train(config, two_drives, tmp_path / 'run') == 0
    assert '4 frames, 6 for validation' in ' '.join(capsys.readouterr().err.split())
    assert runs.last(tmp_path / 'run').data['frames'] == 4
    # Other labels are another training.
    options = ('--resume', '--set', 'data.label_share=0.5')
    assert runs.train(config, two_drives, tmp_path / 'run', *options) == 1
    assert 'data.label_share: 0.34, now 0.5' in ' '.join(capsys.readouterr().err.split())


@pytest.mark.parametrize('share', [0.0, -0.5, 1.5])
def test_wrong_share_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=f'^label_share = {share}: must be above 0, up to 1'):
        LabelShare(share)
    content = {**runs.CONFIG, 'data': {**runs.CONFIG['data'], 'label_share': share}}
    with pytest.raises(ConfigError, match=rf'^data\.label_share = {share}: must be above 0'):
        config_from(content)
