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
"""Show what a model file says about itself, or put a card into a file from elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from depth_ros.engines.factory import available_backends
from depth_ros.engines.model_card import (
    card_of,
    card_to_dict,
    read_yaml_card,
    write_card,
)
from depth_ros.engines.model_files import DEFAULT_NAME, resolve_model
from depth_ros.engines.onnx_file import file_sha256, OnnxFile, read_onnx_file
from depth_ros.errors import DepthRosError
import yaml

EXIT_ERROR = 1
LINE_WIDTH = 99


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        path = resolve_model(arguments.model)
        if arguments.write_card is not None:
            write_card(path, read_yaml_card(arguments.write_card))
        file = read_onnx_file(path)
        # First the graph: who writes a card needs it.
        print(_to_yaml(describe_file(file)))
        print(_to_yaml({'card': card_to_dict(card_of(file))}))
    except DepthRosError as error:
        print(f'error: {error}', file=sys.stderr)
        return EXIT_ERROR
    return 0


def describe_file(file: OnnxFile) -> dict[str, Any]:
    """Return what can be said of any ONNX file, and of the engines that could run it."""
    return {
        'file': str(file.path.resolve()),
        'sha256': file_sha256(file.path),
        'graph': {
            'inputs': [str(tensor) for tensor in file.inputs],
            'outputs': [str(tensor) for tensor in file.outputs],
        },
        'engines': available_backends(),
    }


def _to_yaml(data: dict[str, Any]) -> str:
    return yaml.safe_dump(
        data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=LINE_WIDTH
    ).rstrip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='model_info', description=__doc__)
    parser.add_argument(
        'model',
        nargs='?',
        default=DEFAULT_NAME,
        help="ONNX file or name of a shipped model (default: '%(default)s')",
    )
    parser.add_argument(
        '--write-card',
        metavar='CARD.yaml',
        type=Path,
        help='check this card against the graph and put it into the ONNX file',
    )
    return parser


if __name__ == '__main__':
    sys.exit(main())
