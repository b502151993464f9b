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

"""What ``evaluate`` prints of a result."""

from __future__ import annotations

from typing import Any

from depth_ros.evaluation.page_parts import bag_notes
from depth_ros.evaluation.report import METRIC_TITLES, number, span
from rich.console import Console
from rich.table import Table


def print_summary(console: Console, result: dict[str, Any]) -> None:
    """Print the scores, the protocol in one line, and what was not scored."""
    frames, protocol = result['frames'], result['protocol']
    columns = {'all': result['depth'], **result['by_range']}
    table = Table(title=f'{result["model"]["name"]} on {result["bag"]["name"]}')
    table.add_column('range \\[m]')
    for name in columns:
        table.add_column(name, justify='right', style='bold' if name == 'all' else '')
    for key, (title, unit, digits) in METRIC_TITLES.items():
        cells = (_cell(column[key], digits) for column in columns.values())
        table.add_row(f'{title} \\[{unit}]' if unit else title, *cells)
    console.print(table)
    console.print(
        f'{frames["scored"]} of {frames["processed"]} frames, crop {protocol["crop"]}, '
        f'{protocol["min_depth_m"]:g} to {protocol["cap_m"]:g} m, alignment '
        f'{protocol["alignment"]}, {100 * result["truth"]["missing_share"]:.2f} % of the LiDAR '
        'pixels without prediction',
        highlight=False,
    )
    if result['accuracy'] != 'measured':
        console.print(f'Accuracy: {result["accuracy"]}', markup=False, highlight=False)
    clock = result['lidar_clock']
    if clock and clock['warning']:
        console.print(f'Warning: {clock["warning"]}', style='yellow', markup=False)
    for reason, number_of in frames['skipped'].items():
        console.print(f'not scored: {number_of} x {reason}', markup=False, highlight=False)
    _print_uncertainty(console, result['uncertainty'])
    if result['latency']:
        total = result['latency']['total']
        console.print(
            f'latency p50 {total["p50"]:.1f}, p95 {total["p95"]:.1f}, p99 {total["p99"]:.1f} ms '
            f'({result["model"]["selection"]})',
            markup=False,
            highlight=False,
        )


def _cell(value: float, digits: int) -> str:
    return number(None if value != value else value, digits)


def _print_uncertainty(console: Console, scores: dict[str, Any] | None) -> None:
    if scores is None:
        console.print('no uncertainty to score')
        return
    console.print(
        f'within 1 sigma {scores["coverage_1_sigma"]:.3f} '
        f'(Gaussian to Laplace errors: {span(scores["expected_1_sigma"], 3)}), within 2 sigma '
        f'{scores["coverage_2_sigma"]:.3f} ({span(scores["expected_2_sigma"], 3)}), '
        f'AUSE AbsRel {scores["ause_abs_rel"]:.4f}, AURG AbsRel {scores["aurg_abs_rel"]:.4f}',
        highlight=False,
    )


def print_bags(console: Console, result: dict[str, Any]) -> None:
    """Print a line for each bag of several."""
    table = Table(title='by bag')
    for name in ('bag', 'AbsRel', 'RMSE [m]', 'a1', 'frames'):
        table.add_column(name.replace('[', '\\['), justify='left' if name == 'bag' else 'right')
    for bag in result['bags']:
        depth, frames = bag['depth'], bag['frames']
        if depth is None:
            table.add_row(bag['name'], 'failed')
            continue
        cells = (
            _cell(depth[key], digits) for key, digits in (('abs_rel', 3), ('rmse', 2), ('a1', 3))
        )
        table.add_row(bag['name'], *cells, f'{frames["scored"]} of {frames["processed"]}')
    console.print(table)
    for bag in result['bags']:
        for note in bag_notes(bag):
            console.print(f'{bag["name"]}: {note}', style='yellow', markup=False, highlight=False)
