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

"""Pseudo-labels come from the real pipeline, in metres of the camera, where they are asked for."""

from __future__ import annotations

import copy
from dataclasses import replace
import math
from pathlib import Path
from test.engines.graphs import (
    brightness_file,
    BRIGHTNESS_GAIN,
    window_card,
    window_file,
    with_output,
)
from test.synthetic import model_spec
from test.training.recipes.batches import constant, plane_batch, unlabelled
from typing import Any

from depth_ros.engines.model_card import write_card
from depth_ros.errors import ConfigError, ModelError
import pytest
import torch
from training.models.network import Prediction
from training.recipes.recipe import FrameNeeds
from training.recipes.teacher import Labels, LabelSource, Teacher, TeacherOptions
from training.samples import Batch

GREYS = (51, 102)


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a model whose depth is 100 m times the brightness, up to 30 m."""
    path = brightness_file(tmp_path_factory.mktemp('teacher') / 'model.onnx')
    card = with_output(model_spec(), focal_px=None, scale=1.0, min_depth_m=1.0, max_depth_m=30.0)
    write_card(path, card)
    return str(path)


def grey_batch() -> Batch:
    """Return two frames of 20 and 40 m to that model, the second without LiDAR."""
    batch = unlabelled(plane_batch(), 1)
    greys = torch.tensor(GREYS, dtype=torch.float64)[:, None, None, None] / 255
    return replace(batch, image_B3HW=greys.expand_as(batch.image_B3HW).clone())


def teacher_of(model: str, **options: Any) -> Teacher:
    return Teacher(TeacherOptions(model=model, engine='onnxruntime', **options))


def test_depth_is_that_of_the_model_and_unknown_beyond_its_range(model: str) -> None:
    depths = teacher_of(model, where='all').lesson(grey_batch()).target_B1HW
    assert depths.dtype == torch.float64
    wanted = torch.full_like(depths[0], BRIGHTNESS_GAIN * GREYS[0] / 255)
    torch.testing.assert_close(depths[0], wanted, rtol=1e-6, atol=0)
    assert not torch.isfinite(depths[1]).any()


def test_metres_follow_the_focal_length_of_each_frame(tmp_path: Path) -> None:
    path = brightness_file(tmp_path / 'model.onnx')
    card = with_output(model_spec(), scale=1.0, min_depth_m=0.1, max_depth_m=90.0, focal_px=40.0)
    write_card(path, card)
    batch = replace(grey_batch(), image_B3HW=grey_batch().image_B3HW[:1].repeat(2, 1, 1, 1))
    K = batch.K_B33.clone()
    K[1, 0, 0] *= 1.5
    depths = teacher_of(str(path), where='all').lesson(replace(batch, K_B33=K)).target_B1HW
    # At the size of the model's input the focal length shrinks with the width.
    at_input = float(K[0, 0, 0]) * card.input.width / batch.image_B3HW.shape[-1]
    first = BRIGHTNESS_GAIN * GREYS[0] / 255 * at_input / 40.0
    assert depths[0].mean().item() == pytest.approx(first, rel=1e-5)
    assert depths[1].mean().item() == pytest.approx(1.5 * first, rel=1e-5)


def test_where_decides_which_pixels_are_taught(model: str) -> None:
    batch = grey_batch()
    batch = replace(batch, image_B3HW=batch.image_B3HW[:1].repeat(2, 1, 1, 1))
    seen = batch.seen_B1HW.clone()
    seen[:, :, :10] = False
    batch = replace(batch, seen_B1HW=seen)
    hits, shown = int(batch.valid_B1HW.sum()), int(seen.sum())
    wanted = {'unlabelled': shown // 2, 'unhit': shown - hits, 'all': shown}
    for where, count in wanted.items():
        (term,) = (
            teacher_of(model, where=where).term(constant(20.0)(batch.image_B3HW), batch).values()
        )
        assert term.count == count
    assert teacher_of(model).term(constant(20.0)(batch.image_B3HW), plane_batch()) == {}


@pytest.mark.parametrize(
    ('loss', 'wanted'), [('log', math.log(25 / 20)), ('nll', 5 / math.e + 1.0)]
)
def test_loss_is_the_formula_over_all_scales(model: str, loss: str, wanted: float) -> None:
    batch = grey_batch()
    prediction = constant(25.0, 1.0, scales=2)(batch.image_B3HW)
    teacher = teacher_of(model, where='all', loss=loss, weight=0.5)
    (term,) = teacher.term(prediction, batch).values()
    # The second frame is out of the teacher's range.
    assert term.count == batch.image_B3HW[0, 0].numel()
    assert term.value.item() == pytest.approx(wanted, rel=1e-6)
    assert term.weight == 0.5


def test_frames_that_are_not_asked_about_are_not_run(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, batch = teacher_of(model), grey_batch()
    frames = []
    pipeline = teacher.labels._labeller._pipeline
    process = pipeline.process
    monkeypatch.setattr(
        pipeline, 'process', lambda f, **o: frames.append(f.stamp_ns) or process(f, **o)
    )
    teacher.lesson(batch)
    assert frames == [batch.stamps_ns[1]]


def test_copies_share_the_model_and_missing_files_are_told_when_asked(model: str) -> None:
    teacher = teacher_of(model)
    teacher.lesson(grey_batch())
    assert copy.deepcopy(teacher).labels is teacher.labels
    missing = teacher_of('no_such_model.onnx')
    with pytest.raises(ModelError, match='no_such_model'):
        missing.lesson(grey_batch())


def test_model_with_memory_is_refused(tmp_path: Path) -> None:
    path = window_file(tmp_path / 'window.onnx')
    write_card(path, window_card())
    with pytest.raises(ModelError, match='looks at several frames'):
        teacher_of(str(path)).lesson(grey_batch())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model': ' '}, "model = '': must name"),
        ({'labels': ' '}, "labels = '': must name a folder"),
        ({}, 'model = None, labels = None: give exactly one of them'),
        ({'model': 'x', 'labels': 'y'}, "model = 'x', labels = 'y': give exactly one"),
        ({'labels': 'y', 'engine': 'openvino'}, 'engine = openvino: has no effect with labels'),
        ({'model': 'x', 'where': 'sky'}, "where = 'sky': must be one of unlabelled, unhit, all"),
        ({'model': 'x', 'loss': 'l2'}, "loss = 'l2': must be one of log, nll, affine"),
        ({'model': 'x', 'weight': 0.0}, 'weight = 0.0: must be a positive number'),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TeacherOptions(**options)


# A teacher without metres


def relative(folder: Path, **changes: Any) -> str:
    """Return a model that answers 100 times the brightness in no unit."""
    path = brightness_file(folder / 'relative.onnx')
    card = with_output(model_spec(), kind='affine_inverse_depth', focal_px=None, **changes)
    write_card(path, card)
    return str(path)


def ramp_batch() -> Batch:
    """Return pictures whose brightness is a ramp, so that the teacher sees something."""
    batch = unlabelled(plane_batch(), 1)
    ramp = torch.linspace(0.2, 0.8, batch.image_B3HW.shape[-1], dtype=torch.float64)
    return replace(batch, image_B3HW=ramp.expand_as(batch.image_B3HW).clone())


def test_answers_without_a_unit_are_inverse_depths_whatever_the_range(tmp_path: Path) -> None:
    # In metres 20 and 40 would be outside of the card's range.
    teacher = teacher_of(relative(tmp_path, scale=1.0), where='all', loss='affine')
    target = teacher.lesson(grey_batch()).target_B1HW
    for row, grey in zip(target, GREYS, strict=True):
        wanted = torch.full_like(row, BRIGHTNESS_GAIN * grey / 255)
        torch.testing.assert_close(row, wanted, rtol=1e-5, atol=0)


def test_black_is_inverse_depth_zero_and_not_unknown(tmp_path: Path) -> None:
    teacher = teacher_of(relative(tmp_path, scale=1.0), where='all', loss='affine')
    black = replace(grey_batch(), image_B3HW=torch.zeros_like(grey_batch().image_B3HW))
    assert (teacher.lesson(black).target_B1HW == 0).all()


def test_affine_loss_forgives_scale_and_shift_and_counts_images(tmp_path: Path) -> None:
    batch = ramp_batch()
    teacher = teacher_of(relative(tmp_path), where='all', loss='affine', weight=0.5)
    (target,) = teacher.lesson(batch).target_B1HW[:1]
    right = 1.0 / (0.03 * target + 0.1)
    prediction = Prediction((right.expand(2, 1, -1, -1),), (torch.zeros(2, 1, *right.shape[1:]),))
    (term,) = teacher.term(prediction, batch).values()
    assert (term.count, term.weight) == (2, 0.5)
    assert term.value.item() == pytest.approx(0.0, abs=1e-5)
    mirrored = Prediction((prediction.depths[0].flip(3),), prediction.log_sigmas)
    (term,) = teacher.term(mirrored, batch).values()
    assert term.value.item() == pytest.approx(2.0, rel=0.05)
    unlabelled_only = teacher_of(relative(tmp_path), loss='affine')
    assert unlabelled_only.term(prediction, batch)['teacher'].count == 1
    # Constant pictures have constant answers, which say nothing up to scale and shift.
    assert teacher.term(prediction, grey_batch()) == {}


def test_affine_loss_takes_a_teacher_with_metres(model: str) -> None:
    teacher = teacher_of(model, where='all', loss='affine')
    target = teacher.lesson(grey_batch()).target_B1HW
    wanted = torch.full_like(target[0], 255 / (BRIGHTNESS_GAIN * GREYS[0]))
    torch.testing.assert_close(target[0], wanted, rtol=1e-5, atol=0)
    # Beyond the range of that model.
    assert (target[1] == 0).all()


@pytest.mark.parametrize('loss', ['log', 'nll'])
def test_teacher_of_another_kind_than_the_loss_wants_is_refused_by_name(
    tmp_path: Path, loss: str
) -> None:
    teacher = teacher_of(relative(tmp_path), loss=loss)
    message = rf"relative\.onnx': output\.kind = 'affine_inverse_depth' has no .* loss = {loss}"
    with pytest.raises(ModelError, match=message):
        teacher.lesson(grey_batch())


def test_stored_labels_are_read_from_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = grey_batch()
    pseudo = torch.full_like(batch.depth_B1HW, 0.1)
    pseudo[1, :, :5] = torch.nan
    pseudo[1, :, 5:9] = 0.0
    batch = replace(batch, pseudo_B1HW=pseudo)
    options = TeacherOptions(labels='stored', where='unlabelled')
    assert options.added_to(FrameNeeds(labelled=None, neighbours=None)).labels == 'stored'
    monkeypatch.setattr(Labels, 'kind', 'metric_depth')
    lesson = Teacher(options).lesson(batch)
    assert not lesson.known_B1HW[0].any()
    # Neither the unknown nor the infinitely far.
    assert not lesson.known_B1HW[1, :, :9].any()
    assert lesson.known_B1HW[1, :, 9:].all()
    assert lesson.target_B1HW[1, 0, 20, 20].item() == pytest.approx(10.0)
    monkeypatch.setattr(Labels, 'kind', 'affine_inverse_depth')
    with pytest.raises(ModelError, match=r"teacher 'stored': output\.kind = 'affine_inverse_dep"):
        Teacher(options).lesson(batch)
    with pytest.raises(ValueError, match='read without pseudo-labels'):
        Labels(LabelSource(labels='stored')).inv_depths(grey_batch(), batch.is_labelled_B)
