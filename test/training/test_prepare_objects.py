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

"""Object masks from bags: labels, boxes, rectification, and what may be wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
import json
from pathlib import Path
from test.training import drives
from test.training.detections import BOXES_TOPIC, Detections
from typing import Any

import cv2
from depth_ros.core.camera import CameraModel
from depth_ros.errors import BagError, ConfigError, FrameError
from hypothesis import given, settings, strategies
import numpy as np
import pytest
from training.dataset import DepthDataset
from training.dataset_format import DatasetError
from training.prepare_objects import Box, read_labels
from training.prepare_options import ObjectSource

MASK_TOPIC = '/mask'
BY_MASK = ObjectSource(topic=MASK_TOPIC, kind='mask')
BY_BOXES = ObjectSource(topic=BOXES_TOPIC, kind='boxes')
KINDS = {'mono8': np.uint8, 'mono16': np.uint16, '32SC1': np.int32}


def labels(value: int = 1) -> np.ndarray:
    """Return a label image with one rectangle of that value."""
    image = np.zeros((drives.HEIGHT, drives.WIDTH), np.int64)
    image[10:20, 30:45] = value
    return image


def mask(index: float, image: np.ndarray | None = None, encoding: str = 'mono8') -> drives.Message:
    pixels = (labels() if image is None else image).astype(KINDS[encoding])
    message = drives.MAKE.image(drives.stamp(index), drives.CAMERA, pixels, encoding)
    return MASK_TOPIC, drives.stamp(index), message


def masked_drive(path: Path, masks: Sequence[drives.Message], count: int = 2) -> Path:
    messages = [drives.static()]
    for index in range(count):
        messages += [drives.info(index), drives.cloud(index), drives.image(index)]
    ordered = sorted([*messages, *masks], key=lambda message: message[1])
    return drives.write(path, ordered)


def stored(dataset: Path, index: int = 0) -> np.ndarray:
    """Return the mask of a frame by the documented rule."""
    name = drives.manifest(dataset)[index]['objects']
    return np.asarray(cv2.imread(str(dataset / name), cv2.IMREAD_UNCHANGED))


# --- Masks -----------------------------------------------------------------------------------


@pytest.mark.parametrize('encoding', list(KINDS))
@pytest.mark.parametrize('is_bigendian', [False, True])
def test_mask_of_every_encoding_is_stored_and_read(
    tmp_path: Path, encoding: str, is_bigendian: bool
) -> None:
    value = 200 if encoding == 'mono8' else 0x0100
    masks = [mask(index, labels(value), encoding) for index in range(2)]
    if is_bigendian:
        for _, _, message in masks:
            kind = np.dtype(KINDS[encoding])
            swapped = message.data.view(kind).astype(kind.newbyteorder('>'))
            message.data, message.is_bigendian = swapped.view(np.uint8), 1
    bag = masked_drive(tmp_path / 'bag', masks)
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    expected = labels() > 0
    np.testing.assert_array_equal(stored(out), expected * np.uint8(255))
    sample = DepthDataset(out, 'train')[0]
    np.testing.assert_array_equal(sample.objects_1HW[0], expected)
    assert sample.has_objects
    assert (
        json.loads((out / 'dataset.json').read_text())['sequences'][0]['totals']['with_objects']
        == 2
    )


def test_padding_of_the_rows_is_no_label() -> None:
    _, _, message = mask(0)
    rows = np.full((drives.HEIGHT, drives.WIDTH + 5), 9, np.uint8)
    rows[:, : drives.WIDTH] = labels()
    message.step, message.data = rows.shape[1], rows.reshape(-1)
    np.testing.assert_array_equal(read_labels(message), labels())


@pytest.mark.parametrize(
    ('given_labels', 'found'),
    [(None, [1, 11, 14, 18, 300]), ('11-18', [11, 14, 18]), ('1, 14,300-400', [1, 14, 300])],
)
def test_only_the_chosen_labels_are_objects(
    tmp_path: Path, given_labels: str | None, found: list[int]
) -> None:
    values = [0, 1, 11, 14, 18, 300]
    image = np.zeros((drives.HEIGHT, drives.WIDTH), np.int64)
    image[0, : len(values)] = values
    bag = masked_drive(tmp_path / 'bag', [mask(0, image, 'mono16')], 1)
    arguments = [bag, '--out', tmp_path / 'out', '--mask-topic', MASK_TOPIC]
    if given_labels is not None:
        arguments += ['--mask-labels', given_labels]
    assert drives.run(*arguments) == 0
    expected = np.isin(image, found)
    np.testing.assert_array_equal(stored(tmp_path / 'out') > 0, expected)


def test_mask_is_rectified_with_its_image_and_stays_sharp(tmp_path: Path) -> None:
    i = drives.intrinsics()
    camera = CameraModel(
        width=i.width,
        height=i.height,
        distortion_model='plumb_bob',
        d=(-0.2, 0.0, 0.0, 0.0, 0.0),
        k=tuple(i.K_33.reshape(-1)),
        r=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0),
        p=(30.0, 0.0, 31.5, 0.0, 0.0, 30.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    at = drives.stamp(0)
    # The object is white in an otherwise black image: both have to move alike.
    white = np.repeat((labels() * 255).astype(np.uint8)[..., None], 3, axis=2)
    bag = drives.write(
        tmp_path / 'bag',
        [
            (drives.INFO_TOPIC, at, drives.MAKE.camera_info(at, drives.CAMERA, camera)),
            (drives.IMAGE_TOPIC, at, drives.MAKE.image(at, drives.CAMERA, white)),
            mask(0),
        ],
    )
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    sample = DepthDataset(out, 'train')[0]
    found, image = sample.objects_1HW[0].numpy(), sample.image_3HW[0].numpy()
    assert not np.array_equal(found, labels() > 0)
    # Nearest and linear agree wherever linear has no doubt.
    assert found[image > 160].all()
    assert not found[image < 95].any()
    # Where rectification left the image empty there is no object.
    assert not found[~sample.seen_1HW[0].numpy()].any()


def test_masks_are_paired_one_to_one_by_stamp(tmp_path: Path) -> None:
    other = np.roll(labels(), 10, axis=1)
    # 20 ms after the first image, 30 ms before the second; nothing near the third.
    bag = masked_drive(tmp_path / 'bag', [mask(0.2), mask(0.7, other), mask(3)], 3)
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    np.testing.assert_array_equal(stored(out, 0) > 0, labels() > 0)
    np.testing.assert_array_equal(stored(out, 1) > 0, other > 0)
    last = drives.manifest(out)[2]
    assert (last['objects'], last['objects_missing']) == (None, 'no objects within 50 ms')
    assert last['depth'] is not None
    sample = DepthDataset(out, 'train')[2]
    assert (sample.has_objects, bool(sample.objects_1HW.any())) == (False, False)
    told = [(d['what'], d['stamp_ns']) for d in drives.dropped(out)]
    assert told == [('objects', drives.stamp(2))]
    totals = json.loads((out / 'dataset.json').read_text())['sequences'][0]['totals']
    assert totals['dropped'] == {'objects: no objects within 50 ms': 1}
    # One mask between two images belongs to the nearer one only.
    bag = masked_drive(tmp_path / 'one' / 'bag', [mask(0.6)])
    out = drives.made(tmp_path / 'one' / 'out', bag, objects=BY_MASK)
    assert [line['objects'] is not None for line in drives.manifest(out)] == [False, True]


def test_masks_out_of_order_are_dropped_and_told(tmp_path: Path) -> None:
    masks = [mask(index) for index in (0, 2, 1)]
    # Recorded in this order; a bag is read by the time of recording.
    masks = [(topic, drives.stamp(3 + n), message) for n, (topic, _, message) in enumerate(masks)]
    bag = masked_drive(tmp_path / 'bag', masks, 3)
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    found = [line['objects'] is not None for line in drives.manifest(out)]
    assert found == [True, False, True]
    told = {(d['what'], d['stamp_ns'], d['reason']) for d in drives.dropped(out)}
    assert ('objects', drives.stamp(1), 'stamp not after that of the one before') in told


@pytest.mark.parametrize(
    ('damage', 'reason'),
    [
        ({'width': 32, 'height': 24, 'step': 32}, 'mask is 32x24: the image is 64x48'),
        ({'encoding': 'rgb8'}, "mask has encoding 'rgb8': must be one of ['mono8'"),
        ({'data': np.zeros(7, np.uint8)}, 'has 7 bytes: too few'),
        ({'width': 0}, 'mask of 0x48'),
        ({'step': 8}, 'step 8'),
    ],
)
def test_mask_that_cannot_be_used_leaves_its_frame_without(
    tmp_path: Path, damage: dict[str, Any], reason: str
) -> None:
    topic, at, message = mask(0)
    for key, value in damage.items():
        setattr(message, key, value)
    bag = masked_drive(tmp_path / 'bag', [(topic, at, message), mask(1)])
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    first, second = drives.manifest(out)
    assert (first['objects'], second['objects_missing']) == (None, None)
    assert first['depth'] is not None
    told = [d['reason'] for d in drives.dropped(out) if d['what'] == 'objects']
    assert any(reason in text for text in told)


def test_overlay_and_page_show_the_masks(tmp_path: Path) -> None:
    bag = masked_drive(tmp_path / 'bag', [mask(0)])
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK, overlay_every=1)
    plain = drives.made(tmp_path / 'plain', bag, image_topic=drives.IMAGE_TOPIC, overlay_every=1)
    shown, without = (cv2.imread(str(d / drives.manifest(d)[0]['overlay'])) for d in (out, plain))
    # One more title and one more picture.
    begin = without.shape[0] + 30
    added = shown[begin:]
    assert added.shape == (930, 1240, 3)
    image = cv2.resize(drives.pixels(0), (1240, 930)).astype(int)
    # Enlarged 19.4 times: well inside rows 10 to 19 and columns 30 to 44, and well above.
    assert (added - image)[240:340, 640:820, 1].min() > 40
    assert np.abs(added - image)[40:150, 300:].max() < 12
    assert '<td>1</td>' in (out / 'index.html').read_text()


def test_lost_mask_is_made_again_and_damaged_one_is_named(tmp_path: Path) -> None:
    bag = masked_drive(tmp_path / 'bag', [mask(0), mask(1)])
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    path = out / drives.manifest(out)[0]['objects']
    whole = path.read_bytes()
    sequence = out / 'sequences' / 'bag' / 'sequence.json'
    sequence.write_text(sequence.read_text().replace('"complete": true', '"complete": false'))
    path.unlink()
    with pytest.raises(DatasetError, match=rf"mask '.*{path.name}' cannot be read"):
        DepthDataset(out, 'train')[0]
    drives.made(out, bag, objects=BY_MASK)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match=rf"mask '.*{path.name}' of .* is damaged"):
        DepthDataset(out, 'train')[0]
    cv2.imwrite(str(path), np.zeros((24, 64), np.uint8))
    with pytest.raises(DatasetError, match='is 64x24: the manifest says 64x48'):
        DepthDataset(out, 'train')[0]


# --- Boxes -----------------------------------------------------------------------------------


@pytest.mark.parametrize('layout', ['new', 'old'])
def test_boxes_of_either_layout_become_a_mask(tmp_path: Path, layout: str) -> None:
    make = Detections(layout)
    boxes = [((20.0, 10.0, 8.0, 4.0, 0.0), {'car': 0.9}), ((60.0, 40.0, 20.0, 6.0, 0.0), {})]
    bag = make.write(tmp_path / 'bag', make.array(0, *boxes), make.array(1))
    out = drives.made(tmp_path / 'out', bag, objects=BY_BOXES)
    expected = np.zeros((drives.HEIGHT, drives.WIDTH), bool)
    # Every pixel that the box touches, from 16 to 24 and 8 to 12; the second leaves the image.
    expected[8:13, 16:25] = True
    expected[37:44, 50:] = True
    np.testing.assert_array_equal(stored(out) > 0, expected)
    # An image in which nothing was found is known to have no objects.
    empty = DepthDataset(out, 'train')[1]
    assert (empty.has_objects, bool(empty.objects_1HW.any())) == (True, False)


@pytest.mark.parametrize('layout', ['new', 'old'])
def test_only_boxes_of_the_chosen_classes_count(tmp_path: Path, layout: str) -> None:
    make = Detections(layout)
    boxes = [
        ((10.0, 10.0, 2.0, 2.0, 0.0), {'car': 0.9, 'traffic light': 0.1}),
        ((30.0, 10.0, 2.0, 2.0, 0.0), {'car': 0.2, 'traffic light': 0.8}),
        ((50.0, 10.0, 2.0, 2.0, 0.0), {}),
    ]
    bag = make.write(tmp_path / 'bag', make.array(0, *boxes))
    out = tmp_path / 'out'
    chosen = ['--boxes-topic', BOXES_TOPIC, '--boxes-labels', 'person, car']
    assert drives.run(bag, '--out', out, *chosen) == 0
    found = stored(out)
    assert [found[10, u] for u in (10, 30, 50)] == [255, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    x=strategies.floats(-10, 74),
    y=strategies.floats(-10, 58),
    width=strategies.floats(0, 90),
    height=strategies.floats(0, 90),
    angle=strategies.floats(-4, 4),
)
def test_turned_box_holds_its_pixels_and_no_others(
    x: float, y: float, width: float, height: float, angle: float
) -> None:
    drawn = np.zeros((48, 64), np.bool_)
    Box(x=x, y=y, width=width, height=height, angle_rad=angle).draw(drawn)
    v, u = np.mgrid[:48, :64]
    turned = (u - x + 1j * (v - y)) * np.exp(-1j * angle)
    inside = (np.abs(turned.real) <= width / 2) & (np.abs(turned.imag) <= height / 2)
    # No further than a pixel's half side around the box.
    near = np.maximum(abs(turned.real) - width / 2, abs(turned.imag) - height / 2) <= 0.5
    assert drawn[inside].all()
    assert not drawn[~near].any()


@pytest.mark.parametrize(
    'box', [(np.nan, 1, 2, 2, 0), (1, 1, -2, 2, 0), (1, 1, 2, np.inf, 0), (1, 1, 2, 2, np.nan)]
)
def test_box_that_is_none_drops_the_message(tmp_path: Path, box: Sequence[float]) -> None:
    make = Detections('new')
    values = [float(value) for value in box]
    bag = make.write(tmp_path / 'bag', make.array(0, (values, {})), make.array(1))
    out = drives.made(tmp_path / 'out', bag, objects=BY_BOXES)
    assert [line['objects'] is None for line in drives.manifest(out)] == [True, False]
    told = [d['reason'] for d in drives.dropped(out) if d['what'] == 'objects']
    assert any(text.endswith(': no box') for text in told)


# --- Options ---------------------------------------------------------------------------------


def test_mask_topic_is_not_taken_for_the_camera(tmp_path: Path) -> None:
    bag = masked_drive(tmp_path / 'bag', [mask(0)], 1)
    with pytest.raises(BagError, match='has 2 image topics'):
        drives.made(tmp_path / 'ambiguous', bag)
    out = drives.made(tmp_path / 'out', bag, objects=BY_MASK)
    topics = json.loads((out / 'dataset.json').read_text())['sequences'][0]['topics']
    assert (topics['image'], topics['objects']) == (drives.IMAGE_TOPIC, MASK_TOPIC)


def test_one_of_two_bags_may_lack_the_topic(tmp_path: Path) -> None:
    with_masks = masked_drive(tmp_path / 'with', [mask(0)], 1)
    without = drives.drive(tmp_path / 'without', 1)
    out = drives.made(tmp_path / 'out', without, with_masks, objects=BY_MASK)
    told = [line['objects_missing'] for line in drives.manifest(out)]
    assert told == ["the bag has no topic '/mask'", None]
    with pytest.raises(BagError, match="--mask-topic '/mask': no bag has such a topic"):
        drives.made(tmp_path / 'none', without, objects=BY_MASK)
    assert not (tmp_path / 'none').exists()


def test_topic_of_another_type_is_refused(tmp_path: Path) -> None:
    bag = masked_drive(tmp_path / 'bag', [mask(0)], 1)
    wrong = ObjectSource(topic=MASK_TOPIC, kind='boxes')
    with pytest.raises(BagError, match=r"--boxes-topic '/mask' is of type 'sensor_msgs/msg/Image"):
        drives.made(tmp_path / 'out', bag, objects=wrong, image_topic=drives.IMAGE_TOPIC)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--mask-labels', '1'], '--mask-labels has no effect without --mask-topic'),
        (['--boxes-labels', 'a'], '--boxes-labels has no effect without --boxes-topic'),
        (['--mask-topic', '/a', '--boxes-topic', '/b'], 'both tell objects: leave one out'),
        (['--mask-topic', '/a', '--mask-labels', 'car'], "--mask-labels = 'car': must be numbers"),
        (['--mask-topic', '/a', '--mask-labels', '18-11'], 'lower one first'),
        (['--boxes-topic', '/a', '--boxes-labels', 'car,,'], "--boxes-labels = 'car,,'"),
    ],
)
def test_wrong_option_is_refused_with_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert drives.run(tmp_path / 'bag', '--out', tmp_path / 'out', *arguments) == 1
    assert message in ' '.join(capsys.readouterr().err.split())


def test_labels_of_another_kind_are_named() -> None:
    _, _, message = mask(0)
    message.encoding = 'bgr8'
    with pytest.raises(FrameError, match="encoding 'bgr8'"):
        read_labels(message)
    with pytest.raises(ConfigError, match="kind = 'guess'"):
        ObjectSource(topic='/a', kind='guess')
