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

"""Stopping and going on: the second run ends where one run would have ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from test.project import ROOT
from test.training import drives

import numpy as np
import pytest
from training import prepare_images, prepare_sequence
from training.dataset_format import DatasetError
from training.prepare_options import ObjectSource


class Stopped(Exception):  # noqa: N818
    """Stands for the power cut."""


def stop_after(monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Let the n-th whole file be left half written and the program die."""
    left = writes
    whole = prepare_sequence.write_whole

    def write(path: Path, data: bytes) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            path.with_name(path.name + '.partial').write_bytes(data[: len(data) // 2])
            raise Stopped
        whole(path, data)

    for module in (prepare_sequence, prepare_images):
        monkeypatch.setattr(module, 'write_whole', write)


@pytest.mark.parametrize('writes', [0, 1, 2, 3, 5, 8, 11])
def test_stopped_and_resumed_equals_one_run_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    bag = drives.drive(tmp_path / 'bag', 5, drives.compressed)
    whole = drives.files(drives.made(tmp_path / 'one' / 'out', bag, overlay_every=2))
    out = tmp_path / 'two' / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, writes)
        with pytest.raises(Stopped):
            drives.made(out, bag, overlay_every=2)
    journal = out / 'sequences' / 'bag' / 'journal.jsonl'
    with journal.open('ab') as stream:
        stream.write(b'{"kind": "frame", "stamp')
    assert json.loads((out / 'dataset.json').read_text())['complete'] is False
    drives.made(out, bag, overlay_every=2)
    assert drives.files(out) == whole


def messy_drive(path: Path) -> Path:
    """Write a drive with a corrupt image, a broken cloud, and odometry that goes back."""
    twist = (10.0, 0, 0, 0, 0, 0)
    messages = [drives.static()]
    for index in range(8):
        topic, at, cloud = drives.cloud(index)
        if index == 2:
            cloud.data = cloud.data[:-1]
        late = drives.odometry(index - 1, twist)[2]
        messages += [
            drives.odometry(index, twist),
            (drives.ODOMETRY_TOPIC, at + 1, late),
            drives.info(index),
            (topic, at, cloud),
            drives.compressed(index, b'broken' if index in (3, 4) else None),
        ]
    return drives.write(path, messages)


@pytest.mark.parametrize('writes', [1, 4, 6, 9, 12])
def test_what_was_dropped_is_the_same_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    bag = messy_drive(tmp_path / 'bag')
    whole = drives.files(drives.made(tmp_path / 'one' / 'out', bag))
    out = tmp_path / 'two' / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, writes)
        with pytest.raises(Stopped):
            drives.made(out, bag)
    drives.made(out, bag)
    assert drives.files(out) == whole
    told = [(line['what'], line['stamp_ns']) for line in drives.dropped(out)]
    assert told.count(('frame', drives.stamp(3))) == 1
    assert told.count(('sweep', drives.stamp(2))) == 1
    assert sum(what == 'odometry' for what, _ in told) == 8


def masked_drive(path: Path) -> Path:
    """Write a drive whose masks are late once, of another size once, and missing once."""
    messages = [drives.static()]
    for index in range(5):
        size = (10, 10) if index == 1 else (drives.HEIGHT, drives.WIDTH)
        at = drives.stamp(index - 2 if index == 3 else index)
        mask = drives.MAKE.image(at, drives.CAMERA, np.ones(size, np.uint8), 'mono8')
        messages += [drives.info(index), drives.cloud(index), drives.image(index)]
        messages += [] if index == 4 else [('/mask', drives.stamp(index), mask)]
    return drives.write(path, messages)


@pytest.mark.parametrize('writes', [2, 3, 5, 7, 9, 12])
def test_masks_are_the_same_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    bag, source = masked_drive(tmp_path / 'bag'), ObjectSource(topic='/mask', kind='mask')
    options = {'objects': source, 'overlay_every': 2}
    whole = drives.files(drives.made(tmp_path / 'one' / 'out', bag, **options))
    assert sum('/objects/' in name for name in whole) == 2
    out = tmp_path / 'two' / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, writes)
        with pytest.raises(Stopped):
            drives.made(out, bag, **options)
    drives.made(out, bag, **options)
    assert drives.files(out) == whole


def test_resume_does_not_make_finished_frames_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = drives.drive(tmp_path / 'bag', 5)
    with monkeypatch.context() as patch:
        # Calibration, then depth and image of three frames.
        stop_after(patch, 7)
        with pytest.raises(Stopped):
            drives.made(tmp_path / 'out', bag, overlay_every=0)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'out').rglob('image/*.png')}
    drives.made(tmp_path / 'out', bag, overlay_every=0)
    assert len(before) == 3
    assert all(path.stat().st_mtime_ns == at for path, at in before.items())
    assert len(drives.manifest(tmp_path / 'out')) == 5


def test_frame_whose_file_was_lost_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = drives.drive(tmp_path / 'bag', 4)
    whole = drives.files(drives.made(tmp_path / 'one' / 'out', bag))
    out = tmp_path / 'two' / 'out'
    with monkeypatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Stopped):
            drives.made(out, bag)
    (out / 'sequences' / 'bag' / 'depth' / f'{drives.stamp(0)}.png').unlink()
    drives.made(out, bag)
    assert drives.files(out) == whole


def test_finished_dataset_is_left_as_it_is(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag')
    out = drives.made(tmp_path / 'out', bag)
    whole = drives.files(out)
    drives.made(out, bag)
    assert drives.files(out) == whole


def test_interrupt_ends_cleanly_and_the_next_run_finishes(tmp_path: Path) -> None:
    bag = drives.drive(tmp_path / 'bag', 200)
    out = tmp_path / 'out'
    command = [sys.executable, '-m', 'training.prepare', str(bag), '--out', str(out)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    journal = out / 'sequences' / 'bag' / 'journal.jsonl'
    while process.poll() is None and not (journal.is_file() and journal.stat().st_size > 4000):
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert 'run the same command again' in errors
    assert 'Traceback' not in errors
    assert 0 < len(drives.lines(journal)) < 200
    assert drives.run(bag, '--out', out) == 0
    assert len(drives.manifest(out)) == 200


def test_other_options_or_another_bag_are_refused_on_resume(tmp_path: Path) -> None:
    bag, other = drives.drive(tmp_path / 'bag'), drives.drive(tmp_path / 'other' / 'bag', 2)
    out = drives.made(tmp_path / 'out', bag)
    with pytest.raises(DatasetError, match=r'options\.max_sync_ms = 50\.0, now it is 20\.0'):
        drives.made(out, bag, max_sync_ms=20.0)
    with pytest.raises(DatasetError, match=r'begun with fingerprint'):
        drives.made(out, other)


def test_bag_can_be_added_to_a_dataset(tmp_path: Path) -> None:
    one, two = (drives.drive(tmp_path / name, 2) for name in ('one', 'two'))
    out = drives.made(tmp_path / 'out', one)
    drives.made(out, one, two, val=['two'])
    assert [(x['sequence'], x['split']) for x in drives.manifest(out)] == [
        ('one', 'train'),
        ('one', 'train'),
        ('two', 'val'),
        ('two', 'val'),
    ]
    with pytest.raises(DatasetError, match=r"sequences of other bags, \['two'\]"):
        drives.made(out, one)


PEAK = """
import sys, tracemalloc
from pathlib import Path
from test.training import drives
drives.made(Path(sys.argv[1], 'warm'), Path(sys.argv[2]), overlay_every=0)
for bag in sys.argv[2:]:
    tracemalloc.start()
    drives.made(Path(sys.argv[1], Path(bag).name), Path(bag), overlay_every=0)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
"""


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    # MCAP is read by chunks of a megabyte or more: they would hide the difference.
    bags = [drives.drive(tmp_path / f'bag{n}', n, storage='sqlite3') for n in (20, 150)]
    # In a process of its own: what other tests have loaded must not be counted.
    command = [sys.executable, '-c', PEAK, str(tmp_path / 'out'), *map(str, bags)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    small, large = map(int, result.stdout.split()[-2:])
    # The images alone of the 130 frames more are 1.2 MB.
    assert large - small < 300_000
