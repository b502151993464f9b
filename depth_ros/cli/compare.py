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

"""
Compare two evaluations frame by frame: ``compare RUN_A RUN_B --fail-if 'abs_rel>2%'``.

Exit status: 0 compared; 1 bad input, or runs that do not compare; 2 wrong usage; 3 a limit of
--fail-if is exceeded.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from depth_ros.errors import DepthRosError, ReportError
from depth_ros.evaluation.compare import broken, compare, Limit, SAME
from depth_ros.evaluation.files import write_whole
from depth_ros.evaluation.report import json_bytes
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

FAILED_LIMIT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = _parser().parse_args(arguments)
    console, errors = Console(), Console(stderr=True)
    try:
        limits = [Limit.parsed(text) for text in options.fail_if]
        result = compare(options.run_a, options.run_b)
        result['fail_if'] = [limit.text for limit in limits]
        result['broken'] = broken(result, limits)
        _print(console, result)
        if options.output is not None:
            _write(options.output, result)
    except DepthRosError as error:
        errors.print(f'compare: {error}', style='red', markup=False, highlight=False)
        return 1
    for sentence in result['broken']:
        errors.print(f'compare: {sentence}', style='red', markup=False, highlight=False)
    return FAILED_LIMIT if result['broken'] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m depth_ros.cli.compare',
        description='Compare two result folders of evaluate: paired, with significance.',
    )
    parser.add_argument('run_a', type=Path, help='result folder, the one to compare with')
    parser.add_argument('run_b', type=Path, help='result folder of the same frames')
    parser.add_argument('--output', type=Path, help='JSON file to write the comparison to')
    parser.add_argument(
        '--fail-if',
        action='append',
        default=[],
        metavar='METRIC>AMOUNT[%]',
        help='end with status 3 when B is worse by more than this; may be repeated',
    )
    return parser


def _print(console: Console, result: dict[str, Any]) -> None:
    frames, drives = result['frames'], len(result['drives'])
    title = f'B against A on {frames} frames of {drives} bags'
    # Seven columns of numbers on 80 characters have no room for lines between them.
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ('', 'A', 'B', 'B - A', f'{100 * result["level"]:g} %', 'p', ''):
        table.add_column(name, justify='right' if name else 'left', no_wrap=True)
    for row in result['metrics']:
        known = row['p_value'] is not None
        table.add_row(
            row['title'],
            f'{row["a"]:.4g}',
            f'{row["b"]:.4g}',
            f'{row["difference"]:+.2g}',
            f'{row["low"]:+.2g} to {row["high"]:+.2g}' if known else row['over'],
            f'{row["p_value"]:.3f}' if known else '',
            '=' if row['verdict'] == SAME else row['verdict'],
        )
    for key in 'ab':
        name, folder = result[key].get('name', ''), result[key]['folder']
        console.print(f'{key.upper()}: {name} in {folder}', markup=False, highlight=False)
    console.print(table)
    over = sorted({row['over'] for row in result['metrics']})
    console.print(
        f'paired bootstrap over {", ".join(over)}; = no difference', markup=False, highlight=False
    )


def _write(path: Path, result: dict[str, Any]) -> None:
    try:
        write_whole(path, json_bytes(result))
    except OSError as error:
        raise ReportError(f"'{path}' cannot be written: {error.strerror}") from error


if __name__ == '__main__':
    sys.exit(main())
