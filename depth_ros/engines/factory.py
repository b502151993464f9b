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
From a model's name to an engine that runs it: the only place that knows all back ends.

A back end's library is imported when that back end is opened, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
import math
from pathlib import Path
from types import TracebackType

from depth_ros.core.engine_api import Engine, EngineSpec
from depth_ros.core.model_spec import ModelSpec
from depth_ros.engines.engine_cache import cache_folder, Progress
from depth_ros.engines.gate_pictures import gate_pictures
from depth_ros.engines.model_card import card_of
from depth_ros.engines.model_files import resolve_model
from depth_ros.engines.onnx_file import file_sha256, OnnxFile, read_onnx_file
from depth_ros.engines.parity import TOLERANCES
from depth_ros.engines.probe import probe_images, run_sequence
from depth_ros.engines.processor import physical_cores
from depth_ros.engines.verdict import judge
from depth_ros.errors import ConfigError, ModelError

__all__ = ['BACKENDS', 'LoadedModel', 'available_backends', 'load_model', 'resolve_model']

AUTO = 'auto'
REFERENCE = 'onnxruntime'
# What 'auto' tries, fastest first, before it falls back to the reference. Engines on a GPU are
# for those who ask for them: a first start may take minutes.
AUTO_ORDER = ('openvino',)
OTHER_ENGINE = f"use engine '{REFERENCE}'"
# Known of TensorRT 10.3 (JetPack 6.2): wrong depth of some networks, without a word.
OTHER_TENSORRT = f"use a newer TensorRT, the fp32 model, or engine '{REFERENCE}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """
    How an engine is opened, and when it is admitted.

    Fields:
        open: imports the library and loads a file with a number of threads.
        module: the library, as it is imported.
        package: the library, as pip installs it.
        prepare: does what takes minutes, before ``open``, and tells of it.
        is_reference: the one that the others are compared with.
        has_threads: takes a number of threads.
        advice: what to do when it disagrees.

    """

    open: Callable[[OnnxFile, int], Engine]  # noqa: A003
    module: str
    package: str
    prepare: Callable[[OnnxFile, Progress], None] | None = None
    is_reference: bool = False
    has_threads: bool = True
    advice: str = OTHER_ENGINE


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A model that is ready to run; ``selection`` says which engine and why, in one sentence."""

    engine: Engine
    card: ModelSpec
    path: Path
    sha256: str
    selection: str

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __enter__(self) -> LoadedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _go_on(sentence: str) -> bool:
    """Report to nobody."""
    return True


def load_model(
    path_or_name: str, *, engine: str = AUTO, threads: int = 0, progress: Progress = _go_on
) -> LoadedModel:
    """
    Load a model, check its card against its graph, and run it once.

    :param engine: 'auto', or a name in ``BACKENDS``.
    :param threads: of the engine; 0 = one per physical core of this process.
    :param progress: told what takes long, as building an engine; False stops it.
    :raises ConfigError: no such engine, or a negative number of threads.
    :raises ModelError: the file, its card or the engine is unusable; the sentence names it.
    """
    if engine != AUTO and engine not in BACKENDS:
        raise ConfigError(f"engine = '{engine}': must be one of {[AUTO, *BACKENDS]}")
    if threads < 0:
        raise ConfigError(f'threads = {threads}: must be 0 (all physical cores) or more')
    if threads and engine != AUTO and not BACKENDS[engine].has_threads:
        raise ConfigError(f"threads = {threads}: engine '{engine}' has none: leave it 0")
    file = read_onnx_file(resolve_model(path_or_name))
    loader = _Loader(file, card_of(file), threads or physical_cores(), progress)
    opened, selection = loader.choose() if engine == AUTO else loader.open(engine)
    return LoadedModel(
        engine=opened,
        card=loader.card,
        path=file.path,
        sha256=file_sha256(file.path),
        selection=selection,
    )


def available_backends() -> dict[str, str]:
    """Return, for each back end, the version of its library or how to get it."""
    return {name: _library(backend) for name, backend in BACKENDS.items()}


def _library(backend: Backend) -> str:
    try:
        module = import_module(backend.module)
        # Type stubs import as an empty package.
        version = module.__version__
    except (ImportError, OSError, AttributeError) as error:
        return f'not usable ({error}): pip install {backend.package}'
    return f'{backend.module} {version}'


class _Loader:
    """Opens back ends for one file and admits them."""

    def __init__(self, file: OnnxFile, card: ModelSpec, threads: int, progress: Progress) -> None:
        self.card = card
        self._progress = progress
        self._file = file
        self._threads = threads

    def choose(self) -> tuple[Engine, str]:
        """Return the first admitted engine of AUTO_ORDER, else the reference."""
        reference = self._opened(REFERENCE)
        refusals = []
        for name in AUTO_ORDER:
            try:
                engine, evidence = self._admitted(name, reference)
            except ModelError as error:
                refusals.append(str(error))
            else:
                reference.close()
                return engine, f'{_title(engine.spec)} (auto: {evidence})'
        self._probe(reference)
        return reference, f'{_title(reference.spec)} (auto: {"; ".join(refusals)})'

    def open(self, name: str) -> tuple[Engine, str]:  # noqa: A003
        """Return the engine that was asked for by name."""
        if BACKENDS[name].is_reference:
            engine = self._opened(name)
            self._probe(engine)
            return engine, f'{_title(engine.spec)} (asked for by name)'
        reference = self._opened(REFERENCE)
        try:
            engine, evidence = self._admitted(name, reference)
        finally:
            reference.close()
        return engine, f'{_title(engine.spec)} (asked for by name; {evidence})'

    def _opened(self, name: str) -> Engine:
        backend = BACKENDS[name]
        try:
            if backend.prepare is not None:
                backend.prepare(self._file, self._progress)
            return backend.open(self._file, self._threads)
        except ImportError as error:
            raise ModelError(
                f"engine '{name}' needs the Python package {backend.package} ({error}): "
                f'pip install {backend.package}'
            ) from None

    def _admitted(self, name: str, reference: Engine) -> tuple[Engine, str]:
        pictures = gate_pictures(cache_folder(), self.card)
        engine = self._opened(name)
        with self._closing_on_error(engine):
            tolerance = TOLERANCES[engine.spec.precision]
            verdict = judge(reference, engine, self.card, pictures, tolerance)
            when = ' (found at an earlier start)' if verdict.is_recalled else ''
            if verdict.failures:
                raise ModelError(
                    f"engine '{name}' disagrees with {REFERENCE} on {verdict.pictures}: "
                    f'{"; ".join(verdict.failures)}{when}: {BACKENDS[name].advice}'
                )
            if verdict.is_recalled:
                self._probe(engine)
        agreement = f'agrees with {REFERENCE} within {verdict.figures["max_relative"]:.1e}'
        origin = _origin(self._file, engine.spec.precision)
        return engine, f'its output {agreement} on {verdict.pictures}{when}{origin}'

    def _probe(self, engine: Engine) -> None:
        with self._closing_on_error(engine):
            run_sequence(engine, self.card, probe_images(self.card))

    @contextmanager
    def _closing_on_error(self, engine: Engine) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            engine.close()
            # What is found by running knows the tensor, but not always the file.
            is_named = str(self._file.path) in str(error)
            raise error if is_named else type(error)(f'{self._file.path}: {error}') from error


def _origin(file: OnnxFile, precision: str) -> str:
    """Return who vouches for a graph of lower precision; '' for others."""
    from depth_ros.engines.precision import precision_of, read_record

    if precision != precision_of(file.path) or precision == 'fp32':
        return ''
    record = read_record(file)
    if record is None:
        return f'; the {precision} graph was made elsewhere and not judged on LiDAR'
    change = 100 * float(record.gate.get('change', math.nan))
    return f'; {precision} by {record.tool}, AbsRel {change:+.2f} % on LiDAR'


def _title(spec: EngineSpec) -> str:
    return f'{spec.backend} {spec.version} on {spec.device}, {spec.precision}'


def _open_onnxruntime(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.onnxruntime_engine import OnnxRuntimeEngine

    return OnnxRuntimeEngine(file, threads=threads)


def _open_openvino(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(file, threads=threads, precision='fp32')


def _open_openvino_bf16(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(file, threads=threads, precision='bf16')


def _open_onnxruntime_cuda(file: OnnxFile, threads: int) -> Engine:
    from depth_ros.engines.onnxruntime_cuda_engine import OnnxRuntimeCudaEngine

    states = card_of(file).temporal.states
    return OnnxRuntimeCudaEngine(file, states=states, threads=threads)


def _open_tensorrt(file: OnnxFile, threads: int, name: str = 'tensorrt') -> Engine:
    from depth_ros.engines.tensorrt_store import open_engine

    return open_engine(name, file)


def _prepare_tensorrt(file: OnnxFile, progress: Progress, name: str = 'tensorrt') -> None:
    from depth_ros.engines.tensorrt_store import prepare

    prepare(name, file, progress)


BACKENDS: dict[str, Backend] = {
    REFERENCE: Backend(
        open=_open_onnxruntime, module='onnxruntime', package='onnxruntime', is_reference=True
    ),
    'openvino': Backend(open=_open_openvino, module='openvino', package='openvino'),
    'openvino_bf16': Backend(open=_open_openvino_bf16, module='openvino', package='openvino'),
    'onnxruntime_cuda': Backend(
        open=_open_onnxruntime_cuda, module='onnxruntime', package='onnxruntime-gpu'
    ),
    'tensorrt': Backend(
        open=_open_tensorrt,
        module='tensorrt',
        package='tensorrt cuda-python',
        prepare=_prepare_tensorrt,
        has_threads=False,
        advice=OTHER_TENSORRT,
    ),
    'tensorrt_rtx': Backend(
        open=partial(_open_tensorrt, name='tensorrt_rtx'),
        module='tensorrt_rtx',
        package='tensorrt-rtx-cu12 cuda-python',
        prepare=partial(_prepare_tensorrt, name='tensorrt_rtx'),
        has_threads=False,
        advice=OTHER_TENSORRT,
    ),
}
