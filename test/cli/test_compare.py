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

"""Comparing two runs: known differences, what does not compare, limits, exit status."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from depth_ros.cli.compare import main
from depth_ros.errors import ConfigError, ReportError
from depth_ros.evaluation.compare import compare, Limit
from depth_ros.evaluation.report import SCHEMA_VERSION
import numpy as np
import pytest


def write_run(
    folder: Path, abs_rel, *, first_stamp=0, fingerprint='f', protocol=None, a1=None
) -> Path:
    """Write what compare reads of a result folder."""
    folder.mkdir(parents=True)
    result = {
        'protocol': protocol or {'crop': 'garg', 'cap_m': 80.0, 'checks': ['temporal']},
        'model': {'name': folder.name},
        'bag': {'name': 'drive', 'fingerprint': fingerprint},
        'bags': [],
        'schema_version': SCHEMA_VERSION,
    }
    (folder / 'metrics.json').write_text(json.dumps(result))
    with (folder / 'per_frame.csv').open('w', newline='') as stream:
        writer = csv.DictWriter(stream, ('stamp_ns', 'status', 'abs_rel', 'a1'))
        writer.writeheader()
        for index, value in enumerate(abs_rel):
            row = {'stamp_ns': first_stamp + index, 'status': 'scored', 'abs_rel': value}
            writer.writerow(row if a1 is None else {**row, 'a1': a1[index]})
        writer.writerow({'stamp_ns': 10**9, 'status': 'no LiDAR sweep within 50 ms'})
    return folder


def write_fleet(folder: Path, drives) -> Path:
    folder.mkdir()
    bags = []
    for number, values in enumerate(drives):
        name = f'bags/{number}'
        write_run(folder / name, values, fingerprint=f'bag{number}')
        bags.append({'name': f'drive{number}', 'folder': name, 'error': None})
    result = {
        'protocol': {'crop': 'garg', 'cap_m': 80.0, 'checks': []},
        'model': {'name': folder.name},
        'bag': {'name': 'all', 'fingerprint': ''},
        'bags': bags,
        'schema_version': SCHEMA_VERSION,
    }
    (folder / 'metrics.json').write_text(json.dumps(result))
    return folder


@pytest.fixture
def noise():
    return np.random.default_rng(4).normal(0.1, 0.02, 100)


def test_compare_small_steady_difference_is_significant_though_frames_vary(tmp_path, noise):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise + 0.001)
    row = compare(a, b)['metrics'][0]
    assert row['metric'] == 'abs_rel'
    assert row['difference'] == pytest.approx(0.001, rel=1e-6)
    assert row['low'] == pytest.approx(0.001, rel=1e-6)
    assert row['p_value'] < 0.01
    assert row['verdict'] == 'worse'


def test_compare_of_chance_is_no_difference(tmp_path, noise):
    other = np.random.default_rng(5).permutation(noise)
    row = compare(write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', other))['metrics'][0]
    assert row['low'] < 0 < row['high']
    assert row['verdict'] == 'no difference'


def test_compare_of_shares_higher_is_better(tmp_path, noise):
    a = write_run(tmp_path / 'a', noise, a1=[0.8] * 100)
    b = write_run(tmp_path / 'b', noise, a1=[0.9] * 100)
    rows = {row['metric']: row for row in compare(a, b)['metrics']}
    assert rows['a1']['verdict'] == 'better'
    assert rows['abs_rel']['verdict'] == 'no difference'
    assert 'rmse' not in rows


def test_compare_fleets_resamples_drives(tmp_path):
    rng = np.random.default_rng(6)
    drives = [rng.normal(0.1, 0.01, 30) for _ in range(4)]
    a = write_fleet(tmp_path / 'a', drives)
    # One drive much worse, the others a little better: no verdict over drives.
    steps = (0.03, -0.002, -0.002, -0.002)
    changed = [drive + step for drive, step in zip(drives, steps, strict=True)]
    row = compare(a, write_fleet(tmp_path / 'b', changed))['metrics'][0]
    assert (row['over'], row['frames']) == ('drives', 120)
    assert row['verdict'] == 'no difference'
    better = write_fleet(tmp_path / 'c', [drive - 0.002 for drive in drives])
    assert compare(a, better)['metrics'][0]['verdict'] == 'better'


def test_compare_a_few_frames_gives_no_verdict(tmp_path):
    a, b = write_run(tmp_path / 'a', [0.1, 0.2]), write_run(tmp_path / 'b', [0.2, 0.3])
    row = compare(a, b)['metrics'][0]
    assert (row['p_value'], row['over']) == (None, 'too few frames')
    assert row['verdict'] == 'no difference'


def test_compare_other_frames_is_refused_with_the_difference(tmp_path, noise):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise, first_stamp=3)
    with pytest.raises(ReportError, match=r'3 frames only in A \(stamps 0, 1, 2\).*only in B'):
        compare(a, b)


def test_compare_another_bag_is_refused(tmp_path, noise):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise, fingerprint='g')
    with pytest.raises(ReportError, match="bag 'drive' only in A; bag 'drive' only in B"):
        compare(a, b)


def test_compare_another_protocol_is_refused_with_the_difference(tmp_path, noise):
    other = {'crop': 'none', 'cap_m': 80.0, 'checks': []}
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise, protocol=other)
    with pytest.raises(ReportError, match="crop 'garg' and 'none'"):
        compare(a, b)


def test_compare_folder_of_another_schema_version_is_refused(tmp_path, noise, capsys):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise)
    (b / 'metrics.json').write_text('{"schema_version": 1}')
    assert main([str(a), str(b)]) == 1
    assert 'schema_version 1' in ' '.join(capsys.readouterr().err.split())


def test_compare_program_writes_and_prints(tmp_path, noise, capsys):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise + 0.01)
    assert main([str(a), str(b), '--output', str(tmp_path / 'compare.json')]) == 0
    assert json.loads((tmp_path / 'compare.json').read_text())['frames'] == 100
    printed = capsys.readouterr().out
    assert 'worse' in printed
    assert 'paired bootstrap over blocks of frames' in printed


@pytest.mark.parametrize(
    ('limit', 'status'),
    [('abs_rel>0.02', 0), ('abs_rel>0.005', 3), ('abs_rel>20%', 0), ('abs_rel > 1 %', 3)],
)
def test_compare_fail_if_gives_status_three_when_it_is_worse_by_more(
    limit, status, tmp_path, noise
):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise + 0.01)
    assert main([str(a), str(b), '--fail-if', limit]) == status
    assert main([str(b), str(a), '--fail-if', limit]) == 0


def test_compare_fail_if_of_a_share_looks_the_other_way(tmp_path, noise):
    a = write_run(tmp_path / 'a', noise, a1=[0.9] * 100)
    b = write_run(tmp_path / 'b', noise, a1=[0.8] * 100)
    assert main([str(a), str(b), '--fail-if', 'a1>0.05']) == 3
    assert main([str(b), str(a), '--fail-if', 'a1>0.05']) == 0


@pytest.mark.parametrize('text', ['abs_rel', 'speed>3', 'abs_rel>x', 'abs_rel>-1', '>3'])
def test_limit_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match='METRIC>AMOUNT'):
        Limit.parsed(text)


def test_limit_on_a_metric_that_the_runs_lack_is_an_error(tmp_path, noise, capsys):
    a, b = write_run(tmp_path / 'a', noise), write_run(tmp_path / 'b', noise)
    assert main([str(a), str(b), '--fail-if', 'flicker>0']) == 1
    assert 'have no flicker' in ' '.join(capsys.readouterr().err.split())
