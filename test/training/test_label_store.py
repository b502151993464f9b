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

"""Files of pseudo-labels: precision, sky and unknown, and folders that are not what is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from training.dataset_format import DatasetError, json_bytes, MANIFEST_FILE
from training.label_store import (
    decode_inv_depth,
    encode_inv_depth,
    label_path,
    LabelStore,
    manifest_hash,
    write_label_facts,
)

# Half floats have 11 bits.
PRECISION = 2.0**-11
LINE: dict[str, Any] = {'sequence': 'town', 'stamp_ns': 12, 'depth': None}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / 'dataset'
    folder.mkdir()
    (folder / MANIFEST_FILE).write_bytes(b'{}\n')
    return folder


def store(folder: Path, dataset: Path, **changes: Any) -> Path:
    card = {'output': {'kind': 'affine_inverse_depth'}, 'sky': {'kind': 'none'}}
    facts = {
        'complete': True,
        'manifest_sha256': manifest_hash(dataset),
        'split': 'train',
        'frames': 'unlabelled',
        'model': {'card': card},
    }
    folder.mkdir(exist_ok=True)
    write_label_facts(folder, {**facts, **changes})
    return folder


def put(folder: Path, inv_depth_hw: np.ndarray) -> Path:
    path = label_path(folder, LINE)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_inv_depth(inv_depth_hw))
    return path


@given(st.floats(1.0, 6e4), st.floats(1e-3, 1.0))
@settings(deadline=None)
def test_values_keep_their_relative_precision(largest: float, share: float) -> None:
    values = np.array([[largest, largest * share, 0.0, np.nan]], np.float32)
    image = cv2.imdecode(np.frombuffer(encode_inv_depth(values), np.uint8), cv2.IMREAD_UNCHANGED)
    back = image.view(np.float16).astype(np.float32)
    np.testing.assert_allclose(back[0, :2], values[0, :2], rtol=PRECISION)
    assert back[0, 2] == 0.0
    assert np.isnan(back[0, 3])


@pytest.mark.parametrize('largest', [9e-4, 7e4])
def test_unit_that_half_floats_do_not_hold_is_refused(largest: float) -> None:
    with pytest.raises(DatasetError, match=r'label files hold 0\.001 to 65504; choose'):
        encode_inv_depth(np.full((2, 2), largest, np.float32))


@pytest.mark.parametrize('harmless', [0.0, np.nan])
def test_picture_of_sky_or_of_nothing_known_is_stored(harmless: float) -> None:
    assert encode_inv_depth(np.full((2, 2), harmless, np.float32))


def test_label_is_enlarged_to_the_picture_and_unknown_stays_unknown(
    tmp_path: Path, dataset: Path
) -> None:
    folder = store(tmp_path / 'labels', dataset)
    small = np.full((4, 6), 0.5, np.float32)
    small[0, 0], small[:, 5] = np.nan, 0.0
    put(folder, small)
    read = LabelStore(folder).read(LINE, (8, 12))
    assert read is not None
    assert (read.shape, read.dtype) == ((8, 12), np.float32)
    assert np.isnan(read[0, 0])
    assert not np.isnan(read[3:]).any()
    assert (read[:, -1] == 0).all()
    assert (read[3:, 2:8] == 0.5).all()


def test_frames_with_lidar_have_labels_only_where_all_were_asked_for(
    tmp_path: Path, dataset: Path
) -> None:
    lidar = {**LINE, 'depth': 'somewhere.png'}
    folder = store(tmp_path / 'labels', dataset)
    put(folder, np.ones((2, 2), np.float32))
    assert LabelStore(folder).read(lidar, (2, 2)) is None
    store(folder, dataset, frames='all')
    assert LabelStore(folder).read(lidar, (2, 2)) is not None


def test_store_says_what_its_numbers_mean(tmp_path: Path, dataset: Path) -> None:
    folder = store(tmp_path / 'labels', dataset)
    first = LabelStore(folder)
    assert (first.kind, first.knows_sky) == ('affine_inverse_depth', False)
    card = {'output': {'kind': 'metric_depth'}, 'sky': {'kind': 'mask'}}
    store(folder, dataset, model={'card': card})
    second = LabelStore(folder)
    assert (second.kind, second.knows_sky) == ('metric_depth', True)
    assert first.identity != second.identity


def test_missing_and_damaged_files_are_named(tmp_path: Path, dataset: Path) -> None:
    folder = store(tmp_path / 'labels', dataset)
    with pytest.raises(DatasetError, match=r"pseudo-label '.*12\.png' cannot be read"):
        LabelStore(folder).read(LINE, (2, 2))
    path = put(folder, np.ones((20, 20), np.float32))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DatasetError, match=r"pseudo-label '.*12\.png' of \d+ bytes is damaged"):
        decode_inv_depth(path)
    path.write_bytes(bytes(cv2.imencode('.png', np.zeros((2, 2), np.uint8))[1]))
    with pytest.raises(DatasetError, match='is damaged'):
        decode_inv_depth(path)


def test_folder_that_cannot_be_used_is_refused(tmp_path: Path, dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r'holds no pseudo-labels: it has no labels\.json'):
        LabelStore(tmp_path / 'nothing')
    folder = store(tmp_path / 'labels', dataset, complete=False)
    with pytest.raises(DatasetError, match=r'are not complete: run the same training\.pseudo_la'):
        LabelStore(folder)
    (folder / 'labels.json').write_bytes(json_bytes({'schema_version': 7}))
    with pytest.raises(DatasetError, match='has schema_version 7: this program reads 1'):
        LabelStore(folder)


def test_labels_of_another_dataset_or_split_are_refused(tmp_path: Path, dataset: Path) -> None:
    labels = LabelStore(store(tmp_path / 'labels', dataset))
    labels.check_dataset(dataset, 'train')
    with pytest.raises(DatasetError, match=r"another dataset than .* \(split: 'train'"):
        labels.check_dataset(dataset, 'val')
    (dataset / MANIFEST_FILE).write_bytes(b'{}\n{}\n')
    with pytest.raises(DatasetError, match=r'another dataset than .* \(manifest_sha256'):
        labels.check_dataset(dataset, 'train')
