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

"""The result folder: whole files, pages made from metrics.json, and disks that fill up."""

from __future__ import annotations

from html.parser import HTMLParser
import json
from pathlib import Path
import subprocess
import sys
from test.evaluation.scenes import Drive, write_drive, write_model

from depth_ros.core.metrics import ScoreRules
from depth_ros.errors import ReportError
from depth_ros.evaluation.config import EvaluationConfig
from depth_ros.evaluation.files import FileSet, FrameTable, make_folder, write_whole
from depth_ros.evaluation.report import json_bytes, number, read_result, remake
from depth_ros.evaluation.run import evaluate
import pytest

# Runs the command line under a limit on the size of files: writing more fails as on a full disk.
LIMITED = """
import resource, sys
from depth_ros.cli.evaluate import main
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    bag = write_drive(folder / 'drive <1>', Drive(frames=5, without_sweep=(2,)))
    return bag, write_model(folder / 'model.onnx')


@pytest.fixture(scope='module')
def folder(inputs, tmp_path_factory):
    bag, model = inputs
    folder = tmp_path_factory.mktemp('results')
    config = EvaluationConfig(rules=ScoreRules(crop='none'), pictures=2)
    evaluation = evaluate(
        bag, folder, model=str(model), engine='onnxruntime', config=config, command='evaluate X'
    )
    evaluation.write()
    return folder


class Page(HTMLParser):
    """Collects what a page links to and how its tags nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.open: list[str] = []
        self.metas: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.links += [values[key] for key in ('src', 'href') if key in values]
        if tag == 'meta':
            self.metas.append(values)
        if tag not in ('meta', 'img', 'rect', 'line', 'circle', 'polyline', 'br', 'link'):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ('src', 'href')]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_one_file_for_phones_and_dark_rooms(folder):
    text = (folder / 'report.html').read_text()
    page = Page(text)
    assert page.open == []
    assert len(page.links) == 4
    assert all(link.startswith('data:image/jpeg;base64,') for link in page.links)
    assert '<script' not in text
    assert 'prefers-color-scheme: dark' in text
    assert {'name': 'viewport', 'content': 'width=device-width, initial-scale=1'} in page.metas


def test_page_escapes_what_comes_from_outside(folder):
    text = (folder / 'report.html').read_text()
    assert 'drive &lt;1&gt;' in text
    assert 'drive <1>' not in text


def test_pages_tell_the_coverage_that_is_to_be_expected_as_a_range(folder):
    for name in ('report.html', 'report.md'):
        text = (folder / name).read_text().replace('<br>', ' ')
        assert 'Gaussian to Laplace errors' in text
        assert '0.683 to 0.757' in text
        assert '0.954 to 0.941' in text


def test_pages_hold_the_numbers_protocol_reasons_and_command(folder):
    result = read_result(folder)
    for name in ('report.html', 'report.md'):
        text = (folder / name).read_text()
        assert f'{result["depth"]["abs_rel"]:.3f}' in text
        assert f'{result["depth"]["rmse"]:.2f}' in text
        assert 'no LiDAR sweep within 50 ms' in text
        assert 'evaluate X' in text
        assert result['model']['sha256'] in text
        assert result['bag']['fingerprint'] in text
        for key in result['protocol']:
            assert key.replace('_', ' ') in text or key in text


def test_markdown_tables_have_as_many_cells_in_every_line(folder):
    blocks = (folder / 'report.md').read_text().split('\n\n')
    tables = [block.splitlines() for block in blocks if block.startswith('|')]
    assert len(tables) >= 4
    for lines in tables:
        assert len({line.count('|') for line in lines if line.startswith('|')}) == 1, lines


def test_pictures_that_are_listed_exist(folder):
    pictures = read_result(folder)['pictures']
    assert [picture['role'] for picture in pictures] == ['best', 'spread']
    for picture in pictures:
        for kind in ('overview', 'birdseye'):
            assert (folder / picture[kind]).read_bytes().startswith(b'\x89PNG')


def test_remake_gives_the_same_pages(folder):
    before = {name: (folder / name).read_bytes() for name in ('report.md', 'report.html')}
    for name in before:
        (folder / name).unlink()
    remake(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before


def test_no_partial_files_stay_behind(folder):
    assert not list(folder.rglob('*.partial'))


def test_read_result_of_another_schema_version_is_refused(tmp_path):
    (tmp_path / 'metrics.json').write_text('{"schema_version": 99}')
    with pytest.raises(ReportError, match='schema_version 99'):
        read_result(tmp_path)


@pytest.mark.parametrize('text', ['', '{', '[1]'])
def test_read_result_that_is_broken_is_refused(tmp_path, text):
    (tmp_path / 'metrics.json').write_text(text)
    with pytest.raises(ReportError, match=r'metrics\.json'):
        remake(tmp_path)


def test_remake_without_a_picture_names_it(folder, tmp_path):
    (tmp_path / 'metrics.json').write_bytes((folder / 'metrics.json').read_bytes())
    with pytest.raises(ReportError, match=r'missing report\.html; written report\.md'):
        remake(tmp_path)


def test_json_bytes_of_nan_is_null():
    data = json.loads(json_bytes({'a': float('nan'), 'b': [float('inf'), 1.5], 'c': (1,)}))
    assert data == {'a': None, 'b': [None, 1.5], 'c': [1]}


def test_number_of_nothing_is_a_dash():
    assert (number(None, 3), number(1.23456, 3)) == ('–', '1.235')


def test_write_whole_keeps_the_old_file_when_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / 'metrics.json'
    write_whole(path, b'old')
    # A real device that is always full takes the place of the temporary file.
    (tmp_path / 'metrics.json.partial').symlink_to('/dev/full')
    with pytest.raises(OSError, match='No space left'):
        write_whole(path, b'new')
    assert path.read_bytes() == b'old'
    assert not (tmp_path / 'metrics.json.partial').exists()


def test_frame_table_on_a_full_disk_keeps_the_error_for_the_end(tmp_path):
    (tmp_path / 'per_frame.csv.partial').symlink_to('/dev/full')
    table = FrameTable(tmp_path / 'per_frame.csv')
    for index in range(2000):
        table.add({'frame': index, 'status': 'scored'})
    assert 'No space left' in str(table.close())
    assert not (tmp_path / 'per_frame.csv').exists()


def test_file_set_goes_on_after_a_failure_and_names_what_is_missing(tmp_path):
    (tmp_path / 'b.txt.partial').symlink_to('/dev/full')
    files = FileSet(tmp_path)
    assert files.write('a.txt', lambda: b'a')
    assert not files.write('b.txt', lambda: b'b')
    assert files.write('deep/c.txt', lambda: b'c')
    with pytest.raises(ReportError, match=r'No space.*missing b\.txt; written a\.txt, deep/c'):
        files.finish()


def test_make_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(ReportError, match='file/out'):
        make_folder(tmp_path / 'file' / 'out')


def limited_run(inputs, output: Path, limit: int) -> subprocess.CompletedProcess[str]:
    bag, model = inputs
    command = [sys.executable, '-c', LIMITED, str(limit), str(bag), '--model', str(model)]
    options = ['--output', str(output), '--crop', 'none', '--engine', 'onnxruntime']
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def test_disk_too_full_for_pictures_keeps_the_numbers(inputs, tmp_path):
    done = limited_run(inputs, tmp_path, 64_000)
    assert done.returncode == 1
    assert 'missing pictures/best' in done.stderr
    assert str(tmp_path) in done.stderr
    assert read_result(tmp_path)['frames']['scored'] == 4
    assert len((tmp_path / 'per_frame.csv').read_text().splitlines()) == 6


def test_disk_full_from_the_start_prints_the_numbers_and_harms_nothing(inputs, tmp_path):
    (tmp_path / 'metrics.json').write_text('from an earlier run')
    done = limited_run(inputs, tmp_path, 100)
    assert done.returncode == 1
    assert 'AbsRel' in done.stdout
    assert '0.145' in done.stdout
    assert 'missing metrics.json, per_frame.csv' in done.stderr
    assert 'Traceback' not in done.stderr
    assert (tmp_path / 'metrics.json').read_text() == 'from an earlier run'
