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

"""The program that labels: real frames, a real model file, and going on where it was stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from test.engines.graphs import brightness_file, BRIGHTNESS_GAIN, with_output
from test.synthetic import model_spec
from test.training import drives, runs
from typing import Any

from depth_ros.core.model_spec import SkySpec
from depth_ros.engines.model_card import write_card
import numpy as np
import pytest
import torch
from training.augment import RandomCrop
from training.dataset import DepthDataset
from training.dataset_format import DatasetError, read_json
from training.label_store import label_path, LABELS_FILE, LabelStore
from training.labeller import Labeller
from training.pseudo_label import main
from training.samples import collate, Sample

LIDAR_FRAMES, OTHER_FRAMES = 4, 5
AFFINE = {'kind': 'affine_inverse_depth'}
# Left of the edge of the pictures and right of it.
BRIGHT, DARK = (BRIGHTNESS_GAIN * sum(bgr) / 3 / 255 for bgr in ((200, 120, 40), (30, 60, 90)))


@pytest.fixture(scope='module')
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of one drive with LiDAR and one without; nobody may change it."""
    folder = tmp_path_factory.mktemp('mixed')
    with_lidar = drives.drive(folder / 'town', LIDAR_FRAMES)
    messages = []
    for index in range(OTHER_FRAMES):
        messages += [drives.info(index), drives.image(index)]
    without = drives.write(folder / 'village', messages)
    return drives.made(folder / 'dataset', with_lidar, without)


def model(folder: Path, **output: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = brightness_file(folder / 'model.onnx')
    changes = {'focal_px': None, 'scale': 1.0, 'min_depth_m': 1.0, 'max_depth_m': 90.0, **output}
    write_card(path, with_output(model_spec(), **changes))
    return path


def label(model: Path, dataset: Path, out: Path, *options: str) -> int:
    named = ['--model', str(model), '--data', str(dataset), '--out', str(out)]
    return main([*named, '--engine', 'onnxruntime', '--threads', '1', *options])


def samples(dataset: Path, labels: Path, **options: Any) -> list[Sample]:
    data = DepthDataset(dataset, 'train', labels=labels, **options)
    return [data[number] for number in range(len(data))]


def test_labels_are_what_the_model_says_of_the_clean_pictures(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'labels'
    assert label(model(tmp_path, **AFFINE), dataset, out) == 0
    assert f'{OTHER_FRAMES} frames labelled' in capsys.readouterr().out
    found = samples(dataset, out)
    assert [bool(s.pseudo_1HW.isnan().all()) for s in found] == [s.is_labelled for s in found]
    labelled = [s for s in found if not s.is_labelled]
    assert len(labelled) == OTHER_FRAMES
    for sample in labelled:
        assert sample.pseudo_1HW[0, :, :4].numpy() == pytest.approx(BRIGHT, rel=2e-3)
        assert sample.pseudo_1HW[0, :, 60:].numpy() == pytest.approx(DARK, rel=2e-3)
    (lidar, *_) = (s for s in found if s.is_labelled)
    batch = collate([labelled[0], lidar])
    assert batch.pseudo_B1HW is not None
    assert torch.isfinite(batch.pseudo_B1HW[0]).all()
    assert torch.isnan(batch.pseudo_B1HW[1]).all()
    assert torch.isnan(collate([lidar]).pseudo_B1HW).all()


def test_manifest_names_model_and_dataset(dataset: Path, tmp_path: Path) -> None:
    path, out = model(tmp_path), tmp_path / 'labels'
    assert label(path, dataset, out, '--frames', 'all') == 0
    facts = read_json(out / LABELS_FILE)
    assert facts['complete'] is True
    assert facts['count'] == LIDAR_FRAMES + OTHER_FRAMES
    assert facts['model']['card']['output']['kind'] == 'metric_depth'
    assert facts['model']['sha256'] == Labeller(str(path), engine='onnxruntime').loaded.sha256
    assert not any(sample.pseudo_1HW.isnan().all() for sample in samples(dataset, out))


@pytest.mark.parametrize(
    ('output', 'bright', 'dark'),
    [
        ({'max_depth_m': 30.0}, 0.0, 1 / DARK),
        ({'min_depth_m': 30.0}, 1 / BRIGHT, np.nan),
    ],
)
def test_beyond_the_range_is_zero_and_too_close_is_unknown(
    dataset: Path, tmp_path: Path, output: dict[str, float], bright: float, dark: float
) -> None:
    out = tmp_path / 'labels'
    assert label(model(tmp_path, **output), dataset, out) == 0
    for sample in samples(dataset, out, labelled=False):
        values = sample.pseudo_1HW[0].numpy()
        np.testing.assert_allclose(values[:, :4], bright, rtol=2e-3)
        np.testing.assert_allclose(values[:, 60:], dark, rtol=2e-3)


def test_stopped_labelling_goes_on_and_finished_files_stay(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = model(tmp_path), tmp_path / 'labels'
    asked, ask = [], Labeller.inv_depth

    def interrupted(self: Labeller, *given: Any) -> Any:
        asked.append(given)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, *given)

    monkeypatch.setattr(Labeller, 'inv_depth', interrupted)
    assert label(path, dataset, out) == 130
    with pytest.raises(DatasetError, match='are not complete'):
        LabelStore(out)
    done = sorted(out.glob('sequences/*/*.png'))
    before = [file.stat().st_mtime_ns for file in done]
    assert len(done) == 2
    assert label(path, dataset, out) == 0
    assert len(asked) == 3 + OTHER_FRAMES - 2
    assert [file.stat().st_mtime_ns for file in done] == before
    assert LabelStore(out).facts['count'] == OTHER_FRAMES


def test_folder_with_labels_of_another_model_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'labels'
    assert label(model(tmp_path), dataset, out) == 0
    assert label(model(tmp_path, max_depth_m=50.0), dataset, out) == 1
    assert 'holds other pseudo-labels (model: model.onnx' in capsys.readouterr().err
    assert label(model(tmp_path), dataset, out, '--frames', 'all') == 1
    assert "holds other pseudo-labels (frames: 'unlabelled', now 'all')" in capsys.readouterr().err


def test_dataset_without_unlabelled_frames_is_refused(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert label(model(tmp_path), tiny_dataset, tmp_path / 'labels') == 1
    assert "split 'train' (town) has no unlabelled frame" in capsys.readouterr().err
    assert not (tmp_path / 'labels').exists()


def test_augmentation_moves_labels_with_the_picture(dataset: Path, tmp_path: Path) -> None:
    """The model answers brightness, so that labels and pictures must show the same edge."""
    out = tmp_path / 'labels'
    assert label(model(tmp_path, **AFFINE), dataset, out) == 0
    crop = RandomCrop(width=40, height=30, min_share=0.5, flip_probability=0.5)
    data = DepthDataset(dataset, 'train', labelled=False, labels=out, augment=crop)
    has_edge = 0
    for seed in range(12):
        sample = data[seed % OTHER_FRAMES, seed]
        brightness = sample.image_3HW.float().mean(0) / 255 * BRIGHTNESS_GAIN
        # Bytes and the grid of the model blur the edge.
        is_close = (sample.pseudo_1HW[0] - brightness).abs() < 2.0
        assert is_close.float().mean() > 0.9
        has_edge += bool(brightness.max() - brightness.min() > 10.0)
    assert has_edge > 3


def student(folder: Path, labels: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    recipe = {'name': 'depth_anything', 'teacher': {'labels': str(labels)}}
    schedule = {'name': 'constant'}
    return runs.config_file(folder, recipe=recipe, batch_size=3, schedule=schedule, **changes)


def test_student_trains_from_the_store_and_goes_on_to_the_bit(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / 'labels'
    assert label(model(tmp_path, **AFFINE), dataset, labels) == 0
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    two = student(tmp_path / 'two', labels, epochs=2)
    assert runs.train(two, dataset, whole, '--no-validation') == 0
    assert runs.last(whole).position.step == 2 * (OTHER_FRAMES // 2)
    one = student(tmp_path / 'one', labels, epochs=1)
    assert runs.train(one, dataset, parts, '--no-validation') == 0
    assert runs.train(two, dataset, parts, '--no-validation', '--resume') == 0
    runs.assert_equal_checkpoints(runs.last(parts), runs.last(whole))
    # Labels by another model make another training.
    for file in labels.rglob('*.*'):
        file.unlink()
    assert label(model(tmp_path, kind='metric_depth'), dataset, labels) == 0
    assert runs.train(two, dataset, whole, '--no-validation', '--resume') == 1
    assert 'was trained on another dataset (labels_sha256' in capsys.readouterr().err


def test_batches_of_frames_with_lidar_alone_have_no_lesson(dataset: Path, tmp_path: Path) -> None:
    labels, out = tmp_path / 'labels', tmp_path / 'run'
    assert label(model(tmp_path, **AFFINE), dataset, labels) == 0
    recipe = {'name': 'supervised', 'teacher': {'labels': str(labels), 'loss': 'affine'}}
    config = runs.config_file(tmp_path, recipe=recipe, batch_size=1, epochs=1)
    assert runs.train(config, dataset, out, '--no-validation') == 0
    taught = [row['term_teacher'] for row in runs.rows(out / 'log.csv')]
    assert len([term for term in taught if term]) == OTHER_FRAMES
    assert '' in taught


def test_student_without_unlabelled_frames_is_refused(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / 'labels'
    assert label(model(tmp_path), tiny_dataset, labels, '--frames', 'all') == 0
    config = student(tmp_path / 'student', labels)
    assert runs.train(config, tiny_dataset, tmp_path / 'run', '--no-validation') == 1
    assert 'has no training frame without LiDAR' in capsys.readouterr().err


def test_sky_of_the_card_is_known_to_the_store(dataset: Path, tmp_path: Path) -> None:
    path = model(tmp_path)
    card = with_output(model_spec(), focal_px=None, scale=1.0, min_depth_m=1.0, max_depth_m=30.0)
    write_card(path, replace(card, sky=SkySpec(kind='beyond_max_depth')))
    assert label(path, dataset, tmp_path / 'labels') == 0
    assert LabelStore(tmp_path / 'labels').knows_sky


def test_missing_label_is_named(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / 'labels'
    assert label(model(tmp_path), dataset, out) == 0
    data = DepthDataset(dataset, 'train', labelled=False, labels=out)
    label_path(out, data.line(1)).unlink()
    assert data[0].pseudo_1HW is not None
    with pytest.raises(DatasetError, match=r'pseudo-label .* cannot be read'):
        data[1]
