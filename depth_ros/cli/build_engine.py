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
Build the TensorRT engine of a model and check it: ``build_engine MODEL --bag BAG``.

Exit status: 0 built and checked; 1 refused, with the figures; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import json
from pathlib import Path
import signal
import sys
import time
from typing import Any

from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.engine_cache import cache_folder, DEFAULT_MAX_BYTES, EngineCache, Entry
from depth_ros.engines.factory import load_model
from depth_ros.engines.gate_pictures import store_pictures
from depth_ros.engines.model_card import card_of
from depth_ros.engines.model_files import resolve_model
from depth_ros.engines.onnx_file import OnnxFile, read_onnx_file
from depth_ros.engines.precision import precision_of, read_record
from depth_ros.engines.tensorrt_builder import BuildOptions
from depth_ros.engines.tensorrt_library import open_library, PACKAGES
from depth_ros.engines.tensorrt_store import local_gpu_target, named_target, obtain_plan
from depth_ros.errors import ConfigError, DepthRosError, ModelError
from depth_ros.evaluation.config import Topics
from depth_ros.evaluation.precision_gate import bag_pictures, make_variant
from rich.console import Console
from rich.table import Table

PROGRAM = 'python -m depth_ros.cli.build_engine'
PRECISIONS = ('fp32', 'fp16', 'int8')
INTERRUPTED = 130
GIB = 1 << 30
MIB = 1 << 20
# A handful of the user's own streets; each costs an inference of ONNX Runtime at the first start.
GATE_PICTURES = 4
DEFAULTS = BuildOptions()


class _Interrupt:
    """SIGINT as a wish: the builder is stopped between two steps, not in one."""

    def __init__(self) -> None:
        self.is_wanted = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        former = signal.signal(signal.SIGINT, self._note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, former)

    def _note(self, number: int, frame: Any) -> None:
        self.is_wanted = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; return its exit status."""
    options = _parsed(arguments)
    console, errors = Console(), Console(stderr=True)
    interrupt = _Interrupt()
    try:
        with interrupt.caught():
            _run(options, console, errors, interrupt)
    except DepthRosError as error:
        sentence = f'build_engine: {error}'
        errors.print(sentence, style='red', markup=False, highlight=False, soft_wrap=True)
        return INTERRUPTED if interrupt.is_wanted else 1
    return 0


def _run(
    options: argparse.Namespace, console: Console, errors: Console, interrupt: _Interrupt
) -> None:
    cache = EngineCache(cache_folder())
    if options.prune is not None:
        _print_removed(console, cache.prune(round(options.prune * GIB)))
    if options.list:
        _print_entries(console, cache)
    if options.list or options.prune is not None:
        return
    with errors.status('') as status:

        def progress(sentence: str) -> bool:
            status.update(sentence)
            return not interrupt.is_wanted

        path = _in_precision(options, console, progress)
        if options.convert_only:
            return
        if options.bag is not None:
            _keep_pictures(options, card_of(read_onnx_file(path)))
        _build(options, path, cache, console, progress)


def _in_precision(options: argparse.Namespace, console: Console, progress: Any) -> Path:
    """Return the model in the precision that is asked for, converted where it is not."""
    path = resolve_model(options.model)
    found = precision_of(path)
    if options.precision in (None, found):
        return path
    if options.precision == 'fp32':
        raise ModelError(f'{path} is {found}: give the fp32 model that it was made from')
    if options.bag is None:
        raise ConfigError(
            f'--precision {options.precision} needs --bag with camera and LiDAR: no model of '
            'lower precision is made without being checked on real frames'
        )
    target = options.output or Path(f'{path.stem}.{options.precision}.onnx')
    report = make_variant(
        path,
        target,
        options.precision,
        options.bag,
        topics=_topics(options),
        say=progress,
        count=options.frames,
    )
    _say(console, f'{target}: {report}')
    return target.resolve()


def _keep_pictures(options: argparse.Namespace, card: ModelSpec) -> None:
    pictures = bag_pictures(
        options.bag, _topics(options), GATE_PICTURES, in_a_row=card.temporal.is_stateful
    )
    store_pictures(cache_folder(), pictures, options.bag.name)


def _build(
    options: argparse.Namespace, path: Path, cache: EngineCache, console: Console, progress: Any
) -> None:
    file = read_onnx_file(path)
    name = options.engine or _installed()
    try:
        library = open_library(name)
        target = named_target(options.target) if options.target else local_gpu_target(library)
    except ImportError as error:
        raise ModelError(
            f"engine '{name}' needs {error}: pip install {PACKAGES[name]} cuda-python"
        ) from None
    asked = BuildOptions(
        workspace_mib=options.workspace,
        level=options.level,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
    )
    plan = obtain_plan(library, file, target, asked, cache, progress)
    _print_plan(console, file, cache, plan.key.digest, plan.facts, len(plan.plan))
    if options.target:
        _say(
            console,
            f'for {target.gpu}, not checked: the machine with that GPU does so at its first '
            f'start. Copy {cache.folder} there',
        )
        return
    with load_model(str(path), engine=name, progress=progress) as loaded:
        _say(console, f'checked: {loaded.selection}')
    _say(console, f'use it with model:={path} engine:={name}')


def _installed() -> str:
    for name in PACKAGES:
        try:
            return open_library(name).name
        except ImportError:
            continue
    wanted = ' or '.join(f'{package} (as {name})' for name, package in PACKAGES.items())
    raise ModelError(
        f'no TensorRT is installed: pip install {wanted}; on a Jetson it comes with JetPack '
        '(docs/tensorrt.md)'
    )


def _topics(options: argparse.Namespace) -> Topics:
    return Topics(
        image=options.image_topic,
        camera_info=options.camera_info_topic,
        lidar=options.lidar_topic,
    )


def _print_plan(
    console: Console, file: OnnxFile, cache: EngineCache, digest: str, facts: Any, size: int
) -> None:
    layers = facts['layers']
    record = read_record(file)
    _say(
        console,
        f'{cache.folder / digest}: {size / MIB:.1f} MiB, built in {facts["build_s"]} s, '
        f'{layers["count"]} layers, {len(layers["fp32"])} of them give FP32',
    )
    if record is not None:
        _say(console, f'model: {record.precision} by {record.tool}: {json.dumps(record.gate)}')


def _print_entries(console: Console, cache: EngineCache) -> None:
    table = Table(title=f'engines in {cache.folder}')
    for title in ('engine', 'model', 'built with', 'for', 'MiB', 'last used', 'verdict'):
        table.add_column(title, overflow='fold')
    for entry in cache.entries():
        table.add_row(*_row(entry))
    console.print(table)


def _row(entry: Entry) -> tuple[str, ...]:
    key = entry.key
    size = f'{entry.size_bytes / MIB:.1f}'
    used = time.strftime('%Y-%m-%d %H:%M', time.localtime(entry.used_s))
    if key is None or entry.problem:
        return entry.digest[:12], '', '', '', size, used, f'damaged: {entry.problem}'
    return (
        entry.digest[:12],
        f'{key.model_sha256[:12]} {key.precision}, {key.shapes}',
        f'{key.library} {key.library_version}',
        f'{key.gpu} ({key.compute_capability})',
        size,
        used,
        _verdict_words(entry),
    )


def _verdict_words(entry: Entry) -> str:
    if entry.verdict is None:
        return 'not checked yet'
    if entry.verdict['passed']:
        worst = entry.verdict['figures']['max_relative']
        return f'agrees within {worst:.1e} on {entry.verdict["pictures"]}'
    return f'refused: {"; ".join(entry.verdict["failures"])}'


def _print_removed(console: Console, removed: Sequence[Entry]) -> None:
    size = sum(entry.size_bytes for entry in removed)
    _say(console, f'removed {len(removed)} engines, {size / MIB:.1f} MiB')


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_args(arguments)
    manages = options.list or options.prune is not None
    if manages == (options.model is not None):
        parser.error('give a model to build, or --list or --prune without one')
    converts = options.precision not in (None, 'fp32')
    # Option, its value, whether this run uses it: nothing that is given is ignored.
    conditions = (
        ('--output', options.output, converts),
        ('--frames', options.frames, converts),
        ('--convert-only', options.convert_only, converts),
        ('--bag', options.bag, not manages),
        ('--image-topic', options.image_topic, options.bag is not None),
        ('--camera-info-topic', options.camera_info_topic, options.bag is not None),
        ('--lidar-topic', options.lidar_topic, converts),
        ('--target', options.target, not manages and not options.convert_only),
        ('--engine', options.engine, not manages and not options.convert_only),
    )
    for option, value, is_used in conditions:
        if value and not is_used:
            parser.error(f'{option} {value} has no effect in this run: leave it out')
    if options.frames < 0:
        parser.error(f'--frames {options.frames}: must be zero (all) or more')
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description='Build the TensorRT engine of a model and check it.'
    )
    parser.add_argument('model', nargs='?', help='shipped name or ONNX file')
    parser.add_argument('--engine', choices=sorted(PACKAGES), help='default: what is installed')
    _add_precision_options(parser)
    _add_builder_options(parser)
    cache = parser.add_argument_group('engines on disk')
    cache.add_argument('--list', action='store_true', help='show them')
    cache.add_argument(
        '--prune',
        type=float,
        nargs='?',
        const=DEFAULT_MAX_BYTES / GIB,
        metavar='GIB',
        help='remove damaged ones, and the least recently used beyond this size (%(const)g)',
    )
    return parser


def _add_precision_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('precision and pictures')
    group.add_argument(
        '--precision', choices=PRECISIONS, help="default: the file's own; another is converted to"
    )
    group.add_argument(
        '--bag',
        type=Path,
        help='frames of your camera, for the check of the engine; with LiDAR for --precision',
    )
    group.add_argument('--output', type=Path, help='the converted model (default: in this folder)')
    group.add_argument(
        '--frames', type=int, default=0, help='judge the precision on the first N (0: all)'
    )
    group.add_argument(
        '--convert-only', action='store_true', help='stop after the conversion: no GPU is needed'
    )
    for kind in ('image', 'camera-info', 'lidar'):
        group.add_argument(f'--{kind}-topic', help='default: the only one of its type')


def _add_builder_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('builder')
    group.add_argument(
        '--target',
        metavar='SM',
        help='build for another GPU, as sm86, without checking (tensorrt_rtx only)',
    )
    group.add_argument(
        '--workspace',
        type=int,
        default=DEFAULTS.workspace_mib,
        metavar='MIB',
        help='largest scratch memory of a layer (%(default)s)',
    )
    group.add_argument(
        '--level', type=int, default=DEFAULTS.level, help='0 fast to 5 thorough (%(default)s)'
    )
    group.add_argument(
        '--hardware-compatible',
        action='store_true',
        help='for every GPU from Ampere on, slower (tensorrt only)',
    )
    group.add_argument(
        '--version-compatible',
        action='store_true',
        help='for later releases of this TensorRT too, slower (tensorrt only)',
    )


if __name__ == '__main__':
    sys.exit(main())
