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

"""Many bags become one dataset, whoever makes its sequences, and a bad bag loses no other."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
import json
import os
from pathlib import Path
import signal
from test.training import drives
from typing import Any

from depth_ros.evaluation.ray_tasks import RayRunner
from depth_ros.evaluation.tasks import Runner
from depth_ros.evaluation.worker_processes import ProcessRunner
import pytest
from rich.progress import Progress
from training.dataset import DepthDataset
from training.dataset_format import DatasetError
from training.prepare import prepare, Source
from training.prepare_options import PrepareOptions

VAL = ['two']


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two good drives, one whose LiDAR hangs in the air, and one that is cut off."""
    folder = tmp_path_factory.mktemp('bags')
    good = [drives.drive(folder / name, count) for name, count in (('one', 6), ('two', 3))]
    messages = [drives.info(0), drives.image(0), drives.cloud(0)]
    blind = drives.write(folder / 'blind', messages)
    cut = drives.drive(folder / 'cut')
    file = next(cut.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[:-200])
    return [*good, blind, cut]


@pytest.fixture(scope='module')
def serial(bags: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a dataset that was made one bag after another."""
    return made(bags, tmp_path_factory.mktemp('serial') / 'out', None)


def made(bags: Sequence[Path], out: Path, runner: Runner | None) -> dict[str, bytes]:
    sources = [
        Source(name=bag.name, bag=bag, split='val' if bag.name in VAL else 'train') for bag in bags
    ]
    prepare(sources, out, PrepareOptions(overlay_every=2), Progress(disable=True), runner)
    return drives.files(out)


def facts(files: dict[str, bytes]) -> dict[str, Any]:
    return dict(json.loads(files['dataset.json']))


def test_bad_bags_are_listed_with_their_errors_and_lose_no_other(
    serial: dict[str, bytes],
) -> None:
    found = facts(serial)
    assert found['complete'] is True
    assert [sequence['name'] for sequence in found['sequences']] == ['one', 'two']
    assert [sequence['totals']['labelled'] for sequence in found['sequences']] == [6, 3]
    assert [bag['name'] for bag in found['failed']] == ['blind', 'cut']
    assert "from 'lidar' to 'camera_optical'" in found['failed'][0]['error']
    assert 'cut' in found['failed'][1]['error']
    assert found['warnings'][0].startswith("'blind' (train) is missing: bag 'blind'")
    assert b'(train) is missing' in serial['index.html']
    assert {line['sequence'] for line in manifest(serial)} == {'one', 'two'}


def manifest(files: dict[str, bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files['manifest.jsonl'].splitlines()]


def test_worker_processes_make_the_same_bytes(
    bags: list[Path], serial: dict[str, bytes], tmp_path: Path
) -> None:
    assert made(bags, tmp_path / 'out', ProcessRunner(2)) == serial


@pytest.mark.skipif(find_spec('ray') is None, reason='Ray is not installed: pip install ray')
def test_ray_tasks_make_the_same_bytes(
    bags: list[Path], serial: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [os.getcwd(), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(paths))
    runner = RayRunner('local', workers=2)
    try:
        assert made(bags, tmp_path / 'out', runner) == serial
    finally:
        runner.close()


def test_worker_that_dies_is_tried_again_and_the_bytes_are_the_same(
    bags: list[Path], serial: dict[str, bytes], tmp_path: Path
) -> None:
    killed = []

    class Deadly(ProcessRunner):
        """Kills the first process that reports progress on one bag."""

        def run(self, tasks: Any, on_progress: Any) -> Any:
            def kill(name: str, *progress: Any) -> None:
                if name == 'one' and not killed:
                    killed.append(self.pids[name])
                    os.kill(self.pids[name], signal.SIGKILL)

            return super().run(tasks, kill)

    assert made(bags, tmp_path / 'out', Deadly(2, retries=1)) == serial
    assert killed


def test_bag_that_was_mended_joins_the_dataset(bags: list[Path], tmp_path: Path) -> None:
    missing = tmp_path / 'later'
    out = tmp_path / 'out'
    before = facts(made([bags[0], missing], out, None))
    assert [bag['name'] for bag in before['failed']] == ['later']
    drives.drive(missing, 3)
    after = facts(made([bags[0], missing], out, None))
    assert after['failed'] == []
    assert len(after['sequences']) == 2
    assert len(DepthDataset(out, 'train')) == 9


def test_no_usable_bag_is_an_error_that_names_each_and_leaves_no_dataset(
    bags: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    with pytest.raises(DatasetError, match=r'none of 2 bags can be used: blind: .*; cut: '):
        made(bags[2:], out, None)
    assert json.loads((out / 'dataset.json').read_text())['complete'] is False


def test_other_options_are_refused_before_any_bag_is_touched(
    bags: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / 'out'
    made(bags[:1], out, None)
    sources = [Source(name=bag.name, bag=bag, split='train') for bag in (bags[1], bags[0])]
    with pytest.raises(DatasetError, match=r'options\.max_sync_ms = 50\.0, now it is 20\.0'):
        prepare(sources, out, PrepareOptions(max_sync_ms=20.0), Progress(disable=True))
    assert not (out / 'sequences/two').exists()


def test_program_spreads_bags_of_globs_and_of_a_manifest(
    bags: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = bags[0].parent, tmp_path / 'out'
    (folder / 'drives.txt').write_text('tw*\nblind  # no transforms\n')
    given = [f'first={bags[0]}', str(folder / 'on?'), '--manifest', folder / 'drives.txt']
    assert drives.run(*given, '--out', out, '--val', 'two', '--workers', '2') == 1
    told = capsys.readouterr()
    assert "prepare: 'blind' (train) is missing" in ' '.join(told.err.split())
    assert 'first (train): 6 frames, 6 with depth' in ' '.join(told.out.split())
    assert len(DepthDataset(out, 'train')) == 6
    assert len(DepthDataset(out, 'val')) == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--workers', '0'], '--workers 0: must be 1 or more'),
        (['--retries', '-1'], '--retries -1: must be 0 or more'),
        (['--ray', 'auto', '--workers', '2'], '--workers 2 has no effect with --ray auto'),
        (['--manifest', 'nowhere.txt'], "--manifest 'nowhere.txt' cannot be read"),
        ([], 'no bag is given'),
    ],
)
def test_wrong_option_is_refused_with_its_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    bag = [tmp_path / 'bag'] if arguments else []
    assert drives.run(*bag, *arguments, '--out', tmp_path / 'out') == 1
    assert message in ' '.join(capsys.readouterr().err.split())
