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

"""What a live run has shown: frames in and out, latency, and the score of what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depth_ros.bags.reader import BagReader, resolve_topic
from depth_ros.evaluation.report import PAGES, read_result, span
from rich.console import Console
from rich.markup import escape
from rich.table import Table

DEPTH_TOPIC = '/depth/image_rect'
RECORDED_TOPICS = (
    DEPTH_TOPIC,
    '/depth/camera_info',
    '/depth/uncertainty',
    '/depth/image_color',
    '/points',
    '/diagnostics',
)
DIAGNOSTICS_TYPE = 'diagnostic_msgs/msg/DiagnosticArray'
NODE_NAME = 'mono_depth_node'
# A busy machine may lose a frame or two, the table shows it; a broken node loses most of them.
MIN_SHARE_OUT = 0.75
PAGE = next(name for name in PAGES if name.endswith('.html'))


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSummary:
    """
    One run of the live node on a clip.

    Fields:
        frames_in: images in the clip.
        counts: recorded messages of each topic.
        diagnostics: the node's last words about itself.
        result: metrics.json of the evaluation.
        page: the page to look at.
        recorded: bag of what the node published.

    """

    frames_in: int
    counts: Mapping[str, int]
    diagnostics: Mapping[str, str]
    result: Mapping[str, Any]
    page: Path
    recorded: Path

    @property
    def frames_out(self) -> int:
        """Return how many depth images came out."""
        return self.counts.get(DEPTH_TOPIC, 0)

    def problems(self) -> list[str]:
        """Return one sentence for each thing that is not as it should be."""
        silent = [topic for topic in RECORDED_TOPICS if not self.counts.get(topic)]
        found = [f'{self.recorded}: nothing was recorded on {topic}' for topic in silent]
        if self.frames_out < MIN_SHARE_OUT * self.frames_in:
            drops = {k: v for k, v in self.diagnostics.items() if k.startswith('dropped')}
            found.append(
                f'{self.recorded}: {self.frames_out} of {self.frames_in} frames came out; '
                f'is the machine busy? What was dropped, and why: {drops}'
            )
        if not self.page.is_file():
            found.append(f'{self.page}: was not written')
        return found


def summarize(bag: Path, recorded: Path, score: Path) -> DemoSummary:
    """
    Collect what a run left.

    :param bag: the clip that was played.
    :param recorded: bag of what the node published.
    :param score: result folder of the evaluation.
    :raises DepthRosError: one of them is missing or damaged.
    """
    with BagReader(bag) as reader:
        frames_in = reader.topic(resolve_topic(reader, 'image')).count
    with BagReader(recorded) as reader:
        counts = {info.name: info.count for info in reader.topics}
        diagnostics = _last_diagnostics(reader)
    return DemoSummary(
        frames_in=frames_in,
        counts=counts,
        diagnostics=diagnostics,
        result=read_result(score),
        page=score / PAGE,
        recorded=recorded,
    )


def _last_diagnostics(reader: BagReader) -> dict[str, str]:
    """Return the values of the node's last message about itself, empty when there is none."""
    values: dict[str, str] = {}
    topics = [info.name for info in reader.topics if info.msgtype == DIAGNOSTICS_TYPE]
    for item in reader.messages(topics) if topics else ():
        ours = [status for status in item.message.status if NODE_NAME in status.name]
        if ours:
            values = {pair.key: pair.value for status in ours for pair in status.values}
    return values


def print_summary(summary: DemoSummary) -> None:
    """Print the table and where to look."""
    table = Table(title='depth_ros on a real clip')
    table.add_column('what')
    table.add_column('value', justify='right')
    for name, value in _rows(summary):
        table.add_row(escape(name), escape(value))
    console = Console()
    console.print(table)
    console.print(f'pictures and numbers: {summary.page}', soft_wrap=True)
    console.print(f'recorded topics:      {summary.recorded}', soft_wrap=True)


def _rows(summary: DemoSummary) -> list[tuple[str, str]]:
    depth = summary.result['depth']
    rows = [
        ('frames in', str(summary.frames_in)),
        ('frames out', str(summary.frames_out)),
        *(pair for pair in summary.diagnostics.items() if _is_shown(*pair)),
        ('AbsRel', f'{depth["abs_rel"]:.3f}'),
        ('RMSE [m]', f'{depth["rmse"]:.2f}'),
        ('share within 25 % (a1)', f'{depth["a1"]:.3f}'),
    ]
    uncertainty = summary.result.get('uncertainty')
    if uncertainty:
        expected = span(uncertainty['expected_1_sigma'], 3)
        share = f'{uncertainty["coverage_1_sigma"]:.3f} (Gaussian to Laplace: {expected})'
        rows.append(('errors within one sigma', share))
    return rows


def _is_shown(key: str, value: str) -> bool:
    return '[ms]' in key or key == 'engine' or (key.startswith('dropped') and value != '0')
