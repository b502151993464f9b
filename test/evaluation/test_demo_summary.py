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

"""The summary of a live run, from bags and results with known content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from depth_ros.bags.messages import MessageFactory
from depth_ros.bags.writer import BagWriter
from depth_ros.errors import BagError, ReportError
from depth_ros.evaluation import demo_summary
from depth_ros.evaluation.demo_summary import DemoSummary, print_summary, summarize
from depth_ros.evaluation.report import SCHEMA_VERSION
import numpy as np
import pytest

FRAMES = 5
START_NS = 1_000_000_000_000
PERIOD_NS = 100_000_000
IMAGE = np.zeros((4, 6, 3), np.uint8)
DEPTH = np.ones((4, 6), np.float32)
RESULT = {
    'schema_version': SCHEMA_VERSION,
    'depth': {'abs_rel': 0.125, 'rmse': 4.5, 'a1': 0.875},
    'uncertainty': {'expected_1_sigma': [0.683, 0.757], 'coverage_1_sigma': 0.6875},
}


def write_clip(path: Path) -> Path:
    make = MessageFactory()
    with BagWriter(path) as writer:
        for k in range(FRAMES):
            stamp_ns = START_NS + k * PERIOD_NS
            writer.write('/cam/image', stamp_ns, make.image(stamp_ns, 'cam', IMAGE, 'bgr8'))
    return path


def write_recording(path: Path, *, frames: int, silent: str = '') -> Path:
    make = MessageFactory()
    with BagWriter(path) as writer:
        for k in range(frames):
            stamp_ns = START_NS + k * PERIOD_NS
            for topic in demo_summary.RECORDED_TOPICS[:-1]:
                if topic != silent:
                    writer.write(topic, stamp_ns, make.image(stamp_ns, 'cam', DEPTH, '32FC1'))
            writer.write('/diagnostics', stamp_ns, diagnostics(make, stamp_ns, k))
    return path


def diagnostics(make: MessageFactory, stamp_ns: int, dropped: int) -> Any:
    told = {
        'mono_depth_node: model': {'engine': 'e [x]'},
        'mono_depth_node: depth': {'dropped: busy': str(dropped), 'infer p95 [ms]': '7.0'},
        'other_node: depth': {'engine': 'of another node'},
    }
    status = [
        make.make(
            'diagnostic_msgs/msg/DiagnosticStatus',
            level=0,
            name=name,
            message='',
            hardware_id='',
            values=[
                make.make('diagnostic_msgs/msg/KeyValue', key=key, value=value)
                for key, value in values.items()
            ],
        )
        for name, values in told.items()
    ]
    header = make.header(stamp_ns, '')
    return make.make('diagnostic_msgs/msg/DiagnosticArray', header=header, status=status)


def write_score(path: Path) -> Path:
    path.mkdir()
    (path / 'metrics.json').write_text(json.dumps(RESULT))
    (path / demo_summary.PAGE).write_text('<html></html>')
    return path


def summary_of(tmp_path: Path, *, frames: int = FRAMES, silent: str = '') -> DemoSummary:
    return summarize(
        write_clip(tmp_path / 'clip'),
        write_recording(tmp_path / 'recorded', frames=frames, silent=silent),
        write_score(tmp_path / 'score'),
    )


def test_summary_of_a_whole_run_has_no_problem(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    assert (summary.frames_in, summary.frames_out) == (FRAMES, FRAMES)
    assert summary.diagnostics == {
        'engine': 'e [x]',
        'dropped: busy': str(FRAMES - 1),
        'infer p95 [ms]': '7.0',
    }
    assert summary.problems() == []


def test_summary_of_a_run_with_dropped_frames_tells_how_many_and_why(tmp_path: Path) -> None:
    (problem,) = summary_of(tmp_path, frames=FRAMES - 2).problems()
    assert f'{FRAMES - 2} of {FRAMES} frames came out' in problem
    assert 'dropped: busy' in problem


def test_summary_of_a_run_that_lost_one_frame_is_no_failure(tmp_path: Path) -> None:
    summary = summary_of(tmp_path, frames=FRAMES - 1)
    assert summary.frames_out == FRAMES - 1
    assert summary.problems() == []


def test_summary_of_a_silent_topic_names_it(tmp_path: Path) -> None:
    (problem,) = summary_of(tmp_path, silent='/points').problems()
    assert problem.endswith('nothing was recorded on /points')


def test_summary_without_a_page_says_so(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    summary.page.unlink()
    assert summary.problems() == [f'{summary.page}: was not written']


def test_summary_without_a_recording_names_the_bag(tmp_path: Path) -> None:
    clip, score = write_clip(tmp_path / 'clip'), write_score(tmp_path / 'score')
    with pytest.raises(BagError, match='absent'):
        summarize(clip, tmp_path / 'absent', score)


def test_summary_without_a_result_names_the_file(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / 'clip')
    recorded = write_recording(tmp_path / 'recorded', frames=1)
    with pytest.raises(ReportError, match=r'metrics\.json'):
        summarize(clip, recorded, tmp_path)


def test_printed_summary_shows_the_figures_and_where_to_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = summary_of(tmp_path)
    print_summary(summary)
    printed = capsys.readouterr().out
    for text in ('0.125', '4.50', '0.875', '0.688', 'infer p95 [ms]', 'e [x]', 'dropped: busy'):
        assert text in printed
    assert str(summary.page) in printed
    assert str(summary.recorded) in printed
